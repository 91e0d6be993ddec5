"""The MQT that ships: things are found, followed and told apart in sequences that training never showed."""

import numpy as np
import pytest

from storyjax.data.mot_text import Rows, concatenate, rows
from storyjax.metrics.tracking import tracking_scores
from storyjax.mqt.eval_tracking import as_rows
from storyjax.mqt.iou_tracker import IouTracker
from storyjax.mqt.predict import Tracker
from storyjax.storyworld.story.tracks import plan_sequence, render_sequence

# Beyond all seeds that the data sets of the configs are drawn from.
SEEDS = (77_000_001, 77_000_002)
LEAST = 0.3  # of a thing must show for it to count
# Below what it reached on the held-out sequences (storyjax/mqt/README.md), for two sequences say less than eight.
LEAST_MOTA, LEAST_IDF1 = 0.75, 0.70


@pytest.fixture(scope="module")
def followed() -> dict[str, tuple[list[Rows], list[Rows]]]:
    """Truth and tracks of MQT, and of overlap alone with the same detections."""
    tracker, truth = Tracker.from_pretrained(), []
    found: dict[str, list[Rows]] = {"mqt": [], "overlap": []}
    for seed in SEEDS:
        baseline, there, parts = IouTracker(min_hits=2), [], {"mqt": [], "overlap": []}
        for number, (image, seen) in enumerate(render_sequence(plan_sequence(seed)), 1):
            if number == 1:
                tracker.start(image.shape[1], image.shape[0])
            count, counts = len(seen.ids), seen.visibility >= LEAST
            kinds = np.where(counts, 1, 8)
            there.append(rows([number] * count, seen.ids, seen.boxes, counts, kinds, seen.visibility))
            parts["mqt"].append(as_rows(number, tracker.step(image)))
            parts["overlap"].append(as_rows(number, baseline.step(*tracker.detect(image))))
        truth.append(concatenate(there))
        for name, each in parts.items():
            found[name].append(concatenate(each))
    return {name: (truth, each) for name, each in found.items()}


def test_what_moves_is_followed(followed) -> None:
    scores = tracking_scores(*followed["mqt"])
    assert scores["mota"] > LEAST_MOTA
    assert scores["idf1"] > LEAST_IDF1


def test_looks_tell_more_than_overlap_alone(followed) -> None:
    ours, overlap = (tracking_scores(*followed[name])["idf1"] for name in ("mqt", "overlap"))
    assert ours > overlap + 0.05
