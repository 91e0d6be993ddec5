"""SigLIP: an image and a text encoder trained with a sigmoid for each pair (Zhai et al. 2023).

It differs from CLIP in three ways: the image encoder has no class token (a learnt probe attends to all patches
instead), the text encoder is not causal (and is read at its last token, padding included), and similarities have a
bias, because each is the logit of a binary decision.
"""

import dataclasses

import einops
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from storyjax.core.arrays import unit_norm
from storyjax.models.clip import splice
from storyjax.models.vit import VIT_SO400M14_SIGLIP, ViT, ViTConfig
from storyjax.nn.attention import MultiHeadAttention
from storyjax.nn.transformer import Encoder, Mlp, layer_norm


@dataclasses.dataclass(frozen=True)
class SiglipTextConfig:
    """The shape of a SigLIP text encoder. Texts are padded to `max_length` with `pad_id`, as they were in training."""

    vocab_size: int = 32000
    max_length: int = 64
    width: int = 1152
    depth: int = 27
    heads: int = 16
    mlp_width: int = 4304
    activation: str = "gelu_tanh"
    eps: float = 1e-6
    pad_id: int = 1
    init_std: float = 0.02


@dataclasses.dataclass(frozen=True)
class SiglipConfig:
    """Both encoders, whose common space is as wide as the image encoder, and the logits' initial scale and bias.

    `keep_aspect` as of a CLIP (`ClipConfig`); published SigLIPs take images without their aspect ratio.
    """

    vision: ViTConfig = VIT_SO400M14_SIGLIP
    text: SiglipTextConfig = SiglipTextConfig()
    logit_scale_init: float = 2.3026  # the logarithm of 10
    logit_bias_init: float = -10.0
    keep_aspect: bool = False

    @property
    def projection_dim(self) -> int:
        """The width of the common space."""
        return self.vision.width


SIGLIP_SO400M14 = SiglipConfig()


class AttentionPool(nn.Module):
    """One vector for a set of tokens: a learnt probe attends to them, and a residual MLP follows."""

    num_heads: int
    mlp_width: int
    activation: str = "gelu_tanh"
    eps: float = 1e-6
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "b n d"]) -> Float[Array, "b d"]:
        """Returns the pooled vector of each set."""
        probe = self.param("probe", self.kernel_init, (1, tokens.shape[-1])).astype(self.dtype)
        query = einops.repeat(probe, "q d -> b q d", b=tokens.shape[0])
        attention = MultiHeadAttention(self.num_heads, kernel_init=self.kernel_init, dtype=self.dtype, name="attention")
        x = attention(query, tokens)
        mlp = Mlp(self.mlp_width, self.activation, kernel_init=self.kernel_init, dtype=self.dtype, name="mlp")
        return (x + mlp(layer_norm(self.eps, self.dtype, "norm")(x)))[:, 0]


class SiglipText(nn.Module):
    """SigLIP's text transformer, in which every token attends to every other, padding too."""

    config: SiglipTextConfig
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "b l"],
        continuous: Float[Array, "b c w"] | None = None,
        slots: Int[Array, "b l"] | None = None,
    ) -> tuple[Float[Array, "b d"], Float[Array, "b l d"]]:
        """Returns the state of the last token, and the states of all tokens, both after the last norm.

        Published encoders expect texts that are padded to `config.max_length`; `continuous` and `slots` are as in
        `clip.ClipText`. Raises ValueError for longer texts, or one of `continuous` and `slots` without the other.
        """
        cfg = self.config
        length = ids.shape[1]
        if length > cfg.max_length:
            raise ValueError(f"{length} tokens are more than this text encoder's {cfg.max_length}")
        init = nn.initializers.truncated_normal(cfg.init_std)
        x = nn.Embed(cfg.vocab_size, cfg.width, embedding_init=init, dtype=self.dtype, name="token")(ids)
        if continuous is not None and slots is not None:
            x = splice(x, continuous, slots)
        elif continuous is not None or slots is not None:
            raise ValueError("continuous and slots belong together: give both or neither")
        x = x + self.param("position", init, (1, cfg.max_length, cfg.width))[:, :length].astype(self.dtype)
        x = Encoder(
            depth=cfg.depth,
            num_heads=cfg.heads,
            mlp_width=cfg.mlp_width,
            activation=cfg.activation,
            eps=cfg.eps,
            kernel_init=init,
            remat=self.remat,
            dtype=self.dtype,
            name="encoder",
        )(x)
        x = layer_norm(cfg.eps, self.dtype, "norm")(x)
        return x[:, -1], x


class Siglip(nn.Module):
    """Both encoders with their heads."""

    config: SiglipConfig
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        init = nn.initializers.truncated_normal(cfg.vision.init_std)
        self.vision = ViT(cfg.vision, self.remat, self.dtype)
        self.vision_head = AttentionPool(
            num_heads=cfg.vision.heads,
            mlp_width=cfg.vision.mlp_width,
            activation=cfg.vision.activation,
            eps=cfg.vision.eps,
            kernel_init=init,
            dtype=self.dtype,
        )
        self.text = SiglipText(cfg.text, self.remat, self.dtype)
        self.text_head = nn.Dense(cfg.vision.width, kernel_init=init, dtype=self.dtype)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(cfg.logit_scale_init), (1,))
        self.logit_bias = self.param("logit_bias", nn.initializers.constant(cfg.logit_bias_init), (1,))

    def image_tokens(self, images: Float[Array, "b y x 3"]) -> Float[Array, "b n d"]:
        """Returns all patch tokens after the last norm, before the head. Images are normalised by 0.5 and 0.5."""
        return self.vision(images)

    def embed_images(self, images: Float[Array, "b y x 3"]) -> Float[Array, "b d"]:
        """Returns image embeddings of unit length, float32."""
        return unit_norm(self.vision_head(self.vision(images)))

    def embed_texts(
        self,
        ids: Int[Array, "b l"],
        continuous: Float[Array, "b c w"] | None = None,
        slots: Int[Array, "b l"] | None = None,
    ) -> Float[Array, "b d"]:
        """Returns text embeddings of unit length, float32; `continuous` and `slots` as in `clip.ClipText`."""
        return unit_norm(self.text_head(self.text(ids, continuous, slots)[0]))

    def __call__(self, images: Float[Array, "i y x 3"], ids: Int[Array, "t l"]) -> Float[Array, "i t"]:
        """Returns the logit that a text belongs to an image, for every pair, float32; the sigmoid is a probability."""
        similarity = jnp.einsum("id,td->it", self.embed_images(images), self.embed_texts(ids))
        scale, bias = self.logit_scale.astype(jnp.float32)[0], self.logit_bias.astype(jnp.float32)[0]
        return jnp.exp(scale) * similarity + bias
