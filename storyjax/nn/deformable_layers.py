"""Layers of Deformable DETR (Zhu et al. 2021): attention to a feature pyramid, encoder, decoder, box head.

A reference is a box (cx, cy, w, h) normalised to the image. Where a query has a position but no size, `sized` is false:
its samples are then offset by pixels of each level, not by fractions of the box, and its width and height serve only as
what the box head starts from.
"""

import math
from collections.abc import Sequence
from typing import Any

import einops
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from storyjax.nn.attention import dot_product_attention
from storyjax.nn.deformable_attention import Shapes, deformable_attention
from storyjax.nn.transformer import layer_norm


@struct.dataclass
class Pyramid:
    """The flattened levels of a feature pyramid.

    Attributes:
      tokens: (b, n, d), the finest level first, row by row.
      position: (b, n, d), embeddings of each token's position and level.
      mask: (b, n) bool, which tokens show the image rather than padding.
      valid: (b, l, 2), the fraction of each level's width and height that the image fills.
      shapes: (height, width) of each level.
    """

    tokens: Any
    position: Any
    mask: Any
    valid: Any
    shapes: Shapes = struct.field(pytree_node=False)


def sine_embedding(coordinates: Float[Array, "*b k"], width: int) -> Float[Array, "*b kw"]:
    """Returns each coordinate as `width` sines and cosines in turns, all of them side by side.

    Coordinates are in radians: 2 π is the whole image.
    """
    frequency = 10000.0 ** (2 * (np.arange(width) // 2) / width)
    angle = coordinates[..., None].astype(jnp.float32) / frequency.astype(np.float32).reshape(
        *(1,) * coordinates.ndim, width
    )
    waves = jnp.stack([jnp.sin(angle[..., 0::2]), jnp.cos(angle[..., 1::2])], axis=-1)
    return einops.rearrange(waves, "... k half two -> ... (k half two)")


def _offset_directions(heads: int, levels: int, points: int) -> Initializer:
    """An initialiser of offsets: each head starts with a direction of its own, a pixel further with each point."""

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        del key, out_sharding
        angle = np.arange(heads) * (2.0 * math.pi / heads)
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        direction /= np.abs(direction).max(axis=-1, keepdims=True)
        steps = np.arange(1, points + 1)[None, None, :, None]
        grid = np.broadcast_to(direction[:, None, None, :] * steps, (heads, levels, points, 2))
        return jnp.asarray(grid.reshape(tuple(shape)), dtype)

    return init


class DeformableAttention(nn.Module):
    """Attention from queries to a few positions of every level around their references."""

    heads: int
    points: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "b q d"],
        centre: Float[Array, "b q l 2"],
        unit: Float[Array, "b q l 2"],
        memory: Float[Array, "b n d"],
        mask: Bool[Array, "b n"],
        shapes: Shapes,
    ) -> Float[Array, "b q d"]:
        """Returns the attended values of each query.

        Args:
          queries: with their position embedding.
          centre: (x, y) of the reference on each level, normalised to the padded level.
          unit: the length of an offset of one, on the same scale.
          memory: the tokens of all levels.
          mask: which tokens are not padding.
          shapes: (height, width) of each level.

        Raises:
          ValueError: the heads do not divide the width.
        """
        width, levels = queries.shape[-1], len(shapes)
        if width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {width} features")
        zeros, xavier = nn.initializers.zeros_init(), nn.initializers.xavier_uniform()
        values = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="value")(memory)
        values = jnp.where(mask[..., None], values, 0)
        samples = self.heads * levels * self.points
        directions = _offset_directions(self.heads, levels, self.points)
        # float32 for positions: a bfloat16 pixel coordinate has steps of a pixel from 128 on.
        offsets = nn.Dense(2 * samples, kernel_init=zeros, bias_init=directions, dtype=jnp.float32, name="offsets")
        sizes = {"h": self.heads, "l": levels, "p": self.points}
        offset = einops.rearrange(offsets(queries), "b q (h l p two) -> b q h l p two", **sizes, two=2)
        locations = centre[:, :, None, :, None] + offset * unit[:, :, None, :, None]
        logits = nn.Dense(samples, kernel_init=zeros, dtype=jnp.float32, name="weights")(queries)
        weights = jax.nn.softmax(einops.rearrange(logits, "b q (h lp) -> b q h lp", h=self.heads), axis=-1)
        weights = einops.rearrange(weights, "b q h (l p) -> b q h l p", l=levels)
        values = einops.rearrange(values, "b n (h d) -> b n h d", h=self.heads)
        attended = deformable_attention(values, locations, weights, shapes)
        return nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="out")(attended)


