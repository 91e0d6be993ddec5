"""Recognising the visible speaker of a segment (§6.1.4): the stage `Faces`, and `RawFaceLabels` for evaluation.

There are two modes of matching, neither of which needs a face detector:

    query   the thesis's: CLIP-PAD's embedding of the image with that of "an image of NAME *TOK*"
    photos  CLIP-PAD's face encoder alone: the embedding of what is around the peak with that of the cast's photos.
            Clothes and surroundings count for nothing in it, but the size of faces must be known (`crop_scales`).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell
from storyjax.data.images import Square
from storyjax.data.video import VideoError
from storyjax.gallery.record import FACE, TOKEN
from storyjax.search.protocol import PhotoError, PhotoNote
from storyjax.subtitles.cast import Cast, Member, read_photos
from storyjax.subtitles.records import EpisodeRecords, Face, FaceMatcher
from storyjax.subtitles.stages import file_state
from storyjax.subtitles.timeline import Segment, Timeline

_SEGMENTS_PER_BATCH = 4  # segments whose images are embedded together; with 8 each, they are a batch of CLIP-PAD's
_MOUTH_IN_PORTRAIT = 0.45  # from the top

FaceMatchMode = Literal["query", "photos"]
CastEmbeddings = dict[tuple[FaceMatchMode, Member], Float32[np.ndarray, " d"]]


@dataclass
class Faces:
    """The stage that recognises the character in each segment with one visible speaker.

    Attributes:
        load: makes the network.
        source: which network it is, with its state.
        cast, episode: the characters that it may be.
        threshold: of the probability of the likeliest of the episode's cast (§6.1.4: 0.85): a softmax of the cosines.
        temperature: of that softmax; CLIP's own is 0.01.
        min_cosine: below it the image shows nobody of the cast.
        frames: how many of a segment are taken; their embeddings are averaged.
        crop_scales: sizes of the squares around the peak that are taken together, as fractions of the image. 1 is the
            whole frame, as in the thesis; less separates two who are in one shot.
        match_mode: how images are compared with the cast, as this module says.
        cast_embeddings: those of people in other episodes, and where this one's are added.
    """

    load: Callable[[], FaceMatcher]
    source: str
    cast: Cast
    episode: str
    threshold: float = 0.85
    temperature: float = 0.01
    min_cosine: float = 0.0
    frames: int = 8
    crop_scales: tuple[float, ...] = (1.0,)
    match_mode: FaceMatchMode = "query"
    cast_embeddings: CastEmbeddings = field(default_factory=dict, repr=False)
    name: str = "faces"
    row: type = Face

    def settings(self) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the file and the stages before it."""
        members = [[m.name, m.actor, [file_state(p) for p in m.photos], *_digest(m)] for m in self._members]
        # The names of version 0.1: what its runs left in work folders is found again.
        return {
            "source": self.source,
            "members": members,
            "threshold": self.threshold,
            "temperature": self.temperature,
            "least": self.min_cosine,
            "frames": self.frames,
            "crops": self.crop_scales,
            "match": self.match_mode,
        }

    @cached_property
    def _members(self) -> tuple[Member, ...]:
        """Those a face may belong to; by photos nobody who has none, where a sample of the voice makes up for it."""
        members = self.cast.of(self.episode)
        return tuple(m for m in members if m.photos or not m.has_voice) if self.match_mode == "photos" else members

    @cached_property
    def _cast_vectors(self) -> Float32[np.ndarray, "c d"]:
        """The embedding of each of the cast, one row each."""
        mode, known = self.match_mode, self.cast_embeddings
        embed = query_embedding if mode == "query" else portrait_embedding
        for member in self._members:
            if (mode, member) not in known:
                known[mode, member] = embed(self.load(), member)
        return np.stack([known[mode, member] for member in self._members])

    def wanted(self, records: EpisodeRecords) -> list[tuple[int, tuple[float, float]]]:
        """Returns the numbers of the segments that are looked at, and the place (y, x) in fractions of the image."""
        return [(p.segment, p.peaks[0][:2]) for p in records.peaks if len(p.peaks) == 1]

    def run(self, timeline: Timeline, records: EpisodeRecords) -> list[Face]:
        """Returns a record for each wanted segment.

        Raises:
            StoryjaxError: the video cannot be decoded, or a photo cannot serve.
        """
        wanted = self.wanted(records)
        if not wanted or not self._members or not timeline.has_video:
            return []
        by_query = self.match_mode == "query"
        cast, matcher, faces = self._cast_vectors, self.load(), []
        crop = self._frames_around if by_query else self._portraits
        for first in range(0, len(wanted), _SEGMENTS_PER_BATCH):
            part = wanted[first : first + _SEGMENTS_PER_BATCH]
            images = np.concatenate(
                [crop(timeline, records.segments[number], place, matcher) for number, place in part]
            )
            vectors = matcher.embed_images(images) if by_query else matcher.describe_faces(images)
            vectors = vectors.reshape(len(part), self.frames * len(self.crop_scales), -1).mean(axis=1)
            vectors = unit_norm(vectors, eps=1e-9)
            faces += [self._judge(number, cast @ vector) for (number, _), vector in zip(part, vectors, strict=True)]
        return faces

    def _frames_around(
        self, timeline: Timeline, segment: Segment, place: tuple[float, float], matcher: FaceMatcher
    ) -> UInt8[np.ndarray, "t y x 3"]:
        """Images of a segment around a place (fractions of height and width), as CLIP takes them: squares."""
        size, images = matcher.image_size, []
        if matcher.keep_aspect:
            fit = Square(size, keep_aspect=True)
            return np.stack([fit(square) for square in self._squares_around(timeline, segment, place)])
        for scale in self.crop_scales:
            images.append(around(self._frames(timeline, segment, round(size / scale)), place, size))
        return np.concatenate(images)

    def _portraits(
        self, timeline: Timeline, segment: Segment, place: tuple[float, float], matcher: FaceMatcher
    ) -> UInt8[np.ndarray, "t y x 3"]:
        """Squares of the images around a place at the face encoder's size."""
        return np.stack([matcher.as_face(square) for square in self._squares_around(timeline, segment, place)])

    def _squares_around(
        self, timeline: Timeline, segment: Segment, place: tuple[float, float]
    ) -> Iterator[UInt8[np.ndarray, "s s 3"]]:
        """Squares of the images around a place, in every scale, with their aspect ratio kept."""
        frames = self._frames(timeline, segment, None)
        for scale in self.crop_scales:
            yield from around(frames, place, max(1, round(scale * min(frames.shape[1:3]))))

    def _frames(self, timeline: Timeline, segment: Segment, size: int | None) -> UInt8[np.ndarray, "t y x 3"]:
        end = min(segment.end, timeline.video_end)
        times = segment.start + (np.arange(self.frames) + 0.5) * (end - segment.start) / self.frames
        try:
            return timeline.frames(times, size)
        except VideoError as error:
            raise StoryjaxError(f"{error}") from error

    def _judge(self, number: int, cosines: Float32[np.ndarray, " c"]) -> Face:
        probabilities = np.exp((cosines - cosines.max()) / self.temperature)
        probabilities /= probabilities.sum()
        order = np.argsort(-probabilities, kind="stable")
        best, names = int(order[0]), [m.name for m in self._members]
        sure = probabilities[best] >= self.threshold and cosines[best] >= self.min_cosine
        second = int(order[1]) if len(order) > 1 else None
        return Face(
            number,
            names[best] if sure else None,
            names[best],
            round(float(probabilities[best]), 4),
            round(float(cosines[best]), 4),
            None if second is None else names[second],
            0.0 if second is None else round(float(probabilities[second]), 4),
        )


