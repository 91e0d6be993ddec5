"""NExT-QA for the TCR: from a prepared record (one video with its questions) to arrays.

Evaluation can take things away on purpose (Table 3.6, and the shortcut checks): the conditioning, the order of the
frames, the video. What the language model is asked never changes with that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np

from storyjax.data.features import FeatureStore
from storyjax.data.pipeline import RandomAccess
from storyjax.data.prompts import option_names, question_prompt
from storyjax.data.text import Tokenizer, pad
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.errors import StoryjaxError
from storyjax.tcr.resampler import TASK_TOKENS, TcrConfig
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
