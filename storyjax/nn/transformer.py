"""The pre-norm transformer encoder that the vision encoders and CLIP's text encoder share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.nn.attention import MultiHeadAttention


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the sigmoid approximation of GELU with which OpenAI's CLIP was trained."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu_exact(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns GELU by the error function."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns GELU by the tanh approximation, T5's."""
    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu_exact,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
}


def activation(name: str) -> Callable[[Array], Array]:
    """Returns the activation function of that name.

    Raises:
        StoryjaxError: there is none; the message names the known ones.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise StoryjaxError(f"unknown activation '{name}': use one of {known}.{nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def layer_norm(eps: float, dtype: DTypeLike, name: str | None) -> nn.LayerNorm:
    """Returns a layer norm with float32 statistics and a two-pass variance, which stays exact for large means.

    `name` is None in a `setup`, where the attribute names it.
    """
    return nn.LayerNorm(epsilon=eps, dtype=dtype, use_fast_variance=False, name=name)


class Mlp(nn.Module):
    """Two dense layers with an activation between them; `features` None keeps the input's width."""

    width: int
    activation: str = "gelu"
    features: int | None = None
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b e"]:
        """Returns the output of both layers, at each position by itself."""
        features = self.features or x.shape[-1]
        options: dict[str, Any] = {"use_bias": self.use_bias, "kernel_init": self.kernel_init, "dtype": self.dtype}
        x = activation(self.activation)(nn.Dense(self.width, name="up", **options)(x))
        return nn.Dense(features, name="down", **options)(x)


class EncoderBlock(nn.Module):
    """Self-attention and an MLP, each on a normalised copy of the residual stream."""

    num_heads: int
    mlp_width: int
    activation: str = "gelu"
    qkv_bias: bool = True
    eps: float = 1e-6
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "#b #h #n #n"] | None = None
    ) -> Float[Array, "b n d"]:
        """Returns the states after the block; `mask` is True where a token may attend to another."""
        attention = MultiHeadAttention(
            self.num_heads, qkv_bias=self.qkv_bias, kernel_init=self.kernel_init, dtype=self.dtype, name="attention"
        )
        mlp = Mlp(self.mlp_width, self.activation, kernel_init=self.kernel_init, dtype=self.dtype, name="mlp")
        x = x + attention(layer_norm(self.eps, self.dtype, "attention_norm")(x), mask=mask)
        return x + mlp(layer_norm(self.eps, self.dtype, "mlp_norm")(x))


class Encoder(nn.Module):
    """A stack of `depth` blocks named block_0, block_1 and so on; no norm at the end.

    `remat` recomputes each block in the backward pass instead of storing its activations.
    """

    depth: int
    num_heads: int
    mlp_width: int
    activation: str = "gelu"
    qkv_bias: bool = True
    eps: float = 1e-6
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "#b #h #n #n"] | None = None
    ) -> Float[Array, "b n d"]:
        """Returns the states after the last block; `mask` is True where a token may attend to another."""
        block = nn.remat(EncoderBlock) if self.remat else EncoderBlock
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_width=self.mlp_width,
                activation=self.activation,
                qkv_bias=self.qkv_bias,
                eps=self.eps,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x, mask)
        return x
