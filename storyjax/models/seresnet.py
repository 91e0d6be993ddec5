"""ResNets with squeeze and excitation, as VGGFace2 trained them to distinguish faces (Hu et al. 2018, Cao et al. 2018).

The published networks keep Caffe's habits: the first 1 × 1 convolution of a stage strides, not the 3 × 3, and the first
pooling rounds up. Their batch norms are constants here, as they are not trained further (§4.3: the face encoder is
frozen); a network that is trained from scratch takes group norms, which need no running statistics.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

# Of VGGFace2, red, green and blue, of pixels 0..255; they are not divided by a deviation.
VGGFACE2_MEAN = (131.0912, 103.8827, 91.4953)


@dataclasses.dataclass(frozen=True)
class SEResNetConfig:
    """The shape of an SE-ResNet of bottleneck blocks.

    Attributes:
      image_size: side of the square faces in pixels.
      stem_width: channels after the first convolution, which is `stem_kernel` wide and halves the image.
      widths, depths: of the stages; the output of a block has `expansion` times its stage's width.
      reduction: how much narrower the squeezed vector is.
      embedding_dim: width of the embedding.
      norm: "batch", constants as published, or "group", trainable.
      pixel_scale: what centred pixels are divided by.
      keep_aspect: whether faces are central squares of loose crops, as VGGFace2's networks take them, or loose crops
        without their aspect ratio.
    """

    image_size: int = 224
    stem_width: int = 64
    stem_kernel: int = 7
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    expansion: int = 4
    reduction: int = 16
    embedding_dim: int = 128
    norm: Literal["batch", "group"] = "batch"
    pixel_scale: float = 1.0
    eps: float = 1e-5
    keep_aspect: bool = True


# SE-ResNet-50-128D, "senet50_128" among VGGFace2's models (§4.3.1).
SE_RESNET_50_128D = SEResNetConfig()


class ConstantBatchNorm(nn.Module):
    """Batch norm with fixed statistics over all axes but the last, in float32 whatever the input.

    `affine` False: without a scale and a bias of its own.
    """

    eps: float
    dtype: DTypeLike = jnp.float32
    affine: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns the normalised `x`."""
        ones, zeros = nn.initializers.ones_init(), nn.initializers.zeros_init()
        shape, row = (x.shape[-1],), (1,) * (x.ndim - 1) + (-1,)
        mean, variance = self.param("mean", zeros, shape), self.param("variance", ones, shape)
        factor = 1.0 / jnp.sqrt(variance.astype(jnp.float32) + self.eps)
        shift: Array | float = 0.0
        if self.affine:
            factor, shift = self.param("scale", ones, shape) * factor, self.param("bias", zeros, shape)
        return (x * factor.reshape(row) + (shift - mean * factor).reshape(row)).astype(self.dtype)


class SEBottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1; each channel weighted by the mean of the whole map; added to the input."""

    config: SEResNetConfig
    width: int
    stride: int
    project: bool
    dtype: DTypeLike = jnp.float32

    def _conv(self, width: int, kernel: int, stride: int, name: str) -> nn.Conv:
        pad = kernel // 2
        return nn.Conv(
            width, (kernel, kernel), stride, padding=((pad, pad),) * 2, use_bias=False, dtype=self.dtype, name=name
        )

    def _norm(self, width: int, name: str) -> nn.Module:
        return make_norm(self.config, width, self.dtype, name)

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b v u d"]:
        """Returns the feature map after the block."""
        out = self.width * self.config.expansion
        h = nn.relu(self._norm(self.width, "reduce_norm")(self._conv(self.width, 1, self.stride, "reduce")(x)))
        h = nn.relu(self._norm(self.width, "middle_norm")(self._conv(self.width, 3, 1, "middle")(h)))
        h = self._norm(out, "increase_norm")(self._conv(out, 1, 1, "increase")(h))
        squeezed = h.astype(jnp.float32).mean(axis=(1, 2)).astype(self.dtype)
        squeezed = nn.relu(nn.Dense(out // self.config.reduction, dtype=self.dtype, name="squeeze")(squeezed))
        excited = nn.sigmoid(nn.Dense(out, dtype=self.dtype, name="excite")(squeezed))
        if self.project:
            x = self._norm(out, "project_norm")(self._conv(out, 1, self.stride, "project")(x))
        return nn.relu(x + h * excited[:, None, None, :])


def make_norm(config: SEResNetConfig, width: int, dtype: DTypeLike, name: str) -> nn.Module:
    """Returns the norm that a config asks for, of `width` channels."""
    if config.norm == "batch":
        return ConstantBatchNorm(config.eps, dtype, name=name)
    return nn.GroupNorm(num_groups=max(1, width // 8), epsilon=config.eps, dtype=dtype, name=name)


class SEResNet(nn.Module):
    """An SE-ResNet: faces to embeddings."""

    config: SEResNetConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, faces: Float[Array, "b y x 3"]) -> Float[Array, "b e"]:
        """Returns float32 embeddings, not of unit length, of faces as `centre` returns them."""
        cfg = self.config
        pad = cfg.stem_kernel // 2
        x = nn.Conv(
            cfg.stem_width,
            (cfg.stem_kernel, cfg.stem_kernel),
            2,
            padding=((pad, pad),) * 2,
            use_bias=False,
            dtype=self.dtype,
            name="stem",
        )(faces.astype(self.dtype))
        x = nn.relu(make_norm(cfg, cfg.stem_width, self.dtype, "stem_norm")(x))
        # Caffe rounds the pooled size up: one more row and column where the stride would leave some over.
        extra = tuple((0, (side - 3) % 2) for side in x.shape[1:3])
        x = nn.max_pool(x, (3, 3), (2, 2), padding=extra)
        for stage, (width, depth) in enumerate(zip(cfg.widths, cfg.depths, strict=True)):
            for block in range(depth):
                first = block == 0
                stride = 2 if first and stage else 1
                x = SEBottleneck(cfg, width, stride, first, self.dtype, name=f"stage_{stage}_block_{block}")(x)
        pooled = x.astype(jnp.float32).mean(axis=(1, 2))
        return nn.Dense(cfg.embedding_dim, use_bias=False, name="embedding")(pooled)


def centre(
    faces: UInt8[Array, "*b y x 3"], config: SEResNetConfig, dtype: DTypeLike = jnp.float32
) -> Float[Array, "*b y x 3"]:
    """Returns pixels 0..255 less VGGFace2's mean, over the config's scale."""
    mean = jnp.asarray(VGGFACE2_MEAN, jnp.float32).reshape((1,) * (faces.ndim - 1) + (3,))
    return ((faces.astype(jnp.float32) - mean) / config.pixel_scale).astype(dtype)
