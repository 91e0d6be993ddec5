"""The grid search of §6.1.4: the thresholds that name most segments of the validation episodes rightly.

`config.data.grid` names thresholds of `config.model` and the values to try. The distance beyond which a voice is
unknown is not part of it: for each combination the best one is found directly (`evaluate.best_distance`).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.evaluate import Judged, best_distance

# In the order of the stages: the last changes fastest, so that the stages before it are found in the cache.
SEARCHED = ("laughter_threshold", "peak_threshold", "max_peaks", "face_threshold", "min_cosine", "neighbours")


@dataclass(frozen=True)
class Tried:
    """A combination: the config with its best distance, and the fraction of spoken segments that is right by it."""

    config: SubtitleConfig
    accuracy: float


def combinations(config: SubtitleConfig, grid: Mapping[str, Sequence[Any]]) -> list[SubtitleConfig]:
    """Returns the config with each combination of the grid's values.

    Args:
        config: with all other settings.
        grid: values by name, of SEARCHED.

    Raises:
        StoryjaxError: an unknown name, a threshold without values, or a value of another type.
    """
    for name, values in grid.items():
        choose(name, SEARCHED, "key of config.data.grid")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise StoryjaxError(f"config.data.grid.{name} is {values!r}: give the values to try, such as (0.6, 0.7)")
    names = [name for name in SEARCHED if name in grid]
    for name in names:
        for value in grid[name]:
            from_config(SubtitleConfig, {name: value}, "config.data.grid")
    chosen = itertools.product(*(grid[name] for name in names))
    return [replace(config, **dict(zip(names, values, strict=True))) for values in chosen]


def accuracy_at(judged: Sequence[Judged], distance: float) -> float:
    """Returns the fraction of spoken segments that are rightly named, or rightly unknown, with another distance."""
    spoken = [j for j in judged if j.truth is not None]
    right = [(j.nearest if j.distance <= distance else None) == (j.truth if j.listed else None) for j in spoken]
    return sum(right) / max(len(right), 1)


def grid_search(
    config: SubtitleConfig,
    grid: Mapping[str, Sequence[Any]],
    judge_validation: Callable[[SubtitleConfig], Sequence[Judged]],
) -> list[Tried]:
    """Returns all combinations, the best first; of equally good ones the first of the grid.

    Args:
        config, grid: see `combinations`, whose errors are raised.
        judge_validation: the segments of the validation episodes as a config's pipeline names them.

    Raises:
        StoryjaxError: nobody speaks in any of their segments.
    """
    tried = []
    for one in combinations(config, grid):
        judged = judge_validation(one)
        if all(j.truth is None for j in judged):
            raise StoryjaxError(
                "nothing of the validation episodes was recognised, so no thresholds can be chosen there"
            )
        distance = best_distance(judged)
        tried.append(Tried(replace(one, distance=distance), accuracy_at(judged, distance)))
    return sorted(tried, key=lambda one: -one.accuracy)
