"""ResNets that return feature maps (He et al. 2016), the backbone of detectors.

As published for detection, their batch norms are constants: batches of a detector are too small for statistics. A
network that is trained from scratch takes group norms, which need none.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from storyjax.models.seresnet import ConstantBatchNorm

# Of ImageNet, red, green and blue, on pixels of 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """The shape of a ResNet.

    Attributes:
      stem_width: channels after the first convolution, which is 7 × 7 and halves the image; a pooling halves it again.
      widths, depths: of the stages, the channels and the number of their blocks; every stage but the first halves the
        map.
      block: "bottleneck" (1 × 1, 3 × 3, 1 × 1, a quarter as wide inside) or "basic" (3 × 3, 3 × 3).
      outputs: the stages whose feature maps are returned, counted from 0; stage i has a stride of 4 * 2**i.
      norm: "batch", constants as published, or "group", trainable.
    """

    stem_width: int = 64
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    block: Literal["bottleneck", "basic"] = "bottleneck"
    outputs: tuple[int, ...] = (1, 2, 3)
    norm: Literal["batch", "group"] = "batch"
    eps: float = 1e-5


RESNET_50 = ResNetConfig()
RESNET_18 = ResNetConfig(widths=(64, 128, 256, 512), depths=(2, 2, 2, 2), block="basic")


def standardise(images: UInt8[Array, "b y x 3"], dtype: DTypeLike = jnp.float32) -> Float[Array, "b y x 3"]:
    """Returns pixels 0..255 as networks trained on ImageNet expect them."""
    row = (1, 1, 1, 3)
    mean, deviation = jnp.array(IMAGENET_MEAN).reshape(row), jnp.array(IMAGENET_DEVIATION).reshape(row)
    return ((images.astype(jnp.float32) / 255.0 - mean) / deviation).astype(dtype)


class NormedConv(nn.Module):
    """A convolution without a bias, and a norm."""

    config: ResNetConfig
    width: int
    kernel: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b v u d"]:
        """Returns the normalised feature map."""
        pad = self.kernel // 2
        x = nn.Conv(
            self.width,
            (self.kernel, self.kernel),
            self.stride,
            padding=((pad, pad),) * 2,
            use_bias=False,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.config.norm == "batch":
            return ConstantBatchNorm(self.config.eps, self.dtype, name="norm")(x)
        groups = max(1, self.width // 8)
        return nn.GroupNorm(num_groups=groups, epsilon=self.config.eps, dtype=self.dtype, name="norm")(x)


class Block(nn.Module):
    """A residual block. Where its width or stride changes, the input is projected (`project`)."""

    config: ResNetConfig
    width: int
    stride: int
    project: bool
    dtype: DTypeLike = jnp.float32

    def _conv(self, width: int, kernel: int, stride: int, name: str) -> NormedConv:
        return NormedConv(self.config, width, kernel, stride, self.dtype, name=name)

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b v u d"]:
        """Returns the feature map after the block."""
        if self.config.block == "bottleneck":
            inner = self.width // 4
            h = nn.relu(self._conv(inner, 1, 1, "conv_0")(x))
            h = nn.relu(self._conv(inner, 3, self.stride, "conv_1")(h))
            h = self._conv(self.width, 1, 1, "conv_2")(h)
        else:
            h = nn.relu(self._conv(self.width, 3, self.stride, "conv_0")(x))
            h = self._conv(self.width, 3, 1, "conv_1")(h)
        if self.project:
            x = self._conv(self.width, 1, self.stride, "project")(x)
        return nn.relu(x + h)


class ResNet(nn.Module):
    """A ResNet without its classifier."""

    config: ResNetConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b y x 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the feature maps of `config.outputs` of standardised images, the finest first."""
        cfg = self.config
        x = nn.relu(NormedConv(cfg, cfg.stem_width, 7, 2, self.dtype, name="stem")(images.astype(self.dtype)))
        # Padded with minus infinity, so that the maximum is always of the image.
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        maps = []
        for stage, (width, depth) in enumerate(zip(cfg.widths, cfg.depths, strict=True)):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                project = stride != 1 or x.shape[-1] != width
                x = Block(cfg, width, stride, project, self.dtype, name=f"stage_{stage}_block_{block}")(x)
            if stage in cfg.outputs:
                maps.append(x)
        return tuple(maps)
