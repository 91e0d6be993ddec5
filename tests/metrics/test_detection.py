"""Average precision: COCO's own, with and without kinds."""

import numpy as np
import pytest

from storyjax.metrics.detection import Detections, average_precision

BOXES = np.array([[10, 10, 20, 20], [60, 30, 30, 40], [5, 60, 25, 25]], np.float64)


def test_the_truth_is_perfect_and_nothing_is_nothing() -> None:
    truth = [Detections(BOXES), Detections(BOXES[:1])]
    assert average_precision(truth, truth) == pytest.approx({"ap": 1, "ap50": 1, "ap75": 1})
    empty = Detections(np.zeros((0, 4)))
    assert average_precision(truth, [empty, empty])["ap"] == 0


def test_half_moved_boxes_count_only_at_low_overlap() -> None:
    moved = Detections(BOXES + (BOXES[:, 2:3] * (0.2, 0, 0, 0)), np.ones(3))
    scores = average_precision([Detections(BOXES)], [moved])  # IoU 0.8 / 1.2 = 2/3
    assert scores["ap50"] == pytest.approx(1)
    assert scores["ap75"] == 0
    assert scores["ap"] == pytest.approx(0.4, abs=0.01)  # 0.50, 0.55, 0.60 and 0.65 of ten


def test_kinds_count_where_both_have_them() -> None:
    kinds, wrong = np.array([0, 1, 1]), np.array([1, 0, 0])
    truth = [Detections(BOXES, kinds=kinds)]
    assert average_precision(truth, [Detections(BOXES, np.ones(3), kinds)])["ap"] == pytest.approx(1)
    assert average_precision(truth, [Detections(BOXES, np.ones(3), wrong)])["ap"] == 0
    assert average_precision(truth, [Detections(BOXES, np.ones(3))])["ap"] == pytest.approx(1)


def test_a_false_alarm_costs_when_it_is_sure_of_itself() -> None:
    with_alarm = np.concatenate([BOXES, [[100, 100, 10, 10]]])
    sure = average_precision([Detections(BOXES)], [Detections(with_alarm, np.array([0.5, 0.5, 0.5, 0.9]))])
    unsure = average_precision([Detections(BOXES)], [Detections(with_alarm, np.array([0.5, 0.5, 0.5, 0.1]))])
    assert unsure["ap"] == pytest.approx(1)
    assert sure["ap"] < 0.8


def test_crowds_count_neither_way() -> None:
    crowd = np.array([False, False, True])
    scores = average_precision([Detections(BOXES, crowd=crowd)], [Detections(BOXES[:2], np.ones(2))])
    assert scores["ap"] == pytest.approx(1)
