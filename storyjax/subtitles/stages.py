"""The stages of Fig. 6.2 (left) on one episode: words, sentences, laughter, synchronisation and voices.

Faces are in `faces.py`. A stage takes the timeline and the records of the stages before it, and returns its own: a list
of small dataclasses. Any stage can be replaced by an object with `name`, `row`, `settings` and `run` (`records.Stage`).
The settings name a network by its place and its file's state; it is loaded when a stage is really run.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.arrays import unit_norm
from storyjax.core.params_io import weights_folder
from storyjax.data.audio import RATE
from storyjax.subtitles.recognition import Recogniser, recognise
from storyjax.subtitles.records import (
    EpisodeRecords,
    Laugh,
    LaughterModel,
    Peaks,
    SpeakerModel,
    SyncModel,
    VoiceEmbedding,
)
from storyjax.subtitles.sentences import split_sentences
from storyjax.subtitles.timeline import FPS, Segment, Timeline, Word
from storyjax.subtitles.transcripts import read_transcript

_SYNC_PIECE_S = 10.0  # a longer segment is given to the network in pieces of this length, which bounds memory
_SHORTEST_SYNC_S = 0.4
_SYNC_PIXELS = 224  # LWTNet's own
_VOICE_BATCH = 32
_SHORTEST_VOICE_S, _LONGEST_VOICE_S = 0.5, 12.0
SHORT_S = 1.0  # a sentence that is shorter says too little of its voice to be judged by it alone


@dataclass
class Recognition:
    """The stage of words with times, from the sound or from a transcript that was given.

    Attributes:
        load: makes the recogniser.
        described: the recogniser's settings.
        transcript: SRT, VTT or JSON to be used instead.
        encoding: of the transcript, where it was named.
    """

    load: Callable[[], Recogniser]
    described: Mapping[str, Any]
    transcript: Path | None = None
    encoding: str | None = None
    name: str = "words"
    row: type = Word

    def settings(self) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the file and the stages before it."""
        if self.transcript is None:
            return dict(self.described)
        named = {} if self.encoding is None else {"encoding": self.encoding}
        return {"transcript": str(self.transcript), "reader": 2, **file_state(self.transcript), **named}

    def run(self, timeline: Timeline, records: EpisodeRecords) -> list[Word]:
        """Returns the words in the order of their times."""
        del records
        if self.transcript is not None:
            return [word for word in read_transcript(self.transcript, self.encoding) if word.start < timeline.duration]
        return recognise(timeline, self.load())


@dataclass
class Sentences:
    """The stage of sentences, from here on the unit of everything (§6.1.2); `language` is of words that do not say
    theirs, by its English name or code."""

    language: str = "english"
    name: str = "segments"
    row: type = Segment

    def settings(self) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the file and the stages before it."""
        return {"language": self.language, "splitter": 2}

    def run(self, timeline: Timeline, records: EpisodeRecords) -> list[Segment]:
        """Returns the sentences that begin before the sound ends."""
        segments = split_sentences(records.words, self.language)
        return [s for s in segments if s.start < timeline.duration]


@dataclass
class Laughter:
    """The stage of laughter: where its probability is above `threshold` for at least `shortest` seconds (§6.1.4: 0.8).

    `load` makes the network that `source` names.
    """

    load: Callable[[], LaughterModel]
    source: str
    threshold: float = 0.8
    shortest: float = 0.2
    name: str = "laughs"
    row: type = Laugh

    def settings(self) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the file and the stages before it."""
        return {"source": self.source, "threshold": self.threshold, "shortest": self.shortest, "loudness": "recording"}

    def run(self, timeline: Timeline, records: EpisodeRecords) -> list[Laugh]:
        """Returns the laughs in the order of their times; loudness is relative to the loudest of the recording."""
        del records
        if len(timeline.recording) < RATE // 2:
            return []
        times, probabilities = self.load().probabilities(timeline.recording)
        return find_laughs(np.asarray(times), np.asarray(probabilities, np.float64), self.threshold, self.shortest)


def find_laughs(times: np.ndarray, probability: np.ndarray, threshold: float, shortest: float) -> list[Laugh]:
    """Returns the spans of at least `shortest` seconds in which the probability stays above a threshold.

    Args:
        times: of the probabilities, in seconds, evenly spaced.
    """
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
class _Piece:
    """Images and sound of a piece of a segment (its place among those looked at); None where it is too short."""

    segment: int
    frames: UInt8[np.ndarray, "t y x 3"] | None = None
    wave: Float32[np.ndarray, " n"] | None = None


T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yields the same items, none of which is None, each made by a thread while the one before is used.

    The thread ends with the iterator.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, items, None)
            yield item


