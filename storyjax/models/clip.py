"""CLIP: an image encoder and a text encoder with a common space (Radford et al. 2021)."""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from storyjax.core.arrays import unit_norm
from storyjax.models.vit import VIT_B16_CLIP, VIT_B32_CLIP, VIT_H14_CLIP, VIT_L14_CLIP, ViT, ViTConfig
from storyjax.nn.transformer import Encoder, layer_norm


@dataclasses.dataclass(frozen=True)
class ClipTextConfig:
    """The shape of a CLIP text encoder. `max_length` counts the start and end tokens."""

    vocab_size: int = 49408
    max_length: int = 77
    width: int = 512
    depth: int = 12
    heads: int = 8
    mlp_width: int = 2048
    activation: str = "quick_gelu"
    eps: float = 1e-5
    eos_id: int = 49407
    init_std: float = 0.02


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Both encoders and their common space.

    Attributes:
      projection_dim: width of the common space.
      logit_scale_init: logarithm of the initial logit scale (1 / 0.07).
      keep_aspect: whether images are resized to the shorter side and cropped to the central square, as the published
        networks take them, or resized without their aspect ratio.
    """

    vision: ViTConfig = VIT_B32_CLIP
    text: ClipTextConfig = ClipTextConfig()
    projection_dim: int = 512
    logit_scale_init: float = 2.6592
    keep_aspect: bool = True


CLIP_VIT_B32 = ClipConfig()
CLIP_VIT_B16 = ClipConfig(vision=VIT_B16_CLIP)
CLIP_VIT_L14 = ClipConfig(
    vision=VIT_L14_CLIP, text=ClipTextConfig(width=768, heads=12, mlp_width=3072), projection_dim=768
)
CLIP_VIT_H14 = ClipConfig(
    vision=VIT_H14_CLIP,
    text=ClipTextConfig(width=1024, depth=24, heads=16, mlp_width=4096, activation="gelu"),
    projection_dim=1024,
)


class ClipText(nn.Module):
    """CLIP's causal text transformer. Continuous vectors may take the place of token embeddings (§4.3.1)."""

    config: ClipTextConfig
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "b l"],
        continuous: Float[Array, "b c w"] | None = None,
        slots: Int[Array, "b l"] | None = None,
    ) -> tuple[Float[Array, "b d"], Float[Array, "b l d"]]:
        """Returns the state of each text's first end token, and the states of all tokens, both after the last norm.

        Every text must contain the end token. What follows it is padding: causality keeps it out of the result.

        Args:
            ids: token ids.
            continuous: vectors to take the place of token embeddings, before position embeddings are added (§4.3.1).
            slots: which of its text's `continuous` stands at a position, or -1 for the token in `ids`
                (`storyjax.data.text.encode_spliced` makes both). Given if and only if `continuous` is.

        Raises:
            ValueError: too many tokens, or `continuous` without `slots` or the reverse.
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
        )(x, jnp.tri(length, dtype=bool)[None, None])
        x = layer_norm(cfg.eps, self.dtype, "norm")(x)
        # Published CLIPs pad with the end token, and so may the position of a vector in `ids`.
        ended = ids == cfg.eos_id if slots is None else (ids == cfg.eos_id) & (slots < 0)
        end = jnp.argmax(ended, axis=1)
        return jnp.take_along_axis(x, end[:, None, None], axis=1)[:, 0], x


class Clip(nn.Module):
    """Both encoders with their projections to the common space."""

    config: ClipConfig
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        self.vision = ViT(cfg.vision, self.remat, self.dtype)
        self.text = ClipText(cfg.text, self.remat, self.dtype)
        self.vision_projection = self._projection(cfg.vision.width)
        self.text_projection = self._projection(cfg.text.width)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(cfg.logit_scale_init), ())

    def _projection(self, width: int) -> nn.Dense:
        init = nn.initializers.normal(width**-0.5)
        return nn.Dense(self.config.projection_dim, use_bias=False, kernel_init=init, dtype=self.dtype)

    def image_tokens(self, images: Float[Array, "b y x 3"]) -> Float[Array, "b n d"]:
        """Returns all tokens of the image encoder after its last norm, the class token first, before projection."""
        return self.vision(images)

    def embed_images(self, images: Float[Array, "b y x 3"]) -> Float[Array, "b p"]:
        """Returns float32 embeddings of unit length: of the class token or, without one, of the mean of all tokens."""
        tokens = self.vision(images)
        pooled = tokens[:, 0] if self.config.vision.cls_token else tokens.mean(axis=1)
        return unit_norm(self.vision_projection(pooled))

    def embed_with_parts(
        self, images: Float[Array, "b y x 3"], parts: Float[Array, "b r n"]
    ) -> tuple[Float[Array, "b p"], Float[Array, "b r p"]]:
        """Returns `embed_images`, and embeddings of parts of the images: of the mean of tokens weighted by `parts`."""
        tokens = self.vision(images)
        pooled = tokens[:, 0] if self.config.vision.cls_token else tokens.mean(axis=1)
        weights = parts / jnp.maximum(parts.sum(axis=-1, keepdims=True), 1e-6)
        of_parts = jnp.einsum("brn,bnd->brd", weights, tokens)
        return unit_norm(self.vision_projection(pooled)), unit_norm(self.vision_projection(of_parts))

    def embed_texts(
        self,
        ids: Int[Array, "b l"],
        continuous: Float[Array, "b c w"] | None = None,
        slots: Int[Array, "b l"] | None = None,
    ) -> Float[Array, "b p"]:
        """Returns float32 embeddings of unit length; `continuous` and `slots` as in `ClipText`."""
        pooled, _ = self.text(ids, continuous, slots)
        return unit_norm(self.text_projection(pooled))

    def __call__(self, images: Float[Array, "i y x 3"], ids: Int[Array, "t l"]) -> Float[Array, "i t"]:
        """Returns the cosine similarity of every image with every text, times the learned scale, float32."""
        similarity = jnp.einsum("ip,tp->it", self.embed_images(images), self.embed_texts(ids))
        return jnp.exp(self.logit_scale.astype(jnp.float32)) * similarity


def splice(
    embeddings: Float[Array, "b l w"], continuous: Float[Array, "b c w"], slots: Int[Array, "b l"]
) -> Float[Array, "b l w"]:
    """Returns `embeddings` with `continuous[b, slots[b, l]]` where `slots[b, l]` >= 0, in their precision."""
    chosen = jnp.take_along_axis(continuous.astype(embeddings.dtype), jnp.maximum(slots, 0)[..., None], axis=1)
    return jnp.where(slots[..., None] >= 0, chosen, embeddings)
