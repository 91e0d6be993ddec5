"""The frozen vision tower, computing the features that training reads instead of pixels."""

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Num, UInt8
from tqdm import tqdm

from storyjax.core.buckets import place
from storyjax.core.params_io import unflatten
from storyjax.data.features import (
    Dtype,
    FeatureSpec,
    FeatureStore,
    Look,
    fingerprint,
    missing_shards,
    stored_times,
    write_missing,
)
from storyjax.data.video import decode_frames, probe
from storyjax.tcr.model import VideoLanguageModel
from storyjax.train.precision import Policy

# Frames that the tower encodes at a time; all videos are padded to multiples of it, so that it is compiled once.
_CHUNK = 32


class Tower:
    """The frozen vision tower with its weights.

    Args:
        model: whose vision tower it is.
        weights: flat, with the tower's under "vision/".
        policy: the precision that it computes in.
    """

    def __init__(self, model: VideoLanguageModel, weights: Mapping[str, Any], policy: Policy):
        # Whatever type they are stored in.
        vision = {key: np.asarray(value, np.float32) for key, value in weights.items() if key.startswith("vision/")}
        self.config = model.vision.config
        self.fingerprint = fingerprint(vision, dataclasses.asdict(self.config), policy.name)
        self._params = unflatten(
            {
                key: jax.numpy.asarray(v, policy.parameter_dtype(v.dtype, trains=False, path=key))
                for key, v in vision.items()
            }
        )
        self._encode = jax.jit(lambda params, frames: model.encode_frames(params, frames[None])[0])

    def encode_frames(self, frames: UInt8[np.ndarray, "m y x 3"]) -> Num[np.ndarray, "m n e"]:
        """Returns the tokens of each frame, in the tower's own precision."""
        count = min(_CHUNK, len(frames))
        parts = []
        for start in range(0, len(frames), count):
            part = frames[start : start + count]
            padded = np.pad(part, [(0, count - len(part))] + [(0, 0)] * 3)
            parts.append(np.asarray(self._encode(self._params, padded))[: len(part)])
        return np.concatenate(parts)

    def encode_file(
        self, source: str | bytes, name: str, frames: int, draws: int
    ) -> tuple[Float32[np.ndarray, " m"], Num[np.ndarray, "m n e"], int]:
        """Returns (seconds, tokens, checksum) of a video, as data/features.py stores it. Raises VideoError."""
        times = stored_times(probe(source, name).duration_s, frames, draws)
        pixels, seconds = decode_frames(source, times, self.config.image_size, name)
        return seconds, self.encode_frames(pixels), zlib.crc32(source) if isinstance(source, bytes) else 0

    def spec(self, films: Sequence[str], frames: int, draws: int, dtype: Dtype, shard_videos: int) -> FeatureSpec:
        """Returns what features of these videos are, by which their folder is known."""
        return FeatureSpec(
            tower=self.fingerprint,
            frames=frames,
            draws=draws,
            tokens=self.config.num_tokens,
            width=self.config.width,
            dtype=dtype,
            films=tuple(films),
            shards=max(1, math.ceil(len(films) / shard_videos)),
        )


def footage_features(root: str | Path, videos: Sequence[str], frames: int, draws: int, tower: Tower) -> FeatureStore:
    """Returns the features of video files, by `cached_features`."""
    # Videos are known by their last folders and names, so that a data set may be moved.
    names = ["/".join(Path(video).parts[-3:]) for video in videos]
    return cached_features(root, names, videos.__getitem__, frames, draws, tower)


def cached_features(
    root: str | Path,
    names: Sequence[str],
    read: Callable[[int], str | bytes],
    frames: int,
    draws: int,
    tower: Tower,
) -> FeatureStore:
    """Returns the features of videos, in a folder of `root` that is named by what is in it.

    They are computed now, with a progress bar, where they are not there yet; an interrupted computation is resumed.

    Args:
        root: holds a folder for each set of videos.
        names: of the videos, without repetition.
        read: the number of a video -> its path, or its bytes.
        frames, draws: segments that a video is cut into, and frames stored of each (odd).
        tower: computes them.
    """
    spec = tower.spec(names, frames, draws, "float16", shard_videos=8)
    folder = place(root) / fingerprint({}, dataclasses.asdict(spec))
    if missing := len(missing_shards(folder, spec)):
        with ThreadPoolExecutor(max_workers=1) as pool:
            encode = _decoding_ahead(pool, len(names), read, tower, spec)
            shards = write_missing(folder, spec, encode)
            for _ in tqdm(shards, total=missing, desc="computing frozen features", unit="shard", mininterval=1.0):
                pass
    return FeatureStore(folder, tower.fingerprint, frames)


def _decoding_ahead(
    pool: ThreadPoolExecutor, count: int, read: Callable[[int], str | bytes], tower: Tower, spec: FeatureSpec
) -> Look:
    """Encodes one video while the next one is being decoded."""
    decoded: dict[int, Any] = {}

    def decode(video: int) -> Any:
        source = read(video)
        times = stored_times(probe(source).duration_s, spec.frames, spec.draws)
        pixels, seconds = decode_frames(source, times, tower.config.image_size)
        return pixels, seconds, zlib.crc32(source) if isinstance(source, bytes) else 0

    def encode(video: int) -> Any:
        for number in (video, video + 1):
            if number < count and number not in decoded:
                decoded[number] = pool.submit(decode, number)
        pixels, seconds, checksum = decoded.pop(video).result()
        return seconds, tower.encode_frames(pixels), checksum

    return encode
