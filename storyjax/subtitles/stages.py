"""The stages of Fig. 6.2 (left) that look at one episode: words, sentences, laughter, synchronisation, faces, voices.

A stage takes the timeline and the products of those before it, and gives its own: a list of small records. Any of them
can be replaced by whatever has `name`, `row`, `settings` and `run`. What a network is, is said in settings by its
place and its file's state; it is loaded when a stage is really run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.data.audio import RATE
from storyjax.data.video import VideoError
from storyjax.errors import StoryjaxError
from storyjax.search.personal import PhotoError
from storyjax.subtitles.cast import Cast, Member, read_photos
from storyjax.subtitles.products import (
    Face,
    Finder,
    Laugh,
    Laughters,
    Peaks,
    Products,
    Synchroniser,
    Voices,
    VoiceVector,
)
from storyjax.subtitles.recognition import Recogniser, recognise, split_sentences
from storyjax.subtitles.timeline import FPS, Segment, Timeline, Word
from storyjax.subtitles.transcripts import read_transcript
from storyjax.weights.tree_io import weights_folder

_LAUGH_BLOCK_S, _LAUGH_MARGIN_S = 60.0, 1.0
_LOOK_S = 10.0  # of a longer segment, so many seconds are looked at together
_SHORTEST_LOOK_S = 0.4
_LOOKS_TOGETHER = 4  # segments whose pictures are embedded in one go; of 8 each, they are a batch of the finder's
_LOOK_PIXELS = 224  # LWTNet's own
_MOUTH_IN_PORTRAIT = 0.45  # from the top
_VOICE_BATCH = 32
_SHORTEST_VOICE_S, _LONGEST_VOICE_S = 0.5, 12.0


@dataclass
class Recognition:
    """Words with times, from the sound or from a transcript that was given."""

    load: Callable[[], Recogniser]
    described: Mapping[str, Any]
    transcript: Path | None = None
    name: str = "words"
    row: type = Word

    def settings(self) -> Mapping[str, Any]:
        if self.transcript is None:
            return dict(self.described)
        return {"transcript": str(self.transcript), **file_state(self.transcript)}

    def run(self, timeline: Timeline, products: Products) -> list[Word]:
        del products
        if self.transcript is not None:
            return [word for word in read_transcript(self.transcript) if word.start < timeline.duration]
        return recognise(timeline, self.load())


@dataclass
class Sentences:
    """Sentences of the words: from here on the unit of everything (§6.1.2)."""

    language: str = "english"
    name: str = "segments"
    row: type = Segment

    def settings(self) -> Mapping[str, Any]:
        return {"language": self.language}

    def run(self, timeline: Timeline, products: Products) -> list[Segment]:
        segments = split_sentences(products.words, self.language)
        return [s for s in segments if s.start < timeline.duration]


@dataclass
class Laughter:
    """Where the audience laughs: more than `threshold` sure for at least `shortest` seconds (§6.1.4: 0.8)."""

    load: Callable[[], Laughters]
    source: str
    threshold: float = 0.8
    shortest: float = 0.2
    name: str = "laughs"
    row: type = Laugh

    def settings(self) -> Mapping[str, Any]:
        return {"source": self.source, "threshold": self.threshold, "shortest": self.shortest}

    def run(self, timeline: Timeline, products: Products) -> list[Laugh]:
        del products
        detector, times, sure = self.load(), [], []
        for first, last in timeline.blocks(_LAUGH_BLOCK_S, _LAUGH_MARGIN_S):
            sound = timeline.sound(first, last)
            if len(sound) < RATE // 2:
                continue
            at, probability = detector.probabilities(sound)
            at = np.asarray(at, np.float64) + first
            inner = (at >= (first + _LAUGH_MARGIN_S if first else 0)) & (at < last - _LAUGH_MARGIN_S)
            inner |= (last >= timeline.duration) & (at >= (first + _LAUGH_MARGIN_S if first else 0))
            times.append(at[inner])
            sure.append(np.asarray(probability, np.float64)[inner])
        if not times:
            return []
        return find_laughs(np.concatenate(times), np.concatenate(sure), self.threshold, self.shortest)


def find_laughs(times: np.ndarray, probability: np.ndarray, threshold: float, shortest: float) -> list[Laugh]:
    """Stretches (seconds) in which the probability stays above a threshold."""
    if len(times) < 2:
        return []
    step = float(np.median(np.diff(times)))
    above = np.concatenate([[False], probability > threshold, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    laughs = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        start, end = float(times[first]), float(times[last - 1]) + step
        if end - start >= shortest - 1e-6:  # times are sums of tenths
            laughs.append(Laugh(round(start, 3), round(end, 3), round(float(probability[first:last].mean()), 4)))
    return laughs


@dataclass
class Synchronisation:
    """Peaks of the heat map averaged over each segment without laughter; one alone is a visible speaker."""

    load: Callable[[], Synchroniser]
    find_peaks: Callable[[np.ndarray], Sequence[tuple[float, float, float]]]
    source: str
    size: int | None = None  # of the pictures, in pixels; None: what the network was made for
    name: str = "peaks"
    row: type = Peaks

    def settings(self) -> Mapping[str, Any]:
        return {"source": self.source, "size": self.size}

    def run(self, timeline: Timeline, products: Products) -> list[Peaks]:
        if not timeline.has_video:
            return []
        detector, found = self.load(), []
        laughed_at = products.laughed_at
        for number, segment in enumerate(products.segments):
            if number in laughed_at:
                continue
            heat = self._heat(timeline, detector, segment)
            found.append(Peaks(number, () if heat is None else self._places(heat)))
        return found

    def _places(self, heat: np.ndarray) -> tuple[tuple[float, float, float], ...]:
        """The peaks of a heat map, as shares of the picture."""
        height, width = heat.shape
        return tuple(
            (round((y + 0.5) / height, 4), round((x + 0.5) / width, 4), round(float(score), 4))
            for y, x, score in self.find_peaks(heat)
        )

    def _heat(self, timeline: Timeline, detector: Synchroniser, segment: Segment) -> np.ndarray | None:
        """The heat map averaged over a segment, or None where there is too little to see."""
        end = min(segment.end, timeline.video_end)
        total, count, start = None, 0, segment.start
        while end - start >= _SHORTEST_LOOK_S:
            stop = min(start + _LOOK_S, end)
            if 0 < end - stop < _SHORTEST_LOOK_S:
                stop = end
            times = np.arange(start, stop - 0.5 / FPS, 1 / FPS)
            wave = timeline.sound(start, start + len(times) / FPS)
            wave = np.pad(wave, (0, max(0, len(times) * RATE // FPS - len(wave))))
            maps = np.asarray(detector.heat_maps(timeline.frames(times, self._size(detector)), wave), np.float32)
            total = maps.sum(axis=0) if total is None else total + maps.sum(axis=0)
            count, start = count + len(maps), stop
        return None if total is None or not count else total / count

    def _size(self, detector: Synchroniser) -> int:
        return self.size or getattr(getattr(detector, "config", None), "short_side", None) or _LOOK_PIXELS


@dataclass
class Faces:
    """Whom a segment with one visible speaker shows: CLIP-PAD on whole frames, without any face detector (§6.1.4).

    Attributes:
        threshold: of the share that the likeliest of the episode's cast has (§6.1.4: 0.85): a softmax of the cosines.
        temperature: of that softmax; CLIP's own is 0.01.
        least: cosine below which the picture is of nobody in the cast.
        frames: of a segment that are looked at; their embeddings are averaged.
        crop: the share of the picture that is looked at, around the peak. 1 is the whole frame, as in the thesis; less
            tells two apart who are in one shot, without any detector of faces.
        known: how people are asked for, as far as other episodes have found out.
    """

    load: Callable[[], Finder]
    source: str
    cast: Cast
    episode: str
    threshold: float = 0.85
    temperature: float = 0.01
    least: float = 0.0
    frames: int = 8
    crop: float = 1.0
    known: dict[Member, Float32[np.ndarray, " d"]] = field(default_factory=dict, repr=False)
    name: str = "faces"
    row: type = Face

    def settings(self) -> Mapping[str, Any]:
        members = [[m.name, m.actor, [file_state(p) for p in m.photos]] for m in self._members]
        numbers = {k: getattr(self, k) for k in ("threshold", "temperature", "least", "frames", "crop")}
        return {"source": self.source, "members": members, **numbers}

    @property
    def _members(self) -> tuple[Member, ...]:
        return self.cast.of(self.episode)

    @cached_property
    def _queries(self) -> Float32[np.ndarray, "c d"]:
        for member in self._members:
            if member not in self.known:
                self.known[member] = query(self.load(), member)
        return np.stack([self.known[member] for member in self._members])

    def wanted(self, products: Products) -> list[tuple[int, tuple[float, float]]]:
        """The numbers of the segments that are looked at, and where."""
        return [(p.segment, p.peaks[0][:2]) for p in products.peaks if len(p.peaks) == 1]

    def run(self, timeline: Timeline, products: Products) -> list[Face]:
        wanted = self.wanted(products)
        if not wanted or not self._members or not timeline.has_video:
            return []
        finder, faces = self.load(), []
        for first in range(0, len(wanted), _LOOKS_TOGETHER):
            part = wanted[first : first + _LOOKS_TOGETHER]
            images = [self._look(timeline, products.segments[number], place, finder) for number, place in part]
            seen = finder.embed_images(np.concatenate(images)).reshape(len(part), self.frames, -1).mean(axis=1)
            seen /= np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-9)
            faces += [self._judge(number, vector) for (number, _), vector in zip(part, seen, strict=True)]
        return faces

    def _look(
        self, timeline: Timeline, segment: Segment, place: tuple[float, float], finder: Finder
    ) -> UInt8[np.ndarray, "t y x 3"]:
        """The pictures of a segment, around a place (shares of height and width)."""
        end = min(segment.end, timeline.video_end)
        times = segment.start + (np.arange(self.frames) + 0.5) * (end - segment.start) / self.frames
        try:
            frames = timeline.frames(times, round(finder.image_size / self.crop))
        except VideoError as error:
            raise StoryjaxError(f"{error}") from error
        return around(frames, place, finder.image_size)

    def _judge(self, number: int, seen: Float32[np.ndarray, " d"]) -> Face:
        cosines = self._queries @ seen
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
    try:
        token = finder.enrol(read_photos(member))
    except PhotoError as error:
        raise StoryjaxError(f"{member.photos[error.index]}, a photo of '{member.name}', {error.reason}") from error
    return finder.embed_query(f"an image of {spoken} <somebody>", {"somebody": token})


@dataclass
class VoicePrints:
    """The voice embeddings of all segments."""

    load: Callable[[], Voices]
    source: str
    name: str = "voices"
    row: type = VoiceVector

    def settings(self) -> Mapping[str, Any]:
        return {"source": self.source}

    def run(self, timeline: Timeline, products: Products) -> list[VoiceVector]:
        if not products.segments:
            return []
        encoder, vectors = self.load(), []
        for first in range(0, len(products.segments), _VOICE_BATCH):
            waves = [segment_sound(timeline, s) for s in products.segments[first : first + _VOICE_BATCH]]
            vectors.append(embed_voices(encoder, waves))
        rows = np.round(np.concatenate(vectors).astype(np.float64), 6)
        return [VoiceVector(number, tuple(row.tolist())) for number, row in enumerate(rows)]


def segment_sound(timeline: Timeline, segment: Segment) -> Float32[np.ndarray, " n"]:
    """What is heard in a segment; of a very short one also what is around it, of a very long one its middle."""
    middle, half = (segment.start + segment.end) / 2, (segment.end - segment.start) / 2
    half = min(max(half, _SHORTEST_VOICE_S / 2), _LONGEST_VOICE_S / 2)
    wave = timeline.sound(middle - half, middle + half)
    return np.pad(wave, (0, max(0, int(_SHORTEST_VOICE_S * RATE) - len(wave))))


def embed_voices(encoder: Voices, waves: Sequence[Float32[np.ndarray, " _"]]) -> Float32[np.ndarray, "n d"]:
    """Embeddings of unit length; of silence, which has no voice, zeros."""
    vectors = np.nan_to_num(np.asarray(encoder.embed(waves), np.float32))
    silent = np.array([float(np.abs(wave).max()) < 1e-4 for wave in waves])
    vectors[silent] = 0.0
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def network_source(place: str) -> str:
    """A network's place ("shipped:NAME", or a folder), with what tells that another one has been put there."""
    weights = weights_folder(place) / "model.safetensors"
    state = weights.stat() if weights.is_file() else None
    return place if state is None else f"{place} ({state.st_size} bytes, {state.st_mtime_ns})"


def file_state(path: Path) -> dict[str, Any]:
    """What tells that a file has changed."""
    stat = path.stat()
    return {"file": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
