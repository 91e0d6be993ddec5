"""ECAPA-TDNN, the speaker encoder of §6.1.6 (Desplanques et al. 2020), as SpeechBrain publishes it.

Time-delay layers of several scales with squeeze and excitation; a last one reads the outputs of all of them, and pools
the frames by attention, channel by channel. Batch norms are constants; a network that is trained from
scratch takes group norms.

Recordings are padded by reflection at both ends, as in SpeechBrain; also in a batch of several lengths, where
SpeechBrain itself would read the padding: here an embedding does not depend on what it is batched with.
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
class EcapaConfig:
    """The shape of an ECAPA-TDNN.

    Attributes:
      architecture: which encoder this is a config of.
      mels: bands of SpeechBrain's log-mel filter bank.
      channels, kernels, dilations: of the layers; the first and the last are plain, all others SE-Res2Net blocks.
      scale: groups of channels in a Res2Net block, each of which reads the one before.
      squeeze_width, attention_width: of the two bottlenecks.
      embedding_dim: width of the embedding.
      norm: "batch", constants as published, or "group", trainable: over frames and `channels_in_group` channels.
      distance: cosine distance within which two recordings are of one voice; None: as published, or not known.
    """

    architecture: Literal["ecapa"] = "ecapa"
    mels: int = 80
    channels: tuple[int, ...] = (1024, 1024, 1024, 1024, 3072)
    kernels: tuple[int, ...] = (5, 3, 3, 3, 1)
    dilations: tuple[int, ...] = (1, 2, 3, 4, 1)
    scale: int = 8
    squeeze_width: int = 128
    attention_width: int = 128
    embedding_dim: int = 192
    norm: Literal["batch", "group"] = "batch"
    channels_in_group: int = 16
    eps: float = 1e-5
    distance: float | None = None


# SpeechBrain's spkrec-ecapa-voxceleb.
ECAPA = EcapaConfig()


class _GroupNorm(nn.Module):
    """Group norm over the valid frames and the channels of a group, in float32."""

    config: EcapaConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], valid: Bool[Array, "b t"]) -> Float[Array, "b t c"]:
        width = x.shape[-1]
        groups = max(1, width // self.config.channels_in_group)
        scale = self.param("scale", nn.initializers.ones_init(), (width,))
        bias = self.param("bias", nn.initializers.zeros_init(), (width,))
        h = einops.rearrange(x.astype(jnp.float32), "b t (g c) -> b t g c", g=groups)
        mask = valid[:, :, None, None].astype(jnp.float32)
        count = jnp.maximum(mask.sum(axis=(1, 3), keepdims=True) * h.shape[-1], 1.0)
        mean = (h * mask).sum(axis=(1, 3), keepdims=True) / count
        variance = (mask * (h - mean) ** 2).sum(axis=(1, 3), keepdims=True) / count
        h = (h - mean) / jnp.sqrt(variance + self.config.eps)
        return einops.rearrange(h, "b t g c -> b t (g c)") * scale.reshape(1, 1, -1) + bias.reshape(1, 1, -1)


def _mirrored(x: Float[Array, "b t c"], lengths: Int[Array, " b"], reach: int) -> Float[Array, "b s c"]:
    """Each recording with `reach` more frames on either side: its own, reflected at its first and last frame."""
    place = jnp.abs(jnp.arange(-reach, x.shape[1] + reach))[None]
    last = lengths[:, None] - 1
    place = jnp.clip(jnp.where(place > last, 2 * last - place, place), 0, x.shape[1] - 1)
    return jnp.take_along_axis(x, place[..., None], axis=1)


class TimeDelay(nn.Module):
    """A convolution over time, ReLU and norm."""

    config: EcapaConfig
    width: int
    kernel: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t c"], lengths: Int[Array, " b"], valid: Bool[Array, "b t"]
    ) -> Float[Array, "b t d"]:
        """Returns the layer's output.

        Args:
            x: a batch of recordings.
            lengths: number of frames of each.
            valid: True where a frame is not padding.
        """
        reach = self.dilation * (self.kernel - 1) // 2
        if reach:
            x = _mirrored(x, lengths, reach)
        x = nn.Conv(
            self.width, (self.kernel,), kernel_dilation=self.dilation, padding="VALID", dtype=self.dtype, name="conv"
        )(x)
        x = nn.relu(x)
        if self.config.norm == "group":
            return _GroupNorm(self.config, name="norm")(x, valid).astype(self.dtype)
        return ConstantBatchNorm(self.config.eps, self.dtype, name="norm")(x)


class _Block(nn.Module):
    """SE-Res2Net: two plain layers around one of several scales; channels weighted by the mean of the recording."""

    config: EcapaConfig
    width: int
    kernel: int
    dilation: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t c"], lengths: Int[Array, " b"], valid: Bool[Array, "b t"]
    ) -> Float[Array, "b t d"]:
        cfg = self.config
        h = TimeDelay(cfg, self.width, dtype=self.dtype, name="before")(x, lengths, valid)
        parts = jnp.split(h, cfg.scale, axis=-1)
        for group in range(1, cfg.scale):
            # The second group is read as it is, each one after it with the output of the one before added.
            joined = parts[group] + parts[group - 1] if group > 1 else parts[group]
            layer = TimeDelay(
                cfg, self.width // cfg.scale, self.kernel, self.dilation, self.dtype, name=f"scale_{group}"
            )
            parts[group] = layer(joined, lengths, valid)
        h = TimeDelay(cfg, self.width, dtype=self.dtype, name="after")(jnp.concatenate(parts, -1), lengths, valid)
        mask = valid[..., None].astype(jnp.float32)
        mean = (h.astype(jnp.float32) * mask).sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1.0)
        squeezed = nn.relu(nn.Dense(cfg.squeeze_width, dtype=self.dtype, name="squeeze")(mean.astype(self.dtype)))
        h = h * nn.sigmoid(nn.Dense(self.width, dtype=self.dtype, name="excite")(squeezed))[:, None]
        if x.shape[-1] != self.width:
            x = nn.Dense(self.width, dtype=self.dtype, name="shortcut")(x)
        return h + x


def _moments(x: Float[Array, "b t c"], weights: Float[Array, "b t d"]) -> tuple[Array, Array]:
    """Weighted mean and standard deviation over time."""
    mean = (x * weights).sum(axis=1)
    variance = (weights * (x - mean[:, None]) ** 2).sum(axis=1)
    return mean, jnp.sqrt(jnp.maximum(variance, 1e-12))


class Ecapa(nn.Module):
    """ECAPA-TDNN: recordings to embeddings of their speaker's voice."""

    config: EcapaConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "b t f"], lengths: Int[Array, " b"]) -> Float[Array, "b e"]:
        """Returns float32 embeddings, not of unit length.

        Args:
            features: SpeechBrain's log-mel filter bank less its mean over time, padded at the end.
            lengths: number of frames of each recording, more than half a kernel, by which it is reflected: at least 5
                as published.
        """
        cfg = self.config
        valid = jnp.arange(features.shape[1])[None] < lengths[:, None]
        x = TimeDelay(cfg, cfg.channels[0], cfg.kernels[0], cfg.dilations[0], self.dtype, name="block_0")(
            features.astype(self.dtype), lengths, valid
        )
        outputs = []
        for index in range(1, len(cfg.channels) - 1):
            block = _Block(
                cfg, cfg.channels[index], cfg.kernels[index], cfg.dilations[index], self.dtype, name=f"block_{index}"
            )
            x = block(x, lengths, valid)
            outputs.append(x)
        x = TimeDelay(cfg, cfg.channels[-1], cfg.kernels[-1], cfg.dilations[-1], self.dtype, name="aggregate")(
            jnp.concatenate(outputs, axis=-1), lengths, valid
        )
        pooled = self._attend(x.astype(jnp.float32), lengths, valid)
        if cfg.norm == "batch":
            pooled = ConstantBatchNorm(cfg.eps, name="pooled_norm")(pooled)
        else:
            pooled = nn.LayerNorm(epsilon=cfg.eps, name="pooled_norm")(pooled)
        return nn.Dense(cfg.embedding_dim, name="embedding")(pooled)

    def _attend(
        self, x: Float[Array, "b t c"], lengths: Int[Array, " b"], valid: Bool[Array, "b t"]
    ) -> Float[Array, "b d"]:
        """Mean and deviation of each channel over the frames, weighted by attention, in float32."""
        cfg, mask = self.config, valid[..., None].astype(jnp.float32)
        mean, deviation = _moments(x, mask / jnp.maximum(mask.sum(axis=1, keepdims=True), 1.0))
        context = [jnp.broadcast_to(part[:, None], x.shape) for part in (mean, deviation)]
        h = TimeDelay(cfg, cfg.attention_width, dtype=self.dtype, name="attention")(
            jnp.concatenate([x, *context], axis=-1).astype(self.dtype), lengths, valid
        )
        logits = nn.Dense(x.shape[-1], dtype=self.dtype, name="attention_out")(jnp.tanh(h)).astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(valid[..., None], logits, -jnp.inf), axis=1)
        return jnp.concatenate(_moments(x, weights), axis=-1)