@dataclass
class RawFaceLabels(Faces):
    """The stage that gives every segment the likeliest character of its whole frames, sure or not.

    It is the label that a segment would have if no step left any out. Only evaluation needs it, to measure each step.
    """

    name: str = "raw_face_labels"

    def wanted(self, records: EpisodeRecords) -> list[tuple[int, tuple[float, float]]]:
        """Returns the numbers of all segments, with the middle of the image."""
        return [(number, (0.5, 0.5)) for number in range(len(records.segments))]


def around(
    frames: UInt8[np.ndarray, "t y x 3"], place: tuple[float, float], size: int
) -> UInt8[np.ndarray, "t {size} {size} 3"]:
    """Returns the squares of `size` pixels that have the mouth at `place` (fractions of height, width) as portraits do.

    A square that would leave the image is moved into it.
    """
    height, width = frames.shape[1:3]
    top = int(np.clip(round(place[0] * height - _MOUTH_IN_PORTRAIT * size), 0, height - size))
    left = int(np.clip(round(place[1] * width - 0.5 * size), 0, width - size))
    return frames[:, top : top + size, left : left + size]


def _known(matcher: FaceMatcher, member: Member, role: str, fingerprint: str) -> Float32[np.ndarray, "_ _"] | None:
    """What is known of somebody in vectors of the matcher's network, whose fingerprint has that name."""
    network = getattr(matcher, fingerprint, None) if member.vectors else None
    return member.vectors.get((role, network)) if network is not None else None


def _digest(member: Member) -> list[str]:
    """What changes with the vectors that are known of somebody; nothing where there are none."""
    if not member.vectors:
        return []
    parts = [f"{key}".encode() + rows.tobytes() for key, rows in sorted(member.vectors.items())]
    return [hashlib.sha256(b"".join(parts)).hexdigest()]


def query_embedding(matcher: FaceMatcher, member: Member) -> Float32[np.ndarray, " d"]:
    """Returns the embedding of a query for somebody: by face and by name where there are photos, else by name alone."""
    spoken = " ".join(member.actor.replace("<", " ").replace(">", " ").replace("*", " ").split()) or "somebody"
    known = _known(matcher, member, TOKEN, "fingerprint")
    if known is not None:
        return matcher.embed_query(f"an image of {spoken} <somebody>", {"somebody": known})
    if not member.photos:
        return matcher.embed_query(f"an image of {spoken}", {})
    token = _of_photos(matcher.enrol, member)
    return matcher.embed_query(f"an image of {spoken} <somebody>", {"somebody": token})


def portrait_embedding(matcher: FaceMatcher, member: Member) -> Float32[np.ndarray, " e"]:
    """Returns the mean face embedding of somebody's photos. Raises StoryjaxError where there are none."""
    known = _known(matcher, member, FACE, "photo_fingerprint")
    if known is not None:
        return unit_norm(unit_norm(known).mean(axis=0), axis=None)
    if not member.photos:
        raise StoryjaxError(
            f"'{member.name}' has no photo, and faces are matched by photos: add one, a sample of the voice, or match"
            " by queries"
        )
    return _of_photos(matcher.describe_photos, member)


def _of_photos(make: Callable[..., np.ndarray], member: Member) -> np.ndarray:
    """The result of `make` on somebody's photos; those that cannot serve are named, and left out if any other can."""
    paths, images = read_photos(member)
    noted: list[PhotoNote] = []
    try:
        made = make(images, notes=noted.append)
    except PhotoError as error:
        others = " (nor can the others be used)" if len(member.photos) > 1 else ""
        raise StoryjaxError(f"{paths[error.index]}, a photo of '{member.name}', {error.reason}{others}") from error
    for note in noted:
        tell(f"{'skipped ' * note.left_out}{paths[note.index]}, a photo of '{member.name}', {note.text}")
    return made
