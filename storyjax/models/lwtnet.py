"""LWTNet (§6.1.5): which positions of an image move with the sound (Afouras et al. 2020).

An image stream encodes five frames at a time as a vector for each position; a sound stream encodes the same fifth of a
second as one vector. Where the two agree, the speaker is visible. As published, batch norms are constants; a
network that is trained from scratch takes group norms.
"""

import dataclasses
from typing import Literal

import einops
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from storyjax.core.arrays import unit_norm
from storyjax.models.seresnet import ConstantBatchNorm

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution, norm, ReLU and max pooling; all pairs are (rows, columns).

    In the sound stream rows are bands and columns are frames. `pool` (0, 0) stands for none.
    """

    width: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    pool: Pair = (0, 0)
    pool_stride: Pair = (1, 1)


_VIDEO = (
    Layer(64, (7, 7), (2, 2), pool=(3, 3), pool_stride=(2, 2)),
    Layer(128, (5, 5), (2, 2)),
    Layer(256, (3, 3), padding=(1, 1)),
    Layer(256, (3, 3), padding=(1, 1)),
    Layer(256, (3, 3), padding=(1, 1), pool=(3, 3), pool_stride=(2, 2)),
    Layer(512, (5, 5)),
)
_AUDIO = (
    Layer(64, (3, 3), (2, 1), (1, 1), pool=(3, 1), pool_stride=(2, 1)),
    Layer(192, (3, 3), padding=(1, 1), pool=(3, 3), pool_stride=(2, 2)),
    Layer(384, (3, 3), padding=(1, 1)),
    Layer(256, (3, 3), padding=(1, 1)),
    Layer(256, (3, 3), padding=(1, 1), pool=(2, 3), pool_stride=(2, 2)),
    Layer(512, (4, 4)),
)


@dataclasses.dataclass(frozen=True)
class LwtConfig:
    """The shape of an LWTNet, and of its inputs.

    Attributes:
      architecture: which network this is a config of.
      video, audio: the layers of the streams. The sound stream must leave one row, and a column for every four frames
        of sound, less `frames` − 1.
      frames: images that one vector is about; the first layer of the image stream reads them together.
      hidden, embedding_dim: widths of the two layers after each stream.
      fps: images per second.
      short_side: pixels of the shorter side of an image; None leaves images as they are.
      pixel_mean, pixel_scale: subtracted, and divided by.
      mels: bands of `log_mel_magnitude`, with its `mel_floor`; centred by `mel_mean` and divided by `mel_scale`.
      heat: what the heat map is: the "cosine" of the two vectors, or the "probability" that they belong together, of
        networks that were trained as classifiers (`bias`).
      agreement: how two vectors are compared: by the "cosine" at each moment, as published, or by their "correlation"
        over time, to which nothing that is still contributes.
      smooth: moments that cosines are averaged over (0 and 1: none), or that the correlation is of.
      norm: "batch", constants as published, or "group", trainable.
    """

    architecture: Literal["lwtnet"] = "lwtnet"
    video: tuple[Layer, ...] = _VIDEO
    audio: tuple[Layer, ...] = _AUDIO
    frames: int = 5
    hidden: int = 512
    embedding_dim: int = 1024
    fps: float = 25.0
    short_side: int | None = 540
    pixel_mean: float = 0.0
    pixel_scale: float = 1.0
    mels: int = 80
    mel_floor: float = 1e-20
    mel_mean: float = 0.0
    mel_scale: float = 1.0
    heat: Literal["cosine", "probability"] = "cosine"
    agreement: Literal["cosine", "correlation"] = "cosine"
    smooth: int = 0
    norm: Literal["batch", "group"] = "batch"
    eps: float = 1e-5


LWTNET = LwtConfig()


def reach(config: LwtConfig) -> tuple[int, int]:
    """Returns the stride of the image stream in pixels, and the pixels from the edge of an image to its first position.

    An image padded with as many pixels as the second number has a vector for every part of it.
    """
    step, first = 1, 0.0
    for layer in config.video:
        first += ((layer.kernel[0] - 1) / 2 - layer.padding[0]) * step
        step *= layer.stride[0]
        if layer.pool[0]:
            first += (layer.pool[0] - 1) / 2 * step
            step *= layer.pool_stride[0]
    return step, int(first)


class _Stream(nn.Module):
    """The convolutions of one stream."""

    config: LwtConfig
    layers: tuple[Layer, ...]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b v u d"]:
        for index, layer in enumerate(self.layers):
            padding = tuple((pad, pad) for pad in layer.padding)
            x = nn.Conv(
                layer.width, layer.kernel, layer.stride, padding=padding, dtype=self.dtype, name=f"conv_{index}"
            )(x)
            x = nn.relu(_norm(self.config, self.dtype, f"norm_{index}")(x))
            if layer.pool[0]:
                x = nn.max_pool(x, layer.pool, layer.pool_stride)
        return x


def _norm(config: LwtConfig, dtype: DTypeLike, name: str) -> nn.Module:
    if config.norm == "batch":
        return ConstantBatchNorm(config.eps, dtype, name=name)
    return nn.GroupNorm(num_groups=None, group_size=8, epsilon=config.eps, dtype=dtype, name=name)


class _Head(nn.Module):
    """Two dense layers on each vector by itself."""

    config: LwtConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        x = nn.Dense(self.config.hidden, dtype=self.dtype, name="first")(x)
        if self.config.norm == "batch":
            x = ConstantBatchNorm(self.config.eps, self.dtype, name="first_norm")(x)
        else:
            x = nn.LayerNorm(epsilon=self.config.eps, dtype=self.dtype, name="first_norm")(x)
        return nn.Dense(self.config.embedding_dim, dtype=self.dtype, name="last")(nn.relu(x))


class LwtNet(nn.Module):
    """The two streams, the scale of their agreement, and a bias that the published network has not."""

    config: LwtConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        self.video = _Stream(cfg, cfg.video, self.dtype)
        self.audio = _Stream(cfg, cfg.audio, self.dtype)
        self.video_head, self.audio_head = _Head(cfg, self.dtype), _Head(cfg, self.dtype)
        self.scale = self.param("scale", nn.initializers.constant(10.0), ())
        self.bias = self.param("bias", nn.initializers.constant(-5.0), ())

    def __call__(
        self, frames: Float[Array, "b t y x 3"], mel: Float[Array, "b s m"]
    ) -> tuple[Float[Array, "b u v w d"], Float[Array, "b r d"]]:
        """Returns `encode_frames` and `encode_audio` of both."""
        return self.encode_frames(frames), self.encode_audio(mel)

    def encode_frames(self, frames: Float[Array, "b t y x 3"]) -> Float[Array, "b u v w d"]:
        """Returns vectors of unit length of images from `prepare_frames`, `config.frames` − 1 fewer in time."""
        together, batch = self.config.frames, frames.shape[0]
        count = frames.shape[1] - together + 1
        stacked = jnp.concatenate([frames[:, k : k + count] for k in range(together)], axis=-1)
        flat = einops.rearrange(stacked, "b t y x c -> (b t) y x c").astype(self.dtype)
        vectors = unit_norm(self.video_head(self.video(flat)), safe_gradient=False)
        return einops.rearrange(vectors, "(b t) y x d -> b t y x d", b=batch)

    def encode_audio(self, mel: Float[Array, "b s m"]) -> Float[Array, "b r d"]:
        """Returns vectors of unit length of log-mel features, four frames per image; as many as `encode_frames`."""
        centred = (mel - self.config.mel_mean) / self.config.mel_scale
        x = self.audio(einops.rearrange(centred, "b s m -> b m s 1").astype(self.dtype))
        return unit_norm(self.audio_head(einops.rearrange(x, "b 1 t c -> b t c")), safe_gradient=False)

    def logits(self, agreement: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """Returns the logits that belong to cosines."""
        return agreement * self.scale + self.bias


def prepare_frames(frames: Float[Array, "*b y x 3"], config: LwtConfig) -> Float[Array, "*b v u 3"]:
    """Returns pixels 0..255 centred and scaled, padded with black so that every part of an image has a vector."""
    pad = reach(config)[1]
    around = ((0, 0),) * (frames.ndim - 3) + ((pad, pad), (pad, pad), (0, 0))
    return (jnp.pad(frames, around) - config.pixel_mean) / config.pixel_scale
