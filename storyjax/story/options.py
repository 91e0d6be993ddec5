"""What `storyjax story` was asked for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError

FACES, VOICES, BOTH = "faces", "voices", "both"
NAMES_BY = (FACES, VOICES, BOTH)


@dataclass(frozen=True)
class StoryOptions:
    """The arguments of `storyjax story`.

    Attributes:
        fps: images looked at in a second of film.
        tracker: "faces", or a trained MQT's place; None: what the models folder has, else what ships.
        names_by: what people are named by: "faces", "voices" or "both".
        gallery: folder of the gallery; None: nobody is known by it.
        cast: file of a cast list, as `storyjax subtitle` takes it.
        models: the models folder; None: see `storyjax.weights.roles.models_folder`.
        face_detector: as `--face-detector` of `storyjax find`; None: the best that is installed.
        transcripts: by the film's name: files to be used instead of recognising speech.
        engine, speech_model, language: of the speech recogniser, as `storyjax subtitle` takes them.
        distance: cosine distance beyond which voices are of two people; None: the voice encoder's own.
        places: names of places that shots are told apart by.
        captions: whether a model says in words what each shot shows.
        teach: whether what is learnt of named people goes into the gallery.
    """

    fps: float = 5.0
    tracker: str | None = None
    names_by: str = BOTH
    gallery: Path | None = None
    cast: Path | None = None
    models: str | None = None
    face_detector: str | None = None
    transcripts: Mapping[str, Path] = field(default_factory=dict)
    engine: str | None = None
    speech_model: str | None = None
    language: str | None = None
    distance: float | None = None
    places: tuple[str, ...] = ()
    captions: bool = False
    teach: bool = False

    def check(self) -> None:
        """Raises StoryjaxError: a value that cannot be meant."""
        if not (math.isfinite(self.fps) and 0.1 <= self.fps <= 60):
            raise StoryjaxError(f"--fps is {self.fps:g}: give from 0.1 to 60 images a second, 5 is usual")
        choose(self.names_by, NAMES_BY, "--names-by")
        if self.distance is not None and not (math.isfinite(self.distance) and 0 <= self.distance <= 2):
            raise StoryjaxError(f"--distance is {self.distance:g}: cosine distances are from 0 to 2")
        if self.teach and self.gallery is None:
            raise StoryjaxError("--teach writes into a gallery: name it with --gallery")
