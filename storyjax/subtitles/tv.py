"""The experiment on TV series: the pipeline end to end against the annotations of a show (§6.3).

The networks are given. What is chosen here is one number: the distance beyond which a voice is unknown (§6.1.4 searches
for it on the sixth episode of a season). It is the parameter `subtitles/distance`, found by logistic regression of
whether the nearest voice is the right one.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from storyjax.configuration import from_config
from storyjax.errors import StoryjaxError
from storyjax.subtitles.cast import read_cast
from storyjax.subtitles.evaluate import draw_curves, evaluate, judge
from storyjax.subtitles.pipeline import Models, SubtitleConfig, Subtitles, subtitle
from storyjax.subtitles.published import AnnotatedEpisode, read_published
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, StreamSpec, Task

_SLOPE = 20.0  # of the logistic curve where training begins; distances lie within a few tenths of each other


@dataclass(frozen=True)
class World:
    """The StoryWorld series to be written where there are no annotations: how many episodes, and how long (seconds)."""

    episodes: int = 6
    seconds: float = 120.0


@dataclass(frozen=True)
class TvData:
    """Where a show's annotations, videos and cast list are.

    Attributes:
        root, show: as `published.py` reads them.
        cast: the cast list with photos, relative to `root`.
        name: the metrics' first part.
        work: where the products of the stages are kept; it can be thrown away.
        storyworld: makes a series in `root`/SEED if it is not there; None for real data.
        pipeline: networks and thresholds.
    """

    root: str
    show: str
    cast: str = "cast.json"
    name: str = "tv"
    work: str = "runs/subtitles_tv"
    storyworld: World | None = None
    pipeline: SubtitleConfig = field(default_factory=SubtitleConfig)


class Show:
    """The episodes of a show and what the pipeline makes of them, each split once."""

    def __init__(self, data: TvData, seed: int = 0, models: Models | None = None):
        self.data, self._seed, self._models = data, seed, models
        # Every seed has a series of its own.
        own = str(seed) if data.storyworld is not None else ""
        self.root, self.work = Path(data.root) / own, Path(data.work) / own

    @functools.cache  # noqa: B019
    def episodes(self, split: str) -> list[AnnotatedEpisode]:
        """Raises StoryjaxError where annotations or videos are missing."""
        if self.data.storyworld is not None:
            from storyjax.storyworld.series import export_series

            world = self.data.storyworld
            export_series(self.root, world.episodes, world.seconds, seed=self._seed)
        found = read_published(self.root, self.data.show, split)
        for episode in found:
            if episode.video is None:
                raise StoryjaxError(
                    f"there is no video of {episode.name} in {self.root}: put it in video/{self.data.show}/"
                )
        if not found:
            raise StoryjaxError(f"{self.data.show} in {self.root} has no episode for the split '{split}'")
        return found

    def subtitles(self, split: str, distance: float | None = None) -> list[Subtitles]:
        """The pipeline's result on all episodes of a split, which share exemplars."""
        config = self.data.pipeline
        if distance is not None:
            config = replace(config, distance=distance)
        videos = [episode.video for episode in self.episodes(split)]
        cast = read_cast(self.root / self.data.cast)
        return subtitle([v for v in videos if v is not None], cast, config, self.work, self._models)

    @functools.cached_property
    def calibration(self) -> dict[str, np.ndarray]:
        """Of the validation episode's segments: the nearest voice's distance, and whether it is the right one (1), or
        the speaker is nobody of the cast (0). Whom the nearest voice is wrong for says nothing of the threshold."""
        rows = []
        for subtitles, episode in zip(self.subtitles("val"), self.episodes("val"), strict=True):
            for judged in judge(subtitles, episode):
                if judged.truth is not None and (judged.nearest == judged.truth or not judged.listed):
                    rows.append((judged.distance, float(judged.nearest == judged.truth)))
        if not rows:
            raise StoryjaxError("nothing of the validation episode was recognised, so no distance can be chosen on it")
        distance, right = np.array(rows, np.float32).T
        return {"distance": distance, "right": right}


class _Draws:
    """Batches of the calibration, drawn with replacement as a function of (seed, step)."""

    def __init__(self, show: Show, spec: StreamSpec):
        self._show, self._spec = show, spec

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        spec, step = self._spec, self._spec.start_step
        share = spec.batch_size // spec.process_count
        mine = slice(spec.process_index * share, (spec.process_index + 1) * share)
        while True:
            rows = self._show.calibration
            rng = np.random.default_rng([spec.seed, step])
            chosen = rng.integers(len(rows["distance"]), size=spec.batch_size)[mine]
            yield {key: values[chosen] for key, values in rows.items()}
            step += 1

    def report(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """Nothing is held open."""


def loss(params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Cross-entropy of "the nearest voice is right" as a logistic function of d - distance."""
    del key
    own = params["subtitles"]
    logits = jnp.exp(own["log_slope"]) * (own["distance"] - batch["distance"])
    right = batch["right"]
    entropy = jnp.logaddexp(0.0, logits) - right * logits
    return entropy.mean(), {"accuracy": ((logits > 0) == (right > 0.5)).mean(dtype=jnp.float32)}


def build(config: ConfigDict, models: Models | None = None) -> Experiment:
    """The experiment of `configs/subtitles_tv.py`; `models` takes the place of the config's networks."""
    data = from_config(TvData, config.data, "config.data")
    show = Show(data, int(config.seed), models)

    def init(key: jax.Array) -> Params:
        del key
        start = {"distance": jnp.float32(data.pipeline.distance), "log_slope": jnp.log(jnp.float32(_SLOPE))}
        return {"subtitles": start}

    def calibrate(spec: StreamSpec) -> _Draws:
        return _Draws(show, spec)

    return Experiment(
        name="subtitles",
        init=init,
        trainable="subtitles/.*",
        tasks=(Task("distance", calibrate, loss),),
        evaluators=(evaluator(show),),
        units="segments",
    )


def evaluator(show: Show) -> Evaluator:
    """Runs the pipeline on the test episodes with the distance that the parameters hold."""

    def batches(spec: StreamSpec) -> Iterable[Batch]:
        yield {"show": np.zeros(spec.batch_size // spec.process_count, np.int32)}

    def measure(params: Params, batch: Batch) -> dict[str, Array]:
        return {"distance": params["subtitles"]["distance"] + 0.0 * batch["show"].sum()}

    def accumulate(acc: Any, measured: Mapping[str, Any], batch: Batch) -> float:
        del acc, batch
        return float(np.asarray(measured["distance"]))

    def finish(distance: float) -> dict[str, float]:
        distance = round(float(np.clip(distance, 0.0, 2.0)), 4)
        results = list(zip(show.subtitles("test", distance), show.episodes("test"), strict=True))
        numbers, curves = evaluate(results, show.data.name)
        draw_curves({show.data.show: curves}, show.work / "curves.svg")
        return numbers | {f"{show.data.name}/distance": distance}

    return Evaluator("tv", batches, measure, accumulate, finish, reads_batch=False)
