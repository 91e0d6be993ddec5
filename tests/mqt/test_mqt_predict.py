"""The tracker with a small untrained network: what holds whatever it has learnt."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_mqt import DETR, SIZE, make

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.predict import Tracked, Tracker

WIDTH, HEIGHT = 60, 40  # not the size that the network takes
CONFIG = TrackerConfig(
    protocol="private_public", start=0.0, start_given=0.0, presence=0.0, confirm=-1.0, capacity=5, given=3
)


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    """Compiled once: confident of everything, so that there are always tracks."""
    model, params = make()
    return Tracker(model, params, SIZE, CONFIG)


def film(frames: int = 4) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (frames, HEIGHT, WIDTH, 3), dtype=np.uint8))


def told(found: list[Tracked]) -> list[tuple]:
    return [(one.id, one.xywh_px, one.score) for one in found]


def test_the_same_film_gives_the_same_tracks_within_the_picture(tracker: Tracker) -> None:
    runs = []
    for _ in range(2):
        tracker.start(WIDTH, HEIGHT)
        runs.append([told(tracker.step(frame, np.array([[5, 5, 20, 20]], np.float32))) for frame in film()])
    assert runs[0] == runs[1]
    assert all(runs[0])
    for found in runs[0]:
        assert len(found) <= CONFIG.capacity
        for _, (left, top, width, height), score in found:
            assert 0 <= left <= left + width <= WIDTH + 1e-3
            assert 0 <= top <= top + height <= HEIGHT + 1e-3
            assert 0 <= score <= 1


def test_a_missing_frame_changes_nothing(tracker: Tracker) -> None:
    frames = film()
    tracker.start(WIDTH, HEIGHT)
    whole = [told(tracker.step(frame)) for frame in frames]
    tracker.start(WIDTH, HEIGHT)
    gap = [told(tracker.step(frame)) for frame in [frames[0], None, frames[1], None, *frames[2:]]]
    assert gap[1] == gap[3] == []
    assert [gap[0], gap[2], *gap[4:]] == whole


def test_detections_that_are_no_boxes_are_left_out(tracker: Tracker) -> None:
    odd = np.array([[500, 5, 20, 20], [5, 5, 0, 20], [np.nan, 0, 5, 5]], np.float32)
    tracker.start(WIDTH, HEIGHT)
    with_odd = told(tracker.step(film()[0], odd))
    tracker.start(WIDTH, HEIGHT)
    assert told(tracker.step(film()[0], np.zeros((0, 4), np.float32))) == with_odd


def test_detect_needs_no_memory(tracker: Tracker) -> None:
    boxes, scores = tracker.detect(film()[0])
    assert boxes.shape == (len(scores), 4)
    assert (np.diff(scores) <= 0).all()


def test_frames_of_another_size_and_no_start_are_told(tracker: Tracker) -> None:
    tracker.start(WIDTH, HEIGHT)
    with pytest.raises(StoryjaxError, match="48 × 32"):
        tracker.step(np.zeros((*SIZE, 3), np.uint8))
    fresh = Tracker(tracker.model, tracker.params, SIZE, CONFIG)
    with pytest.raises(StoryjaxError, match="start"):
        fresh.step(film()[0])


def test_a_folder_is_loaded_and_options_are_checked(tracker: Tracker, tmp_path: Path) -> None:
    import dataclasses

    config = {
        "experiment": "mqt",
        "model": {"mqt": {"detr": dataclasses.asdict(DETR), "isolate_det": True}, "tracker": {"confirm": 0.6}},
        "data": {"size": list(SIZE)},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_tree(tmp_path / "model.safetensors", flatten(tracker.params), {})
    loaded = Tracker.from_checkpoint(tmp_path, births=3)
    assert (loaded.config.confirm, loaded.config.births, loaded.size) == (0.6, 3, SIZE)
    with pytest.raises(StoryjaxError, match=r"confrim.*confirm"):
        Tracker.from_checkpoint(tmp_path, confrim=0.5)
    with pytest.raises(StoryjaxError, match="class head"):
        Tracker.from_checkpoint(tmp_path, confirm_by="class")
    with pytest.raises(StoryjaxError, match=r"no config\.json"):
        Tracker.from_checkpoint(tmp_path / "nowhere")
