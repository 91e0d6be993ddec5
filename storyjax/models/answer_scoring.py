"""Scores of given answers under a language model (thesis §3.3.2, evaluation procedure)."""

from typing import cast

import jax
import jax.numpy as jnp
import optax
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Int

from storyjax.models.t5 import T5, shift_right
from storyjax.nn.key_value_attention import KeyValues

# Answers of each row that are decoded together. Timestamps are 1000 (§3.3.4): at once, their logits alone take 3 GB for
# eight rows and Flan-T5's vocabulary.
ANSWERS_AT_ONCE = 64


def sequence_log_likelihood(
    llm: T5,
    params: dict,
    encoded: Float[Array, "b s w"] | tuple[KeyValues, ...],
    encoded_mask: Bool[Array, "b s"],
    labels: Int[Array, "r m"],
) -> tuple[Float[Array, "r"], Float[Array, "r"]]:
    """Returns the teacher-forced log-likelihood of each row of `labels`, and its number of tokens.

    Args:
        llm: the language model.
        params: its parameters.
        encoded: encoder states, or what T5.keys_values made of them. Where there are a times as many labels, each text
            is shared by a rows of labels one after another.
        encoded_mask: True where a state is not padding.
        labels: token ids, padded behind the end token.
    """
    decoder_ids = shift_right(labels, llm.config)
    logits = llm.apply({"params": params}, decoder_ids, encoded, encoded_mask, method=T5.decode)
    mask = (labels != llm.config.pad_id).astype(jnp.float32)
    # The loss is float32: the logits already are.
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return -jnp.sum(loss * mask, axis=-1), jnp.sum(mask, axis=-1)


def score_answers(
    llm: T5,
    params: dict,
    encoded: Float[Array, "b s w"],
    encoded_mask: Bool[Array, "b s"],
    answers: Int[Array, "a m"],
) -> Float[Array, "b a"]:
    """Returns the log-probability of each answer, normalised over all a answers.

    All answers share the encoder's keys and values, and no more than `ANSWERS_AT_ONCE` are decoded at a time.

    Args:
        llm: the language model.
        params: its parameters.
        encoded: encoder states.
        encoded_mask: True where a state is not padding.
        answers: token ids of the answers, the same for all rows of `encoded`, padded behind the end token.
    """
    b, a = encoded.shape[0], answers.shape[0]
    attended = cast(tuple[KeyValues, ...], llm.apply({"params": params}, encoded, method=T5.keys_values))

    def some(chunk: Int[Array, "c m"]) -> Float[Array, "b c"]:
        labels = repeat(chunk, "c m -> (b c) m", b=b)
        likelihood, _ = sequence_log_likelihood(llm, params, attended, encoded_mask, labels)
        return rearrange(likelihood, "(b c) -> b c", b=b)

    if a <= ANSWERS_AT_ONCE:
        return jax.nn.log_softmax(some(answers), axis=-1)
    # The last chunk is filled up with padding, which is cut off again.
    padded = jnp.pad(answers, ((0, -a % ANSWERS_AT_ONCE), (0, 0)), constant_values=llm.config.pad_id)
    # The loop is over answers, of which every device has all; rows stay on the devices that they lie on.
    chunks = jax.lax.map(some, rearrange(padded, "(s c) m -> s c m", c=ANSWERS_AT_ONCE))
    return jax.nn.log_softmax(rearrange(chunks, "s b c -> b (s c)")[:, :a], axis=-1)
