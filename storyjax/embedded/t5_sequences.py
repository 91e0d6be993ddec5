"""What else the small T5 may learn to read: times, sequences of actions, holes in sentences (storyworld/practice.py).

The T5 that ships first tells events and answers questions. Under these exercises, beside the old ones, it learns to
turn a note of timestamps into a list of them, one of the next few actions into the twenty that follow, and so on. Its
embeddings stay as they are, so what a resampler was aligned to stays where it was.

A decoder finds out by itself how to repeat words in order only after very many sequences. Two things help. It starts
with what that takes (`ready_to_copy`); and with `PracticeData.copying` one head of its last cross-attention is drawn to
the words, in the note and in the prompt, that are to be said next.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer, pad
from storyjax.embedded.sequence_tasks import KINDS, UNORDERED, by_kind, practise
from storyjax.embedded.t5_reader import Reader, StorySeeds, rows_of
from storyjax.models.t5 import T5Config
from storyjax.nn.attention import MultiHeadAttention
from storyjax.storyworld.story.routines import routine
from storyjax.storyworld.story.story import tell
from storyjax.train.experiment import Batch, Evaluator, Params, Task, summing_evaluator

WINDOW = 4  # words before a place that `Reader.init` has the encoder's first head look at
SHARPNESS = 0.1  # of the comparison at first: small enough for other places to be found where it is wrong


@dataclass(frozen=True)
class PracticeData:
    """Exercises of one length of answer; lengths in tokens.

    Attributes:
        shares: how often each kind comes up (practice.KINDS).
        routines: stories are routines.
        stories, first_story: seeds of training; validation uses `validation_stories` from `first_validation_story` on.
        per_story: exercises drawn from one story.
        blind: the share of exercises without a note, to be answered by the prompt alone.
        weight: of the loss on these exercises, beside those of reading.
        copying: within it, weight of the loss on where the decoder looks for the words that it is to repeat.
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
    weight: float = 1.0
    copying: float = 0.0
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
            # A resampler hands over all its queries: those behind the note's words come as padding, and are read.
            rows["story_mask"].append(np.full(data.story_length, shown))
            rows["prompt"].append(pad(asks, data.prompt_length))
            rows["prompt_mask"].append(np.arange(data.prompt_length) < len(asks))
            rows["target"].append(pad(target, data.target_length))
            rows["option_of"].append(np.full(data.prompt_length, -1, np.int32))
            rows["answer"].append(-1)
            rows["kind"].append(KINDS.index(one.kind))
        return {name: np.stack([np.asarray(value) for value in column]) for name, column in rows.items()}


def ready_to_copy(weights: dict[str, np.ndarray], config: T5Config) -> dict[str, np.ndarray]:
    """The weights of a T5 ("llm/...") whose decoder looks for the place in its input where what it just said stands.

    The first head of the encoder looks at the few words before each (`Reader.init`), so every place of the input knows
    what stands before it. The first head of the decoder's first block is made to do the same, through the same values,
    and the first of its last cross-attention to compare the two: the word that follows there is the next to be said
    (an induction head, Olsson et al. 2022, https://arxiv.org/abs/2209.11895).
    """
    weights = dict(weights)
    k, block = config.d_kv, f"llm/decoder/block_{config.num_decoder_layers - 1}"

    def replace(path: str, rows: slice, columns: slice, values: np.ndarray | float) -> None:
        weights[path] = np.array(weights[path], np.float32)
        weights[path][rows, columns] = values

    # What a projection gets is normalised with a scale of its own, which is to make no difference.
    before, after = (weights[f"llm/{side}/block_0/attention_norm/scale"] for side in ("encoder", "decoder"))
    out = np.array(weights["llm/encoder/block_0/attention/out/kernel"], np.float32)[:k]
    values = np.array(weights["llm/encoder/block_0/attention/value/kernel"], np.float32)[:, :k]
    own = "llm/decoder/block_0/attention"
    every, head = slice(None), slice(k)
    replace(f"{own}/value/kernel", every, head, values * (before / after)[:, None])
    replace(f"{own}/out/kernel", head, every, out)
    replace(f"{own}/query/kernel", every, head, 0.0)
    replace("llm/decoder/relative_bias/embedding", every, slice(1), -5.0)
    replace("llm/decoder/relative_bias/embedding", slice(WINDOW), slice(1), 2.0)

    found = np.linalg.pinv(out)
    found *= SHARPNESS / np.linalg.norm(found, axis=0).mean()
    for part, norm in (("query", f"{block}/cross_norm"), ("key", "llm/encoder/norm")):
        scale = weights[f"{norm}/scale"].astype(np.float32)
        replace(f"{block}/cross_attention/{part}/kernel", every, head, found / scale[:, None])
    return weights


