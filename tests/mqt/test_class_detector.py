"""The most certain object of a class: that of the detector's own boxes."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hub_detr import small_detr, write_detr

from storyjax.core.errors import StoryjaxError
from storyjax.metrics.tracking import box_iou
from storyjax.mqt import class_detector
from storyjax.mqt.class_detector import ClassDetector


def test_it_finds_the_most_certain_box_of_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = str(write_detr(small_detr(), tmp_path))
    monkeypatch.setattr(class_detector, "SHORTER", 64)
    monkeypatch.setattr(class_detector, "_LEAST", 0.01)  # a random network is not certain of anything
    image = np.random.default_rng(0).integers(0, 255, (48, 80, 3), np.uint8)
    detector = ClassDetector(folder)
    assert detector.labels == ("cup", "dog", "person")
    monkeypatch.setattr("storyjax.core.notes._TOLD", {})
    with caplog.at_level(logging.WARNING, "storyjax.notes"):
        box = detector.detect(image, "poodle")
    assert "--class NAME names one: cup, dog, person" in caplog.text
    found = detector._trackers[None]._found(image, 0.01)
    assert (found.scores[0] >= found.scores).all()
    pixels = np.array([[box[0] * 80, box[1] * 48, (box[2] - box[0]) * 80, (box[3] - box[1]) * 48]], np.float32)
    assert box_iou(pixels, found.xywh_px[:1])[0, 0] > 0.999
    with pytest.raises(StoryjaxError, match=r"--class: the detector has no class 'dgo'\. Did you mean 'dog'"):
        ClassDetector(folder, "dgo")
