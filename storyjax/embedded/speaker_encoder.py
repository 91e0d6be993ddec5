"""The experiment `subtitles.voices`: a small ECAPA-TDNN learns to tell StoryWorld's voices apart.

As speaker encoders are trained (Desplanques et al. 2020): additive angular margin softmax over the voices of training.
It is measured on voices and sentences that it has never heard: whether the recording nearest to one is of the same
voice, and how often it errs where it errs equally in both directions.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Int
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.data.audio_features import RATE
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.models.clip import unit_norm
from storyjax.models.ecapa import Ecapa, EcapaConfig
from storyjax.storyworld.export.series import CAST, EXTRAS
from storyjax.storyworld.render.sounds import laughter, music, room
from storyjax.storyworld.render.speech import BASES, SCALES, Speaker, say
from storyjax.storyworld.story.dialogue import sayings
from storyjax.subtitles.speaker_encoder import features
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, Task


@dataclass(frozen=True)
class VoiceData:
    """StoryWorld's voices, one recording at a time.

    Attributes:
        scales: voices of training for each of the four of the bank, from SCALES' lowest to its highest.
        sayings: that each voice of training says.
        seconds: of a recording; longer ones are cut at random, shorter ones are padded and masked.
        test_sayings: sentences that each held-out voice says.
        noise: share of the recordings of training with music or laughter behind them.
        scale, margin: of the cosines before the softmax, and the angle (radians) that is added to the right voice's.
        workers: processes that load.
    """

    scales: int = 12
    sayings: int = 10
    seconds: float = 2.0
    test_sayings: int = 8
    noise: float = 0.3
    scale: float = 20.0
    margin: float = 0.15
    workers: int = 0

    @property
    def speakers(self) -> tuple[Speaker, ...]:
        """Those of training."""
        return tuple(
            Speaker(base, float(scale)) for base in BASES for scale in np.linspace(*SCALES, self.scales).round(3)
        )


HELD_OUT: tuple[Speaker, ...] = tuple(character.voice for character in (*CAST, *EXTRAS))


def equal_error_rate(same: Float[np.ndarray, " n"], different: Float[np.ndarray, " m"]) -> float:
    """Where as large a share of the pairs of one voice is below a threshold as of those of two is above it."""
    scores = np.concatenate([same, different])
    order = np.argsort(scores, kind="stable")
    truth = np.concatenate([np.ones(len(same)), np.zeros(len(different))])[order]
    missed = np.cumsum(truth) / len(same)
    alarms = 1 - np.cumsum(1 - truth) / len(different)
    closest = int(np.abs(missed - alarms).argmin())
    return float((missed[closest] + alarms[closest]) / 2)


def voice_scores(vectors: Float32[np.ndarray, "n d"], voice: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Nearest neighbour and equal error rate of unit vectors whose voices are known."""
    cosines = vectors @ vectors.T
    upper = np.triu_indices(len(vectors), 1)
    same = (voice[:, None] == voice[None])[upper]
    rate = equal_error_rate(cosines[upper][same], cosines[upper][~same])
    np.fill_diagonal(cosines, -np.inf)
    return {
        "voices/unheard_nearest": float((voice[cosines.argmax(axis=1)] == voice).mean()),
        "voices/unheard_equal_error": rate,
    }


