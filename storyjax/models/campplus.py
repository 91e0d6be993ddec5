"""CAM++, a speaker encoder: a densely connected time-delay network with context-aware masking (Wang et al. 2023).

As 3D-Speaker publishes it: a small convolutional front over time and frequency halves the frequencies three times, then
blocks of time-delay layers, each reading everything before it, and statistics over time. Batch norms are constants.

Recordings of a batch have different lengths. Beyond the end of one every layer reads zeros, as it would if the
recording were alone; so an embedding does not depend on what it is batched with.
"""

import dataclasses
from typing import Literal

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from storyjax.models.seresnet import ConstantBatchNorm


@dataclasses.dataclass(frozen=True)
class CamPlusConfig:
    """The shape of a CAM++.

    Attributes:
      architecture: which encoder this is a config of.
      mels: bands of Kaldi's log-mel filter bank; a multiple of 8.
      front_width: channels of the convolutional front.
      stem_width: channels of the first time-delay layer, which halves the rate of frames.
      depths, dilations: layers of each dense block, and the distance of the frames that their kernels of three read.
      growth: channels that each layer adds; `bottleneck` times as many are read by its kernel.
      segment: frames of the local context.
      embedding_dim: width of the embedding.
      distance: cosine distance within which two recordings are of one voice; None: as published, or not known.
    """

    architecture: Literal["campplus"] = "campplus"
    mels: int = 80
    front_width: int = 32
    stem_width: int = 128
    depths: tuple[int, ...] = (12, 24, 16)
    dilations: tuple[int, ...] = (1, 2, 2)
    growth: int = 32
    bottleneck: int = 4
    segment: int = 100
    embedding_dim: int = 192
    eps: float = 1e-5
    distance: float | None = None


# 3D-Speaker's iic/speech_campplus_sv_zh_en_16k-common_advanced.
CAMPPLUS = CamPlusConfig()


class _ResBlock(nn.Module):
    """Two 3 × 3 convolutions over (frequency, time), added to the input; a stride is of the frequencies."""

    width: int
    stride: int
    eps: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b f t c"], valid: Bool[Array, "b 1 t 1"]) -> Float[Array, "b g t d"]:
        def conv(name: str, x: Array, kernel: int, stride: int) -> Array:
            x = _conv2d(self.width, kernel, stride, self.dtype, name)(x)
            return ConstantBatchNorm(self.eps, self.dtype, name=f"{name}_norm")(x)

        h = nn.relu(conv("first", x, 3, self.stride)) * valid
        h = conv("second", h, 3, 1)
        if self.stride != 1 or x.shape[-1] != self.width:
            x = conv("shortcut", x, 1, self.stride)
        return nn.relu(h + x) * valid


def _conv2d(width: int, kernel: int, stride: int, dtype: DTypeLike, name: str) -> nn.Conv:
    pad = kernel // 2
    return nn.Conv(
        width, (kernel, kernel), (stride, 1), padding=((pad, pad),) * 2, use_bias=False, dtype=dtype, name=name
    )


class _Norm(nn.Module):
    """The parameters of a constant batch norm."""

    width: int

    @nn.compact
    def __call__(self) -> dict[str, Array]:
        ones, zeros = nn.initializers.ones_init(), nn.initializers.zeros_init()
        starts = {"scale": ones, "bias": zeros, "mean": zeros, "variance": ones}
        return {name: self.param(name, start, (self.width,)) for name, start in starts.items()}


class _Affine(nn.Module):
    """The parameters of a linear layer or convolution."""

    shape: tuple[int, ...]
    use_bias: bool = False

    @nn.compact
    def __call__(self) -> dict[str, Array]:
        made = {"kernel": self.param("kernel", nn.initializers.lecun_normal(), self.shape)}
        if self.use_bias:
            made["bias"] = self.param("bias", nn.initializers.zeros_init(), self.shape[-1:])
        return made


