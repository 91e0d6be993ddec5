"""The search for τ_conf: every threshold is measured, the best is named, of equals the smallest."""

from storyjax.mqt.eval_detection import search_evaluator
from storyjax.train.experiment import HostEvaluator


def test_the_best_threshold_is_named() -> None:
    scores = {0.6: 0.2, 0.7: 0.5, 0.8: 0.5, 0.9: 0.1}
    measures = [
        (threshold, HostEvaluator("tao", lambda params, after, s=score: {"tao/track_map": s, "tao/mota": -s}))
        for threshold, score in scores.items()
    ]
    results = search_evaluator("tao", measures, "track_map").run({}, lambda: None)
    assert results["tao/best_confirm"] == 0.7
    assert results["tao/confirm_0.8/mota"] == -0.5
    assert len(results) == 9
