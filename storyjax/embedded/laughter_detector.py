"""The experiment `embedded.laughter_detector`: a small network learns to detect laughter in StoryWorld's sound."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.data.audio_features import decibel_mel, relative
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.models.laughter import LaughterConfig, LaughterNet
from storyjax.storyworld.export.series import held_out_episode, training_episode
from storyjax.storyworld.render.episode_video import episode_sound
from storyjax.storyworld.story.episodes import Episode
from storyjax.subtitles.laughter_detector import SIZE, resampled
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, Params, Task


@dataclass(frozen=True)
class LaughterData:
    """Seconds of the sound of StoryWorld's episodes, half of them in a laugh.

    Attributes:
        train_episodes, test_episodes: how many of each; those of "test" have other voices, sentences and laughs.
        episode_seconds: about how long each is.
        windows_per_episode: of each test episode, evenly spaced.
        threshold: above which the detector counts as having heard laughter (§6.1.3: 0.8).
        workers: processes that load.
    """

    train_episodes: int = 24
    test_episodes: int = 3
    episode_seconds: float = 60.0
    windows_per_episode: int = 200
    threshold: float = 0.8
    workers: int = 0


class LaughterWindows:
    """Windows of episodes and whether their middle is in a laugh; sound is made when an episode is first asked for."""

    def __init__(self, config: LaughterConfig, data: LaughterData, split: str):
        self.config, self.data, self.split = config, data, split
        self._ready: dict[int, tuple[np.ndarray, tuple[tuple[float, float], ...], float]] = {}

    def _episode(self, number: int) -> Episode:
        if self.split == "train":
            return training_episode(number, self.data.episode_seconds)
        # Of a seed of their own, so that they are not the episodes that the pipeline is measured on.
        return held_out_episode(number + 1, self.data.episode_seconds, seed=7)

    def episode(self, number: int) -> tuple[np.ndarray, tuple[tuple[float, float], ...], float]:
        """Returns an episode's sound at the network's rate, laughs in seconds, and decibels of the loudest frame."""
        if number not in self._ready:
            episode = self._episode(number)
            sound = resampled(episode_sound(episode), self.config.rate)
            loudest = float(decibel_mel(sound, 4 * self.config.hop, self.config.rate, self.config.mels).max())
            laughs = tuple((noise.start, noise.end) for noise in episode.laughs)
            self._ready[number] = (sound, laughs, loudest)
        return self._ready[number]

    def window(self, number: int, middle: float, gain_db: float = 0.0) -> Batch:
        """Returns the window around a moment (seconds) of an episode; `gain_db` makes it louder against the loudest."""
        sound, laughs, loudest = self.episode(number)
        config = self.config
        first = round(middle * config.rate) - config.window // 2 * config.hop - SIZE // 2
        last = first + (config.window - 1) * config.hop + SIZE
        part = np.pad(sound[max(0, first) : max(0, last)], (max(0, -first), 0))
        part = np.pad(part, (0, max(0, last - first - len(part))))
        decibels = decibel_mel(part, config.hop, config.rate, config.mels)
        heard = relative(np.minimum(decibels + np.float32(gain_db), np.float32(loudest)), loudest)
        inside = any(start <= middle < end for start, end in laughs)
        return {"windows": heard, "laughs": np.float32(inside)}

    def random(self, number: int, rng: np.random.Generator) -> Batch:
        """Returns a window in a laugh, or, as often, one that is in none."""
        sound, laughs, _ = self.episode(number)
        length = len(sound) / self.config.rate
        if laughs and rng.random() < 0.5:
            start, end = laughs[int(rng.integers(len(laughs)))]
            middle = float(rng.uniform(start, min(end, length)))
        else:
            middle = float(rng.uniform(0, length))
            while any(start <= middle < end for start, end in laughs):
                middle = float(rng.uniform(0, length))
        return self.window(number, middle, float(rng.uniform(-12, 6)))


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Returns the area under the curve of precision over recall."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(truth[order])
    precision = right / np.arange(1, len(order) + 1)
    return float((precision * truth[order]).sum() / max(1, truth.sum()))


def laughter_metrics(scores: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    """Returns precision and recall at a threshold, average precision and the fraction of laughter, by metric."""
    heard = scores > threshold
    both = float((heard & truth).sum())
    return {
        "laughter/precision": both / max(1, int(heard.sum())),
        "laughter/recall": both / max(1, int(truth.sum())),
        "laughter/average_precision": average_precision(scores, truth),
        "laughter/share": float(truth.mean()),
    }


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/subtitles_laughter.py`."""
    data = from_config(LaughterData, config.data, "config.data")
    shape = from_config(LaughterConfig, config.model, "config.model")
    network: Any = LaughterNet(shape)  # as Any: apply's annotation allows for states, which it does not have
    sources: dict[str, LaughterWindows] = {}

    def source(split: str) -> LaughterWindows:
        return sources.setdefault(split, LaughterWindows(shape, data, split))

    def init(key: jax.Array) -> Params:
        return {"laughter": network.init(key, jnp.zeros((1, shape.window, shape.mels)))["params"]}

    def loss(params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key
        logits, truth = network.apply({"params": params["laughter"]}, batch["windows"]), batch["laughs"]
        nll = jax.nn.softplus(jnp.where(truth > 0.5, -logits, logits)).mean()
        return nll, {"acc": ((logits > 0) == (truth > 0.5)).astype(jnp.float32).mean()}

    def eval_step(params: Params, batch: Batch) -> Array:
        return jax.nn.sigmoid(network.apply({"params": params["laughter"]}, batch["windows"]))

    def evenly(place: int, rng: np.random.Generator) -> Batch:
        del rng
        number, window = divmod(place, data.windows_per_episode)
        length = len(source("test").episode(number)[0]) / shape.rate
        return source("test").window(number, (window + 0.5) * length / data.windows_per_episode)

    def drawn() -> Callable[[int, np.random.Generator], Batch]:
        return lambda number, rng: source("train").random(number, rng)

    def accumulate(rows: Any, measured: Any, batch: Batch) -> Any:
        valid = np.asarray(batch["record_valid"])
        made = [(np.asarray(measured)[valid], np.asarray(batch["laughs"])[valid] > 0.5)]
        return made if rows is None else rows + made

    def compute(rows: Any) -> dict[str, float]:
        scores, truth = (np.concatenate(part) for part in zip(*rows, strict=True))
        return laughter_metrics(scores, truth, data.threshold)

    leaves = {"windows": ((shape.window, shape.mels), np.float32), "laughs": ((), np.float32)}
    spec = BatchSpec.of_rows(leaves | {"record_valid": ((), np.bool_)})
    return Experiment(
        name="embedded.laughter_detector",
        init=init,
        trainable=".*",
        tasks=(
            Task(
                "windows",
                lambda s: train_stream(range(data.train_episodes), drawn(), s, workers=data.workers),
                loss,
                batch_spec=spec,
            ),
        ),
        evaluators=(
            Evaluator(
                "unheard episodes",
                lambda s: eval_stream(range(data.test_episodes * data.windows_per_episode), evenly, s),
                eval_step,
                accumulate,
                compute,
                batch_spec=spec,
            ),
        ),
        units="windows",
        steps_per_epoch=lambda: max(1, data.train_episodes * data.windows_per_episode // config.train.batch_size),
    )
