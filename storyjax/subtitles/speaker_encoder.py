"""Voice embeddings (§6.1.6): `SpeakerEncoder`, with ECAPA-TDNN or CAM++."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.data.audio_features import RATE, centred, kaldi_fbank, speechbrain_fbank
from storyjax.models.campplus import CamPlus, CamPlusConfig
from storyjax.models.ecapa import Ecapa, EcapaConfig
from storyjax.weights.pretrained import Pretrained

VoiceConfig = EcapaConfig | CamPlusConfig
# Seconds. Every length is one compiled program, so there are few, each twice as long as the one before.
BUCKETS_S = (2.0, 4.0, 8.0)
SHORTEST_S = 0.5
_ROUND_S = 16.0  # of sound that is embedded at a time


def features(wave: Float32[np.ndarray, " n"], config: VoiceConfig) -> Float32[np.ndarray, "t m"]:
    """Returns the spectral features that an encoder takes of a wave at 16 kHz, less their mean over time."""
    front = speechbrain_fbank if isinstance(config, EcapaConfig) else kaldi_fbank
    return centred(front(wave, config.mels))


def lengthened(wave: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " m"]:
    """Returns a wave that is shorter than SHORTEST_S repeated until it is as long, for a network needs some frames.

    Raises:
        StoryjaxError: it has no samples.
    """
    least = round(SHORTEST_S * RATE)
    if not len(wave):
        raise StoryjaxError("there is no voice in no sound at all: give recordings of at least a few words")
    return wave if len(wave) >= least else np.tile(wave, math.ceil(least / len(wave)))[:least]


def windows(wave: Float32[np.ndarray, " n"], longest_s: float = BUCKETS_S[-1]) -> list[Float32[np.ndarray, " _"]]:
    """Returns a wave in windows of at most `longest_s`, which cover it evenly; one that is no longer is left whole."""
    longest = round(longest_s * RATE)
    count = math.ceil(len(wave) / longest)
    if count <= 1:
        return [wave]
    starts = np.linspace(0, len(wave) - longest, count).round().astype(int)
    return [wave[start : start + longest] for start in starts]


class SpeakerEncoder:
    """Embeds recordings of voices as vectors of unit length: the smaller their angle, the likelier the same voice.

    Args:
        config: of an ECAPA-TDNN or a CAM++.
        params: its parameters.
    """

    def __init__(self, config: VoiceConfig, params: dict[str, Any]):
        self.config = config
        self.dim: int = config.embedding_dim
        self._params = jax.device_put(params)
        # As Any: apply's annotation allows for states, which these networks do not have.
        network: Any = Ecapa(config) if isinstance(config, EcapaConfig) else CamPlus(config)
        self._embed: Callable[..., jax.Array] = jax.jit(
            lambda params, x, lengths: unit_norm(network.apply({"params": params}, x, lengths))
        )
        silence = np.zeros(round(BUCKETS_S[-1] * RATE), np.float32)
        self._frames = [len(features(silence[: round(s * RATE)], config)) for s in BUCKETS_S]

    @classmethod
    def from_pretrained(cls, place: str | Path) -> "SpeakerEncoder":
        """Returns the encoder in a folder, or "shipped:NAME". Raises StoryjaxError where there is none."""
        return cls(*Pretrained(str(place)).network("speaker_encoder"))

    def embed(self, waves: Sequence[Float32[np.ndarray, " _"]]) -> Float32[np.ndarray, "n d"]:
        """Returns one vector of unit length for each recording (mono float32 at 16 kHz, in −1..1).

        A recording of less than SHORTEST_S is repeated until it is as long; one of more than 8 s is cut into windows
        of 8 s that cover it, whose vectors are averaged. The other recordings of the batch change nothing.

        Raises:
            StoryjaxError: a recording without samples.
        """
        pieces, owner = [], []
        for row, wave in enumerate(waves):
            for piece in windows(lengthened(np.asarray(wave, np.float32))):
                pieces.append(features(piece, self.config))
                owner.append(row)
        vectors = np.zeros((len(waves), self.dim), np.float32)
        for bucket, frames in enumerate(self._frames):
            shorter = self._frames[bucket - 1] if bucket else 0
            inside = [i for i, piece in enumerate(pieces) if shorter < len(piece) <= frames]
            for vector, index in zip(self._batches([pieces[i] for i in inside], bucket), inside, strict=True):
                vectors[owner[index]] += vector
        return unit_norm(vectors, eps=1e-9)

    def _batches(self, pieces: list[np.ndarray], bucket: int) -> list[np.ndarray]:
        """Vectors of pieces that fit a bucket, in batches of one size; the last is filled up with silence."""
        rows, frames = max(1, int(_ROUND_S / BUCKETS_S[bucket])), self._frames[bucket]
        vectors: list[np.ndarray] = []
        for first in range(0, len(pieces), rows):
            batch = pieces[first : first + rows]
            heard = np.zeros((rows, frames, self.config.mels), np.float32)
            lengths = np.full(rows, frames, np.int32)
            for row, piece in enumerate(batch):
                heard[row, : len(piece)], lengths[row] = piece, len(piece)
            vectors += list(np.asarray(self._embed(self._params, jnp.asarray(heard), lengths))[: len(batch)])
        return vectors
