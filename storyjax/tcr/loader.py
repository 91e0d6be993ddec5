"""What the language model is asked of a film beside multiple choice: exercises, and how they become arrays.

An exercise is one row of a batch: the task token, the TCR's prompt (words and times), the language model's prompt and
what it is to answer. storyjax/tcr/tasks.py makes them of data sets' records; training and evaluation take them as
they take NExT-QA's questions (losses.QuestionAnswering).
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.segments import LONGEST_S
from storyjax.data.features import FeatureStore
from storyjax.data.pipeline import RandomAccess
from storyjax.data.prompts import option_names, question_prompt
from storyjax.data.text import Tokenizer, pad
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.tcr.resampler import TASK_TOKENS, TcrConfig, time_tokens
from storyjax.train.experiment import Batch

# The official question types, in the order of their index in a batch.
TYPES = ("CW", "CH", "TN", "TC", "TP", "DL", "DC", "DO", "DB")
GROUPS = {"causal": ("CW", "CH"), "temporal": ("TN", "TC", "TP"), "descriptive": ("DL", "DC", "DO", "DB")}


@dataclass(frozen=True)
class Ablation:
    """What evaluation does to its input.

    Attributes:
        condition: the TCR's prompt as it is, none at all, or with before and after swapped (Table 3.6a).
        order: frames at their own times, or at one another's.
        video: whether any frame can be seen.
    """

    condition: Literal["yes", "none", "corrupt"] = "yes"
    order: Literal["true", "shuffled"] = "true"
    video: bool = True


@dataclass(frozen=True)
class QaConfig:
    """What a batch holds of each video; lengths in tokens.

    Attributes:
        frames: frames a video is sampled to, evenly (§3.3.2: 92, about two a second).
        questions_per_video: questions asked of one decoded video in a training batch. 1 is the thesis's batch; more
            share the decoding and the frozen tower.
        eval_questions: the same in evaluation; a video with more of them is decoded again.
    """

    frames: int = 92
    questions_per_video: int = 1
    eval_questions: int = 16
    condition_length: int = 64
    prompt_length: int = 256


# Entries of a batch whose second dimension is the frames.
FRAME_ARRAYS = ("frames", "visual_tokens", "visual_scale", "seconds", "frame_mask")


def batch_shapes(config: QaConfig, image_size: int, videos: int, questions: int, answer_tokens: int) -> Batch:
    """The arrays that the model takes of a batch of `QaLoader`'s examples, as jax.ShapeDtypeStructs."""
    t, b, k = config.frames, videos, questions
    shapes = {
        "frames": ((b, t, image_size, image_size, 3), np.uint8),
        "seconds": ((b, t), np.float32),
        "frame_mask": ((b, t), np.bool_),
        "condition": ((b, k, config.condition_length), np.int32),
        "condition_mask": ((b, k, config.condition_length), np.bool_),
        "prompt": ((b, k, config.prompt_length), np.int32),
        "prompt_mask": ((b, k, config.prompt_length), np.bool_),
        "target": ((b, k, answer_tokens), np.int32),
        "valid": ((b, k), np.bool_),
        "record_valid": ((b,), np.bool_),
        **dict.fromkeys(("task", "answer", "type"), ((b, k), np.int32)),
    }
    return {name: jax.ShapeDtypeStruct(*leaf) for name, leaf in shapes.items()}


@dataclass(frozen=True)
class Questioned:
    """A video and some of its questions: one item of a source. `rows` are indices into the record's questions."""

    record: dict
    rows: tuple[int, ...]


class QuestionGroups:
    """A random-access source of videos with `size` of their questions each; all groups together ask every question.

    With a `seed` (training) questions are grouped at random and the last group of a video is filled up from its others;
    without, they are grouped in order and the last group may be shorter.
    """

    def __init__(self, records: RandomAccess, counts: Sequence[int], size: int, seed: int | None):
        self.records = records
        self.groups: list[tuple[int, tuple[int, ...]]] = []
        for index, count in enumerate(counts):
            order = list(range(count))
            if seed is not None:
                order = np.random.default_rng([seed, index]).permutation(count).tolist()
            for start in range(0, count, size):
                rows = order[start : start + size]
                if seed is not None:
                    rows = (rows + order * size)[:size]
                self.groups.append((index, tuple(rows)))

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Questioned:
        record, rows = self.groups[int(index)]
        return Questioned(self.records[record], rows)


def swap_before_after(text: str) -> str:
    """'after' for 'before' and the other way round, in lower case and at the start of a sentence."""
    other = {"before": "after", "after": "before", "Before": "After", "After": "Before"}
    return re.sub(r"\b[Bb]efore\b|\b[Aa]fter\b", lambda match: other[match.group()], text)


