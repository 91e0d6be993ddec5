"""The search for τ_conf and τ_agree: every value is measured, the best are named, and the choice is cross-validated."""

from typing import Any

import pytest
from following import squares

from storyjax.core.errors import StoryjaxError
from storyjax.mqt.config import make_model
from storyjax.mqt.threshold_search import Search, search_evaluator
from storyjax.train.experiment import HostEvaluator

CONFIRM = {0.6: 0.2, 0.7: 0.5, 0.8: 0.5, 0.9: 0.1}
AGREE = {0.05: 0.0, 0.1: 0.1, 0.2: 0.1}


class Adjustable:
    """A tracker that is nothing but its thresholds."""

    def with_options(self, match_threshold: float, agreement_threshold: float) -> Any:
        other = Adjustable()
        other.thresholds = match_threshold, agreement_threshold
        return other


def searched(folds: int, agreement: tuple[float, ...] = tuple(AGREE), odd: str = "") -> tuple[dict[str, float], list]:
    """The results of a search over ten sequences, and the evaluations made; `odd` has a best value of its own."""
    made = []

    def evaluator(make_tracker, videos) -> HostEvaluator:
        def run(params, after_part) -> dict[str, float]:
            confirm, agree = make_tracker(params).thresholds
            names = [video.name for video in videos]
            made.append((confirm, agree, names))
            best = 1.0 if odd in names and confirm == 0.9 else CONFIRM[confirm]
            return {"tao/track_map": best + AGREE[agree], "tao/mota": -best}

        return HostEvaluator("tao", run)

    sequences = [squares(2, name=str(i)) for i in range(10)]
    search = Search(tuple(CONFIRM), agreement, folds, "track_map")
    one = search_evaluator("tao", lambda params: Adjustable(), lambda: sequences, evaluator, search, 0.1)
    return one.run({}, lambda: None), made


def test_the_best_thresholds_are_named() -> None:
    results, made = searched(folds=5)
    # Of equals the smallest τ_conf, which keeps most tracks, and the largest τ_agree, which needs fewest hypotheses.
    assert (results["tao/best_confirm"], results["tao/best_agree"]) == (0.7, 0.2)
    assert results["tao/confirm_0.8/mota"] == pytest.approx(-0.5)
    assert results["tao/agree_0.05/track_map"] == pytest.approx(0.5)
    assert results["tao/cross_validated/track_map"] == pytest.approx(0.6)
    # One after the other, not every pair; each fold once.
    assert len(made) == len({(a, b, *names) for a, b, names in made}) == 5 * (4 + 2)
    assert sorted(name for a, b, names in made if (a, b) == (0.6, 0.1) for name in names) == [str(i) for i in range(10)]
    assert "tao/agree_0.1/mota" not in searched(5, agreement=())[0]


def test_a_fold_does_not_choose_for_itself() -> None:
    results, _ = searched(folds=2, odd="3")
    # The fold with the odd one prefers 0.9 and pulls the mean there; chosen by the other it gets no more than that.
    assert results["tao/best_confirm"] == 0.9
    assert results["tao/cross_validated/track_map"] == pytest.approx(((0.5 + 0.1) + (0.1 + 0.1)) / 2)


def test_what_cannot_be_searched_is_an_error_in_a_line() -> None:
    with pytest.raises(StoryjaxError, match="search_folds is 11, but tao has 10 sequences"):
        searched(folds=11)
    for section, message in (
        ({"search": (0.5, 1.5)}, "match_threshold is 1.5; it must be from -1 to 1"),
        ({"search": (0.5,), "search_agreement": (3.0,)}, "agreement_threshold is 3; it"),
        ({"search_agreement": (0.1,)}, "needs values of τ_conf"),
        ({"search": (0.5,), "search_folds": 0}, "search_folds is 0"),
        ({"tracker": {"nms_iou": 1.2}}, "nms_iou is 1.2"),
    ):
        with pytest.raises(StoryjaxError, match=message):
            make_model(section)
