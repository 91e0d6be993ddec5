"""Auxiliary tasks of the small T5: times, sequences of actions, masked words (sequence_tasks.py).

The first T5 that ships captions events and answers questions. Trained on these tasks too, it learns to turn a note of
timestamps into a list of them, a note of the next few actions into the twenty that follow, and so on. Its embeddings
stay frozen, so resamplers that were aligned to them remain valid.

A decoder learns to repeat words in order only after very many sequences. Two things help: it starts with an induction
head (`with_induction_head`), and with `SequenceData.copy_weight` one head of its last cross-attention is trained to
attend to those words of the note and the prompt that come next in the answer.
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
from storyjax.embedded.sequence_tasks import KINDS, UNORDERED, by_kind, draw_examples
from storyjax.embedded.t5_reader import Reader, StorySeeds, flatten_examples
from storyjax.models.t5 import T5Config
from storyjax.storyworld.story.routines import routine
from storyjax.storyworld.story.story import make_story
from storyjax.train.experiment import Batch, Evaluator, Params, Task, summing_evaluator

WINDOW = 4  # words before a position that `Reader.init` biases the encoder's first head to
SHARPNESS = 0.1  # initial scale of the comparison: small enough for training to correct it


@dataclass(frozen=True)
class SequenceData:
    """Examples with one length of answers; lengths in tokens.

    Attributes:
        mix: relative frequencies of the kinds (sequence_tasks.KINDS).
        routines: whether stories are routines.
        batch_size: stories of a batch.
        stories, first_story: seeds of training; validation uses `validation_stories` from `first_validation_story` on.
        per_story: examples drawn from one story.
        no_note_prob: probability that an example has no note and must be answered by the prompt alone.
        weight: of the loss on these examples, beside that of reading.
        copy_weight: within it, weight of the loss of the decoder's attention to the words that it repeats.
        story_length, prompt_length, target_length: of the note, the prompt and the answer.
    """

    mix: dict[str, float] = field(default_factory=dict)
    routines: bool = True
    batch_size: int = 8
    stories: int = 2_000_000
    first_story: int = 70_000_000
    validation_stories: int = 50
    first_validation_story: int = 69_000_000
    per_story: int = 4
    no_note_prob: float = 0.0
    weight: float = 1.0
    copy_weight: float = 0.0
    story_length: int = 8
    prompt_length: int = 62
    target_length: int = 15


@dataclass(frozen=True)
class SequenceLoader:
    """Loads a story's examples as the reader's arrays (`t5.load_examples`), and their `kind`."""

    data: SequenceData
    tokenizer: Tokenizer
    train: bool

    def __call__(self, seed: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns padded examples of the story of this seed; those of validation do not depend on `rng`."""
        data = self.data
        rng = rng if self.train else np.random.default_rng(seed)
        story = routine(seed) if data.routines else make_story(seed)
        rows: defaultdict[str, list[Any]] = defaultdict(list)
        for one in draw_examples(story, data.mix, data.per_story, rng):
            words = self.tokenizer.encode(one.note)[: data.story_length]
            shown = not (self.train and rng.random() < data.no_note_prob)
            asks = self.tokenizer.encode(one.prompt)[: data.prompt_length]
            target = [*self.tokenizer.encode(one.target)[: data.target_length - 1], self.tokenizer.eos_id]
            rows["story"].append(pad(words, data.story_length))
            # A resampler passes on all its queries: those beyond the note's words are padding, and are attended to.
            rows["story_mask"].append(np.full(data.story_length, shown))
            rows["prompt"].append(pad(asks, data.prompt_length))
            rows["prompt_mask"].append(np.arange(data.prompt_length) < len(asks))
            rows["target"].append(pad(target, data.target_length))
            rows["option_of"].append(np.full(data.prompt_length, -1, np.int32))
            rows["answer"].append(-1)
            rows["kind"].append(KINDS.index(one.kind))
        return {name: np.stack([np.asarray(value) for value in column]) for name, column in rows.items()}


