"""Multi-head attention, in float32 where it matters.

Masks are boolean with True meaning "may attend". Padding therefore never has to be a large negative number that some
precision rounds, and a query that may attend to nothing gives zeros rather than an average over its padding.
"""

from collections.abc import Callable
from typing import Literal, overload

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float


def attention_weights(
    q: Float[Array, "b q h d"],
    k: Float[Array, "b k h d"],
    mask: Bool[Array, "#b #h #q #k"] | None = None,
    bias: Float[Array, "#b #h #q #k"] | None = None,
    *,
    scale: float,
) -> Float[Array, "b h q k"]:
    """Returns the softmax of `scale * q·k + bias` over the keys that `mask` allows, float32 whatever the inputs are.

    Rows sum to one, except those of queries that may attend to nothing: they are all zero.
    """
    # float32 from here to the end of the softmax: bfloat16 has 8 bits, too few for sums over thousands of keys.
    logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32) * scale
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    if mask is None:
        return jax.nn.softmax(logits, axis=-1)
    # A finite minimum keeps a fully masked row (and its gradient) free of NaN; its uniform weights are then zeroed.
    weights = jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(jnp.float32).min), axis=-1)
    return jnp.where(mask, weights, 0.0)


def dot_product_attention(
    q: Float[Array, "b q h d"],
    k: Float[Array, "b k h d"],
    v: Float[Array, "b k h e"],
    mask: Bool[Array, "#b #h #q #k"] | None = None,
    bias: Float[Array, "#b #h #q #k"] | None = None,
    *,
    scale: float,
) -> Float[Array, "b q h e"]:
    """Returns attention's outputs, holding all weights at once.

    Any function of this signature can take its place in a module.
    """
    weights = attention_weights(q, k, mask, bias, scale=scale)
    return jnp.einsum("bhqk,bkhe->bqhe", weights.astype(v.dtype), v)


class MultiHeadAttention(nn.Module):
    """Projections to queries, keys and values, attention, and a projection back.

    Attributes:
      num_heads: number of heads; must divide `qkv_features`.
      features: width of the output; None for the width of the queries' input.
      qkv_features: total width of the queries over all heads, and of keys and values; None for `features`.
      use_bias: whether the four projections have biases.
      qkv_bias: overrides `use_bias` for the projections to queries, keys and values.
      scale: multiplies the logits; None for 1/sqrt(head width). T5 uses 1.
      query_init, kernel_init, out_init: initialisers of the query, key and value, and output projections; None for
        `kernel_init`.
      attend: the attention itself, for instance one that streams over keys.
      dtype: of the computation; parameters are float32, and so are logits and softmax.
    """

    num_heads: int
    features: int | None = None
    qkv_features: int | None = None
    use_bias: bool = True
    qkv_bias: bool | None = None
    scale: float | None = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    query_init: Initializer | None = None
    out_init: Initializer | None = None
    attend: Callable[..., Array] = dot_product_attention
    dtype: DTypeLike = jnp.float32

    @overload
    def __call__(
        self,
        x_q: Float[Array, "b q d"],
        x_kv: Float[Array, "b k e"] | None = None,
        mask: Bool[Array, "#b #h #q #k"] | None = None,
        bias: Float[Array, "#b #h #q #k"] | None = None,
        return_weights: Literal[False] = False,
    ) -> Float[Array, "b q f"]: ...

    @overload
    def __call__(
        self,
        x_q: Float[Array, "b q d"],
        x_kv: Float[Array, "b k e"] | None = None,
        mask: Bool[Array, "#b #h #q #k"] | None = None,
        bias: Float[Array, "#b #h #q #k"] | None = None,
        *,
        return_weights: Literal[True],
    ) -> tuple[Float[Array, "b q f"], Float[Array, "b h q k"]]: ...

    @nn.compact
    def __call__(
        self,
        x_q: Float[Array, "b q d"],
        x_kv: Float[Array, "b k e"] | None = None,
        mask: Bool[Array, "#b #h #q #k"] | None = None,
        bias: Float[Array, "#b #h #q #k"] | None = None,
        return_weights: bool = False,
    ) -> Float[Array, "b q f"] | tuple[Float[Array, "b q f"], Float[Array, "b h q k"]]:
        """Attends from `x_q` to `x_kv` (None: to itself).

        Args:
            x_q, x_kv: inputs of the queries, and of the keys and values.
            mask: True where a query may attend to a key.
            bias: added to the logits after scaling.
            return_weights: whether to return the float32 weights too; they are computed apart from `attend`, for
                inspection, not for training.

        Returns:
            The output, or the output and the weights.

        Raises:
            ValueError: the heads do not divide the width.
        """
        x_kv = x_q if x_kv is None else x_kv
        features = self.features or x_q.shape[-1]
        inner = self.qkv_features or features
        if inner % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide {inner} features")
        scale = (inner // self.num_heads) ** -0.5 if self.scale is None else self.scale

        def project(name: str, x: Array, init: Initializer) -> Array:
            use_bias = self.use_bias if self.qkv_bias is None else self.qkv_bias
            x = nn.Dense(inner, use_bias=use_bias, kernel_init=init, dtype=self.dtype, name=name)(x)
            return einops.rearrange(x, "b l (h d) -> b l h d", h=self.num_heads)

        q = project("query", x_q, self.query_init or self.kernel_init)
        k = project("key", x_kv, self.kernel_init)
        v = project("value", x_kv, self.kernel_init)
        out = einops.rearrange(self.attend(q, k, v, mask, bias, scale=scale), "b q h d -> b q (h d)")
        out_init = self.out_init or self.kernel_init
        out = nn.Dense(features, use_bias=self.use_bias, kernel_init=out_init, dtype=self.dtype, name="out")(out)
        return (out, attention_weights(q, k, mask, bias, scale=scale)) if return_weights else out
