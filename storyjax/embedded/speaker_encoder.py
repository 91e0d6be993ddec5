"""The experiment `embedded.speaker_encoder`: a small ECAPA-TDNN learns to distinguish StoryWorld's voices.

As speaker encoders are trained (Desplanques et al. 2020): additive angular margin softmax over the training voices. It
is evaluated on voices and sentences that it has never heard: whether the recording nearest to one is of the same voice,
and the equal error rate.
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

from storyjax.core.arrays import unit_norm
from storyjax.core.config import from_config
from storyjax.data.audio_features import RATE
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.models.ecapa import Ecapa, EcapaConfig
from storyjax.storyworld.export.series import CAST, EXTRAS
from storyjax.storyworld.render.sounds import laughter, music, room
from storyjax.storyworld.render.speech import BASES, SCALES, Speaker, speak
from storyjax.storyworld.story.dialogue import text_numbers
from storyjax.subtitles.speaker_encoder import features
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, Params, Task


@dataclass(frozen=True)
class VoiceData:
    """StoryWorld's voices, one recording at a time.

    Attributes:
        voices_per_base: training voices made of each of the four of the bank, from SCALES' lowest to its highest.
        sentences_per_voice: that each training voice says.
        seconds: of a recording; longer ones are cut at random, shorter ones are padded and masked.
        test_sentences: that each held-out voice says.
        noise_prob: of music or laughter behind a recording of training.
        scale, margin: of the cosines before the softmax, and the angle (radians) that is added to the right voice's.
        workers: processes that load.
    """

    voices_per_base: int = 12
    sentences_per_voice: int = 10
    seconds: float = 2.0
    test_sentences: int = 8
    noise_prob: float = 0.3
    scale: float = 20.0
    margin: float = 0.15
    workers: int = 0

    @property
    def speakers(self) -> tuple[Speaker, ...]:
        """The training voices."""
        return tuple(
            Speaker(base, float(scale))
            for base in BASES
            for scale in np.linspace(*SCALES, self.voices_per_base).round(3)
        )


HELD_OUT: tuple[Speaker, ...] = tuple(character.voice for character in (*CAST, *EXTRAS))


def equal_error_rate(same: Float[np.ndarray, " n"], different: Float[np.ndarray, " m"]) -> float:
    """Returns the error rate at the threshold where pairs of one voice are rejected as often as others are accepted."""
    scores = np.concatenate([same, different])
    order = np.argsort(scores, kind="stable")
    truth = np.concatenate([np.ones(len(same)), np.zeros(len(different))])[order]
    missed = np.cumsum(truth) / len(same)
    alarms = 1 - np.cumsum(1 - truth) / len(different)
    closest = int(np.abs(missed - alarms).argmin())
    return float((missed[closest] + alarms[closest]) / 2)


def voice_scores(vectors: Float32[np.ndarray, "n d"], voice: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Returns nearest-neighbour accuracy and equal error rate, by metric name, of unit vectors with their voices."""
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
    """The encoder under "voice", and a direction for each training voice under "speakers"."""

    def __init__(self, config: EcapaConfig, data: VoiceData):
        self.config, self.data = config, data
        self.encoder: Any = Ecapa(config)  # as Any: apply's annotation allows for states, which it does not have
        self.speakers = nn.Dense(len(data.speakers), use_bias=False)
        self.frames = len(features(np.zeros(round(data.seconds * RATE), np.float32), config))

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters."""
        keys = jax.random.split(key)
        heard = jnp.zeros((1, self.frames, self.config.mels))
        return {
            "voice": self.encoder.init(keys[0], heard, jnp.full(1, self.frames))["params"],
            "speakers": self.speakers.init(keys[1], jnp.zeros((1, self.config.embedding_dim)))["params"],
        }

    def batch_spec(self) -> BatchSpec:
        """Returns what `storyjax plan` needs to know of a batch."""
        numbers = dict.fromkeys(("length", "speaker"), ((), np.int32))
        return BatchSpec.of_rows(
            {"features": ((self.frames, self.config.mels), np.float32), **numbers, "record_valid": ((), np.bool_)}
        )

    def describe(self, params: Params, batch: Batch) -> Float[Array, "b e"]:
        """Returns the embeddings of a batch of recordings, of unit length."""
        return unit_norm(self.encoder.apply({"params": params["voice"]}, batch["features"], batch["length"]))

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the cross-entropy of the voices, the right one's angle widened by the margin, and the accuracy."""
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
        """Returns the features of a recording, cut or padded to the same number of frames, with its voice's number."""
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
        """Returns an example of a training voice: a part of a sentence, perhaps with other sounds behind it."""
        sentences, shouts = text_numbers(held_out=False)
        texts = np.random.default_rng([speaker, 0x0151]).permutation([*sentences, *shouts])[
            : self.data.sentences_per_voice
        ]
        spoken = speak(self.data.speakers[speaker], int(rng.choice(texts)))
        longest = round(self.data.seconds * RATE)
        if len(spoken) > longest:
            first = int(rng.integers(len(spoken) - longest))
            spoken = spoken[first : first + longest]
        wave = spoken * np.float32(rng.uniform(0.5, 1.2)) + room(len(spoken), rng)
        if rng.random() < self.data.noise_prob:
            behind = self._behind[int(rng.integers(len(self._behind)))]
            first = int(rng.integers(len(behind) - len(wave) + 1))
            wave = wave + behind[first : first + len(wave)] * np.float32(rng.uniform(0.05, 0.4))
        return self.example(wave, speaker)

    def held_out(self, place: int, rng: np.random.Generator) -> Batch:
        """Returns an example of a held-out sentence, said by a held-out voice."""
        del rng
        voice, number = divmod(place, self.data.test_sentences)
        sentences = text_numbers(held_out=True)[0]
        saying = sentences[(3 * voice + 5 * number) % len(sentences)]
        return self.example(np.array(speak(HELD_OUT[voice], saying)), voice)


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/subtitles_voices.py`."""
    data = from_config(VoiceData, config.data, "config.data")
    classifier = VoiceClassifier(from_config(EcapaConfig, config.model, "config.model"), data)

    def accumulate(rows: Any, measured: Any, batch: Batch) -> Any:
        valid = np.asarray(batch["record_valid"])
        made = [(np.asarray(measured)[valid], np.asarray(batch["speaker"])[valid])]
        return made if rows is None else rows + made

    def compute(rows: Any) -> dict[str, float]:
        vectors, voice = (np.concatenate(part) for part in zip(*rows, strict=True))
        return voice_scores(vectors, voice)

    count = len(data.speakers)
    return Experiment(
        name="embedded.speaker_encoder",
        init=classifier.init,
        trainable=".*",
        tasks=(
            Task(
                "speakers",
                lambda s: train_stream(range(count), classifier.random, s, workers=data.workers),
                classifier.loss,
                batch_spec=classifier.batch_spec(),
            ),
        ),
        evaluators=(
            Evaluator(
                "unheard voices",
                lambda s: eval_stream(range(len(HELD_OUT) * data.test_sentences), classifier.held_out, s),
                classifier.describe,
                accumulate,
                compute,
                batch_spec=classifier.batch_spec(),
            ),
        ),
        units="recordings",
        steps_per_epoch=lambda: max(1, count * 40 // config.train.batch_size),
    )
