"""Aligning the TCR with the tasks of stage (ii) and of Ego4D (sequence_tasks.py), beside requests.

What tcr_alignment.py does for the description of a moment, this does for the rest: under [TRG] and a phrase the queries
are drawn to the words of the timestamps at which it happens, under [LTA] to the actions to come, and so on. The videos
are those of tcr_alignment.py, and routines.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from storyjax.data.features import FeatureStore
from storyjax.data.text import Tokenizer, pad
from storyjax.embedded.sequence_tasks import KINDS, SequenceExample, draw_cut, draw_examples
from storyjax.storyworld.render.video_cache import StoryVideo
from storyjax.tcr.resampler import TASK_TOKENS, TcrConfig, time_tokens
from storyjax.train.experiment import Batch


@dataclass(frozen=True)
class AuxiliaryTask:
    """A further task on the videos.

    Attributes:
        routines: videos are routines, of which there are so many in training and `val` to validate on; 0: the videos
            that requests are about.
        shares: how often each kind comes up (sequence_tasks.KINDS).
        count: examples drawn for one video.
        cut: the fraction of videos that break off, so that actions to come are known from those before, or not at all.
    """

    shares: dict[str, float] = field(default_factory=dict)
    routines: int = 0
    val: int = 20
    batch_size: int = 4
    count: int = 8
    cut: float = 0.0


@dataclass(frozen=True)
class AuxiliaryLoader:
    """Loads the tokens of a video with examples about it, as `tcr_alignment.RequestLoader` does with requests."""

    data: AuxiliaryTask
    lengths: Any  # tcr_alignment.AlignData
    sizes: TcrConfig
    tokenizer: Tokenizer
    train: bool
    features: FeatureStore

    def __call__(self, video: tuple[int, StoryVideo], rng: np.random.Generator) -> Batch:
        """Returns the visual tokens of one video and its examples."""
        index, take = video
        rng = rng if self.train else np.random.default_rng(index)
        tokens = self.features.draw(index, rng if self.train else None)
        seconds = tokens["seconds"]
        story, data = take.story, self.data
        shown = draw_cut(story, rng) if data.cut and rng.random() < data.cut else None
        rows = [self.encode(one, seconds) for one in draw_examples(story, data.shares, data.count, rng, shown)]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        mask = seconds < (np.inf if shown is None else story.events[shown - 1].end)
        return {**tokens, "frame_mask": mask, **stacked}

    def encode(self, one: SequenceExample, seconds: np.ndarray) -> Batch:
        """Returns the padded token ids of an example, and in which of the frames (by their seconds) its moments are."""
        lengths, tokenizer = self.lengths, self.tokenizer
        condition: list[int] = []
        for part in one.condition:
            condition += tokenizer.encode(part) if isinstance(part, str) else time_tokens([part], self.sizes)
        condition = condition[: lengths.condition_length]
        note = tokenizer.encode(one.note)[: self.sizes.queries]
        prompt = tokenizer.encode(one.prompt)[: lengths.prompt_length]
        target = [*tokenizer.encode(one.target)[: lengths.target_length - 1], tokenizer.eos_id]
        moment = np.zeros(len(seconds), bool)
        for start, end in one.spans:
            moment |= (seconds >= start) & (seconds < end)
        return {
            "task": np.int32(TASK_TOKENS.index(one.task)),
            "condition": pad(condition, lengths.condition_length),
            "condition_mask": np.arange(lengths.condition_length) < len(condition),
            "prompt": pad(prompt, lengths.prompt_length),
            "prompt_mask": np.arange(lengths.prompt_length) < len(prompt),
            "note": pad(note, self.sizes.queries),
            "note_mask": np.arange(self.sizes.queries) < len(note),
            "target": pad(target, lengths.target_length),
            "kind": np.int32(KINDS.index(one.kind)),
            "moment": moment,
            # The words of a phrase fall where it happens; those of a time or of actions before name another moment.
            "named": moment if one.task == "TRG" else np.zeros(len(seconds), bool),
        }


def sums(right: Array, inside: Array, kind: Array, real: Array) -> dict[str, Array]:
    """Returns by kind the fraction of a note's words that are right, summed, and how many notes there are that have
    any.
    """
    of_kind = jax.nn.one_hot(kind, len(KINDS)) * (real[:, None] & jnp.any(inside, -1))[..., None]
    fraction = jnp.sum(right & inside, -1) / jnp.maximum(jnp.sum(inside, -1), 1)
    return {"words": jnp.einsum("bk,bki->i", fraction, of_kind), "asked": jnp.sum(of_kind, axis=(0, 1))}