@dataclass
class Synchronisation:
    """The stage of the heat map's peaks, averaged over each segment without laughter; one alone is a visible speaker.

    Attributes:
        load: makes the network that `source` names.
        find_peaks: heat map -> (row, column, score) of its peaks.
        size: of the images' shorter side, in pixels; None: what the network was made for. Their aspect ratio is kept.
    """

    load: Callable[[], SyncModel]
    find_peaks: Callable[[np.ndarray], Sequence[tuple[float, float, float]]]
    source: str
    size: int | None = None
    name: str = "peaks"
    row: type = Peaks

    def settings(self) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the file and the stages before it."""
        return {"source": self.source, "size": self.size, "aspect": "kept"}

    def run(self, timeline: Timeline, records: EpisodeRecords) -> list[Peaks]:
        """Returns the peaks of each segment without laughter; nothing where there is sound alone."""
        if not timeline.has_video:
            return []
        detector, laughed_at = self.load(), records.laughed_at
        chosen = [number for number in range(len(records.segments)) if number not in laughed_at]
        all_pieces = self._pieces(timeline, [records.segments[number] for number in chosen], self._size(detector))
        found = []
        for place, pieces in itertools.groupby(ahead(all_pieces), key=lambda piece: piece.segment):
            heat = self._heat(detector, pieces)
            found.append(Peaks(chosen[place], () if heat is None else self._places(heat)))
        return found

    def _places(self, heat: np.ndarray) -> tuple[tuple[float, float, float], ...]:
        """The peaks of a heat map, in fractions of the image."""
        height, width = heat.shape
        return tuple(
            (round((y + 0.5) / height, 4), round((x + 0.5) / width, 4), round(float(score), 4))
            for y, x, score in self.find_peaks(heat)
        )

    def _pieces(self, timeline: Timeline, segments: Sequence[Segment], size: int) -> Iterator[_Piece]:
        """Every segment in pieces of _SYNC_PIECE_S; where there is too little to see, one without images."""
        for number, segment in enumerate(segments):
            end, start = min(segment.end, timeline.video_end), segment.start
            if end - start < _SHORTEST_SYNC_S:
                yield _Piece(number)
            while end - start >= _SHORTEST_SYNC_S:
                stop = min(start + _SYNC_PIECE_S, end)
                if 0 < end - stop < _SHORTEST_SYNC_S:
                    stop = end
                times = np.arange(start, stop - 0.5 / FPS, 1 / FPS)
                wave = timeline.sound(start, start + len(times) / FPS)
                wave = np.pad(wave, (0, max(0, len(times) * RATE // FPS - len(wave))))
                yield _Piece(number, timeline.frames(times, size, whole=True), wave)
                start = stop

    def _heat(self, detector: SyncModel, pieces: Iterable[_Piece]) -> np.ndarray | None:
        """The heat map averaged over a segment, or None where there is too little to see."""
        total, count = None, 0
        for piece in pieces:
            if piece.frames is None or piece.wave is None:
                return None
            maps = np.asarray(detector.heat_maps(piece.frames, piece.wave), np.float32)
            total = maps.sum(axis=0) if total is None else total + maps.sum(axis=0)
            count += len(maps)
        return None if total is None or not count else total / count

    def _size(self, detector: SyncModel) -> int:
        return self.size or getattr(getattr(detector, "config", None), "short_side", None) or _SYNC_PIXELS


@dataclass
class VoiceEmbeddings:
    """The stage of the voice embeddings of all segments; `load` makes the network that `source` names."""

    load: Callable[[], SpeakerModel]
    source: str
    name: str = "voices"
    row: type = VoiceEmbedding

    def settings(self) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the file and the stages before it."""
        return {"source": self.source}

    def run(self, timeline: Timeline, records: EpisodeRecords) -> list[VoiceEmbedding]:
        """Returns the embedding of each segment, rounded to six decimals."""
        if not records.segments:
            return []
        encoder, vectors = self.load(), []
        for first in range(0, len(records.segments), _VOICE_BATCH):
            waves = [segment_sound(timeline, s) for s in records.segments[first : first + _VOICE_BATCH]]
            vectors.append(embed_voices(encoder, waves))
        rows = np.round(np.concatenate(vectors).astype(np.float64), 6)
        return [VoiceEmbedding(number, tuple(row.tolist())) for number, row in enumerate(rows)]


def segment_sound(timeline: Timeline, segment: Segment) -> Float32[np.ndarray, " n"]:
    """Returns the sound of a segment at 16 kHz: of a short one with what is around it, of a long one its middle."""
    middle, half = (segment.start + segment.end) / 2, (segment.end - segment.start) / 2
    half = min(max(half, _SHORTEST_VOICE_S / 2), _LONGEST_VOICE_S / 2)
    wave = timeline.sound(middle - half, middle + half)
    return np.pad(wave, (0, max(0, int(_SHORTEST_VOICE_S * RATE) - len(wave))))


def embed_voices(encoder: SpeakerModel, waves: Sequence[Float32[np.ndarray, " _"]]) -> Float32[np.ndarray, "n d"]:
    """Returns embeddings of unit length; for silence, which has no voice, zeros."""
    vectors = np.nan_to_num(np.asarray(encoder.embed(waves), np.float32))
    silent = np.array([float(np.abs(wave).max()) < 1e-4 for wave in waves])
    vectors[silent] = 0.0
    return unit_norm(vectors, eps=1e-9)


def network_source(place: str) -> str:
    """Returns a network's place ("shipped:NAME", or a folder) with the size and the time of its file."""
    weights = weights_folder(place) / "model.safetensors"
    state = weights.stat() if weights.is_file() else None
    return place if state is None else f"{place} ({state.st_size} bytes, {state.st_mtime_ns})"


def file_state(path: Path) -> dict[str, Any]:
    """Returns a file's path, size and time, as JSON: what changes when the file does."""
    stat = path.stat()
    return {"file": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
