"""Attention from a few queries to any number of keys, which are never all there at once.

Keys and values are projected from what is stored of them chunk by chunk, inside the loop, and a running maximum and sum
make the softmax exact. The backward pass recomputes every chunk from the same store and the saved log-sum of each
row: beside the store, memory is that of one chunk, however many there are. Where a mesh shards the keys along an axis,
every device loops over its own part and the parts are merged once at the end, forward and backward: the exact
long-context attention that the thesis names as its first extension (§7.2), for queries few enough to be replicated.

Shapes: s parts of a video that may lie on different devices, b videos, r rows (queries), h heads, d head width, k keys
of a chunk, g groups of rows, f frames of a chunk.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

# Not minus infinity: the difference of two of these is zero, not NaN.
_LOWEST = float(jnp.finfo(jnp.float32).min)
# (params, store, index of the chunk) -> ((keys, values), mask)
KeyValue = Callable[[Any, Any, Int[Array, ""]], tuple[tuple[Array, Array], Array]]


@dataclass(frozen=True)
class KeyStream:
    """What keys and values are made of, by chunks.

    Attributes:
        count: number of chunks.
        embed: (params, store, index) -> (inputs of the key and value projections (s b k e), mask (s b k), True where
            there is a key).
        params: what `embed` needs and is differentiated by.
        store: the arrays that chunks are read from. They are constants: a gradient with respect to one is an error.
        specs: for each array of `store`, how the axes below shard it.
        batch_axes, sequence_axis: mesh axes of videos and of the parts of a video; without such a mesh, not used.
    """

    count: int
    embed: Callable[[Any, Any, Int[Array, ""]], tuple[Array, Array]]
    params: Any
    store: Any
    specs: Any = None
    batch_axes: tuple[str, ...] = ()
    sequence_axis: str | None = None

    @property
    def axes(self) -> "Axes | None":
        """The mesh axes to shard the work over, None on one device."""
        mesh = jax.sharding.get_abstract_mesh()
        if self.sequence_axis is None or self.sequence_axis not in mesh.shape or mesh.size == 1:
            return None
        return Axes(self.batch_axes, self.sequence_axis)


class Axes(NamedTuple):
    """Names of mesh axes: of videos, and of the parts of a video."""

    batch: tuple[str, ...]
    sequence: str


class AttentionState(NamedTuple):
    """What `attention_per_group` needs to recompute the weights of a `StreamingAttention`.

    Attributes:
        q: the queries.
        log_sum: of each row's exponentiated logits; zero for rows that may attend to nothing.
        key: parameters of the key projection.
    """

    q: Float[Array, "b r h d"]
    log_sum: Float[Array, "b h r"]
    key: Any


class StreamingAttention(nn.Module):
    """A `storyjax.nn.attention.MultiHeadAttention` to a stream of keys.

    Its parameters are those of that module, under the same names; that module initialises them.

    Attributes:
      num_heads, features, dtype: as there.
    """

    num_heads: int
    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_q: Float[Array, "b r d"], stream: KeyStream) -> tuple[Float[Array, "b r f"], AttentionState]:
        """Returns the output, and the state that each row's attention weights follow from."""
        q = nn.Dense(self.features, dtype=self.dtype, name="query")(x_q)
        q = einops.rearrange(q, "b r (h d) -> b r h d", h=self.num_heads)
        own = {name: self.variables["params"][name] for name in ("key", "value")}

        def key_value(params: Any, store: Any, index: Int[Array, ""]) -> tuple[tuple[Array, Array], Array]:
            x, mask = stream.embed(params["stream"], store, index)
            return (self._project(params["key"], x), self._project(params["value"], x)), mask

        scale = (self.features // self.num_heads) ** -0.5
        params = own | {"stream": stream.params}
        heads, log_sum = stream_attention(
            key_value, stream.count, scale, stream.axes, _Specs(stream.specs), params, q, stream.store
        )
        out = nn.Dense(self.features, dtype=self.dtype, name="out")(einops.rearrange(heads, "b r h d -> b r (h d)"))
        return out, AttentionState(q, log_sum, own["key"])

    def _project(self, params: Any, x: Array) -> Float[Array, "s b k h d"]:
        return project(params, x, self.features, self.num_heads, self.dtype)


def project(params: Any, x: Array, features: int, heads: int, dtype: DTypeLike) -> Float[Array, "s b k h d"]:
    """Returns a projection of `MultiHeadAttention` by its parameters; outside of the module, for use in a loop."""
    projected: Any = nn.Dense(features, dtype=dtype, parent=None).apply({"params": params}, x)
    return einops.rearrange(projected, "s b k (h d) -> s b k h d", h=heads)


@dataclass(frozen=True, eq=False)
class _Specs:
    """Partition specs as one static argument, whatever tree they are."""

    tree: Any


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3, 4))
def stream_attention(
    key_value: KeyValue, count: int, scale: float, axes: Axes | None, specs: _Specs, params: Any, q: Array, store: Any
) -> tuple[Float[Array, "b r h d"], Float[Array, "b h r"]]:
    """Returns attention over `count` chunks and the log-sum of each row; differentiable in `params` and `q`.

    Equal to `storyjax.nn.attention.dot_product_attention` over all keys at once, up to the order of summation; a row
    that may attend to nothing gives zeros.
    """
    return _forward(key_value, count, scale, axes, specs, params, q, store)


