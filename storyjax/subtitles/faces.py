"""Whom a segment with one visible speaker shows (§6.1.4): the stage `Faces`, and `Guesses`, which evaluation wants.

There are two ways to tell (`match`), neither of which needs a detector of faces:

    query   the thesis's: CLIP-PAD's embedding of the picture with that of "an image of NAME *TOK*"
    photos  CLIP-PAD's face encoder alone: its description of what is around the peak with that of the cast's photos.
            What people wear and where they are counts for nothing in it, but it must be told how large faces are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.data.video import VideoError
from storyjax.search.protocol import PhotoError
from storyjax.subtitles.cast import Cast, Member, read_photos
from storyjax.subtitles.records import Face, Finder, Products
from storyjax.subtitles.stages import file_state
from storyjax.subtitles.timeline import Segment, Timeline

_LOOKS_TOGETHER = 4  # segments whose pictures are embedded in one go; of 8 each, they are a batch of the finder's
_MOUTH_IN_PORTRAIT = 0.45  # from the top

Match = Literal["query", "photos"]
Known = dict[tuple[Match, Member], Float32[np.ndarray, " d"]]


@dataclass
class Faces:
    """Whom a segment with one visible speaker shows.

    Attributes:
        threshold: of the share that the likeliest of the episode's cast has (§6.1.4: 0.85): a softmax of the cosines.
        temperature: of that softmax; CLIP's own is 0.01.
        least: cosine below which the picture is of nobody in the cast.
        frames: of a segment that are looked at; their embeddings are averaged.
        crops: the shares of the picture that are looked at, around the peak, together. 1 is the whole frame, as in the
            thesis; less tells two apart who are in one shot.
        match: how pictures are compared with the cast, as this module says.
        known: what people are compared by, as far as other episodes have found out.
    """

    load: Callable[[], Finder]
    source: str
    cast: Cast
    episode: str
    threshold: float = 0.85
    temperature: float = 0.01
    least: float = 0.0
    frames: int = 8
    crops: tuple[float, ...] = (1.0,)
    match: Match = "query"
    known: Known = field(default_factory=dict, repr=False)
    name: str = "faces"
    row: type = Face

    def settings(self) -> Mapping[str, Any]:
        members = [[m.name, m.actor, [file_state(p) for p in m.photos]] for m in self._members]
        keys = ("threshold", "temperature", "least", "frames", "crops", "match")
        return {"source": self.source, "members": members, **{key: getattr(self, key) for key in keys}}

    @cached_property
    def _members(self) -> tuple[Member, ...]:
        """Whom a face may be; by photos nobody who has none, where a sample of the voice makes up for it."""
        members = self.cast.of(self.episode)
        return tuple(m for m in members if m.photos or not m.voices) if self.match == "photos" else members

    @cached_property
    def _cast_vectors(self) -> Float32[np.ndarray, "c d"]:
        """What the cast is compared by, one row each."""
        vector = query if self.match == "query" else portrait
        for member in self._members:
            if (self.match, member) not in self.known:
                self.known[self.match, member] = vector(self.load(), member)
        return np.stack([self.known[self.match, member] for member in self._members])

    def wanted(self, products: Products) -> list[tuple[int, tuple[float, float]]]:
        """The numbers of the segments that are looked at, and where."""
        return [(p.segment, p.peaks[0][:2]) for p in products.peaks if len(p.peaks) == 1]

    def run(self, timeline: Timeline, products: Products) -> list[Face]:
        wanted = self.wanted(products)
        if not wanted or not self._members or not timeline.has_video:
            return []
        cast, finder, faces = self._cast_vectors, self.load(), []
        look = self._frames_around if self.match == "query" else self._portraits
        for first in range(0, len(wanted), _LOOKS_TOGETHER):
            part = wanted[first : first + _LOOKS_TOGETHER]
            images = [look(timeline, products.segments[number], place, finder) for number, place in part]
            together = np.concatenate(images)
            seen = finder.embed_images(together) if self.match == "query" else finder.describe_faces(together)
            seen = seen.reshape(len(part), self.frames * len(self.crops), -1).mean(axis=1)
            seen /= np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-9)
            faces += [self._judge(number, cast @ vector) for (number, _), vector in zip(part, seen, strict=True)]
        return faces

    def _frames_around(
        self, timeline: Timeline, segment: Segment, place: tuple[float, float], finder: Finder
    ) -> UInt8[np.ndarray, "t y x 3"]:
        """Pictures of a segment around a place (shares of height and width), as CLIP takes them: squares."""
        size, images = finder.image_size, []
        for crop in self.crops:
            images.append(around(self._frames(timeline, segment, round(size / crop)), place, size))
        return np.concatenate(images)

    def _portraits(
        self, timeline: Timeline, segment: Segment, place: tuple[float, float], finder: Finder
    ) -> UInt8[np.ndarray, "t y x 3"]:
        """Squares of the pictures around a place, not squeezed, at the face encoder's size."""
        frames, images = self._frames(timeline, segment, None), []
        for crop in self.crops:
            squares = around(frames, place, max(1, round(crop * min(frames.shape[1:3]))))
            images += [finder.as_face(square) for square in squares]
        return np.stack(images)

    def _frames(self, timeline: Timeline, segment: Segment, size: int | None) -> UInt8[np.ndarray, "t y x 3"]:
        end = min(segment.end, timeline.video_end)
        times = segment.start + (np.arange(self.frames) + 0.5) * (end - segment.start) / self.frames
        try:
            return timeline.frames(times, size)
        except VideoError as error:
            raise StoryjaxError(f"{error}") from error

    def _judge(self, number: int, cosines: Float32[np.ndarray, " c"]) -> Face:
        shares = np.exp((cosines - cosines.max()) / self.temperature)
        shares /= shares.sum()
        order = np.argsort(-shares, kind="stable")
        best, names = int(order[0]), [m.name for m in self._members]
        sure = shares[best] >= self.threshold and cosines[best] >= self.least
        second = int(order[1]) if len(order) > 1 else None
        return Face(
            number,
            names[best] if sure else None,
            names[best],
            round(float(shares[best]), 4),
            round(float(cosines[best]), 4),
            None if second is None else names[second],
            0.0 if second is None else round(float(shares[second]), 4),
        )


