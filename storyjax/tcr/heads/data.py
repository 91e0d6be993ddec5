"""Loading for the TCR without a language model (thesis §3.6.3): classes, stitched videos, repetitions, spans."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8
from tqdm import tqdm

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.segments import SegmentSource
from storyjax.data.text import Tokenizer, pad
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.tcr.loader import ExampleLoader, VideoExamples, segment_of
from storyjax.tcr.tasks import spans_of
from storyjax.train.experiment import Batch


class Numbers:
    """A source whose items are numbers, for loaders that need several records at once."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return int(index)


@dataclass(frozen=True)
class Clips:
    """Clips of a prepared split, with the words of a prompt.

    Attributes:
        records: with a column "label".
        size: side of the frames in pixels.
        length: tokens of the prompt.
        encoded: the frozen tower's tokens of the clips, to be given in the place of pixels.
    """

    records: SegmentSource
    size: int
    tokenizer: Tokenizer
    length: int
    encoded: "EncodedClips | None" = None

    def segment(self, index: int) -> tuple[float, float]:
        """Returns where a clip begins in its file, and how long it is (seconds)."""
        return segment_of(self.records[index]) if self.encoded is None else self.encoded.segment(index)

    def frames(self, index: int, count: int, rng: np.random.Generator | None) -> np.ndarray:
        """Returns `count` frames spread over a clip."""
        return self.at(index, sample_times(self.segment(index)[1], count, rng))

    def at(self, index: int, times: np.ndarray) -> np.ndarray:
        """Returns a clip at some times (seconds from its beginning): pixels (t y x 3) uint8, or their tokens (t e)."""
        times = times + self.segment(index)[0]
        if self.encoded is not None:
            return self.encoded.at(index, times)
        record = self.records[index]
        return decode_frames(record["video"], times, self.size, f"clip {record['video_id']}")[0]

    def label(self, index: int) -> str:
        """Returns what a clip shows."""
        return self.records.annotations[index]["label"][0]

    def batch(self, shown: np.ndarray, prompt: str) -> Batch:
        """Returns the arrays of an example: what `at` gave, under the name that says which of the two it is, and a
        prompt.
        """
        ids = self.tokenizer.encode(prompt)[: self.length]
        words = {"prompt": pad(ids, self.length), "prompt_mask": np.arange(self.length) < len(ids)}
        return {"frames" if self.encoded is None else "tokens": shown, **words}


# (frames) -> the tower's tokens of each
EncodeFrames = Callable[[UInt8[np.ndarray, "m y x 3"]], Num[np.ndarray, "m n e"]]


@dataclass(frozen=True)
class EncodedClips:
    """A frozen tower's tokens of some clips, one (CLS) for every frame, in memory.

    Clips are short and read over and over, and the tower does not change: a training of thousands of steps costs
    no more of it than one pass over the data.

    Attributes:
        segments: where each clip begins in its file, and how long it is (seconds); of one that cannot be decoded, why.
        starts: of each clip, when its frames start (seconds in its file) (m,).
        tokens: of each clip, the token of each of them (m, e).
    """

    segments: tuple[tuple[float, float] | str, ...]
    starts: tuple[np.ndarray, ...]
    tokens: tuple[np.ndarray, ...]

    def segment(self, index: int) -> tuple[float, float]:
        """Returns where a clip begins in its file, and how long it is (seconds).

        Raises:
            StoryjaxError: it cannot be decoded.
        """
        found = self.segments[index]
        if isinstance(found, str):
            raise StoryjaxError(found)
        return found

    def at(self, index: int, times: np.ndarray) -> np.ndarray:
        """Returns the tokens (t e) of the frame on screen at each time, as data.video.decode_frames chooses it."""
        starts = self.starts[index]
        rounding = 1e-6 + np.abs(times) * 2.0**-23
        place = np.searchsorted(starts, times + rounding, side="right") - 1
        return self.tokens[index][np.clip(place, 0, len(starts) - 1)]