def _logits(q: Array, k: Array, mask: Array, scale: float) -> Float[Array, "s b h r k"]:
    # float32 from here to the end of the softmax, as in attention_weights.
    logits = jnp.einsum("brhd,sbkhd->sbhrk", q, k, preferred_element_type=jnp.float32) * scale
    return jnp.where(mask[:, :, None, None], logits, _LOWEST)


def _sharded(local: Callable[..., Any], axes: Axes | None, in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    if axes is None:
        return local
    return jax.shard_map(local, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _forward(
    key_value: KeyValue, count: int, scale: float, axes: Axes | None, specs: _Specs, params: Any, q: Array, store: Any
) -> tuple[Array, Array]:
    def local(params: Any, q: Array, store: Any) -> tuple[Array, Array]:
        def step(state: tuple[Array, Array, Array], index: Array) -> tuple[tuple[Array, Array, Array], None]:
            highest, total, weighted = state
            (k, v), mask = key_value(params, store, index)
            logits = _logits(q, k, mask, scale)
            higher = jnp.maximum(highest, jnp.max(logits, axis=-1))
            weights = jnp.where(mask[:, :, None, None], jnp.exp(logits - higher[..., None]), 0.0)
            shrink = jnp.exp(highest - higher)
            total = total * shrink + jnp.sum(weights, axis=-1)
            update = jnp.einsum("sbhrk,sbkhd->sbhrd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
            return (higher, total, weighted * shrink[..., None] + update), None

        (k, v), _ = jax.eval_shape(key_value, params, store, jnp.zeros((), jnp.int32))
        rows = (*k.shape[:2], k.shape[3], q.shape[1])
        start = (jnp.full(rows, _LOWEST), jnp.zeros(rows), jnp.zeros((*rows, v.shape[-1])))
        (highest, total, weighted), _ = jax.lax.scan(step, start, jnp.arange(count))
        # Each part has its own maximum; all are rescaled to the highest before they are summed.
        top = jnp.max(highest, axis=0)
        top = top if axes is None else jax.lax.pmax(top, axes.sequence)
        shrink = jnp.exp(highest - top[None])
        total, weighted = jnp.sum(total * shrink, axis=0), jnp.sum(weighted * shrink[..., None], axis=0)
        if axes is not None:
            total, weighted = jax.lax.psum((total, weighted), axes.sequence)
        attends = total > 0
        out = weighted / jnp.where(attends, total, 1.0)[..., None]
        log_sum = jnp.where(attends, top + jnp.log(jnp.where(attends, total, 1.0)), 0.0)
        return einops.rearrange(out, "b h r d -> b r h d").astype(v.dtype), log_sum

    batch = PartitionSpec(axes.batch) if axes else None
    return _sharded(local, axes, (PartitionSpec(), batch, specs.tree), (batch, batch))(params, q, store)


def _forward_and_residuals(
    key_value: KeyValue, count: int, scale: float, axes: Axes | None, specs: _Specs, params: Any, q: Any, store: Any
) -> tuple[tuple[Array, Array], Any]:
    if any(leaf.perturbed for leaf in jax.tree.leaves(store, is_leaf=lambda leaf: hasattr(leaf, "perturbed"))):
        raise ValueError("the store of a stream is constant: stop_gradient what it is made of")
    params, q, store = jax.tree.map(
        lambda leaf: leaf.value, (params, q, store), is_leaf=lambda leaf: hasattr(leaf, "perturbed")
    )
    out, log_sum = _forward(key_value, count, scale, axes, specs, params, q, store)
    return (out, log_sum), (params, q, store, out, log_sum)


def _backward(
    key_value: KeyValue, count: int, scale: float, axes: Axes | None, specs: _Specs, residuals: Any, cotangents: Any
) -> tuple[Any, Array, Any]:
    params, q, store, out, log_sum = residuals
    d_out, d_log_sum = (
        jnp.zeros(cotangent.shape, cotangent.dtype) if _is_zero(cotangent) else cotangent for cotangent in cotangents
    )

    def local(
        params: Any, q: Array, store: Any, out: Array, log_sum: Array, d_out: Array, d_log_sum: Array
    ) -> tuple[Any, Array]:
        # float32, as the sums of the softmax's gradient are.
        delta = jnp.einsum("brhd,brhd->bhr", out.astype(jnp.float32), d_out.astype(jnp.float32)) - d_log_sum

        def step(state: tuple[Any, Array], index: Array) -> tuple[tuple[Any, Array], None]:
            d_params, d_q = state
            (k, v), pull, mask = jax.vjp(lambda params: key_value(params, store, index), params, has_aux=True)
            weights = jnp.exp(_logits(q, k, mask, scale) - log_sum[None, ..., None])
            weights = jnp.where(mask[:, :, None, None], weights, 0.0)
            d_v = jnp.einsum("sbhrk,brhd->sbkhd", weights.astype(v.dtype), d_out.astype(v.dtype))
            d_weights = jnp.einsum("brhd,sbkhd->sbhrk", d_out.astype(v.dtype), v, preferred_element_type=jnp.float32)
            d_logits = (weights * (d_weights - delta[None, ..., None]) * scale).astype(k.dtype)
            d_k = jnp.einsum("sbhrk,brhd->sbkhd", d_logits, q)
            d_q = d_q + jnp.einsum("sbhrk,sbkhd->brhd", d_logits, k, preferred_element_type=jnp.float32)
            return (jax.tree.map(jnp.add, d_params, pull((d_k, d_v))[0]), d_q), None

        start = (jax.tree.map(jnp.zeros_like, params), jnp.zeros(q.shape, jnp.float32))
        (d_params, d_q), _ = jax.lax.scan(step, start, jnp.arange(count))
        if axes is not None:
            d_params = jax.lax.psum(d_params, (*axes.batch, axes.sequence))
            d_q = jax.lax.psum(d_q, axes.sequence)
        return d_params, d_q.astype(q.dtype)

    whole, batch = PartitionSpec(), PartitionSpec(axes.batch) if axes else None
    spread = _sharded(local, axes, (whole, batch, specs.tree, batch, batch, batch, batch), (whole, batch))
    return (*spread(params, q, store, out, log_sum, d_out, d_log_sum), None)


def _is_zero(cotangent: Any) -> bool:
    return isinstance(cotangent, jax.custom_derivatives.SymbolicZero)


stream_attention.defvjp(_forward_and_residuals, _backward, symbolic_zeros=True)


def attention_per_group(
    stream: KeyStream,
    state: AttentionState,
    row_weights: Float[Array, "b g r"],
    frame_of: Int[Any, " k"],
    frames: int,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "c s b g f"]:
    """Returns the attention of groups of rows to each frame of each chunk: the mean over heads, summed over its keys.

    It is a second pass over the stream, with the log-sums of the first; no chunk's weights outlive it. Differentiable.

    Args:
        stream: the keys.
        state: of the attention's first pass.
        row_weights: rows r are g groups of r/g each, in order; this weighs the rows of a group, "b g r/g".
        frame_of: the frame of each key of a chunk, 0-based, the same in all chunks.
        frames: of a chunk.
    """
    heads, width = state.q.shape[2:]
    at_frame = jax.nn.one_hot(frame_of, frames, dtype=jnp.float32)

    @jax.checkpoint
    def one(index: Int[Array, ""], params: Any, state: AttentionState, row_weights: Array) -> Float[Array, "s b g f"]:
        x, mask = stream.embed(params, stream.store, index)
        k = project(state.key, x, heads * width, heads, dtype)
        logits = _logits(state.q, k, mask, width**-0.5)
        weights = jnp.where(mask[:, :, None, None], jnp.exp(logits - state.log_sum[None, ..., None]), 0.0)
        weights = einops.rearrange(jnp.mean(weights, axis=2), "s b (g r) k -> s b g r k", g=row_weights.shape[1])
        return jnp.einsum("sbgrk,bgr,kf->sbgf", weights, row_weights, at_frame)

    return jax.lax.map(lambda index: one(index, stream.params, state, row_weights), jnp.arange(stream.count))
