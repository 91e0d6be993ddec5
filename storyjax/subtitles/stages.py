"""The stages of Fig. 6.2 (left) that look at one episode: words, sentences, laughter, synchronisation and voices; that
of faces is in `faces.py`.

A stage takes the timeline and the products of those before it, and gives its own: a list of small records. Any of them
can be replaced by whatever has `name`, `row`, `settings` and `run`. What a network is, is said in settings by its
place and its file's state; it is loaded when a stage is really run.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.params_io import weights_folder
from storyjax.data.audio import RATE
from storyjax.subtitles.recognition import Recogniser, recognise, split_sentences
from storyjax.subtitles.records import Laugh, Laughters, Peaks, Products, Synchroniser, Voices, VoiceVector
from storyjax.subtitles.timeline import FPS, Segment, Timeline, Word
from storyjax.subtitles.transcripts import read_transcript

_LAUGH_BLOCK_S, _LAUGH_MARGIN_S = 60.0, 1.0
_LOOK_S = 10.0  # of a longer segment, so many seconds are looked at together
_SHORTEST_LOOK_S = 0.4
_LOOK_PIXELS = 224  # LWTNet's own
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


@dataclass(frozen=True)
class _Look:
    """What is seen and heard in a piece of a segment (its place among those looked at)."""

    segment: int
    frames: UInt8[np.ndarray, "t y x 3"] | None = None
    wave: Float32[np.ndarray, " n"] | None = None


T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread while the one before is worked on; the thread ends with the iterator."""
    with ThreadPoolExecutor(1) as thread:
        none = object()
        waiting = thread.submit(next, items, none)
        while (item := waiting.result()) is not none:
            waiting = thread.submit(next, items, none)
            yield item


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
        detector, laughed_at = self.load(), products.laughed_at
        chosen = [number for number in range(len(products.segments)) if number not in laughed_at]
        looks = self._looks(timeline, [products.segments[number] for number in chosen], self._size(detector))
        found = []
        for place, pieces in itertools.groupby(ahead(looks), key=lambda look: look.segment):
            heat = self._heat(detector, pieces)
            found.append(Peaks(chosen[place], () if heat is None else self._places(heat)))
        return found

    def _places(self, heat: np.ndarray) -> tuple[tuple[float, float, float], ...]:
        """The peaks of a heat map, as shares of the picture."""
        height, width = heat.shape
        return tuple(
            (round((y + 0.5) / height, 4), round((x + 0.5) / width, 4), round(float(score), 4))
            for y, x, score in self.find_peaks(heat)
        )

    def _looks(self, timeline: Timeline, segments: Sequence[Segment], size: int) -> Iterator["_Look"]:
        """Every segment in pieces of _LOOK_S; where there is too little to see one without pictures."""
        for number, segment in enumerate(segments):
            end, start = min(segment.end, timeline.video_end), segment.start
            if end - start < _SHORTEST_LOOK_S:
                yield _Look(number)
            while end - start >= _SHORTEST_LOOK_S:
                stop = min(start + _LOOK_S, end)
                if 0 < end - stop < _SHORTEST_LOOK_S:
                    stop = end
                times = np.arange(start, stop - 0.5 / FPS, 1 / FPS)
                wave = timeline.sound(start, start + len(times) / FPS)
                wave = np.pad(wave, (0, max(0, len(times) * RATE // FPS - len(wave))))
                yield _Look(number, timeline.frames(times, size), wave)
                start = stop

    def _heat(self, detector: Synchroniser, looks: Iterable["_Look"]) -> np.ndarray | None:
        """The heat map averaged over a segment, or None where there is too little to see."""
        total, count = None, 0
        for look in looks:
            if look.frames is None or look.wave is None:
                return None
            maps = np.asarray(detector.heat_maps(look.frames, look.wave), np.float32)
            total = maps.sum(axis=0) if total is None else total + maps.sum(axis=0)
            count += len(maps)
        return None if total is None or not count else total / count

    def _size(self, detector: Synchroniser) -> int:
        return self.size or getattr(getattr(detector, "config", None), "short_side", None) or _LOOK_PIXELS


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
