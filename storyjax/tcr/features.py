"""The frozen tower's tokens of every film, computed once: what training a resampler for many epochs looks at.

A frozen tower gives the same tokens each time, so films are decoded and seen once, at twice the frames that an example
needs; training draws one of each two neighbours, which keeps its frames as varied as sampling the video would.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float16, Float32, UInt8
from tqdm import tqdm

from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.tcr.model import VideoLanguageModel
from storyjax.weights.tree_io import unflatten

_CHUNK = 8  # films seen at a time


class Features:
    """Tokens and times of the films of a source, in two memory-mapped files.

    Args:
        folder: where the files lie; they are made if they are not there, with a progress bar.
        videos: paths of the films.
        frames: frames an example has; twice as many are stored.
        model: the model whose vision tower looks.
        weights: gives the tower's weights, flat, when they are needed.
    """

    def __init__(
        self,
        folder: str | Path,
        videos: Sequence[str],
        frames: int,
        model: VideoLanguageModel,
        weights: Callable[[], dict[str, Any]],
    ):
        self.frames = frames
        self._videos = list(videos)
        # Whatever type they are stored in.
        tower = {key: np.asarray(value, np.float32) for key, value in weights().items() if key.startswith("vision/")}
        path = Path(folder) / _name(self._videos, frames, tower)
        config = model.vision.config
        shape = (len(self._videos), 2 * frames, config.num_tokens, config.width)
        if not path.exists():
            self._make(path, shape, model, tower)
        self._tokens = np.memmap(path / "tokens.f16", np.float16, "r", shape=shape)
        self._seconds = np.load(path / "seconds.npy")

    def __getitem__(self, index: int) -> tuple[Float16[np.ndarray, "t n e"], Float32[np.ndarray, "t"]]:
        """All stored tokens of a film and the times of its frames (seconds)."""
        return self._tokens[index], self._seconds[index]

    def draw(
        self, index: int, rng: np.random.Generator | None
    ) -> tuple[Float16[np.ndarray, "t n e"], Float32[np.ndarray, "t"]]:
        """One of each two neighbouring frames: the first, or with a generator either."""
        side = np.zeros(self.frames, int) if rng is None else rng.integers(2, size=self.frames)
        chosen = 2 * np.arange(self.frames) + side
        return np.asarray(self._tokens[index][chosen]), self._seconds[index][chosen]

    def _make(
        self, path: Path, shape: tuple[int, ...], model: VideoLanguageModel, tower: dict[str, np.ndarray]
    ) -> None:
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        unfinished.mkdir(parents=True, exist_ok=True)
        tokens = np.memmap(unfinished / "tokens.f16", np.float16, "w+", shape=shape)
        seconds = np.zeros(shape[:2], np.float32)
        params = jax.device_put(unflatten(tower))
        look = jax.jit(lambda frames: model.look(params, frames).astype(jnp.float16))
        size = model.vision.config.image_size
        firsts = range(0, len(self._videos), _CHUNK)
        with ThreadPoolExecutor() as pool:
            for first in tqdm(firsts, desc="looking at films", unit=f"{_CHUNK} films"):
                films = list(
                    pool.map(lambda video: _decode(video, shape[1], size), self._videos[first : first + _CHUNK])
                )
                pixels = np.stack([frames for frames, _ in films])
                padded = np.pad(pixels, [(0, _CHUNK - len(films))] + [(0, 0)] * 4)
                tokens[first : first + len(films)] = np.asarray(look(padded))[: len(films)]
                seconds[first : first + len(films)] = [times for _, times in films]
        tokens.flush()
        np.save(unfinished / "seconds.npy", seconds)
        unfinished.replace(path)


def _decode(video: str, frames: int, size: int) -> tuple[UInt8[np.ndarray, "t y x 3"], Float32[np.ndarray, "t"]]:
    return decode_frames(video, sample_times(probe(video).duration_s, frames), size)


def _name(videos: Sequence[str], frames: int, tower: dict[str, np.ndarray]) -> str:
    """A folder name that changes with the films, the number of frames and the tower."""
    # Films are known by their last folders and names, so that a data set may be moved.
    names = [Path(video).parts[-3:] for video in videos]
    digest = hashlib.sha256(f"{frames} {names}".encode())
    for key in sorted(tower):
        digest.update(np.ascontiguousarray(tower[key]).tobytes())
    return digest.hexdigest()[:16]