@dataclass(frozen=True)
class QaLoader:
    """Turns a `Questioned` video into arrays; one for training, and one for each way of evaluating.

    With `features`, stored tokens stand in for the video's frames.
    """

    config: QaConfig
    sizes: TcrConfig
    image_size: int
    tokenizer: Tokenizer
    train: bool
    ablation: Ablation = Ablation()
    features: FeatureStore | None = None

    def __call__(self, item: Questioned, rng: np.random.Generator) -> Batch:
        """frames (t y x 3) uint8 or visual_tokens (t n e), seconds (t,), frame_mask (t,), and for each question its
        condition, prompt, target, answer, type and whether it is there at all (valid)."""
        record, c = item.record, self.config
        seen = self._see(record, rng if self.train else None)
        if self.ablation.order == "shuffled":
            seen["seconds"] = seen["seconds"][np.random.default_rng(0).permutation(c.frames)]
        rows = [self._question(record, row) for row in item.rows]
        count = c.questions_per_video if self.train else c.eval_questions
        stacked = {}
        for name in rows[0]:
            values = np.stack([row[name] for row in rows])
            room = [(0, count - len(rows))] + [(0, 0)] * (values.ndim - 1)
            stacked[name] = np.pad(values, room)
        mask = np.full(c.frames, self.ablation.video)
        return {**seen, "frame_mask": mask, **stacked}

    def _see(self, record: dict, rng: np.random.Generator | None) -> Batch:
        """What the frames show, and their times."""
        video = record["video"]
        if self.features is not None:
            return self.features.draw(self.features.number(record["video_id"]), rng, video)
        name = f"video {record['video_id']}"
        times = sample_times(probe(video, name).duration_s, self.config.frames, rng)
        frames, seconds = decode_frames(video, times, self.image_size, name)
        return {"frames": frames, "seconds": seconds}

    def _question(self, record: dict, row: int) -> Batch:
        c, tokenizer = self.config, self.tokenizer
        question = record["question"][row]
        options = record["options"][row]
        prompt = whole_question(tokenizer.encode(question_prompt(question, options)), c.prompt_length)
        condition = self._condition(question)
        answer = record["answer"][row]
        return {
            "task": np.int32(TASK_TOKENS.index("QA")),
            "condition": pad(condition, c.condition_length),
            "condition_mask": np.arange(c.condition_length) < len(condition),
            "prompt": pad(prompt, c.prompt_length),
            "prompt_mask": np.arange(c.prompt_length) < len(prompt),
            "target": answer_ids(tokenizer, len(options))[answer],
            "answer": np.int32(answer),
            "type": np.int32(TYPES.index(record["type"][row])),
            "valid": np.bool_(True),
        }

    def _condition(self, question: str) -> list[int]:
        """The TCR's prompt, "[QA] question" (§3.3.2); the task token is put before it by the model."""
        if self.ablation.condition == "none":
            return []
        text = swap_before_after(question) if self.ablation.condition == "corrupt" else question
        return self.tokenizer.encode(text)[: self.config.condition_length]


def whole_question(prompt: list[int], length: int) -> list[int]:
    """The tokens of a question with its options. A StoryjaxError where the last options would be cut off."""
    if len(prompt) > length:
        raise StoryjaxError(f"a question with its options has {len(prompt)} tokens, more than prompt_length {length}")
    return prompt


def answer_ids(tokenizer: Tokenizer, count: int) -> np.ndarray:
    """Token ids of "Option A", "Option B" ... with the end token, padded to one length: (count, m) int32."""
    rows = [[*tokenizer.encode(name), tokenizer.eos_id] for name in option_names(count)]
    longest = max(map(len, rows))
    return np.stack([pad(row, longest) for row in rows]).astype(np.int32)


@dataclass(frozen=True)
class Exercise:
    """One thing asked of a film.

    Attributes:
        task: one of resampler.TASK_TOKENS.
        condition: the TCR's prompt: words, and times in seconds, which become time tokens.
        prompt, target: of the language model.
        answer: index of the right answer where there is a closed vocabulary; -1 where it is not known.
        until: the film is seen up to here (seconds) alone; None: to its end.
    """

    task: str
    condition: tuple[str | float, ...]
    prompt: str
    target: str
    answer: int = -1
    until: float | None = None


@dataclass(frozen=True)
class Lengths:
    """Sizes of a batch's rows; lengths in tokens."""

    frames: int
    exercises: int
    condition: int
    prompt: int
    target: int


# (record, number of the exercise, film's seconds, generator or None in evaluation) -> Exercise
Make = Callable[[dict[str, Any], int, float, np.random.Generator | None], Exercise]


