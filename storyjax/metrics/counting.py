"""Counting repetitions (Dwibedi et al. 2020; thesis Table 3.10), and choosing frames (§3.6.3), as sums that merge.

Both take a mask of real examples; what is masked changes nothing. Sums of several batches are added, then finished.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def counting_sums(
    counted: Float[Array, " b"], truth: Float[Array, " b"], valid: Bool[Array, " b"]
) -> dict[str, Float[Array, ""]]:
    """Returns sums for `counting`. `counted` is rounded for the off-by-one error and not for the absolute one."""
    weight = valid.astype(jnp.float32)
    apart = jnp.abs(counted - truth)
    missed = (jnp.abs(jnp.round(counted) - truth) > 1).astype(jnp.float32)
    return {
        "error": jnp.sum(weight * apart / jnp.maximum(truth, 1.0)),
        "missed": jnp.sum(weight * missed),
        "videos": jnp.sum(weight),
    }


def counting(sums: Mapping[str, float]) -> dict[str, float]:
    """Returns {"mae": mean of |count - truth| / truth, "obo": fraction of counts that are off by more than one}; 0 is
    perfect.

    The thesis prints OBO with an arrow down: it is the error, one minus the off-by-one accuracy of other papers.
    """
    return {"mae": float(sums["error"] / sums["videos"]), "obo": float(sums["missed"] / sums["videos"])}


def selection_sums(
    chosen: Bool[Array, "b t"], truth: Bool[Array, "b t"], valid: Bool[Array, " b"]
) -> dict[str, Float[Array, ""]]:
    """Returns sums for `selection`: frames chosen, frames that show the action, and those that are both."""
    real = valid[:, None]
    return {
        "both": jnp.sum(chosen & truth & real).astype(jnp.float32),
        "chosen": jnp.sum(chosen & real).astype(jnp.float32),
        "truth": jnp.sum(truth & real).astype(jnp.float32),
    }


def selection(sums: Mapping[str, float]) -> dict[str, float]:
    """Returns {"precision", "recall"} over frames; precision is 0 where nothing was chosen."""
    return {
        "precision": float(sums["both"] / max(sums["chosen"], 1.0)),
        "recall": float(sums["both"] / max(sums["truth"], 1.0)),
    }
