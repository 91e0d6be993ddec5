"""The experiment on TV series: the pipeline end to end against the annotations of a show (§6.3).

The networks are given. What is chosen here is one number: the distance beyond which a voice is unknown. §6.1.4 searches
for it on validation episodes: the sixth of a season, or, in StoryWorld, seasons of the same show that are never tested.
It is the parameter `subtitles/distance`, by which fewest segments are wrongly named or wrongly left unknown.
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

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.streams import StreamSpec
from storyjax.subtitles.annotations import AnnotatedEpisode, read_published
from storyjax.subtitles.cast import read_cast
from storyjax.subtitles.evaluate import draw_curves, evaluate, judge
from storyjax.subtitles.pipeline import Models, SubtitleConfig, subtitle
from storyjax.subtitles.records import Subtitles
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, Task

# How soft the step from named to unknown is, in distance. Twice as soft, and the few right voices far away pull the
# threshold their way; half as soft, and there are several minima.
_SOFTNESS = 0.02


@dataclass(frozen=True)
class World:
    """The StoryWorld seasons to be written where there are no annotations.

    Attributes:
        episodes, seconds: of each season: how many, and how long they are. A season's episodes share exemplars.
        validation: the seeds of the seasons in which thresholds are chosen; none of them is ever tested.
    """

    episodes: int = 5
    seconds: float = 120.0
    validation: tuple[int, ...] = (1000, 1001)


@dataclass(frozen=True)
class TvData:
    """Where a show's annotations, videos and cast list are.

    Attributes:
        root, show: as `published.py` reads them.
        cast: the cast list with photos, relative to `root`.
        name: the metrics' first part.
        work: where the products of the stages are kept; it can be thrown away.
        storyworld: makes seasons in `root`/SEED if they are not there; None for real data.
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
    """The seasons of a show and what the pipeline makes of them, each once."""

    def __init__(self, data: TvData, seed: int = 0, models: Models | None = None):
        world = data.storyworld
        if world is not None and seed in world.validation:
            raise StoryjaxError(f"config.seed {seed} is that of a validation season: test on another")
        self.data, self._seed, self._models = data, seed, models
        self.work = Path(data.work) / (str(seed) if world is not None else "")

    def _seasons(self, split: str) -> list[tuple[int, str]]:
        """The seed and the folder, below the root and below the work folder, of the seasons of a split."""
        world = self.data.storyworld
        if world is None:
            return [(0, "")]
        return [(seed, str(seed)) for seed in ((self._seed,) if split == "test" else world.validation)]

    @functools.cache  # noqa: B019
    def seasons(self, split: str) -> list[list[AnnotatedEpisode]]:
        """The episodes of each season of a split. Raises StoryjaxError where annotations or videos are missing."""
        world, show, found = self.data.storyworld, self.data.show, []
        for seed, folder in self._seasons(split):
            root = Path(self.data.root) / folder
            if world is not None:
                from storyjax.storyworld.export.series import export_series

                export_series(root, world.episodes, world.seconds, seed=seed)
            episodes = read_published(root, show, split if world is None else None)
            if not episodes:
                raise StoryjaxError(f"{show} in {root} has no episode for the split '{split}'")
            for episode in episodes:
                if episode.video is None:
                    raise StoryjaxError(f"there is no video of {episode.name} in {root}: put it in video/{show}/")
            found.append(episodes)
        return found

    def subtitles(self, split: str, distance: float | None = None) -> list[tuple[Subtitles, AnnotatedEpisode]]:
        """The pipeline's result on all episodes of a split; those of a season share exemplars."""
        config, made = self.data.pipeline, []
        if distance is not None:
            config = replace(config, distance=distance)
        for (_, folder), episodes in zip(self._seasons(split), self.seasons(split), strict=True):
            cast = read_cast(Path(self.data.root) / folder / self.data.cast)
            videos = [episode.video for episode in episodes if episode.video is not None]
            work = Path(self.data.work) / folder
            found = subtitle(videos, cast, config, work, self._models, guesses=split == "test")
            made += zip(found, episodes, strict=True)
        return made

    @functools.cached_property
    def calibration(self) -> dict[str, np.ndarray]:
        """Of the validation episodes' segments: the nearest voice's distance, and whether it is the right one (1) or
        not (0): a stranger's, somebody's without exemplars, or mistaken; all better left unknown (§6.1.3)."""
        judged = [j for subtitles, episode in self.subtitles("val") for j in judge(subtitles, episode)]
        rows = [(j.distance, float(j.nearest == j.truth)) for j in judged if j.truth is not None]
        if not rows:
            raise StoryjaxError("nothing of the validation episodes was recognised, so no distance can be chosen there")
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
    """The share of segments that are wrongly named or wrongly left unknown, a little softened so that it has a slope.

    A likelihood (logistic regression) would be the smoother choice, and a wrong one: the few right voices far away
    count most in it, and move the threshold to where it lets nearly everybody through.
    """
    del key
    named = jax.nn.sigmoid((params["subtitles"]["distance"] - batch["distance"]) / _SOFTNESS)
    right = batch["right"]
    wrong = right * (1 - named) + (1 - right) * named
    return wrong.mean(), {"accuracy": ((named > 0.5) == (right > 0.5)).mean(dtype=jnp.float32)}


def build(config: ConfigDict, models: Models | None = None) -> Experiment:
    """The experiment of `configs/subtitles_tv.py`; `models` takes the place of the config's networks."""
    data = from_config(TvData, config.data, "config.data")
    show = Show(data, int(config.seed), models)

    def init(key: jax.Array) -> Params:
        del key
        return {"subtitles": {"distance": jnp.float32(data.pipeline.distance)}}

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

    def eval_step(params: Params, batch: Batch) -> dict[str, Array]:
        return {"distance": params["subtitles"]["distance"] + 0.0 * batch["show"].sum()}

    def accumulate(acc: Any, measured: Mapping[str, Any], batch: Batch) -> float:
        del acc, batch
        return float(np.asarray(measured["distance"]))

    def finish(distance: float) -> dict[str, float]:
        distance = round(float(np.clip(distance, 0.0, 2.0)), 4)
        numbers, curves = evaluate(show.subtitles("test", distance), show.data.name)
        draw_curves({show.data.show: curves}, show.work / "curves.svg")
        return numbers | {f"{show.data.name}/distance": distance}

    return Evaluator("tv", batches, eval_step, accumulate, finish, reads_batch=False)
