"""The linear search for τ_conf and τ_agree with a trained model, cross-validated over sequences (§2.6.1, Table 2.7).

The sequences are dealt to folds. A pair of thresholds has one score on every fold. τ_conf is searched first, with the
tracker's own τ_agree, then τ_agree with the best τ_conf; best is what has the highest mean over folds. What choosing so
is worth on sequences that did not choose is the cross-validated score: on each fold that of the pair which the other
folds choose.
"""

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from storyjax.core.errors import StoryjaxError
from storyjax.mqt.eval_tracking import MakeTracker, OnlineTracker
from storyjax.mqt.sequences import VideoSequence
from storyjax.train.experiment import HostEvaluator, Params


class AdjustableTracker(Protocol):
    """A tracker whose thresholds can be changed without compiling it again."""

    def with_options(self, **options: Any) -> OnlineTracker:
        """Returns the tracker with other values of these fields of TrackerConfig."""
        ...


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        match: values of τ_conf.
        agreement: values of τ_agree.
        folds: of sequences.
        metric: whose largest value is best.
    """

    match: tuple[float, ...]
    agreement: tuple[float, ...]
    folds: int
    metric: str


def search_evaluator(
    name: str,
    make_tracker: Callable[[Params], AdjustableTracker],
    sequences: Callable[[], Sequence[VideoSequence]],
    evaluator: Callable[[MakeTracker, Sequence[VideoSequence]], HostEvaluator],
    search: Search,
    own_agreement: float,
) -> HostEvaluator:
    """Returns the evaluator of a search.

    Results are, as means over folds, `NAME/confirm_T/METRIC` of every τ_conf and `NAME/agree_A/METRIC` of every
    τ_agree; `NAME/best_confirm` and `NAME/best_agree`; and `NAME/cross_validated/METRIC` of `search.metric`.

    Args:
        name: of the data set in the results.
        make_tracker: returns the tracker of some parameters.
        sequences: returns those that are searched on; called when they are first needed.
        evaluator: returns the evaluation of a tracker on sequences.
        search: the values and the folds.
        own_agreement: τ_agree while τ_conf is searched.
    """

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        tracker, folds = make_tracker(params), _dealt(sequences(), search.folds, name)

        @functools.cache
        def scores(match: float, agreement: float, fold: int) -> dict[str, float]:
            adjusted = tracker.with_options(match_threshold=match, agreement_threshold=agreement)
            one = evaluator(lambda _: adjusted, folds[fold])
            return {key.removeprefix(f"{one.name}/"): value for key, value in one.run(params, after_part).items()}

        return {f"{name}/{key}": value for key, value in _searched(scores, search, own_agreement).items()}

    return HostEvaluator(f"{name}_search", run)


def _searched(
    scores: Callable[[float, float, int], dict[str, float]], search: Search, own_agreement: float
) -> dict[str, float]:
    """Returns the results of a search, given the scores of two thresholds on a fold."""
    every = range(search.folds)

    def mean(match: float, agreement: float, folds: Sequence[int], metric: str = search.metric) -> float:
        return statistics.fmean(scores(match, agreement, fold)[metric] for fold in folds)

    def best(folds: Sequence[int]) -> tuple[float, float]:
        # Of equally good values of τ_conf the smallest, which keeps most tracks; of τ_agree the largest, which needs
        # the fewest hypotheses.
        match = max(search.match, key=lambda each: (mean(each, own_agreement, folds), -each))
        if not search.agreement:
            return match, own_agreement
        return match, max(search.agreement, key=lambda each: (mean(match, each, folds), each))

    match, agreement = best(every)
    pairs = {f"confirm_{value:g}": (value, own_agreement) for value in search.match}
    pairs |= {f"agree_{value:g}": (match, value) for value in search.agreement}
    results: dict[str, float] = {"best_confirm": match, "best_agree": agreement}
    for key, (confirm, agree) in pairs.items():
        # A metric that a fold does not have, such as that of its crossings, has no mean.
        common = set.intersection(*(set(scores(confirm, agree, fold)) for fold in every))
        results |= {f"{key}/{metric}": mean(confirm, agree, every, metric) for metric in sorted(common)}
    if search.folds > 1:
        held_out = []
        for fold in every:
            chosen = best([other for other in every if other != fold])
            held_out.append(scores(*chosen, fold)[search.metric])
        results[f"cross_validated/{search.metric}"] = statistics.fmean(held_out)
    return results


def _dealt(videos: Sequence[VideoSequence], folds: int, name: str) -> list[list[VideoSequence]]:
    """Returns the sequences dealt to folds in turns; StoryjaxError where a fold would have none."""
    if len(videos) < folds:
        raise StoryjaxError(
            f"config.model.search_folds is {folds}, but {name} has {len(videos)} sequences to search on: give at"
            " most as many folds"
        )
    return [list(videos[fold::folds]) for fold in range(folds)]
