"""What else the small T5 may learn to read: times, sequences of actions, holes in sentences (storyworld/practice.py).

The T5 that ships first tells events and answers questions. Under these exercises, beside the old ones, it learns to
turn a note of timestamps into a list of them, one of the next few actions into the twenty that follow, and so on. Its
embeddings stay as they are, so what a resampler was aligned to stays where it was.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.text import Tokenizer, pad
from storyjax.storyworld.practice import KINDS, UNORDERED, practise
from storyjax.storyworld.routines import routine
from storyjax.storyworld.story import tell
from storyjax.towers.t5 import Reader, StorySeeds, rows_of
from storyjax.train.experiment import Batch, Evaluator, Params, StreamSpec, Task, summing_evaluator


@dataclass(frozen=True)
class PracticeData:
    """Exercises of one length of answer; lengths in tokens.

    Attributes:
        shares: how often each kind comes up (practice.KINDS).
        routines: stories are routines.
        stories, first_story: seeds of training; validation uses `validation_stories` from `first_validation_story` on.
        per_story: exercises drawn from one story.
        blind: the share of exercises without a note, to be answered by the prompt alone.
    """

    shares: dict[str, float] = field(default_factory=dict)
    routines: bool = True
    batch_size: int = 8
    stories: int = 2_000_000
    first_story: int = 70_000_000
    validation_stories: int = 50
    first_validation_story: int = 69_000_000
    per_story: int = 4
    blind: float = 0.0
    story_length: int = 8
    prompt_length: int = 62
    target_length: int = 15


@dataclass(frozen=True)
class PracticeLoader:
    """A story's exercises as the reader's arrays (`t5.load_exercises`), with `kind` beside them."""

    data: PracticeData
    tokenizer: Tokenizer
    train: bool

    def __call__(self, seed: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        data = self.data
        rng = rng if self.train else np.random.default_rng(seed)
        story = routine(seed) if data.routines else tell(seed)
        rows = defaultdict(list)
        for one in practise(story, data.shares, data.per_story, rng):
            words = self.tokenizer.encode(one.note)[: data.story_length]
            shown = not (self.train and rng.random() < data.blind)
            asks = self.tokenizer.encode(one.prompt)[: data.prompt_length]
            target = [*self.tokenizer.encode(one.target)[: data.target_length - 1], self.tokenizer.eos_id]
            rows["story"].append(pad(words, data.story_length))
            rows["story_mask"].append((np.arange(data.story_length) < len(words)) & shown)
            rows["prompt"].append(pad(asks, data.prompt_length))
            rows["prompt_mask"].append(np.arange(data.prompt_length) < len(asks))
            rows["target"].append(pad(target, data.target_length))
            rows["option_of"].append(np.full(data.prompt_length, -1, np.int32))
            rows["answer"].append(-1)
            rows["kind"].append(KINDS.index(one.kind))
        return {name: np.stack([np.asarray(value) for value in column]) for name, column in rows.items()}


def measure(reader: Reader, params: Params, batch: Batch) -> dict[str, Array]:
    """Sums over a batch, by kind: answers, and how much of each is right: the share of its words, each told after the
    true ones before it; of answers without an order, the probability that the first word is one of them."""
    real = jnp.repeat(batch["record_valid"], batch["kind"].shape[1])
    batch = rows_of({name: value for name, value in batch.items() if name != "record_valid"})
    encoded, mask = reader.encode(params, batch, None)
    logits = reader.decode(params, batch["target"], encoded, mask)
    inside = batch["target"] != reader.llm.config.pad_id
    words = jnp.sum((jnp.argmax(logits, axis=-1) == batch["target"]) & inside, axis=1) / jnp.sum(inside, axis=1)
    wanted = jax.nn.one_hot(batch["target"], logits.shape[-1]).max(axis=1, where=inside[..., None], initial=0.0)
    first = jnp.sum(jax.nn.softmax(logits[:, 0]) * wanted, axis=-1)
    free = jnp.isin(batch["kind"], jnp.array([KINDS.index(kind) for kind in UNORDERED]))
    kind = jax.nn.one_hot(batch["kind"], len(KINDS)) * real[:, None]
    right = jnp.where(free, first, words)
    return {"right": jnp.einsum("i,ik->k", right, kind), "asked": jnp.sum(kind, axis=0)}


def finish(sums: dict[str, Any], name: str) -> dict[str, float]:
    kinds = [(place, kind) for place, kind in enumerate(KINDS) if sums["asked"][place]]
    return {f"{name}/{kind}": float(sums["right"][place] / sums["asked"][place]) for place, kind in kinds}


def practice(name: str, data: PracticeData, reader: Reader, tokenizer: Tokenizer) -> tuple[Task, Evaluator]:
    """A task of these exercises, and how well they are done: "NAME/KIND"."""
    source = StorySeeds(data.first_story, data.stories)
    unseen = StorySeeds(data.first_validation_story, data.validation_stories)

    def train_data(spec: StreamSpec) -> Stream:
        return train_stream(source, PracticeLoader(data, tokenizer, True), spec)

    def eval_data(spec: StreamSpec) -> Any:
        return eval_stream(unseen, PracticeLoader(data, tokenizer, False), spec)

    def loss(params: Params, batch: Batch, key: jax.Array) -> tuple[Array, dict[str, Array]]:
        total, parts = reader.loss(params, batch, key)
        return total, {"words": parts["words"]}

    def measured(params: Params, batch: Batch) -> dict[str, Array]:
        return measure(reader, params, batch)

    task = Task(name, train_data, loss, batch_size=data.batch_size)
    return task, summing_evaluator(name, eval_data, measured, lambda sums: finish(sums, name))