def looking(
    reader: Reader, params: Params, batch: Batch, key: jax.Array
) -> tuple[Float[Array, ""], dict[str, Array], Float[Array, "i m s"]]:
    """`Reader.loss`, and the attention of a head of the last cross-attention to [note; prompt] at each word."""
    seen = []
    last = ("decoder", f"block_{reader.llm.config.num_decoder_layers - 1}", "cross_attention")

    def watch(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if not isinstance(module, MultiHeadAttention) or module.path[-3:] != last:
            return call(*args, **kwargs)
        out, weights = call(*args, **kwargs, return_weights=True)
        seen.append(weights[:, 0])
        return out

    with nn.intercept_methods(watch):
        total, parts = reader.loss(params, batch, key)
    (attention,) = seen
    return total, parts, attention


def repeated(batch: Batch, ignored: list[int]) -> Bool[Array, "i m s"]:
    """Which words of [note; prompt] are the next of the target (i m s); of `ignored` ones, none."""
    target = batch["target"]
    words = jnp.concatenate([batch["story"], batch["prompt"]], axis=1)
    there = jnp.concatenate([batch["story_mask"], batch["prompt_mask"]], axis=1)
    said = ~jnp.isin(target, jnp.array(ignored))
    return (target[:, :, None] == words[:, None]) & there[:, None] & said[:, :, None]


def eval_step(reader: Reader, params: Params, batch: Batch) -> dict[str, Array]:
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


def practice(name: str, data: PracticeData, reader: Reader, tokenizer: Tokenizer) -> tuple[Task, Evaluator]:
    """A task of these exercises, and how well they are done: "NAME/KIND"."""
    source = StorySeeds(data.first_story, data.stories)
    unseen = StorySeeds(data.first_validation_story, data.validation_stories)

    def train_data(spec: StreamSpec) -> Stream:
        return train_stream(source, PracticeLoader(data, tokenizer, True), spec)

    def eval_data(spec: StreamSpec) -> Any:
        return eval_stream(unseen, PracticeLoader(data, tokenizer, False), spec)

    ignored = [reader.llm.config.pad_id, tokenizer.eos_id, *tokenizer.encode(",")]

    def loss(params: Params, batch: Batch, key: jax.Array) -> tuple[Array, dict[str, Array]]:
        if not data.copying:
            total, parts = reader.loss(params, batch, key)
            return total, {"words": parts["words"]}
        total, parts, attention = looking(reader, params, batch, key)
        right = repeated(rows_of(batch), ignored)
        share = jnp.sum(attention * right, axis=-1)
        asked = jnp.any(right, axis=-1)
        missed = -jnp.sum(jnp.log(share + 1e-4) * asked) / jnp.maximum(jnp.sum(asked), 1)
        return total + data.copying * missed, {"words": parts["words"], "copying": missed}

    def measured(params: Params, batch: Batch) -> dict[str, Array]:
        return eval_step(reader, params, batch)

    task = Task(name, train_data, loss, weight=data.weight, batch_size=data.batch_size)
    return task, summing_evaluator(
        name, eval_data, measured, lambda sums: by_kind(sums["right"], sums["asked"], f"{name}/")
    )
