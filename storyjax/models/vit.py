"""Vision transformers: BLIP-2's ViT-g/14 (the frozen encoder of thesis § 3.3), CLIP's and SigLIP's image encoders."""

import dataclasses

import einops
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from storyjax.nn.transformer import Encoder, layer_norm


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """The shape of a vision transformer.

    Attributes:
      image_size, patch_size: in pixels; images are square. Where patches do not divide them, the last pixels to the
        right and below are ignored.
      width, depth, heads, mlp_width: of the transformer.
      activation: "gelu", "gelu_tanh" or "quick_gelu".
      qkv_bias: whether queries, keys and values have biases.
      patch_bias: whether the patch embedding has one.
      pre_norm_embed: CLIP's layer norm between the embedding and the first block.
      post_norm: layer norm on all tokens after the last block.
      cls_token: whether a learned token goes first.
      eps: of the layer norms.
      init_std: of the truncated normal that initialises every kernel and embedding.
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    activation: str = "gelu"
    qkv_bias: bool = True
    patch_bias: bool = True
    pre_norm_embed: bool = False
    post_norm: bool = True
    cls_token: bool = True
    eps: float = 1e-6
    init_std: float = 0.02

    @property
    def num_tokens(self) -> int:
        """The number of tokens of one image: the patches, and the class token if there is one."""
        return (self.image_size // self.patch_size) ** 2 + self.cls_token


# EVA-CLIP's ViT-g/14 as BLIP-2 uses it: 39 of its 40 blocks, for the last one overfits to the contrastive task.
VIT_G14_BLIP2 = ViTConfig(image_size=224, patch_size=14, width=1408, depth=39, heads=16, mlp_width=6144)
VIT_B32_CLIP = ViTConfig(patch_size=32, activation="quick_gelu", patch_bias=False, pre_norm_embed=True, eps=1e-5)
VIT_B16_CLIP = dataclasses.replace(VIT_B32_CLIP, patch_size=16)
VIT_L14_CLIP = dataclasses.replace(VIT_B32_CLIP, patch_size=14, width=1024, depth=24, heads=16, mlp_width=4096)
# OpenCLIP's, which took the exact GELU.
VIT_H14_CLIP = dataclasses.replace(VIT_L14_CLIP, width=1280, depth=32, heads=16, mlp_width=5120, activation="gelu")
# SigLIP's, of the shape that was found to be the best for its 400 million parameters; at 384 pixels.
VIT_SO400M14_SIGLIP = ViTConfig(
    image_size=384,
    patch_size=14,
    width=1152,
    depth=27,
    heads=16,
    mlp_width=4304,
    activation="gelu_tanh",
    cls_token=False,
)


class ViT(nn.Module):
    """A vision transformer.

    Attributes:
      config: its shape.
      remat: recompute blocks in the backward pass, for encoders that are trained.
      dtype: of the computation; parameters are float32.
    """

    config: ViTConfig
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b y x 3"]) -> Float[Array, "b n d"]:
        """Returns tokens of images already normalised by the encoder's mean and deviation.

        The class token is the first; patches follow in rows, from the top left.

        Raises:
            ValueError: images are of another size than the config's.
        """
        cfg = self.config
        if images.shape[1:3] != (cfg.image_size, cfg.image_size):
            raise ValueError(f"this encoder takes images of {cfg.image_size} pixels squared, not {images.shape[1:3]}")
        init = nn.initializers.truncated_normal(cfg.init_std)
        # A convolution whose stride is its kernel is one matrix product of flattened patches.
        side = cfg.image_size // cfg.patch_size * cfg.patch_size
        patches = einops.rearrange(
            images[:, :side, :side].astype(self.dtype),
            "b (y p) (x q) c -> b (y x) (p q c)",
            p=cfg.patch_size,
            q=cfg.patch_size,
        )
        patch = nn.Dense(cfg.width, use_bias=cfg.patch_bias, kernel_init=init, dtype=self.dtype, name="patch")
        x = patch(patches)
        if cfg.cls_token:
            cls = self.param("cls", init, (1, cfg.width)).astype(self.dtype)
            x = jnp.concatenate([einops.repeat(cls, "n d -> b n d", b=x.shape[0]), x], axis=1)
        x = x + self.param("position", init, (1, cfg.num_tokens, cfg.width)).astype(self.dtype)
        if cfg.pre_norm_embed:
            x = layer_norm(cfg.eps, self.dtype, "pre_norm")(x)
        x = Encoder(
            depth=cfg.depth,
            num_heads=cfg.heads,
            mlp_width=cfg.mlp_width,
            activation=cfg.activation,
            qkv_bias=cfg.qkv_bias,
            eps=cfg.eps,
            kernel_init=init,
            remat=self.remat,
            dtype=self.dtype,
            name="encoder",
        )(x)
        return layer_norm(cfg.eps, self.dtype, "norm")(x) if cfg.post_norm else x
