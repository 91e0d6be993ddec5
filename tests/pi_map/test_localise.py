"""The red ellipse and where its box comes from."""

import json
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.pi_map.localise import BoxFile, Detector, GroundingDino, box_at, crop_to, draw_ellipse, mark

BOX = (0.2, 0.3, 0.8, 0.7)


def test_the_ellipse_passes_through_the_middles_of_the_sides() -> None:
    grey = np.full((101, 201, 3), 128, np.uint8)
    ringed = draw_ellipse(grey, BOX, thickness=0.03)
    red = (ringed == (255, 0, 0)).all(axis=-1)
    assert red[50, 40]  # the middle of the left side: y 0.5, x 0.2
    assert red[50, 160]
    assert red[30, 100]  # the middle of the top side
    assert red[70, 100]
    # Nothing is drawn outside the box, in its corners or in its middle.
    assert not red[:, :39].any()
    assert not red[:29].any()
    assert not red[30, 40]
    assert not red[50, 100]
    assert (grey == 128).all()


def test_without_a_box_nothing_is_drawn() -> None:
    grey = np.full((10, 10, 3), 128, np.uint8)
    assert draw_ellipse(grey, None) is grey
    assert (draw_ellipse(grey, (0.5, 0.5, 0.5, 0.5)) == grey).all()


def test_a_crop_is_square_around_the_box_and_stays_in_the_image() -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    part = crop_to(ramp, (0.4, 0.4, 0.6, 0.6), margin=0.25)  # 40 wide and 20 high, about (100, 50)
    assert part.shape == (60, 60, 3)
    assert (part[0, 0, 0], part[0, -1, 0]) == (70, 129)
    corner = crop_to(ramp, (0.0, 0.0, 0.2, 0.2), margin=0.25)
    assert corner.shape == (40, 50, 3)  # less, at the edge
    assert crop_to(ramp, None) is ramp
    assert crop_to(ramp, (0.5, 0.5, 0.5, 0.5)).shape == ramp.shape  # a box without an inside
    assert mark(ramp, BOX, "crop").shape == crop_to(ramp, BOX).shape
    assert (mark(ramp, BOX, "ellipse") == draw_ellipse(ramp, BOX)).all()


def test_boxes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"a": [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]}))
    detector: Detector = BoxFile(path)
    image = np.zeros((4, 4, 3), np.uint8)
    assert detector.detect(image, "dog", "a", 0.1) == (0, 0, 0.5, 0.5)
    assert detector.detect(image, "dog", "a", 1.0) == (0.5, 0.5, 1, 1)
    assert detector.detect(image, "dog", "b") is None
    assert box_at([], 0.5) is None


@pytest.mark.parametrize("text", ["{", '{"a": [[0, 0, 2, 1]]}', '{"a": [[1, 2]]}', "[1]"])
def test_a_file_without_boxes_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(StoryjaxError, match="cannot be read as boxes"):
        BoxFile(path).detect(np.zeros((4, 4, 3), np.uint8), "dog", "a")


def test_a_missing_detector_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="grounding-dino-base"):
        GroundingDino(tmp_path)