class _DenseLayer(nn.Module):
    """The parameters of one layer of a dense block that reads `into` channels.

    A bottleneck, a kernel of three frames, and a gate computed from the recording and the segment (its Eq. 4–6).
    """

    config: CamPlusConfig
    into: int

    @nn.compact
    def __call__(self) -> dict[str, dict[str, Array]]:
        growth, width = self.config.growth, self.config.growth * self.config.bottleneck
        return {
            "in_norm": _Norm(self.into, name="in_norm")(),
            "narrow": _Affine((self.into, width), name="narrow")(),
            "norm": _Norm(width, name="norm")(),
            "local": _Affine((3, width, growth), name="local")(),
            "squeeze": _Affine((width, width // 2), True, name="squeeze")(),
            "excite": _Affine((width // 2, growth), True, name="excite")(),
        }


def _normed(x: Float[Array, "b t c"], norm: dict[str, Array], config: CamPlusConfig) -> Float[Array, "b t c"]:
    """Constant batch norm and ReLU, in float32 inside."""
    factor = norm["scale"] / jnp.sqrt(norm["variance"].astype(jnp.float32) + config.eps)
    shift = norm["bias"] - norm["mean"] * factor
    return nn.relu(x * factor.reshape(1, 1, -1) + shift.reshape(1, 1, -1)).astype(x.dtype)


def _dense_block(
    x: Float[Array, "b t c"],
    valid: Bool[Array, "b t"],
    layers: list[dict[str, dict[str, Array]]],
    config: CamPlusConfig,
    dilation: int,
) -> Float[Array, "b t d"]:
    """All layers of a block, one after another in a loop, so that a compiler sees one of them.

    Each reads the channels that the layers before it added: a buffer holds the channels of all layers, and the weights
        on
    those that are not there yet are zero.
    """
    before, growth, dtype = x.shape[-1], config.growth, x.dtype
    full = before + growth * len(layers)
    stacked = jax.tree.map(lambda *leaves: _stack(leaves, full), *layers)
    mask = valid[..., None]

    def layer(buffer: Array, given: tuple[Array, dict[str, dict[str, Array]]]) -> tuple[Array, None]:
        index, weights = given
        weights = jax.tree.map(lambda leaf: leaf.astype(dtype), weights)
        h = _normed(_normed(buffer, weights["in_norm"], config) @ weights["narrow"]["kernel"], weights["norm"], config)
        h = h * mask
        local = jax.lax.conv_general_dilated(
            h,
            weights["local"]["kernel"],
            (1,),
            ((dilation, dilation),),
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        context = (_means(h, valid, h.shape[1]) + _means(h, valid, config.segment)).astype(dtype)
        squeezed = nn.relu(context @ weights["squeeze"]["kernel"] + weights["squeeze"]["bias"].reshape(1, 1, -1))
        gate = nn.sigmoid(squeezed @ weights["excite"]["kernel"] + weights["excite"]["bias"].reshape(1, 1, -1))
        return jax.lax.dynamic_update_slice_in_dim(buffer, local * gate, before + index * growth, axis=2), None

    buffer = jnp.pad(x, ((0, 0), (0, 0), (0, full - before)))
    return jax.lax.scan(layer, buffer, (jnp.arange(len(layers)), stacked))[0]


def _stack(leaves: tuple[Array, ...], full: int) -> Array:
    """One array of all layers; what grows from layer to layer along its first axis is padded with zeros."""
    if all(leaf.shape == leaves[0].shape for leaf in leaves):
        return jnp.stack(leaves)
    return jnp.stack([jnp.pad(leaf, ((0, full - leaf.shape[0]),) + ((0, 0),) * (leaf.ndim - 1)) for leaf in leaves])


def _means(x: Float[Array, "b t c"], valid: Bool[Array, "b t"], segment: int) -> Float[Array, "b t c"]:
    """For each frame the mean over the valid frames of its segment, in float32; x is zero where it is not valid."""
    frames = x.shape[1]
    pad = -frames % segment
    padded = jnp.pad(x.astype(jnp.float32), ((0, 0), (0, pad), (0, 0)))
    sums = einops.reduce(padded, "b (s w) c -> b s c", "sum", w=segment)
    counts = einops.reduce(jnp.pad(valid.astype(jnp.float32), ((0, 0), (0, pad))), "b (s w) -> b s", "sum", w=segment)
    means = sums / jnp.maximum(counts, 1.0)[..., None]
    return einops.repeat(means, "b s c -> b (s w) c", w=segment)[:, :frames]


class CamPlus(nn.Module):
    """CAM++: recordings to embeddings of their speaker's voice."""

    config: CamPlusConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "b t f"], lengths: Int[Array, " b"]) -> Float[Array, "b e"]:
        """Returns float32 embeddings, not of unit length.

        Args:
            features: Kaldi's log-mel filter bank less its mean over time, padded at the end.
            lengths: number of frames of each recording.
        """
        cfg = self.config
        valid = jnp.arange(features.shape[1])[None] < lengths[:, None]
        x = self._front(features * valid[..., None], valid[:, None, :, None])
        x = nn.Conv(cfg.stem_width, (5,), (2,), padding=((2, 2),), use_bias=False, dtype=self.dtype, name="stem")(x)
        valid = valid[:, ::2]
        x = nn.relu(ConstantBatchNorm(cfg.eps, self.dtype, name="stem_norm")(x)) * valid[..., None]
        for block, (depth, dilation) in enumerate(zip(cfg.depths, cfg.dilations, strict=True)):
            layers = [
                _DenseLayer(cfg, x.shape[-1] + layer * cfg.growth, name=f"block_{block}_layer_{layer}")()
                for layer in range(depth)
            ]
            x = _dense_block(x, valid, layers, cfg, dilation)
            x = nn.relu(ConstantBatchNorm(cfg.eps, self.dtype, name=f"transit_{block}_norm")(x))
            x = nn.Dense(x.shape[-1] // 2, use_bias=False, dtype=self.dtype, name=f"transit_{block}")(x)
        x = nn.relu(ConstantBatchNorm(cfg.eps, self.dtype, name="norm")(x))
        pooled = _statistics(x, valid)
        x = nn.Dense(cfg.embedding_dim, use_bias=False, name="embedding")(pooled)
        return ConstantBatchNorm(cfg.eps, affine=False, name="embedding_norm")(x)

    def _front(self, features: Float[Array, "b t f"], valid: Bool[Array, "b 1 t 1"]) -> Float[Array, "b t c"]:
        cfg, eps, dtype = self.config, self.config.eps, self.dtype
        x = einops.rearrange(features, "b t f -> b f t 1").astype(dtype)
        x = _conv2d(cfg.front_width, 3, 1, dtype, "front_first")(x)
        x = nn.relu(ConstantBatchNorm(eps, dtype, name="front_first_norm")(x)) * valid
        for stage in range(2):
            for block in range(2):
                stride = 1 if block else 2
                x = _ResBlock(cfg.front_width, stride, eps, dtype, name=f"front_stage_{stage}_block_{block}")(x, valid)
        x = _conv2d(cfg.front_width, 3, 2, dtype, "front_last")(x)
        x = nn.relu(ConstantBatchNorm(eps, dtype, name="front_last_norm")(x)) * valid
        return einops.rearrange(x, "b f t c -> b t (c f)")


def _statistics(x: Float[Array, "b t c"], valid: Bool[Array, "b t"]) -> Float[Array, "b d"]:
    """Mean and (unbiased) standard deviation over the valid frames, in float32; it is 0.01 for one frame."""
    x, mask = x.astype(jnp.float32), valid[..., None].astype(jnp.float32)
    count = mask.sum(axis=1)
    mean = (x * mask).sum(axis=1) / jnp.maximum(count, 1.0)
    variance = (mask * (x - mean[:, None]) ** 2).sum(axis=1) / jnp.maximum(count - 1.0, 1.0)
    return jnp.concatenate([mean, jnp.where(count > 1, jnp.sqrt(variance), 0.01)], axis=-1)
