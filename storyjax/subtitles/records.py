"""The results of the stages on an episode, and the interfaces of the networks that they need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.data.audio import Spool
from storyjax.search.protocol import Notes
from storyjax.subtitles.exemplars import Assignment
from storyjax.subtitles.timeline import Segment, Timeline, Word
from storyjax.subtitles.voices import Voice

_LAUGHED_AT_S = 0.15  # so much laughter in a segment counts: its end is not heard to the tenth of a second
STEPS = ("speech", "laughter", "synchronisation", "face", "exemplar")
"""How far a segment came on its way to an exemplar: it passed the step of that name and all before it."""


@dataclass(frozen=True)
class Laugh:
    """When the audience laughs, from `start` to `end` (seconds), and the mean probability of it."""

    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Peaks:
    """Where sound and image move together in a segment.

    Attributes:
        segment: its number.
        peaks: (y, x, score) of each; places are fractions of the image's height and width.
    """

    segment: int
    peaks: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Face:
    """The character that a segment shows.

    Attributes:
        segment: its number.
        name: the character, or None where that is not sure.
        best, score: the likeliest character and its probability among all in the episode.
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
class VoiceEmbedding:
    """The voice of a segment (its number), a vector of unit length."""

    segment: int
    vector: tuple[float, ...]


@dataclass
class EpisodeRecords:
    """The results of the stages on an episode so far; each field is named after its stage."""

    words: list[Word] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    laughs: list[Laugh] = field(default_factory=list)
    peaks: list[Peaks] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    raw_face_labels: list[Face] = field(default_factory=list)
    voices: list[VoiceEmbedding] = field(default_factory=list)

    @property
    def laughed_at(self) -> set[int]:
        """Returns the numbers of the segments in which the audience laughs."""
        return {
            number
            for number, segment in enumerate(self.segments)
            if any(min(a.end, segment.end) - max(a.start, segment.start) > _LAUGHED_AT_S for a in self.laughs)
        }

    def vectors(self) -> Float32[np.ndarray, "n d"]:
        """Returns the voice embeddings of all segments."""
        width = len(self.voices[0].vector) if self.voices else 0
        return np.array([voice.vector for voice in self.voices], np.float32).reshape(len(self.voices), width)


@dataclass(frozen=True)
class Line:
    """A line of the subtitles.

    Attributes:
        start, end: seconds.
        text, name: what is said and who says it; None: unknown.
        step: how far the segment came towards an exemplar, one of STEPS.
        assignment: the distances of its voice.
        label: the character whose face it surely shows; None: nobody.
        likely: the likeliest character around the only peak, sure or not.
        raw_label: the likeliest character of its whole frames, where that was asked for.
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
    raw_label: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subtitles:
    """The named lines of an episode.

    Attributes:
        episode: the video's name without its ending.
        lines: in the order of their times.
        laughs: when the audience laughs.
        vectors: the voice embedding of each line.
        exemplars: how many exemplars each character has, over all episodes.
        speakers: without a cast list, the mean voice of each speaker of the episode, over all episodes.
    """

    episode: str
    lines: tuple[Line, ...]
    laughs: tuple[Laugh, ...]
    vectors: Float32[np.ndarray, "n d"]
    exemplars: Mapping[str, int]
    speakers: Mapping[str, Voice] = field(default_factory=dict)


@runtime_checkable
class Stage(Protocol):
    """A step on one episode. `name` is a field of EpisodeRecords, `row` the type of its records."""

    name: str
    row: type

    def settings(self) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the file and the stages before it."""
        ...

    def run(self, timeline: Timeline, records: EpisodeRecords) -> list[Any]:
        """Returns its records, each of type `row`."""
        ...


@runtime_checkable
class LaughterModel(Protocol):
    """The interface of `laughter_detector.LaughterDetector`."""

    def probabilities(self, wave: Float32[np.ndarray, " n"] | Spool) -> tuple[np.ndarray, np.ndarray]:
        """Returns moments (seconds) and the probability of laughter at each; of a spool only slices are in memory."""
        ...


@runtime_checkable
class SyncModel(Protocol):
    """The interface of `av_sync.SyncDetector`."""

    def heat_maps(self, frames: UInt8[np.ndarray, "t y x 3"], wave: Float32[np.ndarray, " n"]) -> np.ndarray:
        """Returns how well each place of each image goes with the sound, (t, h, w)."""
        ...


@runtime_checkable
class SpeakerModel(Protocol):
    """The interface of `speaker_encoder.SpeakerEncoder`."""

    def embed(self, waves: Sequence[Float32[np.ndarray, " _"]]) -> np.ndarray:
        """Returns one embedding of unit length for each recording, (n, d)."""
        ...


@runtime_checkable
class FaceMatcher(Protocol):
    """The interface of `clip_pad.predict.PersonFinder`, as far as the stages need it.

    `image_size` is the side, in pixels, of the squares that `embed_images` takes, and `keep_aspect` whether they are
    parts of images, or whole images without their aspect ratio.
    """

    image_size: int
    keep_aspect: bool

    def enrol(self, photos: Sequence[np.ndarray], *, notes: Notes | None = None) -> np.ndarray:
        """Returns the token of a person, from 1 to 10 photos; `notes` as of `ConceptEncoder.enrol`."""
        ...

    def embed_query(self, prompt: str, tokens: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the embedding of a prompt with people's tokens in place of "<NAME>", (d,)."""
        ...

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Returns the embeddings of images, (n, d)."""
        ...

    def describe_photos(self, photos: Sequence[np.ndarray], *, notes: Notes | None = None) -> np.ndarray:
        """Returns the mean face embedding of a person's photos, (e,); `notes` as of `enrol`."""
        ...

    def as_face(self, crop: UInt8[np.ndarray, "y x 3"]) -> np.ndarray:
        """Returns a crop at the size of the face encoder."""
        ...

    def describe_faces(self, faces: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Returns the face embeddings of such crops, (n, e)."""
        ...
