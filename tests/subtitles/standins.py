"""Simple things in place of the networks: enough to follow episodes of StoryWorld with, and quick."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from storyjax.search.protocol import Notes

RATE, FPS = 16_000, 25


class SpectralVoices:
    """A voice is the mean and the spread of its log spectrum, less what all voices share."""

    edges = np.unique(np.concatenate([np.arange(1, 40), np.geomspace(40, 230, 10).round().astype(int)]))
    dim = len(edges) - 1

    def embed(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([self._one(wave) for wave in waves])

    def _one(self, wave: np.ndarray) -> np.ndarray:
        size = 512
        if len(wave) < 2 * size:
            wave = np.pad(wave, (0, 2 * size - len(wave)))
        frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::256] * np.hanning(size)
        power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
        if not power.any():
            return np.zeros(self.dim, np.float32)
        loud = power.sum(axis=1) > 0.1 * np.percentile(power.sum(axis=1), 90)
        bands = np.stack(
            [power[loud][:, a:b].mean(axis=1) for a, b in zip(self.edges, self.edges[1:], strict=False)], axis=1
        )
        profile = np.log(bands + 1e-6).mean(axis=0)
        profile = profile - np.convolve(np.pad(profile, 8, mode="edge"), np.ones(17) / 17, "valid")
        return (profile / max(np.linalg.norm(profile), 1e-9)).astype(np.float32)


class NoLaughter:
    """Hears no laughter."""

    def probabilities(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        times = np.arange(0, len(wave) / RATE, 0.1)
        return times, np.zeros(len(times))


class CorrelatingSync:
    """The heat of a cell is how well its brightness follows the loudness."""

    cell = 4

    def heat_maps(self, frames: np.ndarray, wave: np.ndarray) -> np.ndarray:
        t, y, x, _ = frames.shape
        n = self.cell
        grey = frames.mean(axis=3)[:, : y // n * n, : x // n * n].reshape(t, y // n, n, x // n, n).mean(axis=(2, 4))
        hop = RATE // FPS
        loud = np.sqrt((wave[: t * hop].reshape(t, hop) ** 2).mean(axis=1)) ** 0.7
        loud = (loud - loud.mean()) / (loud.std() + 1e-6)
        grey = (grey - grey.mean(axis=0)) / np.maximum(grey.std(axis=0), 1.5)
        heat = np.abs((grey * loud[:, None, None]).mean(axis=0))
        return np.repeat(heat[None], t, axis=0)


def peaks(heat: np.ndarray, threshold: float = 0.45, at_most: int = 4) -> list[tuple[float, float, float]]:
    """Cells above the threshold, the hottest first, each at least a sixth of the image from the others."""
    found: list[tuple[float, float, float]] = []
    for place in np.argsort(-heat, axis=None):
        y, x = divmod(int(place), heat.shape[1])
        if heat[y, x] < threshold or len(found) == at_most:
            break
        if all(max(abs(y - a), abs(x - b)) > heat.shape[0] / 6 for a, b, _ in found):
            found.append((float(y), float(x), float(heat[y, x])))
    return found


class ColourMatcher:
    """Knows people by the colours of their photos."""

    image_size, keep_aspect = 32, False

    def enrol(self, photos: Sequence[np.ndarray], *, notes: Notes | None = None) -> np.ndarray:
        del notes
        return np.mean([self._colours(np.asarray(photo)) for photo in photos], axis=0)[None]

    def embed_query(self, prompt: str, tokens: Mapping[str, np.ndarray]) -> np.ndarray:
        vector = tokens["somebody"][0] if tokens else np.ones(64, np.float32)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        return np.stack([self._colours(image) for image in images])

    def describe_photos(self, photos: Sequence[np.ndarray], *, notes: Notes | None = None) -> np.ndarray:
        return self.enrol(photos, notes=notes)[0]

    def as_face(self, crop: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(crop).resize((16, 16)))

    def describe_faces(self, faces: np.ndarray) -> np.ndarray:
        return self.embed_images(faces)

    @staticmethod
    def _colours(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        middle = image[height // 4 :, width // 4 : -width // 4].reshape(-1, 3) // 64
        counts = np.bincount(middle @ np.array([16, 4, 1]), minlength=64).astype(np.float32)
        return counts / np.linalg.norm(counts)
