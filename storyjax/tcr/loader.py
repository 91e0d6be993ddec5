"""What is asked of a video: examples, and how they become arrays.

An example is one row of a batch: the task token, the TCR's prompt (words and times), the language model's prompt and
what it is to answer. storyjax/tcr/tasks.py makes them of data sets' records.
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Int

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.times import LONGEST_S
from storyjax.data.features import FeatureStore
from storyjax.data.pipeline import RandomAccess
from storyjax.data.prompts import option_names
from storyjax.data.text import Tokenizer, pad
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.tcr.resampler import TASK_TOKENS, TcrConfig, time_tokens
from storyjax.train.experiment import Batch

# NExT-QA's question types, in the order of their index in a batch.
TYPES = ("CW", "CH", "TN", "TC", "TP", "DL", "DC", "DO", "DB")
GROUPS = {"causal": ("CW", "CH"), "temporal": ("TN", "TC", "TP"), "descriptive": ("DL", "DC", "DO", "DB")}


@dataclass(frozen=True)
class Ablation:
    """What evaluation does to its input.

    Attributes:
        condition: the TCR's prompt as it is, none at all, or with before and after swapped (Table 3.6a).
        order: frames at their own times, or at one another's.
        video: whether any frame can be seen.
        passes: so many times as many frames, in so many passes whose predictions are averaged (Table 3.3, 92 × 2).
        shots: worked examples in the prompt (Table 3.8); None: as many as the config says.
    """

    condition: Literal["yes", "none", "corrupt"] = "yes"
    order: Literal["true", "shuffled"] = "true"
    video: bool = True
    passes: int = 1
    shots: int | None = None


# Entries of a batch whose second dimension is the frames.
FRAME_ARRAYS = ("frames", "visual_tokens", "visual_scale", "seconds", "frame_mask")


@dataclass(frozen=True)
class VideoExamples:
    """A video and some of its examples: one item of a source. `rows` are indices into the record's annotations."""

    record: dict
    rows: tuple[int, ...]