@dataclass
class Guesses(Faces):
    """Whom the whole frames of every segment show most likely, sure or not: the label that it would get if no step left
    any out. Evaluation alone wants it, to tell what each step is good for."""

    name: str = "guesses"

    def wanted(self, products: Products) -> list[tuple[int, tuple[float, float]]]:
        return [(number, (0.5, 0.5)) for number in range(len(products.segments))]


def around(
    frames: UInt8[np.ndarray, "t y x 3"], place: tuple[float, float], size: int
) -> UInt8[np.ndarray, "t {size} {size} 3"]:
    """The square of `size` pixels with somebody's mouth (a share of height and width) where portraits have it."""
    height, width = frames.shape[1:3]
    top = int(np.clip(round(place[0] * height - _MOUTH_IN_PORTRAIT * size), 0, height - size))
    left = int(np.clip(round(place[1] * width - 0.5 * size), 0, width - size))
    return frames[:, top : top + size, left : left + size]


def query(finder: Finder, member: Member) -> Float32[np.ndarray, " d"]:
    """How somebody is asked for: by face and by name where there are photos, else by name alone."""
    spoken = " ".join(member.actor.replace("<", " ").replace(">", " ").replace("*", " ").split()) or "somebody"
    if not member.photos:
        return finder.embed_query(f"an image of {spoken}", {})
    token = _of_photos(finder.enrol, member)
    return finder.embed_query(f"an image of {spoken} <somebody>", {"somebody": token})


def portrait(finder: Finder, member: Member) -> Float32[np.ndarray, " e"]:
    """The mean description of somebody's photos. Raises StoryjaxError where there is none to tell them by."""
    if not member.photos:
        raise StoryjaxError(
            f"'{member.name}' has no photo, and faces are matched by photos: add one, a sample of the voice, or match"
            " by queries"
        )
    return _of_photos(finder.describe_photos, member)


def _of_photos(make: Callable[[list[np.ndarray]], np.ndarray], member: Member) -> np.ndarray:
    """What a finder makes of somebody's photos; a photo that cannot serve is named."""
    try:
        return make(read_photos(member))
    except PhotoError as error:
        raise StoryjaxError(f"{member.photos[error.index]}, a photo of '{member.name}', {error.reason}") from error