class PositionedAttention(nn.Module):
    """Self-attention in which the position is added to queries and keys, but not to values."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b q d"], position: Float[Array, "b q d"], mask: Bool[Array, "#b 1 #q q"] | None
    ) -> Float[Array, "b q d"]:
        """Returns the attended states; `mask` is True where a query may attend to another."""
        width, xavier = x.shape[-1], nn.initializers.xavier_uniform()

        def project(name: str, inputs: Array) -> Array:
            projected = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name=name)(inputs)
            return einops.rearrange(projected, "b q (h d) -> b q h d", h=self.heads)

        q, k, v = project("query", x + position), project("key", x + position), project("value", x)
        out = dot_product_attention(q, k, v, mask, scale=(width // self.heads) ** -0.5)
        out = einops.rearrange(out, "b q h d -> b q (h d)")
        return nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="out")(out)


class FeedForward(nn.Module):
    """Two dense layers, dropout, residual and norm."""

    width: int
    dropout: float
    eps: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b q d"], deterministic: bool) -> Float[Array, "b q d"]:
        """Returns the states after the layer; dropout is applied unless `deterministic`."""
        xavier = nn.initializers.xavier_uniform()
        h = nn.relu(nn.Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="up")(x))
        h = nn.Dropout(self.dropout)(h, deterministic=deterministic)
        h = nn.Dense(x.shape[-1], kernel_init=xavier, dtype=self.dtype, name="down")(h)
        h = nn.Dropout(self.dropout)(h, deterministic=deterministic)
        return layer_norm(self.eps, self.dtype, "norm")(x + h)


class EncoderLayer(nn.Module):
    """Every token attends around its own position on all levels."""

    heads: int
    points: int
    mlp_width: int
    dropout: float
    eps: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], pyramid: Pyramid, centre: Float[Array, "b n l 2"], deterministic: bool
    ) -> Float[Array, "b n d"]:
        """Returns the tokens after the layer.

        Args:
          x: tokens of the pyramid.
          pyramid: their positions, mask and shapes.
          centre: (x, y) of each token on each level, normalised to the padded level.
          deterministic: whether dropout is left out.
        """
        unit = jnp.broadcast_to(pixel_units(pyramid.shapes), centre.shape)
        attention = DeformableAttention(self.heads, self.points, self.dtype, name="attention")
        h = attention(x + pyramid.position, centre, unit, x, pyramid.mask, pyramid.shapes)
        h = nn.Dropout(self.dropout)(h, deterministic=deterministic)
        x = layer_norm(self.eps, self.dtype, "attention_norm")(x + h)
        return FeedForward(self.mlp_width, self.dropout, self.eps, self.dtype, name="mlp")(x, deterministic)


class DecoderLayer(nn.Module):
    """Queries attend to each other, then to the pyramid around their references."""

    heads: int
    points: int
    mlp_width: int
    dropout: float
    eps: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b q d"],
        position: Float[Array, "b q d"],
        reference: Float[Array, "b q 4"],
        sized: Bool[Array, "b q"],
        memory: Float[Array, "b n d"],
        pyramid: Pyramid,
        mask: Bool[Array, "#b 1 #q q"] | None,
        deterministic: bool,
    ) -> Float[Array, "b q d"]:
        """Returns the queries' states after the layer.

        Args:
          x, position: states of the queries, and the embeddings of their positions.
          reference, sized: see the module.
          memory: tokens of the encoder.
          pyramid: their mask and shapes.
          mask: which queries may attend to which; None for all.
          deterministic: whether dropout is left out.
        """
        h = PositionedAttention(self.heads, self.dtype, name="self_attention")(x, position, mask)
        h = nn.Dropout(self.dropout)(h, deterministic=deterministic)
        x = layer_norm(self.eps, self.dtype, "self_norm")(x + h)

        valid = pyramid.valid[:, None]  # (b, 1, l, 2): references are of the image, samples of the padded level
        centre = reference[:, :, None, :2] * valid
        of_box = reference[:, :, None, 2:] * valid * (0.5 / self.points)
        unit = jnp.where(sized[:, :, None, None], of_box, pixel_units(pyramid.shapes))
        cross = DeformableAttention(self.heads, self.points, self.dtype, name="cross_attention")
        h = cross(x + position, centre, unit, memory, pyramid.mask, pyramid.shapes)
        h = nn.Dropout(self.dropout)(h, deterministic=deterministic)
        x = layer_norm(self.eps, self.dtype, "cross_norm")(x + h)
        return FeedForward(self.mlp_width, self.dropout, self.eps, self.dtype, name="mlp")(x, deterministic)


def pixel_units(shapes: Shapes) -> Float[Array, "1 1 l 2"]:
    """Returns the size of a pixel of each level as a fraction of its width and height."""
    return jnp.array([[1.0 / x, 1.0 / y] for y, x in shapes], jnp.float32)[None, None]


class Head(nn.Module):
    """A perceptron of three layers: of boxes (Carion et al. 2020), and of appearances (§2.6.1).

    `size_bias` is the initial bias of the last two outputs, where they are the logits of a width and a height.
    """

    width: int
    features: int
    last_init: Initializer = nn.initializers.zeros_init()
    size_bias: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b f"]:
        """Returns the outputs in float32, whatever the layers before the last compute in."""
        xavier = nn.initializers.xavier_uniform()
        x = nn.relu(nn.Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="layer_0")(x))
        x = nn.relu(nn.Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="layer_1")(x))

        def bias(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
            del key
            return jnp.zeros(shape, dtype).at[2:].set(self.size_bias) if self.size_bias else jnp.zeros(shape, dtype)

        last = nn.Dense(self.features, kernel_init=self.last_init, bias_init=bias, dtype=jnp.float32, name="layer_2")
        return last(x)
