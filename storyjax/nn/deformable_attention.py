"""Multi-scale deformable attention (Zhu et al. 2021) as gathers that XLA does well: no native operation to compile.

A sample between four pixels is one gather, not four: the four corners of every position are first packed side by side
into channels. One (image, head) is done at a time and, in it, one chunk of queries, so that what was gathered is
weighted and summed while it is still in a cache, and so that memory does not grow with queries times samples. The
backward pass gathers again rather than keep anything; the gradient of the values is a scatter-add of packed rows.
Where a mesh cuts the batch, each device loops over its own images (data_parallel.py).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from storyjax.nn.data_parallel import by_device

# (height, width) of each level of a feature pyramid, the finest first.
Shapes = tuple[tuple[int, int], ...]

# Floats that are gathered at a time, 4 MiB of float32: a core's share of the last cache. Measured on two
# cores, smaller chunks lose more to their own overhead than a nearer cache gives back.
_CHUNK_FLOATS = 1 << 20


def level_starts(shapes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Returns the index at which each level begins among the flattened values."""
    return tuple(int(start) for start in np.cumsum([0] + [y * x for y, x in shapes])[:-1])


def deformable_attention(
    values: Float[Array, "b n h d"],
    locations: Float[Array, "b q h l p 2"],
    weights: Float[Array, "b q h l p"],
    shapes: Shapes,
) -> Float[Array, "b q hd"]:
    """Returns weighted sums of bilinear samples, over all levels and points of each query.

    Args:
        values: the levels' pixels one after another, n of them, row by row.
        locations: (x, y) normalised to the image: 0 is the left (upper) edge of the first pixel, 1 the right (lower)
            edge of the last. Outside it the values are zero.
        weights: of the samples; commonly a softmax over levels and points.
        shapes: of the levels.

    Returns:
        The heads' results side by side, in the type of `values`; sums are float32.

    Raises:
        ValueError: the number of values is not that of the levels' pixels.
    """
    if values.shape[1] != sum(y * x for y, x in shapes):
        raise ValueError(f"{values.shape[1]} values are not those of levels of {shapes}")
    index, corner_weights = _corners(locations, weights, shapes)
    sampled = _sample(
        values,
        einops.rearrange(index, "b q h l p -> b q h (l p)"),
        einops.rearrange(corner_weights, "b q h l p c -> b q h (l p) c"),
        shapes,
    )
    return einops.rearrange(sampled, "b q h d -> b q (h d)")


def _corners(
    locations: Float[Array, "b q h l p 2"], weights: Float[Array, "b q h l p"], shapes: Shapes
) -> tuple[Int[Array, "b q h l p"], Float[Array, "b q h l p 4"]]:
    """Rows of the packed table, and the weight of each of the four corners there; float32 whatever the inputs are.

    A position is the pixel to its upper left, from -1 on: the packed table has one row and one column more than the
    level.
    """
    size = np.array([[x, y] for y, x in shapes], np.float32)[None, None, None, :, None]
    starts = np.cumsum([0] + [(y + 1) * (x + 1) for y, x in shapes])[:-1].astype(np.int32)
    place = locations.astype(jnp.float32) * size - 0.5
    corner = jnp.floor(lax.stop_gradient(place))
    x, y = jnp.moveaxis(place - corner, -1, 0)
    inside = jnp.all((corner >= -1) & (corner < size), axis=-1)
    weights = jnp.where(inside, weights.astype(jnp.float32), 0.0)
    packed = jnp.clip(corner + 1, 0, size).astype(jnp.int32)
    columns = (size[..., 0] + 1).astype(np.int32)
    index = packed[..., 1] * columns + packed[..., 0] + starts[None, None, None, :, None]
    parts = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
    return index, jnp.stack([part * weights for part in parts], axis=-1)


def _pack(values: Float[Array, "n d"], shapes: Shapes) -> Float[Array, "m packed"]:
    """Each position's four corners side by side; every level is padded with zeros."""
    rows = []
    for (height, width), start in zip(shapes, level_starts(shapes), strict=True):
        level = values[start : start + height * width].reshape(height, width, -1)
        level = jnp.pad(level, ((1, 1), (1, 1), (0, 0)))
        packed = [level[:-1, :-1], level[:-1, 1:], level[1:, :-1], level[1:, 1:]]
        rows.append(jnp.concatenate(packed, axis=-1).reshape((height + 1) * (width + 1), -1))
    return jnp.concatenate(rows)


