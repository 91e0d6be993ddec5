"""Scores of given answers under a language model (thesis §3.3.2, evaluation procedure)."""

import jax
import jax.numpy as jnp
import optax
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Int

from storyjax.models.t5 import T5, shift_right


def sequence_log_likelihood(
    llm: T5,
    params: dict,
    encoded: Float[Array, "b s w"],
    encoded_mask: Bool[Array, "b s"],
    labels: Int[Array, "b m"],
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Returns the teacher-forced log-likelihood of each row of `labels`, and its number of tokens.

    Args:
        llm: the language model.
        params: its parameters.
        encoded: encoder states.
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

    Args:
        llm: the language model.
        params: its parameters.
        encoded: encoder states.
        encoded_mask: True where a state is not padding.
        answers: token ids of the answers, the same for all rows of `encoded`, padded behind the end token.
    """
    a = answers.shape[0]
    each = repeat(encoded, "b s w -> (b a) s w", a=a)
    each_mask = repeat(encoded_mask, "b s -> (b a) s", a=a)
    labels = repeat(answers, "a m -> (b a) m", b=encoded.shape[0])
    likelihood, _ = sequence_log_likelihood(llm, params, each, each_mask, labels)
    return jax.nn.log_softmax(rearrange(likelihood, "(b a) -> b a", a=a), axis=-1)
