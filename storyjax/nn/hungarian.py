"""Hungarian matching: targets to predictions at the least total cost, inside `jit` (Kuhn 1955; Carion et al. 2020)."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from optax.assignment import hungarian_algorithm

from storyjax.nn.data_parallel import by_device


def assign(
    cost: Float[Array, "n m"],
    targets: Bool[Array, "n"],
    predictions: Bool[Array, "m"],
) -> Int[Array, "n"]:
    """Returns the prediction that each target is matched with.

    Args:
        cost: of each pair; a pair whose cost is not finite costs more than any other.
        targets, predictions: which are not padding. Padding has no influence on the others.

    Returns:
        Columns of `cost`, or -1 for padding, and for targets that are left over where there are fewer predictions. As
        many pairs as possible are matched, at the least total cost; no gradient.
    """
    cost = lax.stop_gradient(cost).astype(jnp.float32)
    allowed = targets[:, None] & predictions[None, :]
    cost = jnp.where(jnp.isfinite(cost), cost, jnp.where(jnp.isfinite(cost), cost, 0.0).max() + 1.0)
    cost = jnp.where(allowed, cost - jnp.min(cost, where=allowed, initial=jnp.inf), 0.0)
    cost = jnp.where(jnp.isfinite(cost), cost, 0.0)
    # A pair with padding costs more than all others together, so that none is taken that can be done without.
    forbidden = (cost.max() + 1.0) * (min(cost.shape) + 1)
    rows, columns = hungarian_algorithm(jnp.where(allowed, cost, forbidden))
    given = jnp.full(cost.shape[0], -1, jnp.int32).at[rows].set(columns.astype(jnp.int32))
    real = jnp.take_along_axis(allowed, jnp.maximum(given, 0)[:, None], axis=1)[:, 0]
    return jnp.where(real & (given >= 0), given, -1)


def assign_batch(
    cost: Float[Array, "*b n m"], targets: Bool[Array, "*b n"], predictions: Bool[Array, "*b m"]
) -> Int[Array, "*b n"]:
    """Returns `assign` of each example.

    The last axis of b is the batch: each device matches the examples that lie on it, for a loop that ends with the
    slowest of all would have the devices ask one another in every turn.
    """
    axis = cost.ndim - 3

    def local(*arrays: Array) -> Int[Array, "*b n"]:
        batch = arrays[0].shape[:-2]
        flat = [array.reshape(-1, *array.shape[len(batch) :]) for array in arrays]
        return jax.vmap(assign)(*flat).reshape(*batch, cost.shape[-2])

    if axis < 0:
        return local(cost, targets, predictions)
    arrays = [jnp.moveaxis(array, axis, 0) for array in (lax.stop_gradient(cost), targets, predictions)]
    return jnp.moveaxis(by_device(local, *arrays), 0, axis)


def take(array: Float[Array, "b m *d"], index: Int[Array, "b n"]) -> Float[Array, "b n *d"]:
    """Returns the rows of `array` that `assign` returned the columns of; row 0 for -1."""
    index = jnp.maximum(index, 0).reshape(*index.shape, *(1,) * (array.ndim - 2))
    return jnp.take_along_axis(array, index, axis=1)