def _unpack(table: Float[Array, "m packed"], shapes: Shapes) -> Float[Array, "n d"]:
    """The transpose of `_pack`: every pixel gathers from the four positions whose corner it is."""
    levels, start = [], 0
    for height, width in shapes:
        level = table[start : start + (height + 1) * (width + 1)].reshape(height + 1, width + 1, 4, -1)
        start += (height + 1) * (width + 1)
        total = level[1:, 1:, 0] + level[1:, :-1, 1] + level[:-1, 1:, 2] + level[:-1, :-1, 3]
        levels.append(total.reshape(height * width, -1))
    return jnp.concatenate(levels)


def _chunked(array: Array, chunk: int) -> Array:
    """(q, ...) in chunks of queries, the last filled up with zeros: row 0 with weight 0."""
    padding = [(0, -array.shape[0] % chunk)] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(-1, chunk, *array.shape[1:])


def _chunk_size(queries: int, samples: int, width: int) -> int:
    return max(1, min(queries, _CHUNK_FLOATS // (samples * 4 * width)))


def _gather(table: Float[Array, "m packed"], index: Int[Array, "c k"]) -> Float[Array, "c k4 d"]:
    # _corners keeps to the table, so XLA need not check the bounds.
    rows = table.at[index.reshape(-1)].get(mode="promise_in_bounds")
    return rows.reshape(index.shape[0], index.shape[1] * 4, -1)


def _each_head(one: Callable[..., Any], *arrays: Array) -> Any:
    """One (image, head) after another, of (b, n, h, ...); each device those of its own images."""

    def local(*arrays: Array) -> Any:
        batch = arrays[0].shape[0]
        by_head = tuple(einops.rearrange(array, "b n h ... -> (b h) n ...") for array in arrays)
        made = lax.map(lambda head: one(*head), by_head)
        return jax.tree.map(lambda leaf: einops.rearrange(leaf, "(b h) n ... -> b n h ...", b=batch), made)

    return by_device(local, *arrays)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _sample(
    values: Float[Array, "b n h d"], index: Int[Array, "b q h k"], weights: Float[Array, "b q h k 4"], shapes: Shapes
) -> Float[Array, "b q h d"]:
    return _each_head(functools.partial(_sample_head, shapes), values, index, weights)


def _sample_head(
    shapes: Shapes, values: Float[Array, "n d"], index: Int[Array, "q k"], weights: Float[Array, "q k 4"]
) -> Float[Array, "q d"]:
    """One head of one image."""
    table = _pack(values, shapes)
    chunk = _chunk_size(index.shape[0], index.shape[1], values.shape[1])

    def weigh(part: tuple[Array, Array]) -> Array:
        rows, weight = part
        weight = einops.rearrange(weight, "c k f -> c (k f)").astype(values.dtype)
        return jnp.einsum("ck,ckd->cd", weight, _gather(table, rows), preferred_element_type=jnp.float32)

    out = lax.map(weigh, (_chunked(index, chunk), _chunked(weights, chunk)))
    return out.reshape(-1, values.shape[1])[: index.shape[0]].astype(values.dtype)


def _sample_forward(values: Array, index: Array, weights: Array, shapes: Shapes) -> tuple[Array, Any]:
    return _sample(values, index, weights, shapes), (values, index, weights)


def _sample_backward(shapes: Shapes, kept: Any, gradient: Float[Array, "b q h d"]) -> tuple[Array, None, Array]:
    values, weights = _each_head(functools.partial(_sample_head_backward, shapes), *kept, gradient)
    return values, None, weights


def _sample_head_backward(
    shapes: Shapes,
    values: Float[Array, "n d"],
    index: Int[Array, "q k"],
    weights: Float[Array, "q k 4"],
    gradient: Float[Array, "q d"],
) -> tuple[Float[Array, "n d"], Float[Array, "q k 4"]]:
    """The gradients of values and weights, of one head of one image."""
    table = _pack(values, shapes)
    chunk = _chunk_size(index.shape[0], index.shape[1], values.shape[1])

    def step(table_gradient: Array, part: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        rows, weight, out = part
        towards_weight = jnp.einsum(
            "cd,ckd->ck", out, _gather(table, rows), preferred_element_type=jnp.float32
        ).reshape(weight.shape)
        spread = einops.rearrange(
            weight[..., None] * out[:, None, None, :].astype(jnp.float32), "c k f d -> (c k) (f d)"
        )
        return table_gradient.at[rows.reshape(-1)].add(spread, mode="promise_in_bounds"), towards_weight

    # Summed in float32 whatever the values are: a pixel may be sampled thousands of times.
    parts = (_chunked(index, chunk), _chunked(weights, chunk), _chunked(gradient, chunk))
    table_gradient, towards_weights = lax.scan(step, jnp.zeros(table.shape, jnp.float32), parts)
    towards_weights = towards_weights.reshape(-1, *weights.shape[1:])[: weights.shape[0]]
    return _unpack(table_gradient, shapes).astype(values.dtype), towards_weights


_sample.defvjp(_sample_forward, _sample_backward)
