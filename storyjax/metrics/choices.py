"""Accuracy of multiple choice, where some answers are kept secret (EgoSchema; Mangalam et al. 2023)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

HIDDEN = -1  # the answer of a question whose answer is not public


def choice_sums(
    scores: Float[Array, "*b a"], answer: Int[Array, "*b"], valid: Bool[Array, "*b"]
) -> dict[str, Float[Array, "..."]]:
    """{"asked", "right", "chosen" (a,)}: questions with a public answer, those answered rightly, how often each option
    was chosen."""
    known = (valid & (answer != HIDDEN)).astype(jnp.float32)
    chosen = jnp.argmax(scores, axis=-1)
    each = (chosen[..., None] == jnp.expand_dims(jnp.arange(scores.shape[-1]), tuple(range(answer.ndim)))) * known[
        ..., None
    ]
    return {
        "asked": jnp.sum(known),
        "right": jnp.sum(known * (chosen == answer)),
        "chosen": jnp.sum(each, axis=tuple(range(answer.ndim))),
    }
