"""What the language model is asked of a film beside multiple choice: exercises, and how they become arrays.

An exercise is one row of a batch: the task token, the TCR's prompt (words and times), the language model's prompt and
what it is to answer. storyjax/tcr/recipes.py makes them of data sets' records; training and evaluation take them as
they take NExT-QA's questions (losses.QuestionAnswering).
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from storyjax.data.builders.segments import LONGEST_S
from storyjax.data.text import Tokenizer, pad
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.errors import StoryjaxError
from storyjax.tcr.data import Ablation, Questioned, swap_before_after, whole_question
from storyjax.tcr.resampler import TASK_TOKENS, TcrConfig, time_tokens
from storyjax.train.experiment import Batch


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
