"""The reading task that the small T5 is trained on: questions about a story, answered from its events."""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from storyjax.data.prompts import option_names
from storyjax.data.text import Tokenizer, pad
from storyjax.models.answer_scoring import score_answers, sequence_log_likelihood
from storyjax.models.t5 import T5, T5Config, shift_right
from storyjax.storyworld.story.questions import OPTIONS, TYPES
from storyjax.storyworld.story.vocabulary import NOTE_MARK
from storyjax.train.experiment import Batch, Params


@dataclass(frozen=True)
class ReadingMix:
    """Relative frequencies of the kinds of examples.

    Attributes:
        full: the whole story and a question.
        evidence: the one note that answers it.
        window: notes of the events around it.
        caption: one note; the target is a sentence about it.
        find: no story; the question spells out an option.
    """

    full: float = 0.0
    evidence: float = 0.85
    window: float = 0.0
    caption: float = 0.15
    find: float = 0.0

    def asked(self) -> tuple[str, ...]:
        """Returns the kinds of text that questions are trained with, in the order of validation's rows."""
        return tuple(kind for kind in ("evidence", "window", "full") if getattr(self, kind))


@dataclass(frozen=True)
class ReadingData:
    """Stories and the examples drawn from them; lengths in tokens.

    Attributes:
        stories: number of training stories.
        first_story: seed of the first one; validation uses `validation_stories` seeds from `first_validation_story` on.
        per_story: examples drawn from one story.
        story_length, prompt_length, target_length: of the text, the question and the answer.
        noise: largest standard deviation of the noise on story embeddings, relative to theirs.
        weight: of the loss on these examples; 0 trains auxiliary tasks alone.
        workers: processes that load data.
        mix: relative frequencies of the kinds of examples.
    """

    stories: int = 2_000_000
    first_story: int = 50_000_000
    validation_stories: int = 100
    first_validation_story: int = 40_000_000
    per_story: int = 8
    story_length: int = 8
    prompt_length: int = 62
    target_length: int = 15
    noise: float = 0.5
    weight: float = 1.0
    workers: int = 0
    mix: ReadingMix = field(default_factory=ReadingMix)


class StorySeeds:
    """A random-access source whose records are the seeds of `count` stories."""

    def __init__(self, first: int, count: int):
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return self.first + int(index)