class ExampleGroups:
    """A random-access source of videos with `size` of their examples each; all groups together have every example.

    With a `seed` (training) examples are grouped at random and the last group of a video is filled up from its others;
    without, they are grouped in order and the last group may be shorter. Which examples a group has is worked out when
    it is asked for.

    Args:
        records: a prepared split.
        counts: examples of each record.
        size: of a group.
        seed: of the grouping.
    """

    def __init__(self, records: RandomAccess, counts: Int[np.ndarray, " n"], size: int, seed: int | None):
        self.records, self._counts, self._size, self._seed = records, counts, size, seed
        self._ends = np.cumsum(-(-counts // size))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def group(self, index: int) -> tuple[int, tuple[int, ...]]:
        """Returns which record a group is of, and the group's examples of it."""
        index = range(len(self))[int(index)]
        record = int(np.searchsorted(self._ends, index, side="right"))
        count, size = int(self._counts[record]), self._size
        first = size * (index - (int(self._ends[record - 1]) if record else 0))
        if self._seed is None:
            return record, tuple(range(first, min(first + size, count)))
        order = np.random.default_rng([self._seed, record]).permutation(count).tolist()
        return record, tuple((order[first : first + size] + order * size)[:size])

    def __getitem__(self, index: int) -> VideoExamples:
        record, rows = self.group(index)
        return VideoExamples(self.records[record], rows)


def swap_before_after(text: str) -> str:
    """Returns the text with 'after' for 'before' and the reverse, in lower case and at the start of a sentence."""
    other = {"before": "after", "after": "before", "Before": "After", "After": "Before"}
    return re.sub(r"\b[Bb]efore\b|\b[Aa]fter\b", lambda match: other[match.group()], text)


def whole_question(prompt: list[int], length: int) -> list[int]:
    """Returns the tokens of a question with its options.

    Raises:
        StoryjaxError: the last options would be cut off.
    """
    if len(prompt) > length:
        raise StoryjaxError(f"a question with its options has {len(prompt)} tokens, more than prompt_length {length}")
    return prompt


def answer_ids(tokenizer: Tokenizer, count: int) -> np.ndarray:
    """Returns the ids (count, m) int32 of "Option A", "Option B" ... with the end token, padded to one length."""
    rows = [[*tokenizer.encode(name), tokenizer.eos_id] for name in option_names(count)]
    longest = max(map(len, rows))
    return np.stack([pad(row, longest) for row in rows]).astype(np.int32)


@dataclass(frozen=True)
class Example:
    """One thing asked of a video.

    Attributes:
        task: one of resampler.TASK_TOKENS.
        condition: the TCR's prompt: words, and times in seconds, which become time tokens.
        prompt, target: of the language model.
        answer: index of the right answer where there is a closed vocabulary; -1 where it is not known.
        kind: type of a question, one of TYPES, where the data set has types.
        until: the video is seen up to here (seconds) alone; None: to its end.
    """

    task: str
    condition: tuple[str | float, ...]
    prompt: str
    target: str
    answer: int = -1
    kind: str | None = None
    until: float | None = None


@dataclass(frozen=True)
class Lengths:
    """Sizes of a batch's rows; lengths in tokens.

    Attributes:
        frames: of a video.
        examples: of a video.
        condition, prompt, target: of an example.
    """

    frames: int
    examples: int
    condition: int
    prompt: int
    target: int

    def shapes(self, image_size: int, videos: int) -> Batch:
        """Returns the arrays that the model takes of a batch of questions with types, as jax.ShapeDtypeStructs."""
        t, b, k = self.frames, videos, self.examples
        shapes = {
            "frames": ((b, t, image_size, image_size, 3), np.uint8),
            "seconds": ((b, t), np.float32),
            "frame_mask": ((b, t), np.bool_),
            "condition": ((b, k, self.condition), np.int32),
            "condition_mask": ((b, k, self.condition), np.bool_),
            "prompt": ((b, k, self.prompt), np.int32),
            "prompt_mask": ((b, k, self.prompt), np.bool_),
            "target": ((b, k, self.target), np.int32),
            "valid": ((b, k), np.bool_),
            "record_valid": ((b,), np.bool_),
            **dict.fromkeys(("task", "answer", "type"), ((b, k), np.int32)),
        }
        return {name: jax.ShapeDtypeStruct(*leaf) for name, leaf in shapes.items()}


# (record, number of the example, the video's seconds, generator or None in evaluation) -> Example
Make = Callable[[dict[str, Any], int, float, np.random.Generator | None], Example]


def segment_of(record: dict[str, Any], longest_s: float = LONGEST_S) -> tuple[float, float]:
    """Returns where in its file a record's video begins, and how long it is (seconds, at most `longest_s`).

    Raises:
        StoryjaxError: the file cannot be read, or ends before the segment begins.
    """
    start, end = record["segment"]
    duration = probe(record["video"], f"video {record['video_id']}").duration_s
    end = duration if end < 0 else min(end, duration)
    if end <= start:
        raise StoryjaxError(f"video {record['video_id']} ends at {duration:.1f} s, before it begins at {start:.1f} s")
    return start, min(end - start, longest_s)


def last_that_fit(parts: Sequence[list[int]], room: int) -> list[list[int]]:
    """Returns as many of the last parts as have room together (tokens)."""
    taken = itertools.accumulate(len(part) for part in reversed(parts))
    count = sum(1 for _ in itertools.takewhile(lambda size: size <= room, taken))
    return list(parts[len(parts) - count :])


@dataclass(frozen=True)
class ExampleLoader:
    """Turns a video and some of its examples into arrays (`VideoExamples`: which ones).

    Attributes:
        make: makes an example of a record.
        sizes: of the resampler that reads them.
        train: whether frames are drawn at random.
        ablation: what is taken from the input.
        worked_examples: examples with their answers that stand before every prompt (Table 3.8).
        features: stored tokens of whole videos, which stand in for their frames.
        longest_s: what is seen of a longer video.
    """

    make: Make
    lengths: Lengths
    sizes: TcrConfig
    image_size: int
    tokenizer: Tokenizer
    train: bool
    ablation: Ablation = field(default_factory=Ablation)
    worked_examples: str = ""
    features: FeatureStore | None = None
    longest_s: float = LONGEST_S

    def __call__(self, item: VideoExamples, rng: np.random.Generator) -> Batch:
        """Returns frames (t y x 3) uint8 or visual_tokens (t n e), seconds (t,), frame_mask (t,) and, of pixels, the
        video's duration; and for each example task, condition, prompt, target, answer, valid and, if it has one, type.

        Raises:
            StoryjaxError: the video cannot be read, or none of the examples can be asked.
        """
        drawn = rng if self.train else None
        video, examples = self._features(item, drawn) if self.features is not None else self._pixels(item, drawn)
        if self.ablation.order == "shuffled":
            video["seconds"] = video["seconds"][np.random.default_rng(0).permutation(self.lengths.frames)]
        mask = np.full(self.lengths.frames, self.ablation.video)
        return {**video, "frame_mask": mask, **self._stack(examples)}

    def _pixels(self, item: VideoExamples, rng: np.random.Generator | None) -> tuple[Batch, list[Example | None]]:
        record = item.record
        start, duration = segment_of(record, self.longest_s)
        examples = self._examples(item, duration, rng)
        until = {one.until for one in examples if one is not None}
        if len(until) > 1:
            raise StoryjaxError(
                "examples of one video see different parts of it: set its examples_per_video and eval_examples to 1"
            )
        shown = min(duration, until.pop() or duration)
        times = sample_times(shown, self.lengths.frames, rng)
        frames, seconds = decode_frames(record["video"], start + times, self.image_size, f"video {record['video_id']}")
        seconds = np.maximum(seconds - np.float32(start), 0)
        return {"frames": frames, "seconds": seconds, "duration": np.float32(duration)}, examples

    def _features(self, item: VideoExamples, rng: np.random.Generator | None) -> tuple[Batch, list[Example | None]]:
        record = item.record
        assert self.features is not None
        video = self.features.draw(self.features.number(record["video_id"]), rng, record["video"])
        return video, self._examples(item, math.inf, rng)  # nothing is asked about the video's length

    def _examples(self, item: VideoExamples, duration: float, rng: np.random.Generator | None) -> list[Example | None]:
        """The video's examples; None where one cannot be asked. Raises its StoryjaxError if none can."""
        made: list[Example | None] = []
        error = StoryjaxError(f"video {item.record['video_id']} has nothing to be asked")
        for row in item.rows:
            try:
                made.append(self.make(item.record, row, duration, rng))
            except StoryjaxError as unusable:
                error = unusable
                made.append(None)
        if all(one is None for one in made):
            raise error
        return made

    def _stack(self, examples: list[Example | None]) -> Batch:
        """Arrays (k ...) of examples, filled up with zeros; one that cannot be asked is zeros as well."""
        given = [None if one is None else self.row(one) for one in examples]
        left_out = {name: np.zeros_like(value) for name, value in next(filter(None, given)).items()}
        rows = [row or left_out for row in given]
        room = self.lengths.examples - len(rows)
        return {
            name: np.pad(value, [(0, room)] + [(0, 0)] * (value.ndim - 1))
            for name, value in ((name, np.stack([row[name] for row in rows])) for name in rows[0])
        }

    def row(self, one: Example) -> Batch:
        """Returns the arrays of an example.

        Raises:
            StoryjaxError: a question or worked examples are too long to be asked whole.
        """
        lengths, tokenizer = self.lengths, self.tokenizer
        condition = self.condition(one)
        prompt = tokenizer.encode(f"{self.worked_examples} {one.prompt}".strip())
        if self.worked_examples and len(prompt) > lengths.prompt:
            raise StoryjaxError(
                f"a prompt with its worked examples has {len(prompt)} tokens, more than prompt_length"
                f" {lengths.prompt}: give fewer shots, or more length"
            )
        prompt = whole_question(prompt, lengths.prompt) if one.task == "QA" else prompt[: lengths.prompt]
        target = [*tokenizer.encode(one.target)[: lengths.target - 1], tokenizer.eos_id]
        return {
            "task": np.int32(TASK_TOKENS.index(one.task)),
            "condition": pad(condition, lengths.condition),
            "condition_mask": np.arange(lengths.condition) < len(condition),
            "prompt": pad(prompt, lengths.prompt),
            "prompt_mask": np.arange(lengths.prompt) < len(prompt),
            "target": pad(target, lengths.target),
            "answer": np.int32(one.answer),
            **({} if one.kind is None else {"type": np.int32(TYPES.index(one.kind))}),
            "valid": np.bool_(True),
        }

    def condition(self, one: Example) -> list[int]:
        """Returns the token ids of the TCR's prompt; the task token is put before it by the model."""
        if self.ablation.condition == "none":
            return []
        parts = [self.spell(part) for part in one.condition]
        if one.task == "LTA":  # what is too long loses the earliest actions, each a time and words
            parts = [[*time, *words] for time, words in zip(parts[::2], parts[1::2], strict=True)]
            parts = last_that_fit(parts, self.lengths.condition) or parts[-1:]
        return [token for part in parts for token in part][: self.lengths.condition]

    def spell(self, part: str | float) -> list[int]:
        """Returns the token ids of words, or of a time in seconds."""
        if isinstance(part, str):
            return self.tokenizer.encode(swap_before_after(part) if self.ablation.condition == "corrupt" else part)
        return time_tokens([part], self.sizes)