def stretch(record: dict[str, Any]) -> tuple[float, float]:
    """Where in its file a record's film begins, and how long it is (seconds, at most the time tokens' reach)."""
    start, end = record["stretch"]
    duration = probe(record["video"], f"film {record['video_id']}").duration_s
    end = duration if end < 0 else min(end, duration)
    if end <= start:
        raise StoryjaxError(f"film {record['video_id']} ends at {duration:.1f} s, before it begins at {start:.1f} s")
    return start, min(end - start, LONGEST_S)


def last_that_fit(parts: Sequence[list[int]], room: int) -> list[list[int]]:
    """As many of the last parts as have room together (tokens)."""
    taken = itertools.accumulate(len(part) for part in reversed(parts))
    count = sum(1 for _ in itertools.takewhile(lambda size: size <= room, taken))
    return list(parts[len(parts) - count :])


@dataclass(frozen=True)
class ExerciseLoader:
    """Turns a film and some of its exercises into arrays (`Questioned`: which ones).

    Attributes:
        examples: worked examples that stand before every prompt (Table 3.8).
        train: whether frames are drawn at random.
    """

    make: Make
    lengths: Lengths
    sizes: TcrConfig
    image_size: int
    tokenizer: Tokenizer
    train: bool
    ablation: Ablation = field(default_factory=Ablation)
    examples: str = ""

    def __call__(self, item: Questioned, rng: np.random.Generator) -> Batch:
        """frames (t y x 3) uint8, seconds (t,), frame_mask (t,), duration, and for each exercise task, condition,
        prompt, target, answer and valid."""
        record, lengths = item.record, self.lengths
        start, duration = stretch(record)
        made = self._make(item, duration, rng if self.train else None)
        until = {one.until for one in made if one is not None}
        if len(until) > 1:
            raise StoryjaxError(
                "exercises of one film see different parts of it: set its exercises_per_video and eval_exercises to 1"
            )
        shown = min(duration, until.pop() or duration)
        times = sample_times(shown, lengths.frames, rng if self.train else None)
        frames, seconds = decode_frames(record["video"], start + times, self.image_size, f"film {record['video_id']}")
        seconds = np.maximum(seconds - np.float32(start), 0)
        if self.ablation.order == "shuffled":
            seconds = seconds[np.random.default_rng(0).permutation(lengths.frames)]
        given = [None if one is None else self.row(one) for one in made]
        left_out = {name: np.zeros_like(value) for name, value in next(filter(None, given)).items()}
        rows = [row or left_out for row in given]
        room = lengths.exercises - len(rows)
        stacked = {
            name: np.pad(value, [(0, room)] + [(0, 0)] * (value.ndim - 1))
            for name, value in ((name, np.stack([row[name] for row in rows])) for name in rows[0])
        }
        mask = np.full(lengths.frames, self.ablation.video)
        return {
            "frames": frames,
            "seconds": seconds,
            "frame_mask": mask,
            "duration": np.float32(duration),
            **stacked,
        }

    def _make(self, item: Questioned, duration: float, rng: np.random.Generator | None) -> list[Exercise | None]:
        """The film's exercises; None where one cannot be asked. Raises its StoryjaxError if none can."""
        made: list[Exercise | None] = []
        fault = StoryjaxError(f"film {item.record['video_id']} has nothing to be asked")
        for row in item.rows:
            try:
                made.append(self.make(item.record, row, duration, rng))
            except StoryjaxError as error:
                fault = error
                made.append(None)
        if all(one is None for one in made):
            raise fault
        return made

    def row(self, one: Exercise) -> Batch:
        lengths, tokenizer = self.lengths, self.tokenizer
        condition = self.condition(one)
        prompt = tokenizer.encode(f"{self.examples} {one.prompt}".strip())
        if self.examples and len(prompt) > lengths.prompt:
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
            "valid": np.bool_(True),
        }

    def condition(self, one: Exercise) -> list[int]:
        if self.ablation.condition == "none":
            return []
        parts = [self.spell(part) for part in one.condition]
        if one.task == "LTA":  # what is too long loses the earliest actions, each a time and words
            parts = [[*time, *words] for time, words in zip(parts[::2], parts[1::2], strict=True)]
            parts = last_that_fit(parts, self.lengths.condition) or parts[-1:]
        return [token for part in parts for token in part][: self.lengths.condition]

    def spell(self, part: str | float) -> list[int]:
        """Token ids of words, or of a time in seconds."""
        if isinstance(part, str):
            return self.tokenizer.encode(swap_before_after(part) if self.ablation.condition == "corrupt" else part)
        return time_tokens([part], self.sizes)
