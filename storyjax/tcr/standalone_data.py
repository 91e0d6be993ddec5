"""Loading for the TCR without a language model (thesis §3.6.3): classes, stitched films, repetitions, spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from storyjax.data.builders.segments import SegmentSource
from storyjax.data.text import Tokenizer, pad
from storyjax.data.video import decode_frames, sample_times
from storyjax.errors import StoryjaxError
from storyjax.tcr.data import Questioned
from storyjax.tcr.exercises import ExerciseLoader, stretch
from storyjax.tcr.recipes import queried
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
    """Clips of a prepared split as pixels, with the words of a prompt.

    Attributes:
        records: with a column "label".
        size: side of the frames in pixels.
        length: tokens of the prompt.
    """

    records: SegmentSource
    size: int
    tokenizer: Tokenizer
    length: int

    def frames(self, index: int, count: int, rng: np.random.Generator | None) -> np.ndarray:
        """`count` frames spread over a clip."""
        record = self.records[index]
        start, duration = stretch(record)
        return self.at(record, start + sample_times(duration, count, rng))

    def at(self, record: Mapping[str, Any], times: np.ndarray) -> np.ndarray:
        return decode_frames(record["video"], times, self.size, f"clip {record['video_id']}")[0]

    def label(self, index: int) -> str:
        return self.records.films[index]["label"][0]

    def prompt(self, text: str) -> Batch:
        ids = self.tokenizer.encode(text)[: self.length]
        return {"prompt": pad(ids, self.length), "prompt_mask": np.arange(self.length) < len(ids)}


@dataclass(frozen=True)
class ClassLoader:
    """Action recognition: frames, and the number of the class. With `kept`, so many of them at random (Table 3.9)."""

    clips: Clips
    classes: tuple[str, ...]
    frames: int
    train: bool
    kept: int | None = None

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        label = self.clips.label(index)
        if label not in self.classes:
            raise StoryjaxError(f"clip {self.clips.records.film_ids[index]}: no training clip is of class '{label}'")
        frames = self.clips.frames(index, self.frames, rng if self.train else None)
        if self.kept is not None and self.kept < self.frames:
            drawn = rng if self.train else np.random.default_rng(index)
            frames = frames[np.sort(drawn.permutation(self.frames)[: self.kept])]
        return {"frames": frames, "label": np.int32(self.classes.index(label)), **self.clips.prompt("")}


@dataclass(frozen=True)
class StitchLoader:
    """Text-conditioned sampling (§3.6.3): `frames` frames of up to `videos` clips in a row, only one of which shows the
    prompt's action. How many frames a clip gives is random (1 to `most`), and so is its place."""

    clips: Clips
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
            raise StoryjaxError(f"all clips are of class '{action}': there is nothing to tell it from")
        place = int(rng.integers(len(counts)))
        parts, truth = [], []
        for number, count in enumerate(counts):
            own = number == place
            clip = index if own else int(others[number % len(others)])
            parts.append(self.clips.frames(clip, count, rng if self.train else None))
            truth += [own] * count
        return {"frames": np.concatenate(parts), "truth": np.array(truth), **self.clips.prompt(action)}

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

    The piece is `frames / count` frames long, forward or there and back, with other frames of the clip before and after
    it in some examples. The true count follows from how it was made.
    """

    clips: Clips
    frames: int
    most: int
    fps: float

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        record = self.clips.records[index]
        start, duration = stretch(record)
        count = int(rng.integers(2, self.most + 1))
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
        times = np.concatenate([lead, first + phase * length, tail])
        frames = self.clips.at(record, start + np.clip(times, 0, max(duration - 1e-3, 0.0)))
        return {"frames": frames, "count": np.float32(count), **self.clips.prompt(self.clips.label(index))}


@dataclass(frozen=True)
class CountLoader:
    """Real repetitions with their counts (Countix)."""

    clips: Clips
    frames: int

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        count = np.float32(self.clips.records.films[index]["count"][0])
        return {
            "frames": self.clips.frames(index, self.frames, None),
            "count": count,
            **self.clips.prompt(self.clips.label(index)),
        }


@dataclass(frozen=True)
class SpanLoader:
    """Moment or language queries with their spans as shares of the film, `most` of them, padded."""

    exercises: ExerciseLoader
    most: int
    kind: str

    def __call__(self, item: Questioned, rng: np.random.Generator) -> Batch:
        batch = self.exercises(item, rng)
        duration, record = float(batch["duration"]), item.record
        spans = np.zeros((len(batch["task"]), self.most, 2), np.float32)
        there = np.zeros((len(batch["task"]), self.most), bool)
        for place, row in enumerate(item.rows):
            for number, span in enumerate(self._spans(record, row)[: self.most]):
                spans[place, number] = np.clip(np.asarray(span) / duration, 0.0, 1.0)
                there[place, number] = True
        return {**batch, "spans": spans, "there": there}

    def _spans(self, record: Mapping[str, Any], row: int) -> Sequence[tuple[float, float]]:
        if self.kind == "nlq":
            return [(float(record["start"][row]), float(record["end"][row]))]
        label = queried(record)[row]
        rows = zip(record["label"], record["start"], record["end"], strict=True)
        return [(float(start), float(end)) for name, start, end in rows if name == label]
