"""Arithmetic that NumPy's and JAX's arrays share."""

from typing import overload

import jax
import jax.numpy as jnp
import numpy as np


@overload
def unit_norm(x: np.ndarray, *, eps: float = 1e-12, axis: int | None = -1) -> np.ndarray: ...


@overload
def unit_norm(x: jax.Array, *, eps: float = 1e-12, axis: int | None = -1, safe_gradient: bool = True) -> jax.Array: ...


def unit_norm(
    x: np.ndarray | jax.Array, *, eps: float = 1e-12, axis: int | None = -1, safe_gradient: bool = True
) -> np.ndarray | jax.Array:
    """Returns `x` scaled to unit Euclidean length along an axis; zeros stay zeros.

    Args:
        x: of any shape; a NumPy array keeps its dtype, a JAX array becomes float32.
        eps: vectors shorter than this are divided by it instead of by their length.
        axis: along which the vectors lie; None takes the whole array for one vector.
        safe_gradient: of JAX arrays; whether the gradient at zero is finite. False rounds as networks that were trained
            without it do: compilers divide by a root and by a maximum in different ways.
    """
    if isinstance(x, np.ndarray):
        return x / np.maximum(np.linalg.norm(x, axis=axis, keepdims=True), eps)
    x = x.astype(jnp.float32)
    if not safe_gradient:
        return x / jnp.maximum(jnp.linalg.norm(x, axis=axis, keepdims=True), eps)
    square = jnp.sum(x * x, axis=axis, keepdims=True)
    # The maximum below the root: the root's own gradient at zero is infinite.
    return x / jnp.sqrt(jnp.maximum(square, eps * eps))
