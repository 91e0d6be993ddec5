"""Finding a visible speaker (§6.1.5): `SyncDetector`, an LWTNet that makes heat maps, and their `peaks`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data.audio_features import RATE, log_mel_magnitude
from storyjax.models.lwtnet import LwtConfig, LwtNet, prepare_frames, reach
from storyjax.weights.pretrained import Pretrained

_SOUND_MOMENTS = 25  # moments of sound that are encoded together: norms of the sound stream are over all of them
_IMAGE_MOMENTS = 10  # of images, each by itself: a multiple of few wastes little of a short sentence
MEL_PER_FRAME = 4
QUIET = 1e-3  # variance of vectors of unit length that is taken for noise


def heard(wave: Float32[np.ndarray, " n"], config: LwtConfig) -> Float32[np.ndarray, "s m"]:
    """Returns the mel spectrogram that the sound stream takes of a wave: four frames for an image."""
    return log_mel_magnitude(wave, config.mels, config.mel_floor)


def resized(frames: UInt8[np.ndarray, "t y x 3"], short_side: int | None) -> UInt8[np.ndarray, "t v u 3"]:
    """Returns images whose shorter side has so many pixels; None leaves them as they are."""
    height, width = frames.shape[1:3]
    if short_side is None or min(height, width) == short_side:
        return frames
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    images = (Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR) for frame in frames)
    return np.stack([np.asarray(image) for image in images])


def _sums(values: np.ndarray, width: int) -> np.ndarray:
    """Sums over `width` moments (the first axis) around each, or as many as there are, in float64."""
    sums = np.concatenate([np.zeros_like(values[:1], np.float64), np.cumsum(values, axis=0, dtype=np.float64)])
    moments = np.arange(len(values))
    first = np.maximum(0, moments - width // 2)
    return sums[np.minimum(len(values), moments - width // 2 + width)] - sums[first]


def smoothed(maps: Float32[np.ndarray, "t h w"], width: int) -> Float32[np.ndarray, "t h w"]:
    """Returns averages over `width` moments around each, or as many as there are."""
    if width < 2:
        return maps
    count = _sums(np.ones(len(maps)), width)[:, None, None]
    return (_sums(maps, width) / count).astype(np.float32)


def correlated(
    places: Float32[np.ndarray, "t h w d"], sounds: Float32[np.ndarray, "t d"], width: int
) -> Float32[np.ndarray, "t h w"]:
    """Returns the correlation in time of every place with the sound, over `width` moments around each.

    It is that of two series of vectors, of their differences from their means. QUIET is added to the variances, so that
    noise is not amplified.
    """
    count = _sums(np.ones(len(places)), width)
    mean_place = _sums(places, width) / count[:, None, None, None]
    mean_sound = _sums(sounds, width) / count[:, None]
    together = _sums(np.einsum("tyxd,td->tyx", places, sounds), width) / count[:, None, None]
    together -= np.einsum("tyxd,td->tyx", mean_place, mean_sound)
    place = _sums((places**2).sum(axis=-1), width) / count[:, None, None] - (mean_place**2).sum(axis=-1)
    sound = _sums((sounds**2).sum(axis=-1), width) / count - (mean_sound**2).sum(axis=-1)
    spread = np.sqrt(np.maximum(place, 0) + QUIET) * np.sqrt(np.maximum(sound, 0) + QUIET)[:, None, None]
    return (together / spread).astype(np.float32)


class SyncDetector:
    """Makes heat maps of where the sound comes from.

    Args:
        config, params: of an LWTNet.
    """

    def __init__(self, config: LwtConfig, params: dict[str, Any]):
        self.config = config
        self._params = jax.device_put(params)
        network = LwtNet(config)
        self._see = jax.jit(
            lambda params, frames: network.apply(
                {"params": params}, prepare_frames(frames.astype("float32"), config), method=LwtNet.encode_frames
            )
        )
        self._hear = jax.jit(lambda params, mel: network.apply({"params": params}, mel, method=LwtNet.encode_audio))
        scale, bias = float(params["scale"]), float(params["bias"])
        self._probability = lambda cosines: 1 / (1 + np.exp(-(scale * cosines + bias)))

    @classmethod
    def from_pretrained(cls, place: str | Path) -> "SyncDetector":
        """Returns the detector in a folder, or "shipped:NAME". Raises StoryjaxError where there is none."""
        return cls(*Pretrained(str(place)).network("lwtnet"))

    def heat_maps(
        self, frames: UInt8[np.ndarray, "t y x 3"], wave: Float32[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "t h w"]:
        """Returns how well each place of each image goes with the sound, as LwtConfig.heat says.

        The first and the last images are repeated for half a window, as is the sound, so that there is a map for every
        image. Long inputs are encoded in pieces.

        Args:
            frames: images at the config's rate (25 a second).
            wave: the sound of the same time, mono at 16 kHz; t / 25 s, give or take an image.

        Raises:
            StoryjaxError: no images, or sound of another length.
        """
        config = self.config
        count, samples = len(frames), round(len(frames) * RATE / config.fps)
        if not count or abs(len(wave) - samples) > 2 * RATE / config.fps:
            raise StoryjaxError(
                f"{count} images at {config.fps:g} a second and {len(wave) / RATE:.2f} s of sound do not go together:"
                " give both of the same time"
            )
        wave = np.pad(wave, (0, max(0, samples - len(wave))))[:samples]
        seen = self._pieces(resized(frames, config.short_side), 1, _IMAGE_MOMENTS)
        places = np.concatenate([np.asarray(self._see(self._params, part[None]))[0] for part in seen])[:count]
        sound = self._pieces(heard(wave, config), MEL_PER_FRAME, _SOUND_MOMENTS)
        sounds = np.concatenate([np.asarray(self._hear(self._params, part[None]))[0] for part in sound])[:count]
        if config.agreement == "correlation":
            agreement = correlated(places, sounds, config.smooth)
        else:
            agreement = smoothed(np.einsum("tyxd,td->tyx", places, sounds), config.smooth)
        return (agreement if config.heat == "cosine" else self._probability(agreement)).astype(np.float32)

    def _pieces(self, values: np.ndarray, rate: int, together: int) -> Iterator[np.ndarray]:
        """The input of a stream for `together` moments after each other; `rate` values are of one moment.

        The first and the last values are repeated beyond the ends, so that there is an input for every moment.
        """
        count, ends = len(values) // rate, (self.config.frames - 1) // 2
        total = -(-count // together) * together
        after = self.config.frames - 1 - ends + total - count
        padding = [(rate * ends, rate * after), *[(0, 0)] * (values.ndim - 1)]
        padded = np.pad(values[: rate * count], padding, mode="edge")
        for first in range(0, total, together):
            yield padded[rate * first : rate * (first + together + self.config.frames - 1)]

    def pixel(self, place: tuple[float | int, float | int], size: tuple[int, int]) -> tuple[float, float]:
        """Returns the pixel (row, column) of a place of the heat map, in an image of `size` (height, width)."""
        step, first = reach(self.config)
        pad = first  # as many black pixels are around an image
        scale = 1.0 if self.config.short_side is None else min(size) / self.config.short_side
        row, column = ((first + step * at - pad + 0.5) * scale - 0.5 for at in place)
        return row, column


def peaks(
    heat_map: Float32[np.ndarray, "h w"], threshold: float = 0.7, at_most: int = 4, distance: int = 4
) -> list[tuple[int, int, float]]:
    """Returns the places (row, column, score) where a heat map is highest, the highest first.

    These are the places that are higher than all eight around them (a maximum filter), less those within `distance`
    (rows and columns added) of a higher one; of these the first `at_most`, and of them those above `threshold` (§6.1.5:
    4, 0.7).
    """
    padded = np.pad(np.asarray(heat_map, np.float32), 1, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max(axis=(2, 3))
    rows, columns = np.nonzero((heat_map >= around) & np.isfinite(heat_map))
    order = np.argsort(-heat_map[rows, columns], kind="stable")
    kept: list[tuple[int, int, float]] = []
    for index in order:
        row, column = int(rows[index]), int(columns[index])
        if all(abs(row - y) + abs(column - x) > distance for y, x, _ in kept):
            kept.append((row, column, float(heat_map[row, column])))
        if len(kept) == at_most:
            break
    return [peak for peak in kept if peak[2] > threshold]