def with_induction_head(weights: dict[str, np.ndarray], config: T5Config) -> dict[str, np.ndarray]:
    """Returns the weights of a T5 ("llm/...") with an induction head in its decoder (Olsson et al. 2022).

    The first head of the encoder attends to the few words before each (`Reader.init`), so every state of the input
    encodes what precedes it. The first head of the decoder's first block is set to do the same, with the same values,
    and the first head of its last cross-attention to compare the two: it attends to words that are preceded by what the
    decoder wrote last (https://arxiv.org/abs/2209.11895).
    """
    weights = dict(weights)
    k, block = config.d_kv, f"llm/decoder/block_{config.num_decoder_layers - 1}"

    def replace(path: str, rows: slice, columns: slice, values: np.ndarray | float) -> None:
        weights[path] = np.array(weights[path], np.float32)
        weights[path][rows, columns] = values

    # The inputs of the two projections are normalised with different scales, which is undone here.
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


def loss_with_attention(
    reader: Reader, params: Params, batch: Batch, key: jax.Array
) -> tuple[Float[Array, ""], dict[str, Array], Float[Array, "i m s"]]:
    """Returns `Reader.loss`, and the weights of the first head of the last cross-attention on [note; prompt]."""
    captured = []
    last = ("decoder", f"block_{reader.llm.config.num_decoder_layers - 1}", "cross_attention")

    def capture(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if (context.method_name, module.path[-3:]) != ("__call__", last):
            return call(*args, **kwargs)
        out, weights = call(*args, **kwargs, return_weights=True)
        captured.append(weights[:, 0])
        return out

    with nn.intercept_methods(capture):
        total, parts = reader.loss(params, batch, key)
    (attention,) = captured
    return total, parts, attention


def copy_positions(batch: Batch, ignored: list[int]) -> Bool[Array, "i m s"]:
    """Returns which words of [note; prompt] equal each word of the target; none for words in `ignored`."""
    target = batch["target"]
    words = jnp.concatenate([batch["story"], batch["prompt"]], axis=1)
    mask = jnp.concatenate([batch["story_mask"], batch["prompt_mask"]], axis=1)
    counted = ~jnp.isin(target, jnp.array(ignored))
    return (target[:, :, None] == words[:, None]) & mask[:, None] & counted[:, :, None]


def eval_step(reader: Reader, params: Params, batch: Batch) -> dict[str, Array]:
    """Returns sums over a batch, by kind: examples, and their accuracies.

    The accuracy of an answer is the fraction of its words that are predicted given the true ones before them; of
    answers without an order, the probability that the first word is one of theirs.
    """
    real = jnp.repeat(batch["record_valid"], batch["kind"].shape[1])
    batch = flatten_examples({name: value for name, value in batch.items() if name != "record_valid"})
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


def sequence_task(name: str, data: SequenceData, reader: Reader, tokenizer: Tokenizer) -> tuple[Task, Evaluator]:
    """Returns the task of these examples, and the evaluator of their accuracies "NAME/KIND"."""
    source = StorySeeds(data.first_story, data.stories)
    unseen = StorySeeds(data.first_validation_story, data.validation_stories)

    def train_data(spec: StreamSpec) -> Stream:
        return train_stream(source, SequenceLoader(data, tokenizer, True), spec)

    def eval_data(spec: StreamSpec) -> Any:
        return eval_stream(unseen, SequenceLoader(data, tokenizer, False), spec)

    ignored = [reader.llm.config.pad_id, tokenizer.eos_id, *tokenizer.encode(",")]

    def loss(params: Params, batch: Batch, key: jax.Array) -> tuple[Array, dict[str, Array]]:
        if not data.copy_weight:
            total, parts = reader.loss(params, batch, key)
            return total, {"words": parts["words"]}
        total, parts, attention = loss_with_attention(reader, params, batch, key)
        right = copy_positions(flatten_examples(batch), ignored)
        mass = jnp.sum(attention * right, axis=-1)
        asked = jnp.any(right, axis=-1)
        missed = -jnp.sum(jnp.log(mass + 1e-4) * asked) / jnp.maximum(jnp.sum(asked), 1)
        return total + data.copy_weight * missed, {"words": parts["words"], "copying": missed}

    def measured(params: Params, batch: Batch) -> dict[str, Array]:
        return eval_step(reader, params, batch)

    task = Task(name, train_data, loss, weight=data.weight, batch_size=data.batch_size)
    return task, summing_evaluator(
        name, eval_data, measured, lambda sums: by_kind(sums["right"], sums["asked"], f"{name}/")
    )
