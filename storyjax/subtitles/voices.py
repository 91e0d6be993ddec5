"""Remembered voices: a mean embedding for each name, and the encoder that made it; how far apart its voices are.

    {"encoder": {"id": "5f0c...", "place": "models/voices"},
     "voices": {"Ana": {"seconds": 41.2, "vector": [0.1, ...], "parts": [{"seconds": 20.0, "vector": [...]}, ...]}}}

is the layout of the voices file, and of the file of speakers that `storyjax subtitle` leaves beside subtitles that were
made without a cast list (EPISODE.speakers.json). The parts, left out where there is one, are what a voice is the mean
of: a speaker of one file of subtitles each, so that a wrong name can be taken back.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import json_text
from storyjax.core.params_io import weights_folder
from storyjax.weights.roles import RECORD

VOICES_FILE = "voices.json"
SPEAKERS_SUFFIX = ".speakers.json"
# Cosine distances within which two recordings are of one voice. ECAPA: SpeechBrain's verification of speakers accepts
# cosines above 0.25. CAM++: turns of a second and more of one telephone conversation (pyannote.audio's
# sample): of one voice 0.099 to 0.497, of two 0.496 to 0.899.
PUBLISHED_DISTANCES: Mapping[str, float] = {"ecapa": 0.75, "campplus": 0.5}
DEFAULT_DISTANCE = 0.23  # of the encoder that ships, chosen on validation seasons of StoryWorld


def encoder_distance(place: str) -> float:
    """Returns the cosine distance (0 to 2) within which a voice encoder's embeddings are of one voice.

    It is "distance" in source.json or config.json of the encoder's folder, else that of the published architecture.

    Args:
        place: a folder, or "shipped:NAME".

    Raises:
        StoryjaxError: a file says something that is no distance.
    """
    folder, architecture = weights_folder(place), None
    for name in (RECORD, "config.json"):
        try:
            described = json.loads((folder / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(described, dict):
            continue
        architecture = described.get("architecture", architecture)
        if (given := described.get("distance")) is None:
            continue
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 2:
            raise StoryjaxError(f"{folder / name}: distance is {given!r}: cosine distances are from 0 to 2")
        return float(given)
    return PUBLISHED_DISTANCES.get(str(architecture), DEFAULT_DISTANCE)


@dataclass(frozen=True)
class Encoder:
    """Which voice encoder made embeddings: `id` is of its weights, `place` is for people."""

    id: str
    place: str

    @classmethod
    def at(cls, place: str) -> "Encoder":
        """Returns the encoder in a folder, or "shipped:NAME"; without weights in one file its place is its id."""
        file = weights_folder(place) / "model.safetensors"
        if not file.is_file():
            return cls(place, place)
        with open(file, "rb") as opened:
            return cls(hashlib.file_digest(opened, "sha256").hexdigest()[:24], place)


@dataclass(frozen=True)
class Voice:
    """A mean embedding of unit length, and the seconds of speech that it is of; `parts` are what it was merged from."""

    vector: Float32[np.ndarray, " d"]
    seconds: float
    parts: "tuple[Voice, ...]" = ()

    @property
    def sources(self) -> "tuple[Voice, ...]":
        """What it is the mean of; it alone, where it was merged from nothing."""
        return self.parts or (self,)

    def merged(self, other: "Voice") -> "Voice":
        """Returns the mean of two, each in proportion to its seconds; what is in both counts once."""
        own = self.sources
        return _mean([*own, *(part for part in other.sources if not part.within(own))])

    def without(self, other: "Voice") -> "Voice | None":
        """Returns the same without what it has from another; None where nothing is left."""
        kept = [part for part in self.sources if not part.within(other.sources)]
        return _mean(kept) if kept else None

    def within(self, others: "Sequence[Voice]") -> bool:
        """Returns whether it is one of others, to the digits that files have."""
        return any(np.allclose(self.vector, other.vector, rtol=0, atol=2e-6) for other in others)


def _mean(parts: Sequence[Voice]) -> Voice:
    if len(parts) == 1:
        return parts[0]
    total = np.sum([part.seconds * part.vector for part in parts], axis=0)
    return Voice(
        unit_norm(total, eps=1e-9).astype(np.float32), float(sum(part.seconds for part in parts)), tuple(parts)
    )


@dataclass(frozen=True)
class Voices:
    """Voices by name, all of one encoder."""

    encoder: Encoder
    voices: Mapping[str, Voice] = field(default_factory=dict)

    def with_voice(self, name: str, voice: Voice) -> "Voices":
        """Returns the same with one more voice, merged with what is known of that name."""
        known = self.voices.get(name)
        return Voices(self.encoder, {**self.voices, name: voice if known is None else known.merged(voice)})

    def without_voice(self, name: str, voice: Voice | None = None) -> "Voices":
        """Returns the same without a name; or, given a voice, without what that name has from it."""
        known = self.voices.get(name)
        left = None if known is None or voice is None else known.without(voice)
        others = {other: kept for other, kept in self.voices.items() if other != name}
        return Voices(self.encoder, others if left is None else {**others, name: left})

    def check_encoder(self, encoder: Encoder, source: Path) -> None:
        """Raises StoryjaxError if these voices, read from `source`, are of another encoder."""
        if self.encoder.id != encoder.id:
            raise StoryjaxError(
                f"{source} holds voices of another encoder ({self.encoder.place}), not of {encoder.place}: use that"
                " encoder, or another voices file"
            )

    def text(self) -> str:
        """Returns the JSON of a voices file."""
        rows = {name: _row(voice) for name, voice in self.voices.items()}
        return json_text({"encoder": {"id": self.encoder.id, "place": self.encoder.place}, "voices": rows}) + "\n"


def _row(voice: Voice) -> dict[str, Any]:
    vector = np.round(voice.vector.astype(float), 6).tolist()
    row: dict[str, Any] = {"seconds": round(voice.seconds, 3), "vector": vector}
    return row | {"parts": [_row(part) for part in voice.parts]} if voice.parts else row


def read_voices_file(path: Path) -> Voices:
    """Returns the voices in a file. Raises StoryjaxError: it cannot be read, or is no such file."""
    try:
        given = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StoryjaxError(f"the voices file {path} cannot be read ({error.strerror}): check the path") from error
    except ValueError as error:
        raise StoryjaxError(f"the voices file {path} is no JSON ({error}): make it anew") from error
    try:
        encoder = Encoder(str(given["encoder"]["id"]), str(given["encoder"]["place"]))
        voices = {str(name): _voice(entry) for name, entry in given["voices"].items()}
        if len({len(voice.vector) for voice in voices.values()}) > 1:
            raise ValueError("embeddings of several lengths")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoryjaxError(
            f"{path} is no voices file ({type(error).__name__}: {error}): 'storyjax subtitle name' writes them"
        ) from error
    return Voices(encoder, voices)


def _voice(entry: Mapping[str, Any]) -> Voice:
    vector, seconds = np.asarray(entry["vector"], np.float32), float(entry["seconds"])
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all() or not np.any(vector):
        raise ValueError("an embedding is no vector of finite numbers")
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{seconds} seconds")
    parts = tuple(_voice(part) for part in entry.get("parts", ()))
    if any(len(part.vector) != len(vector) or part.parts for part in parts):
        raise ValueError("parts that are no embeddings of the voice's length")
    return Voice(unit_norm(vector, eps=1e-9).astype(np.float32), seconds, parts)


def speakers_file(subtitles: Path) -> Path:
    """Returns the place of the file of speakers beside a file of subtitles."""
    return subtitles.with_name(f"{subtitles.stem}{SPEAKERS_SUFFIX}")