def encode_clips(clips: Clips, encode: EncodeFrames, together: int = 256) -> EncodedClips:
    """Returns the tokens of the frames of all clips, at each clip's own rate, `together` or more of them at a time,
    with a progress bar.
    """
    segments: list[tuple[float, float] | str] = []
    starts, tokens = [], []
    waiting: list[np.ndarray] = []

    def flush() -> None:
        frames, ends = np.concatenate(waiting), np.cumsum([len(frames) for frames in waiting])
        encoded = encode(frames)[:, 0].astype(np.float32) if len(frames) else np.zeros((0, 1), np.float32)
        tokens.extend(np.split(encoded, ends[:-1]))
        waiting.clear()

    for index in tqdm(range(len(clips.records)), desc="encoding clips", unit="clip", leave=False, delay=2.0):
        frames, shown = np.zeros((0, clips.size, clips.size, 3), np.uint8), np.zeros(0, np.float32)
        try:
            frames, shown, found = _every_frame(clips.records[index], clips.size)
            segments.append(found)
        except (StoryjaxError, OSError) as error:
            segments.append(str(error))
        kept = np.unique(shown, return_index=True)[1]
        starts.append(shown[kept].astype(np.float64))
        waiting.append(frames[kept])
        if sum(map(len, waiting)) >= together:
            flush()
    if waiting:
        flush()
    return EncodedClips(tuple(segments), tuple(starts), tuple(tokens))


