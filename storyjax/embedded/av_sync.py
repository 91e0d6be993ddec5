"""The experiment `embedded.av_sync`: an LWTNet learns which place of an image makes the sound (Afouras et al. 2020).

No label says where the speaker is. A clip's score with a sound is that of its best place (multi-instance); the sound of
its own moment must score higher than the same sound earlier or later, and than that of other clips (contrastive). The
same scores are taught to be probabilities, which is what a threshold of the heat map needs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.data.audio_features import HOP
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.embedded.episode_arrays import EpisodeData, Episodes
from storyjax.models.lwtnet import LwtConfig, LwtNet, prepare_frames, reach
from storyjax.subtitles.av_sync import MEL_PER_FRAME, QUIET, heard, peaks
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, Params, Task

_SHARPNESS = 20.0  # of the soft maximum over places


@dataclass(frozen=True)
class SyncData:
    """Clips of episodes.

    Attributes:
        episodes: which.
        moments: of a clip that are compared; it has `frames` − 1 more images than that.
        max_shift: images that the sound is shifted by at most, either way, for negatives.
        shift_step: by how many images these differ.
        threshold: above which a peak counts in evaluation.
        workers: processes that load.
    """

    episodes: EpisodeData = field(default_factory=EpisodeData)
    moments: int = 12
    max_shift: int = 12
    shift_step: int = 4
    threshold: float = 0.7
    workers: int = 0


@dataclass(frozen=True)
class _Line:
    """A line long enough for a clip: seconds within one shot; where the speaker's head is, if it is seen."""

    episode: int
    start: float
    end: float
    head: tuple[float, float, float] | None


def _lines(episodes: Episodes, seconds: float, visible_only: bool) -> list[_Line]:
    found = []
    for number in range(len(episodes)):
        for line in episodes.facts(number)["lines"]:
            if line["shot"] is None or (visible_only and line["head"] is None):
                continue
            start, end = max(line["start"], line["shot"][0]), min(line["end"], line["shot"][1])
            if end - start >= seconds:
                found.append(_Line(number, start, end, tuple(line["head"]) if line["head"] else None))
    return found


def agreements(
    seen: Float[Array, "b t y x d"], sounds: Float[Array, "b k t d"], kind: str
) -> Float[Array, "b k s y x"]:
    """Returns how well each place of a clip goes with k sounds.

    It is the cosine at each moment (s = t), or the correlation in time over the whole clip (s = 1); see
    LwtConfig.agreement.
    """
    if kind == "cosine":
        return jnp.einsum("btyxd,bktd->bktyx", seen, sounds)
    seen = seen - seen.mean(axis=1, keepdims=True)
    sounds = sounds - sounds.mean(axis=2, keepdims=True)
    together = jnp.einsum("btyxd,bktd->bkyx", seen, sounds) / seen.shape[1]
    place = jnp.sqrt((seen**2).sum(axis=-1).mean(axis=1) + QUIET)
    sound = jnp.sqrt((sounds**2).sum(axis=-1).mean(axis=2) + QUIET)
    return (together / (place[:, None] * sound[:, :, None, None]))[:, :, None]


def best_place(agreement: Float[Array, "b k s y x"]) -> Float[Array, "b k"]:
    """Returns the score of the best place, averaged over time: a soft maximum, so that more than one has a gradient."""
    flat = einops.rearrange(agreement, "b k s y x -> b k s (y x)")
    return (flat * jax.nn.softmax(_SHARPNESS * flat, axis=-1)).sum(axis=-1).mean(axis=-1)