class VoiceClassifier:
    """The encoder under "voice", and a direction for each voice of training under "speakers"."""

    def __init__(self, config: EcapaConfig, data: VoiceData):
        self.config, self.data, self.encoder = config, data, Ecapa(config)
        self.speakers = nn.Dense(len(data.speakers), use_bias=False)
        self.frames = len(features(np.zeros(round(data.seconds * RATE), np.float32), config))

    def init(self, key: jax.Array) -> Params:
        keys = jax.random.split(key)
        heard = jnp.zeros((1, self.frames, self.config.mels))
        return {
            "voice": self.encoder.init(keys[0], heard, jnp.full(1, self.frames))["params"],
            "speakers": self.speakers.init(keys[1], jnp.zeros((1, self.config.embedding_dim)))["params"],
        }

    def describe(self, params: Params, batch: Batch) -> Float[Array, "b e"]:
        return unit_norm(self.encoder.apply({"params": params["voice"]}, batch["features"], batch["length"]))

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Cross-entropy of whose voice it is, whose angle is taken to be wider by the margin."""
        del key
        directions = unit_norm(params["speakers"]["kernel"].T)
        cosines = jnp.einsum("be,se->bs", self.describe(params, batch), directions).clip(-0.9999, 0.9999)
        right = jax.nn.one_hot(batch["speaker"], len(self.data.speakers), dtype=bool)
        handicapped = jnp.cos(jnp.arccos(cosines) + self.data.margin)
        logits = self.data.scale * jnp.where(right, handicapped, cosines)
        nll = -jnp.where(right, jax.nn.log_softmax(logits), 0.0).sum(axis=1)
        acc = (jnp.argmax(cosines, axis=1) == batch["speaker"]).astype(jnp.float32)
        return nll.mean(), {"acc": acc.mean()}

    def example(self, wave: Float32[np.ndarray, " n"], speaker: int) -> Batch:
        """Features of a recording, cut or padded to the same number of frames."""
        heard = features(wave, self.config)[: self.frames]
        length = len(heard)
        padded = np.pad(heard, ((0, self.frames - length), (0, 0)))
        return {"features": padded, "length": np.int32(length), "speaker": np.int32(speaker)}

    @functools.cached_property
    def _behind(self) -> list[Float32[np.ndarray, " _"]]:
        """Music and laughter to lay behind voices, longer than a recording."""
        rng = np.random.default_rng(0x0150)
        return [make(2 * self.data.seconds, rng) for make in (music, laughter) for _ in range(6)]

    def random(self, speaker: int, rng: np.random.Generator) -> Batch:
        """Something that a voice of training says, in part, perhaps over other sounds."""
        sentences, shouts = sayings(held_out=False)
        texts = np.random.default_rng([speaker, 0x0151]).permutation([*sentences, *shouts])[: self.data.sayings]
        spoken = say(self.data.speakers[speaker], int(rng.choice(texts)))
        longest = round(self.data.seconds * RATE)
        if len(spoken) > longest:
            first = int(rng.integers(len(spoken) - longest))
            spoken = spoken[first : first + longest]
        wave = spoken * np.float32(rng.uniform(0.5, 1.2)) + room(len(spoken), rng)
        if rng.random() < self.data.noise:
            behind = self._behind[int(rng.integers(len(self._behind)))]
            first = int(rng.integers(len(behind) - len(wave) + 1))
            wave = wave + behind[first : first + len(wave)] * np.float32(rng.uniform(0.05, 0.4))
        return self.example(wave, speaker)

    def held_out(self, place: int, rng: np.random.Generator) -> Batch:
        """A sentence that is in no training, said by a voice that is in none."""
        del rng
        voice, number = divmod(place, self.data.test_sayings)
        sentences = sayings(held_out=True)[0]
        saying = sentences[(3 * voice + 5 * number) % len(sentences)]
        return self.example(np.array(say(HELD_OUT[voice], saying)), voice)


def build(config: ConfigDict) -> Experiment:
    """The experiment of `configs/subtitles_voices.py`."""
    data = from_config(VoiceData, config.data, "config.data")
    classifier = VoiceClassifier(from_config(EcapaConfig, config.model, "config.model"), data)

    def accumulate(rows: Any, measured: Any, batch: Batch) -> Any:
        valid = np.asarray(batch["record_valid"])
        made = [(np.asarray(measured)[valid], np.asarray(batch["speaker"])[valid])]
        return made if rows is None else rows + made

    def finish(rows: Any) -> dict[str, float]:
        vectors, voice = (np.concatenate(part) for part in zip(*rows, strict=True))
        return voice_scores(vectors, voice)

    count = len(data.speakers)
    return Experiment(
        name="subtitles.voices",
        init=classifier.init,
        trainable=".*",
        tasks=(
            Task(
                "speakers",
                lambda s: train_stream(range(count), classifier.random, s, workers=data.workers),
                classifier.loss,
            ),
        ),
        evaluators=(
            Evaluator(
                "unheard voices",
                lambda s: eval_stream(range(len(HELD_OUT) * data.test_sayings), classifier.held_out, s),
                classifier.describe,
                accumulate,
                finish,
            ),
        ),
        units="recordings",
        steps_per_epoch=lambda: max(1, count * 40 // config.train.batch_size),
    )