class Reader:
    """The T5 with its loss and its scores on examples."""

    def __init__(self, config: T5Config, data: ReadingData, tokenizer: Tokenizer):
        self.llm = T5(config)
        self.data = data
        (self.mark,) = tokenizer.encode(NOTE_MARK)
        self.answers = np.stack(
            [pad([*tokenizer.encode(name), tokenizer.eos_id], 4) for name in option_names(OPTIONS)]
        ).astype(np.int32)

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters with two changes to the encoder's attention.

        Its queries start equal to its keys, so that equal words attend to each other; and its first two heads start
        with biases towards the few words before and after, which would take thousands of steps to learn.
        """
        ids = jnp.zeros((1, 2), jnp.int32)
        params = self.llm.init(key, ids, ids == 0, ids)["params"]
        for name, block in params["encoder"].items():
            if name.startswith("block_"):
                block["attention"]["query"]["kernel"] = block["attention"]["key"]["kernel"] * self.llm.config.d_kv**-0.5
        table = params["encoder"]["relative_bias"]["embedding"]
        ahead = self.llm.config.relative_attention_num_buckets // 2
        near = jnp.zeros_like(table).at[1:5, 0].set(4.0).at[ahead + 1 : ahead + 5, 1].set(4.0)
        params["encoder"]["relative_bias"]["embedding"] = table + near
        width = self.llm.config.d_model
        return {"llm": params, "pointer": {"words": jnp.zeros((width,)), "letter": jnp.zeros((width,))}}

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Array, Array]:
        """Returns encoder states of [story; prompt] and their mask; with a key, noise is added to the story."""
        variables = {"params": params["llm"]}
        embed: Any = functools.partial(self.llm.apply, variables, method=T5.embed)
        story = embed(batch["story"]) + embed(jnp.full((1, 1), self.mark))
        prompt = embed(batch["prompt"])
        if key is not None:
            size, direction = jax.random.split(key)
            spread = jax.random.uniform(size, (len(story), 1, 1), maxval=self.data.noise) * jnp.std(story)
            story = story + spread * jax.random.normal(direction, story.shape)
        mask = jnp.concatenate([batch["story_mask"], batch["prompt_mask"]], axis=1)
        inputs = jnp.concatenate([story, prompt], axis=1)
        states: Any = self.llm.apply(variables, inputs, mask, method=T5.encode)
        return states, mask

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the mean negative log-likelihood of the target's tokens, plus that of the pointed option."""
        batch = flatten_examples(batch)
        encoded, mask = self.encode(params, batch, key)
        likelihood, tokens = sequence_log_likelihood(self.llm, params["llm"], encoded, mask, batch["target"])
        asks = batch["answer"] >= 0
        answer = jnp.maximum(batch["answer"], 0)
        count = jnp.maximum(jnp.sum(asks), 1)
        parts = {"words": -jnp.sum(likelihood) / jnp.sum(tokens)}
        for name, logits in self.pointer_logits(params, batch, encoded).items():
            pointing = optax.softmax_cross_entropy_with_integer_labels(logits, answer)
            parts[f"pointing_{name}"] = jnp.sum(pointing * asks) / count
            parts[f"pointed_{name}"] = jnp.sum((jnp.argmax(logits, axis=-1) == answer) & asks) / count
        return parts["words"] + parts["pointing_words"] + parts["pointing_letter"], parts

    def decode(
        self, params: Params, target: Int[Array, "i m"], encoded: Float[Array, "i s d"], mask: Bool[Array, "i s"]
    ) -> Float[Array, "i m v"]:
        """Returns logits of each token of the targets, given the true ones before it."""
        ids = shift_right(target, self.llm.config)
        logits: Any = self.llm.apply({"params": params["llm"]}, ids, encoded, mask, method=T5.decode)
        return logits

    def pointer_logits(
        self, params: Params, batch: Batch, encoded: Float[Array, "i s d"]
    ) -> dict[str, Float[Array, "i o"]]:
        """Returns logits over the options, by the mean state of an option's words, and by that of its letter alone."""
        states = encoded[:, batch["story"].shape[1] :]
        member = jax.nn.one_hot(batch["option_of"], OPTIONS, axis=1)
        weights = member / jnp.maximum(jnp.sum(member, axis=-1, keepdims=True), 1)
        # An option's positions start at the word "option"; its letter is the second.
        letter = jnp.argmax(member, axis=-1) + 1
        words = jnp.einsum("iol,ild,d->io", weights, states, params["pointer"]["words"])
        at_letter = jnp.take_along_axis(states, letter[..., None], axis=1)
        return {"words": words, "letter": jnp.einsum("iod,d->io", at_letter, params["pointer"]["letter"])}

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums over a batch, right answers and questions, by kind of text and type of question."""
        valid = batch["valid"] & batch["record_valid"][:, None]
        batch = flatten_examples({**{name: batch[name] for name in batch if name != "record_valid"}, "valid": valid})
        encoded, mask = self.encode(params, batch, None)
        scores = score_answers(self.llm, params["llm"], encoded, mask, jnp.asarray(self.answers))
        right = (jnp.argmax(scores, axis=-1) == batch["answer"]) & batch["valid"]
        cell = (
            jax.nn.one_hot(batch["kind"], len(self.data.mix.asked()))[:, :, None]
            * jax.nn.one_hot(batch["type"], len(TYPES))[:, None]
        )
        return {
            "right": jnp.einsum("i,ikt->kt", right.astype(jnp.float32), cell),
            "asked": jnp.einsum("i,ikt->kt", batch["valid"].astype(jnp.float32), cell),
        }


def flatten_examples(batch: Batch) -> Batch:
    """Returns the batch with stories and their examples as one axis, without "index"."""
    return {
        name: rearrange(jnp.asarray(value), "b k ... -> (b k) ...") for name, value in batch.items() if name != "index"
    }
