"""The experiment on TV series: the pipeline end to end against the annotations of a show (§6.3).

The networks are given, and nothing is trained. What is chosen, on validation episodes (§6.1.4: the sixth of a season,
or, in StoryWorld, seasons of the same show that are never tested), is the distance beyond which a voice is unknown and,
where config.data.grid says so, other thresholds.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.registry import write_synthetic
from storyjax.data.video import probe
from storyjax.subtitles.annotations import AnnotatedEpisode, read_annotations
from storyjax.subtitles.cast import read_cast
from storyjax.subtitles.config import SubtitleConfig, SubtitlesData
from storyjax.subtitles.evaluate import Judged, best_distance, draw_curves, evaluate, judge
from storyjax.subtitles.grid_search import SEARCHED, grid_search
from storyjax.subtitles.networks import Networks, load_networks
from storyjax.subtitles.pipeline import distance_of, subtitle
from storyjax.subtitles.published_networks import resolve
from storyjax.subtitles.records import Subtitles
from storyjax.subtitles.statistics import exemplars_by_character, show_statistics
from storyjax.train.experiment import Experiment, HostEvaluator, Params


def _nothing() -> None:
    """What is called after a season where nobody wants to know."""


def _peaks(config: SubtitleConfig) -> tuple[float, int]:
    """What decides which peaks of a heat map are found."""
    return config.peak_threshold, config.max_peaks


class Show:
    """The seasons of a show, and the pipeline's results on them.

    Args:
        data: where they are.
        config: the networks and thresholds.
        seed: of the synthetic season that is tested.
        networks: to be used instead of those that `config` names.

    Raises:
        StoryjaxError: the seed is that of a validation season.
    """

    def __init__(
        self, data: SubtitlesData, config: SubtitleConfig, seed: int = 0, networks: Networks | None = None
    ) -> None:
        if data.synthetic is not None and seed in data.validation_seeds:
            raise StoryjaxError(f"config.seed {seed} is that of a validation season: test on another")
        self.data, self._given, self._seed, self._networks = data, config, seed, networks
        self.cache_dir = Path(data.cache_dir) / (str(seed) if data.synthetic is not None else "")

    @functools.cached_property
    def config(self) -> SubtitleConfig:
        """The networks and thresholds, with published networks in place of their roles.

        Raises:
            StoryjaxError: some are not there; one line names them all.
        """
        return self._given if self._networks is not None else resolve(self._given)

    def _seasons(self, split: str) -> list[tuple[int, str]]:
        """The seed and the folder, below the root and below the cache, of the seasons of a split."""
        if self.data.synthetic is None:
            return [(0, "")]
        return [(seed, str(seed)) for seed in ((self._seed,) if split == "test" else self.data.validation_seeds)]

    @functools.cache  # noqa: B019 (a show lives as long as its run)
    def seasons(self, split: str) -> list[list[AnnotatedEpisode]]:
        """Returns the episodes of each season of a split, "test" or "val"; synthetic ones are written first.

        Raises:
            StoryjaxError: annotations or videos are missing.
        """
        synthetic, show, found = self.data.synthetic, self.data.show, []
        for seed, folder in self._seasons(split):
            root = Path(self.data.root) / folder
            if synthetic is not None:
                write_synthetic(self.data.dataset, root, {**synthetic, "seed": seed})
            episodes = read_annotations(root, show, split if synthetic is None else None)
            if not episodes:
                raise StoryjaxError(f"{show} in {root} has no episode for the split '{split}'")
            for episode in episodes:
                if episode.video is None:
                    raise StoryjaxError(f"there is no video of {episode.name} in {root}: put it in video/{show}/")
            found.append(episodes)
        return found

    def subtitles(
        self,
        split: str,
        raw_face_labels: bool = False,
        after_season: Callable[[], None] = _nothing,
        config: SubtitleConfig | None = None,
    ) -> list[tuple[Subtitles, AnnotatedEpisode]]:
        """Returns the pipeline's result on all episodes of a split; those of a season share exemplars.

        Args:
            raw_face_labels: whether whole frames are labelled too, as `pipeline.subtitle` says.
            after_season: called after each season.
            config: other thresholds; None: the show's.
        """
        networks, config = self._networks, config or self.config
        if networks is not None and _peaks(config) != _peaks(self.config):
            networks = replace(networks, find_peaks=load_networks(config).find_peaks)
        made: list[tuple[Subtitles, AnnotatedEpisode]] = []
        for (_, folder), episodes in zip(self._seasons(split), self.seasons(split), strict=True):
            cast = read_cast(Path(self.data.root) / folder / self.data.cast)
            videos = [episode.video for episode in episodes if episode.video is not None]
            cache_dir = Path(self.data.cache_dir) / folder
            found = subtitle(videos, cast, config, cache_dir, networks, raw_face_labels=raw_face_labels)
            made += zip(found, episodes, strict=True)
            after_season()
        return made

    def choose_distance(self, after_season: Callable[[], None] = _nothing) -> float:
        """Returns the distance by which most segments of the validation episodes are rightly named or left unknown.

        Raises:
            StoryjaxError: nobody speaks in any of their segments.
        """
        split = self.data.train_split
        if split is None:
            return distance_of(self.config)
        made = self.subtitles(split, after_season=after_season)
        judged = [j for subtitles, episode in made for j in judge(subtitles, episode)]
        if all(j.truth is None for j in judged):
            raise StoryjaxError("nothing of the validation episodes was recognised, so no distance can be chosen there")
        return best_distance(judged)

    def choose(self, after_season: Callable[[], None] = _nothing) -> SubtitleConfig:
        """Returns the config with the distance and, where there is a grid, the thresholds that the validation chose.

        Raises:
            StoryjaxError: nobody speaks there, or the grid cannot be searched.
        """
        split, grid = self.data.train_split, self.data.grid
        if split is None or not grid:
            return replace(self.config, distance=self.choose_distance(after_season))

        def judge_validation(config: SubtitleConfig) -> list[Judged]:
            made = self.subtitles(split, after_season=after_season, config=config)
            return [j for subtitles, episode in made for j in judge(subtitles, episode)]

        if self._networks is None:  # loaded once for all combinations
            self._networks = load_networks(self.config)
        return grid_search(self.config, grid, judge_validation)[0].config

    def statistics(self) -> dict[str, float]:
        """Returns Table 6.1's numbers of all annotated episodes that the run looks at; errors as of `seasons`."""
        splits = dict.fromkeys(
            (*([] if self.data.train_split is None else [self.data.train_split]), *self.data.eval_splits)
        )
        episodes = [episode for split in splits for season in self.seasons(split) for episode in season]
        return show_statistics(episodes, [probe(episode.video).duration_s for episode in episodes if episode.video])

    def measure(self, after_season: Callable[[], None] = _nothing) -> dict[str, float]:
        """Returns all numbers of §6.3 as "PREFIX/metric", with the distance that they were made with.

        And "PREFIX/data/...", what is annotated, "PREFIX/exemplars/...", by character, and, where a grid was searched,
        "PREFIX/chosen/THRESHOLD".

        Writes `curves.svg` (Fig. 6.3) into the cache.

        Raises:
            StoryjaxError: a network, annotations or a video is missing.
        """
        _ = self.config  # networks that are missing are named before anything else is looked for
        chosen, prefix = self.choose(after_season), self.data.metric_prefix
        made = [
            pair
            for split in self.data.eval_splits
            for pair in self.subtitles(split, raw_face_labels=True, after_season=after_season, config=chosen)
        ]
        numbers, curves = evaluate(made, prefix)
        draw_curves({self.data.show: curves}, self.cache_dir / "curves.svg")
        numbers |= {f"{prefix}/data/{key}": value for key, value in self.statistics().items()}
        judged = [j for subtitles, episode in made for j in judge(subtitles, episode)]
        numbers |= {f"{prefix}/exemplars/{key}": value for key, value in exemplars_by_character(judged).items()}
        thresholds = {name: float(getattr(chosen, name)) for name in SEARCHED if name in (self.data.grid or {})}
        numbers |= {f"{prefix}/chosen/{name}": value for name, value in thresholds.items()}
        return numbers | {f"{prefix}/distance": distance_of(chosen)}


def build(config: ConfigDict, networks: Networks | None = None) -> Experiment:
    """Returns the experiment of `configs/subtitles_tv.py`, which has no tasks.

    Args:
        config: the run's.
        networks: to be used instead of those that config.model names.
    """
    data = from_config(SubtitlesData, config.data, "config.data")
    model = from_config(SubtitleConfig, config.get("model", {}), "config.model")
    show = Show(data, model, int(config.seed), networks)

    def measure(params: Params, after_season: Callable[[], None]) -> dict[str, float]:
        del params
        return show.measure(after_season)

    return Experiment(
        name="subtitles",
        init=lambda key: {},
        trainable=None,
        evaluators=(HostEvaluator(data.metric_prefix, measure),),
        units="segments",
    )