def _every_frame(record: Mapping[str, Any], size: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """A clip's frames, when each starts in the file, and the segment of it."""
    start, duration = found = segment_of(dict(record))
    name = f"clip {record['video_id']}"
    rate = max(probe(record["video"], name).fps, 1.0)
    times = start + np.arange(max(1, math.ceil(duration * rate - 1e-3))) / rate
    return *decode_frames(record["video"], times, size, name), found


@dataclass(frozen=True)
class ClassLoader:
    """Action recognition: frames, and the number of the class. With `kept`, so many of them at random (Table 3.9)."""

    clips: Clips
    classes: tuple[str, ...]
    frames: int
    train: bool
    kept: int | None = None

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        label = _class_of(self.clips, index, self.classes)
        frames = self.clips.frames(index, self.frames, rng if self.train else None)
        if self.kept is not None and self.kept < self.frames:
            drawn = rng if self.train else np.random.default_rng(index)
            frames = frames[np.sort(drawn.permutation(self.frames)[: self.kept])]
        return {**self.clips.batch(frames, ""), "label": np.int32(label)}


def _class_of(clips: Clips, index: int, classes: tuple[str, ...]) -> int:
    """A clip's class by its number."""
    label = clips.label(index)
    if label not in classes:
        raise StoryjaxError(f"clip {clips.records.video_ids[index]}: no training clip is of class '{label}'")
    return classes.index(label)


@dataclass(frozen=True)
class StitchLoader:
    """Text-conditioned sampling (§3.6.3): `frames` frames of up to `videos` clips in a row, only one of which shows the
    prompt's action. How many frames a clip gives is random (1 to `most`), and so is its place."""

    clips: Clips
    classes: tuple[str, ...]
    frames: int
    videos: int
    most: int
    train: bool

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        rng = rng if self.train else np.random.default_rng([index, 0x57])
        action = self.clips.label(index)
        counts = self._counts(rng)
        others = [i for i in rng.permutation(len(self.clips.records)) if self.clips.label(int(i)) != action]
        if not others:
            raise StoryjaxError(f"all clips are of class '{action}': there is nothing to distinguish it from")
        place = int(rng.integers(len(counts)))
        parts, truth = [], []
        for number, count in enumerate(counts):
            own = number == place
            clip = index if own else int(others[number % len(others)])
            parts.append(self.clips.frames(clip, count, rng if self.train else None))
            truth += [own] * count
        label = np.int32(_class_of(self.clips, index, self.classes))
        return {**self.clips.batch(np.concatenate(parts), action), "truth": np.array(truth), "label": label}

    def _counts(self, rng: np.random.Generator) -> list[int]:
        """Frames of each clip: random, 1 to `most`, in all `frames`, of at most `videos` clips."""
        counts: list[int] = []
        left = self.frames
        while left:
            room = self.videos - len(counts) - 1  # clips that may still follow
            least = max(1, left - room * self.most)
            count = int(rng.integers(least, max(least, min(self.most, left)) + 1))
            counts.append(min(count, left))
            left -= counts[-1]
        return counts


@dataclass(frozen=True)
class RepetitionLoader:
    """Synthetic repetitions (Dwibedi et al. 2020): a short piece of any clip, played over and over.

    The piece is about `frames / count` frames long, forward or there and back, with other frames of the clip before and
    after it in some examples. The true count follows from how it was made, as long as the piece shows nothing that
    repeats in itself. Where clips are known to be of movements that do, every `movement` seconds, the piece is some
    whole movements, and these are what is counted.

    Attributes:
        fps: at which a piece is played, about; where `movement` is given, the count alone says how fast.
        movement: seconds of one movement in all clips; None: clips repeat nothing by themselves.
    """

    clips: Clips
    frames: int
    most: int
    fps: float
    movement: float | None = None

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        duration = self.clips.segment(index)[1]
        count = int(rng.integers(2, self.most + 1))
        times = self._pieces(count, duration, rng) if self.movement is None else self._moves(count, duration, rng)
        frames = self.clips.at(index, np.clip(times, 0, max(duration - 1e-3, 0.0)))
        return {**self.clips.batch(frames, self.clips.label(index)), "count": np.float32(count)}

    def _pieces(self, count: int, duration: float, rng: np.random.Generator) -> np.ndarray:
        """Seconds into a clip, of each frame."""
        around = int(rng.integers(0, self.frames // 4 + 1)) if rng.random() < 0.5 else 0
        before = int(rng.integers(0, around + 1))
        repeated = self.frames - around
        # The phase of each repeated frame within the piece, 0 to 1.
        phase = (np.arange(repeated) * count / repeated) % 1.0
        if rng.random() < 0.3:
            phase = 1.0 - np.abs(2.0 * phase - 1.0)
        length = min(duration, float(rng.uniform(0.5, 1.5)) * repeated / count / self.fps)
        first = float(rng.uniform(0, max(duration - length, 0.0)))
        lead = np.maximum(first - np.arange(before, 0, -1) / self.fps, 0.0)
        tail = np.minimum(first + length + np.arange(1, around - before + 1) / self.fps, duration)
        return np.concatenate([lead, first + phase * length, tail])

    def _moves(self, count: int, duration: float, rng: np.random.Generator) -> np.ndarray:
        movement = self.movement or duration
        in_piece = int(rng.integers(1, max(1, int(duration / movement)) + 1))
        first = float(rng.uniform(0, max(duration - in_piece * movement, 0.0)))
        return first + (np.arange(self.frames) * count / self.frames) % in_piece * movement


@dataclass(frozen=True)
class CountLoader:
    """Real repetitions with their counts (Countix)."""

    clips: Clips
    frames: int

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        count = np.float32(self.clips.records.annotations[index]["count"][0])
        frames = self.clips.frames(index, self.frames, None)
        return {**self.clips.batch(frames, self.clips.label(index)), "count": count}


@dataclass(frozen=True)
class SpanLoader:
    """Moment or language queries with their spans as fractions of the video, `most` of them, padded."""

    examples: ExampleLoader
    most: int
    kind: str

    def __call__(self, item: VideoExamples, rng: np.random.Generator) -> Batch:
        batch = self.examples(item, rng)
        duration, record = float(batch["duration"]), item.record
        spans = np.zeros((len(batch["task"]), self.most, 2), np.float32)
        there = np.zeros((len(batch["task"]), self.most), bool)
        for place, row in enumerate(item.rows):
            for number, span in enumerate(spans_of(record, row, duration, self.kind == "mq")[: self.most]):
                spans[place, number] = np.clip(np.asarray(span) / duration, 0.0, 1.0)
                there[place, number] = True
        return {**batch, "spans": spans, "there": there}
