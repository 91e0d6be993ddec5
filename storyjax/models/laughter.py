"""The laughter detector of §6.1.3: a small ResNet over windows of a mel spectrogram (Gillick et al. 2021).

As published ("resnet_base" and "resnet_with_augmentation"), batch norms are constants; one that is trained from scratch
takes group norms.
"""

import dataclasses
from typing import Literal

import einops
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from storyjax.models.seresnet import ConstantBatchNorm


@dataclasses.dataclass(frozen=True)
class LaughterConfig:
    """The shape of a laughter detector, and of its input.

    Attributes:
      architecture: which network this is a config of.
      rate, hop: samples per second, and from frame to frame.
      mels: mel bands of a frame.
      window: frames of one input; the output is about the middle one.
      stem_width: channels after the first convolution, which strides by `stem_stride`.
      widths: of the four stages; all but the first halve the feature map.
      hidden: width of the layer before the last.
      norm: "batch", constants as published, or "group", trainable.
    """

    architecture: Literal["laughter"] = "laughter"
    rate: int = 8_000
    hop: int = 186
    mels: int = 128
    window: int = 44
    stem_width: int = 64
    stem_stride: int = 1
    widths: tuple[int, ...] = (64, 32, 16, 16)
    hidden: int = 32
    norm: Literal["batch", "group"] = "batch"
    eps: float = 1e-5


RESNET_BASE = LaughterConfig()
# The one that the authors recommend, trained with augmentation.
RESNET_WITH_AUGMENTATION = LaughterConfig(widths=(128, 64, 32, 32))


def _norm(config: LaughterConfig, width: int, dtype: DTypeLike, name: str) -> nn.Module:
    if config.norm == "batch":
        return ConstantBatchNorm(config.eps, dtype, name=name)
    return nn.GroupNorm(num_groups=max(1, width // 8), epsilon=config.eps, dtype=dtype, name=name)


class _Residual(nn.Module):
    """Two 3 × 3 convolutions, added to the input."""

    config: LaughterConfig
    width: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b v u d"]:
        def conv(name: str, x: Array, stride: int) -> Array:
            x = nn.Conv(self.width, (3, 3), stride, padding=((1, 1),) * 2, dtype=self.dtype, name=name)(x)
            return _norm(self.config, self.width, self.dtype, f"{name}_norm")(x)

        h = conv("second", nn.relu(conv("first", x, self.stride)), 1)
        if self.stride != 1 or x.shape[-1] != self.width:
            x = nn.Conv(self.width, (1, 1), self.stride, use_bias=False, dtype=self.dtype, name="shortcut")(x)
            x = _norm(self.config, self.width, self.dtype, "shortcut_norm")(x)
        return nn.relu(h + x)


class LaughterNet(nn.Module):
    """The laughter detector: windows of a spectrogram to logits."""

    config: LaughterConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, windows: Float[Array, "b t m"]) -> Float[Array, " b"]:
        """Returns the logit that there is laughter in each window.

        `windows` are decibels relative to the recording's loudest (`audio_features.relative`).
        """
        cfg, dtype = self.config, self.dtype
        x = windows.astype(dtype)[..., None]
        if cfg.norm == "group":
            x = x / 40.0 + 1.0  # −80..0 to −1..1, as the published network's first norm does
        x = nn.Conv(
            cfg.stem_width, (3, 3), cfg.stem_stride, padding=((1, 1),) * 2, use_bias=False, dtype=dtype, name="stem"
        )(x)
        x = nn.relu(_norm(cfg, cfg.stem_width, dtype, "stem_norm")(x))
        for stage, width in enumerate(cfg.widths):
            for block in range(2):
                stride = 2 if stage and not block else 1
                x = _Residual(cfg, width, stride, dtype, name=f"stage_{stage}_block_{block}")(x)
        x = nn.avg_pool(x, (4, 4), (4, 4)) if min(x.shape[1:3]) >= 4 else x.mean(axis=(1, 2), keepdims=True)
        x = einops.rearrange(x, "b y x c -> b (c y x)").astype(jnp.float32)
        if cfg.norm == "batch":
            x = ConstantBatchNorm(cfg.eps, name="pooled_norm")(x)
        x = nn.Dense(cfg.hidden, name="hidden")(x)
        if cfg.norm == "batch":
            x = ConstantBatchNorm(cfg.eps, name="hidden_norm")(x)
        return nn.Dense(1, name="out")(nn.relu(x))[:, 0]
