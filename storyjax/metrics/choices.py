"""Accuracy of multiple choice, where some answers are kept secret (EgoSchema; Mangalam et al. 2023)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def choice_sums(
    scores: Float[Array, "*b a"], answer: Int[Array, "*b"], valid: Bool[Array, "*b"]
) -> dict[str, Float[Array, "..."]]:
    """Returns sums over a batch of questions: {"asked", "right", "chosen" (a,)}.

    They are the number of questions with a public answer, of those answered correctly, and how often each option was
    chosen.

    Args:
        scores: of each option; the highest is chosen.
        answer: 0-based; a negative one is not public, and its question does not count.
        valid: False for padding.
    """
    known = (valid & (answer >= 0)).astype(jnp.float32)
    chosen = jnp.argmax(scores, axis=-1)
    each = (chosen[..., None] == jnp.expand_dims(jnp.arange(scores.shape[-1]), tuple(range(answer.ndim)))) * known[
        ..., None
    ]
    return {
        "asked": jnp.sum(known),
        "right": jnp.sum(known * (chosen == answer)),
        "chosen": jnp.sum(each, axis=tuple(range(answer.ndim))),
    }
