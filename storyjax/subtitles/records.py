"""What the stages make of an episode, and what they need of the networks: records, and interfaces to be replaced by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.subtitles.exemplars import Assignment
from storyjax.subtitles.timeline import Segment, Timeline, Word

_LAUGHED_AT_S = 0.15  # so much laughter in a segment counts: its end is not heard to the tenth of a second
STEPS = ("speech", "laughter", "synchronisation", "face", "exemplar")
"""How far a segment came on its way to an exemplar: a step's name says that it passed all up to and with it."""


@dataclass(frozen=True)
class Laugh:
    """When the audience laughs (seconds), and how surely (the mean probability)."""

    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Peaks:
    """Where sound and picture move together in a segment (its number): y, x and the score of each.

    Places are shares of the picture's height and width.
    """

    segment: int
    peaks: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Face:
    """Whom a segment (its number) with one visible speaker shows.

    Attributes:
        name: the character, or None where that is not sure.
        best, score: the likeliest character and its share of all in the episode.
        similarity: its cosine.
        runner_up, runner_up_score: the next.
    """

    segment: int
    name: str | None
    best: str
    score: float
    similarity: float
    runner_up: str | None
    runner_up_score: float


@dataclass(frozen=True)
class VoiceVector:
    """The voice of a segment (its number), of unit length."""

    segment: int
    vector: tuple[float, ...]


@dataclass
class Products:
    """What the stages have made of an episode so far."""

    words: list[Word] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    laughs: list[Laugh] = field(default_factory=list)
    peaks: list[Peaks] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    guesses: list[Face] = field(default_factory=list)
    voices: list[VoiceVector] = field(default_factory=list)

    @property
    def laughed_at(self) -> set[int]:
        """The numbers of segments in which the audience laughs."""
        return {
            number
            for number, segment in enumerate(self.segments)
            if any(min(a.end, segment.end) - max(a.start, segment.start) > _LAUGHED_AT_S for a in self.laughs)
        }

    def vectors(self) -> Float32[np.ndarray, "n d"]:
        """The voices of all segments."""
        width = len(self.voices[0].vector) if self.voices else 0
        return np.array([voice.vector for voice in self.voices], np.float32).reshape(len(self.voices), width)


@dataclass(frozen=True)
class Line:
    """A line of the subtitles: its time (seconds), its text, who says it (None: unknown), and why.

    Attributes:
        step: how far the segment came towards an exemplar, one of STEPS.
        assignment: the distances of its voice.
        label: whose face it surely shows; `likely`: whose it shows most likely around the only peak; `guess`: whom its
            whole frames show most likely, where that was looked for. None: nobody.
        evidence: face and peaks, as `--why` shows them.
    """

    start: float
    end: float
    text: str
    name: str | None
    step: str
    assignment: Assignment
    label: str | None = None
    likely: str | None = None
    guess: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subtitles:
    """What was made of an episode."""

    episode: str
    lines: tuple[Line, ...]
    laughs: tuple[Laugh, ...]
    vectors: Float32[np.ndarray, "n d"]
    exemplars: Mapping[str, int]


@runtime_checkable
class Stage(Protocol):
    """A step on one episode. `name` is a field of Products, `row` the type of its records."""

    name: str
    row: type

    def settings(self) -> Mapping[str, Any]: ...

    def run(self, timeline: Timeline, products: Products) -> list[Any]: ...


# What the networks of `voices.py`, `laughter.py` and `sync.py` are to the stages.
@runtime_checkable
class Laughters(Protocol):
    def probabilities(self, wave: Float32[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]: ...


@runtime_checkable
class Synchroniser(Protocol):
    def heat_maps(self, frames: UInt8[np.ndarray, "t y x 3"], wave: Float32[np.ndarray, " n"]) -> np.ndarray: ...


@runtime_checkable
class Voices(Protocol):
    @property
    def dim(self) -> int: ...

    def embed(self, waves: Sequence[Float32[np.ndarray, " _"]]) -> np.ndarray: ...


@runtime_checkable
class Finder(Protocol):
    """What the stages need of `clip_pad.predict.PersonFinder`."""

    image_size: int

    def enrol(self, photos: Sequence[np.ndarray]) -> np.ndarray: ...

    def embed_query(self, prompt: str, tokens: Mapping[str, np.ndarray]) -> np.ndarray: ...

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray: ...

    def describe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray: ...

    def as_face(self, crop: UInt8[np.ndarray, "y x 3"]) -> np.ndarray: ...

    def describe_faces(self, faces: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray: ...
