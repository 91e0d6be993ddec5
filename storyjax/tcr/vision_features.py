"""The frozen vision tower, computing the features that training reads instead of pixels."""

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Num, UInt8

from storyjax.core.params_io import unflatten
from storyjax.data.features import (
    Dtype,
    FeatureSpec,
    fingerprint,
    stored_times,
)
from storyjax.data.video import decode_frames, probe
from storyjax.tcr.model import VideoLanguageModel
from storyjax.train.precision import Policy

# Frames that the tower sees at a time; all films are padded to multiples of it, so that it is compiled once.
_CHUNK = 32


class Tower:
    """The frozen tower, ready to look.

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
        """The tokens of each frame, in the tower's own precision."""
        count = min(_CHUNK, len(frames))
        parts = []
        for start in range(0, len(frames), count):
            part = frames[start : start + count]
            padded = np.pad(part, [(0, count - len(part))] + [(0, 0)] * 3)
            parts.append(np.asarray(self._encode(self._params, padded))[: len(part)])
        return np.concatenate(parts)

    def encode_file(
        self, source: str | bytes, name: str, frames: int, draws: int
    ) -> tuple[Float32[np.ndarray, "m"], Num[np.ndarray, "m n e"], int]:
        """(seconds, tokens, checksum) of a film, as data/features.py stores it. Raises VideoError."""
        times = stored_times(probe(source, name).duration_s, frames, draws)
        pixels, seconds = decode_frames(source, times, self.config.image_size, name)
        return seconds, self.encode_frames(pixels), zlib.crc32(source) if isinstance(source, bytes) else 0

    def spec(self, films: Sequence[str], frames: int, draws: int, dtype: Dtype, shard_films: int) -> FeatureSpec:
        return FeatureSpec(
            tower=self.fingerprint,
            frames=frames,
            draws=draws,
            tokens=self.config.num_tokens,
            width=self.config.width,
            dtype=dtype,
            films=tuple(films),
            shards=max(1, math.ceil(len(films) / shard_films)),
        )
