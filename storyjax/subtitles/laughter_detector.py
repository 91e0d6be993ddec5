"""Detecting an audience's laughter (§6.1.3): `LaughterDetector`, a published ResNet over mel spectrograms."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Float64
from scipy.signal import resample_poly

from storyjax.data.audio import Spool
from storyjax.data.audio_features import RATE, decibel_mel, relative
from storyjax.models.laughter import LaughterConfig, LaughterNet
from storyjax.weights.pretrained import Pretrained

SIZE = 2048  # samples of a frame
_WINDOWS = 64  # that are judged at a time
_FRAMES = 4096  # of a recording that are in memory at a time: about a minute and a half


def resampled(wave: Float32[np.ndarray, " n"], rate: int) -> Float32[np.ndarray, " m"]:
    """Returns a wave of 16 kHz at a rate that divides it."""
    return resample_poly(wave, 1, RATE // rate).astype(np.float32) if rate != RATE else wave


class LaughterDetector:
    """Gives the probability of laughter at every moment.

    Args:
        config, params: of a LaughterNet.
        every_s: about how far apart the moments are. The published program takes every frame (23 ms), which needs four
            times as long and, of windows of a second, says little more.
    """

    def __init__(self, config: LaughterConfig, params: dict[str, Any], every_s: float = 0.1):
        self.config = config
        self._params = jax.device_put(params)
        self._stride = max(1, round(every_s * config.rate / config.hop))
        network: Any = LaughterNet(config)  # as Any: apply's annotation allows for states, which it does not have
        self._judge = jax.jit(lambda params, windows: jax.nn.sigmoid(network.apply({"params": params}, windows)))

    @classmethod
    def from_pretrained(cls, place: str | Path) -> "LaughterDetector":
        """Returns the detector in a folder, or "shipped:NAME". Raises StoryjaxError where there is none."""
        return cls(*Pretrained(str(place)).network("laughter"))

    def probabilities(
        self, wave: Float32[np.ndarray, " n"] | Spool
    ) -> tuple[Float64[np.ndarray, " t"], Float32[np.ndarray, " t"]]:
        """Returns moments (seconds) and the probability of laughter in the second around each.

        The wave is mono, at 16 kHz, in memory or spooled on disk. Loudness is relative to the loudest of the whole
        wave, so there are two passes over it, in blocks: beside the wave no more than a few megabytes are held, however
        long it is. Beyond the ends the first and last windows have silence.
        """
        loudest, blocks = -100.0, []
        for first, block in self._blocks(wave):
            loudest, blocks = max(loudest, float(block.max())), [(first, block)]
        moments, probabilities = [], []
        for first, block in blocks if blocks and blocks[0][0] == 0 else self._blocks(wave):  # a short one has but one
            windows = np.lib.stride_tricks.sliding_window_view(relative(block, loudest), self.config.window, axis=0)
            places = np.arange(-first % self._stride, len(windows), self._stride)
            chosen = windows[places].transpose(0, 2, 1)
            for start in range(0, len(chosen), _WINDOWS):
                batch = chosen[start : start + _WINDOWS]
                padded = np.pad(batch, ((0, _WINDOWS - len(batch)), (0, 0), (0, 0)))
                probabilities.append(np.asarray(self._judge(self._params, padded))[: len(batch)])
            moments.append((first + places) * self.config.hop / self.config.rate)
        if not moments:
            return np.zeros(0), np.zeros(0, np.float32)
        return np.concatenate(moments), np.concatenate(probabilities)

    def _blocks(self, wave: Float32[np.ndarray, " n"] | Spool) -> Iterator[tuple[int, np.ndarray]]:
        """Decibels of the recording in blocks: the number of the frame whose window each begins with, and
        `window` − 1 more frames than there are windows. Frames before the first and after the last are silent.
        """
        config, step = self.config, RATE // self.config.rate
        frames = 1 + len(wave) // step // config.hop if len(wave) else 0
        half = config.window // 2
        for first in range(0, frames, _FRAMES):
            last = min(first + _FRAMES, frames)
            # Frames first − half … last + half, each with half a transform's samples on either side.
            low, high = first - half, last - 1 + config.window - half
            start, end = low * config.hop - SIZE // 2, (high - 1) * config.hop + SIZE // 2
            yield first, decibel_mel(self._samples(wave, start, end), config.hop, config.rate, config.mels)

    def _samples(self, wave: Float32[np.ndarray, " n"] | Spool, start: int, end: int) -> Float32[np.ndarray, " m"]:
        """Samples from `start` to `end` at the network's rate, zero where there is no recording."""
        step, margin = RATE // self.config.rate, 64  # samples that the resampler's filter reaches
        left, right = (start - margin) * step, (end + margin) * step
        inside = wave[max(0, left) : max(0, right)]
        padded = np.pad(inside, (max(0, -left), 0))
        padded = np.pad(padded, (0, max(0, right - left - len(padded))))
        return resampled(padded, self.config.rate)[margin : margin + end - start]
