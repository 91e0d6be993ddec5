"""The tracker with a small untrained network: what holds whatever it has learnt."""

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from small_mqt import DETR, SIZE, make

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.model import Mqt
from storyjax.mqt.predict import TrackedObject, Tracker

WIDTH, HEIGHT = 60, 40  # not the size that the network takes
CONFIG = TrackerConfig(
    protocol="private_public",
    birth_threshold=0.0,
    given_birth_threshold=0.0,
    objectness_threshold=0.0,
    match_threshold=-1.0,
    max_tracks=5,
    max_detections=3,
)


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    """Compiled once: confident of everything, so that there are always tracks."""
    model, params = make()
    return Tracker(model, params, SIZE, CONFIG)


def video(frames: int = 4) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (frames, HEIGHT, WIDTH, 3), dtype=np.uint8))


def as_tuples(found: list[TrackedObject]) -> list[tuple]:
    return [(one.id, one.xywh_px, one.score) for one in found]


def test_the_same_video_gives_the_same_tracks_within_the_image(tracker: Tracker) -> None:
    runs = []
    for _ in range(2):
        tracker.start(WIDTH, HEIGHT)
        runs.append([as_tuples(tracker.step(frame, np.array([[5, 5, 20, 20]], np.float32))) for frame in video()])
    assert runs[0] == runs[1]
    assert all(runs[0])
    for found in runs[0]:
        assert len(found) <= CONFIG.max_tracks
        for _, (left, top, width, height), score in found:
            assert 0 <= left <= left + width <= WIDTH + 1e-3
            assert 0 <= top <= top + height <= HEIGHT + 1e-3
            assert 0 <= score <= 1


def test_a_missing_frame_changes_nothing(tracker: Tracker) -> None:
    frames = video()
    tracker.start(WIDTH, HEIGHT)
    whole = [as_tuples(tracker.step(frame)) for frame in frames]
    tracker.start(WIDTH, HEIGHT)
    gap = [as_tuples(tracker.step(frame)) for frame in [frames[0], None, frames[1], None, *frames[2:]]]
    assert gap[1] == gap[3] == []
    assert [gap[0], gap[2], *gap[4:]] == whole


def test_detections_that_are_no_boxes_are_left_out(tracker: Tracker) -> None:
    odd = np.array([[500, 5, 20, 20], [5, 5, 0, 20], [np.nan, 0, 5, 5]], np.float32)
    tracker.start(WIDTH, HEIGHT)
    with_odd = as_tuples(tracker.step(video()[0], odd))
    tracker.start(WIDTH, HEIGHT)
    assert as_tuples(tracker.step(video()[0], np.zeros((0, 4), np.float32))) == with_odd


def test_detect_needs_no_memory(tracker: Tracker) -> None:
    boxes, scores = tracker.detect(video()[0])
    assert boxes.shape == (len(scores), 4)
    assert (np.diff(scores) <= 0).all()


def test_without_det_queries_nothing_new_is_found_beside_tracks(tracker: Tracker) -> None:
    model = Mqt(dataclasses.replace(tracker.model.config, detect=False))
    # Of det queries everything would start a track, recover one, replace an output or branch off.
    options = {"protocol": "private", "match_threshold": 0.9, "hypotheses": 2, "max_age": 1}
    alone = Tracker(model, tracker.params, SIZE, dataclasses.replace(CONFIG, **options))
    alone.start(WIDTH, HEIGHT)
    before, begun = None, 0
    for frame in video(6):
        alone.step(frame)
        association = alone._association
        if before:
            assert association._last_id == begun
            assert {track.id for track in association.tracks} <= before
            assert all(len(track.hypotheses) == 1 for track in association.tracks)
        else:  # the first frame, and those after all tracks were forgotten, begin with det queries alone
            assert association._last_id > begun
        before, begun = {track.id for track in association.tracks}, association._last_id


def test_frames_of_another_size_and_no_start_are_errors(tracker: Tracker) -> None:
    tracker.start(WIDTH, HEIGHT)
    with pytest.raises(StoryjaxError, match="48 × 32"):
        tracker.step(np.zeros((*SIZE, 3), np.uint8))
    fresh = Tracker(tracker.model, tracker.params, SIZE, CONFIG)
    with pytest.raises(StoryjaxError, match="start"):
        fresh.step(video()[0])


def test_a_folder_is_loaded_and_options_are_checked(tracker: Tracker, tmp_path: Path) -> None:
    config = {
        "experiment": "mqt",
        "model": {"mqt": {"detr": dataclasses.asdict(DETR), "isolate_det": True}, "tracker": {"match_threshold": 0.6}},
        "data": {"size": list(SIZE)},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_tree(tmp_path / "model.safetensors", flatten(tracker.params), {})
    loaded = Tracker.from_pretrained(tmp_path, min_hits=3)
    assert (loaded.config.match_threshold, loaded.config.min_hits, loaded.size) == (0.6, 3, SIZE)
    with pytest.raises(StoryjaxError, match=r"match_treshold.*match_threshold"):
        Tracker.from_pretrained(tmp_path, match_treshold=0.5)
    assert Tracker.from_pretrained(tmp_path, precision="bfloat16").model.dtype == jnp.bfloat16
    with pytest.raises(StoryjaxError, match="class head"):
        Tracker.from_pretrained(tmp_path, match_by="class")
    with pytest.raises(StoryjaxError, match=r"no trained MQT: .*config\.json"):
        Tracker.from_pretrained(tmp_path / "nowhere")