def sync_loss(
    own: Float[Array, "b k"], others: Float[Array, "b c"], right: int, to_logits: Callable[[Array], Array]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns the contrastive loss plus that of the probabilities, and accuracy, misses and false alarms.

    Args:
        own: scores of each clip with its sound at k shifts, of which number `right` is none.
        others: scores of each clip with the sounds of all c clips (c = b), of which its own does not count.
        to_logits: makes logits of scores.
    """
    # Taking the same sound for one of another clip would punish it for being right.
    foreign = ~np.eye(len(others), others.shape[1], dtype=np.bool_)
    logits = to_logits(jnp.concatenate([own, others], axis=1))
    counts = np.concatenate([np.ones(own.shape, bool), foreign], axis=1)
    contrast = -jax.nn.log_softmax(jnp.where(counts, logits, -jnp.inf), axis=1)[:, right]
    wrong = counts.copy()
    wrong[:, right] = False
    false_alarm = jnp.where(wrong, jax.nn.softplus(logits), 0.0).sum() / wrong.sum()
    missed = jax.nn.softplus(-logits[:, right]).mean()
    best = jnp.argmax(jnp.where(counts, logits, -jnp.inf), axis=1) == right
    report = {"acc": best.astype(jnp.float32).mean(), "missed": missed, "false_alarm": false_alarm}
    return contrast.mean() + missed + false_alarm, report


class SyncTraining:
    """The network under "lwtnet", its loss and its evaluation."""

    def __init__(self, config: LwtConfig, data: SyncData):
        self.config, self.data = config, data
        self.network: Any = LwtNet(config)  # as Any: apply's annotation allows for states, which it does not have
        self._sources: dict[str, Episodes] = {}

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters."""
        side, frames = 2 * reach(self.config)[1] + 1, self.config.frames
        images = jnp.zeros((1, frames, side, side, 3))
        return {"lwtnet": self.network.init(key, images, jnp.zeros((1, 4 * frames, self.config.mels)))["params"]}

    def batch_spec(self) -> BatchSpec:
        """Returns what `storyjax plan` needs to know of a batch; as `loader` loads it."""
        side, count = self.data.episodes.image_size, self.data.moments + self.config.frames - 1
        heard_frames = MEL_PER_FRAME * (count + 2 * self.data.max_shift)
        return BatchSpec.of_rows(
            {
                "frames": ((count, side, side, 3), np.uint8),
                "mel": ((heard_frames, self.config.mels), np.float32),
                "head": ((3,), np.float32),
                "record_valid": ((), np.bool_),
            }
        )

    def _episodes(self, split: str) -> Episodes:
        if split not in self._sources:
            self._sources[split] = Episodes(self.data.episodes, split)
        return self._sources[split]

    def lines(self, split: str) -> list[_Line]:
        """Returns the lines of a split that are long enough; of "train" those with a visible speaker."""
        seconds = (self.data.moments + self.config.frames - 1) / self.config.fps
        return _lines(self._episodes(split), seconds, visible_only=split == "train")

    def loader(self, split: str) -> Callable[[_Line, np.random.Generator], Batch]:
        """Returns what loads a clip at a random place of a line, with the sound on either side that shifts need."""
        episodes, config, data = self._episodes(split), self.config, self.data

        def load(line: _Line, rng: np.random.Generator) -> Batch:
            count = data.moments + config.frames - 1
            first, last = (round(seconds * config.fps) for seconds in (line.start, line.end))
            begin = int(rng.integers(first, max(first, last - count) + 1))
            images = episodes.images(line.episode)
            begin = max(0, min(begin, len(images) - count))
            step = MEL_PER_FRAME * HOP
            # An image more on either side, so that no frame of sound is mirrored at an end.
            around = data.max_shift + 1
            wave = episodes.sound(line.episode, (begin - around) * step, (begin + count + around) * step)
            mel = heard(wave, config)[MEL_PER_FRAME:-MEL_PER_FRAME]
            row, column, unit = line.head or (-1.0, -1.0, 0.0)
            return {
                "frames": np.array(images[begin : begin + count]),
                "mel": mel,
                "head": np.array([row, column, unit], np.float32),
            }

        return load

    def _streams(self, params: Params, batch: Batch) -> tuple[Float[Array, "b t y x d"], Float[Array, "b s d"]]:
        frames = prepare_frames(batch["frames"].astype(jnp.float32), self.config)
        return self.network.apply({"params": params["lwtnet"]}, frames, batch["mel"])

    def scores(self, params: Params, batch: Batch) -> tuple[Float[Array, "b k"], Float[Array, "b b"], Array]:
        """Returns scores at all shifts, scores with the sounds of all clips, and each place's mean agreement."""
        seen, sounds = self._streams(params, batch)
        moments, shift = self.data.moments, self.data.max_shift
        shifts = range(0, 2 * shift + 1, self.data.shift_step)
        shifted = jnp.stack([sounds[:, first : first + moments] for first in shifts], axis=1)
        now = sounds[:, shift : shift + moments]
        everyone = jnp.broadcast_to(now[None], (len(now), *now.shape))
        kind = self.config.agreement
        own, others = agreements(seen, shifted, kind), agreements(seen, everyone, kind)
        heat = own[:, shift // self.data.shift_step].mean(axis=1)
        return best_place(own), best_place(others), heat

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns `sync_loss` of a batch of clips."""
        del key
        own, others, _ = self.scores(params, batch)
        right = self.data.max_shift // self.data.shift_step

        def to_logits(scores: Array) -> Array:
            return self.network.apply({"params": params["lwtnet"]}, scores, method="logits")

        return sync_loss(own, others, right, to_logits)

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns the scores at all shifts and the heat map of each clip, as probabilities."""
        own, _, heat = self.scores(params, batch)
        as_probability = self.network.apply({"params": params["lwtnet"]}, heat, method="logits")
        return {"own": own, "heat": jax.nn.sigmoid(as_probability)}


def judge(
    heat: Float32[np.ndarray, "h w"], head: Float32[np.ndarray, "3"], threshold: float, config: LwtConfig, side: int
) -> tuple[bool, bool, bool]:
    """Returns whether the speaker is visible, whether there is one peak, and whether the highest is on their head."""
    found = peaks(heat, threshold)
    step, _ = reach(config)
    on_head = False
    if found:
        row, column = ((step * at + 0.5) / side for at in found[0][:2])
        # A head is about 0.4 units high; the mouth is below its middle.
        on_head = bool(np.hypot(row - head[0], column - head[1]) < 0.35 * head[2])
    return bool(head[2] > 0), len(found) == 1, on_head


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/subtitles_sync.py`."""
    data = from_config(SyncData, config.data, "config.data")
    shape = from_config(LwtConfig, config.model, "config.model")
    training = SyncTraining(shape, data)

    def accumulate(rows: Any, measured: Any, batch: Batch) -> Any:
        valid = np.flatnonzero(np.asarray(batch["record_valid"]))
        heads = np.asarray(batch["head"])
        right = data.max_shift // data.shift_step
        made = []
        for row in valid:
            own, heat = np.asarray(measured["own"][row]), np.asarray(measured["heat"][row])
            judged = judge(heat, heads[row], data.threshold, shape, data.episodes.image_size)
            made.append((*judged, bool(own.argmax() == right)))
        return made if rows is None else rows + made

    def compute(rows: list[tuple[bool, bool, bool, bool]]) -> dict[str, float]:
        seen, one, on_head, in_time = (np.array(column) for column in zip(*rows, strict=True))
        both = max(1, int((one & seen).sum()))
        return {
            "sync/in_time": float(in_time[seen].mean()) if seen.any() else 0.0,
            "sync/one_peak_precision": float((one & seen).sum() / max(1, one.sum())),
            "sync/one_peak_recall": float((one & seen).sum() / max(1, seen.sum())),
            "sync/on_head": float((one & seen & on_head).sum() / both),
        }

    return Experiment(
        name="embedded.av_sync",
        init=training.init,
        trainable=".*",
        tasks=(
            Task(
                "clips",
                lambda s: train_stream(training.lines("train"), training.loader("train"), s, workers=data.workers),
                training.loss,
                batch_spec=training.batch_spec(),
            ),
        ),
        evaluators=(
            Evaluator(
                "unseen people",
                lambda s: eval_stream(training.lines("test"), training.loader("test"), s),
                training.eval_step,
                accumulate,
                compute,
                batch_spec=training.batch_spec(),
            ),
        ),
        units="clips",
        steps_per_epoch=lambda: len(training.lines("train")) // config.train.batch_size,
    )
