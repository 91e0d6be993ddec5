"""The tracker with a small untrained network: what holds whatever it has learnt."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_mqt import DETR, SIZE, make

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.data.mot_text import rows
from storyjax.mqt.association import Association, Protocol, TrackerConfig
from storyjax.mqt.eval_tracking import from_first_boxes
from storyjax.mqt.images import Fit, PaddedImages
from storyjax.mqt.memory import Candidates
from storyjax.mqt.model import Mqt, MqtConfig
from storyjax.mqt.predict import TrackedObject, Tracker
from storyjax.mqt.sequences import VideoSequence

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


def test_frames_keep_their_aspect_ratio_where_training_did() -> None:
    model, params = make()
    tracker = Tracker(model, params, (64, 192), CONFIG, Fit(48, 160))
    # Frames of 40 × 60 fill 48 × 72 of an image whose sides are multiples of 64, up to the size of training.
    shown = tracker._resize(video()[0])
    assert isinstance(shown, PaddedImages)
    assert (shown.pixels.shape, shown.extent.tolist()) == ((1, 64, 128, 3), [[48, 72]])
    filled = Tracker(model, params, (64, 192), CONFIG, Fit(64, 192))._resize(np.zeros((32, 64, 3), np.uint8))
    assert filled.shape == (1, 64, 128, 3)  # no padding, and then no mask
    found = jax.jit(lambda p, images: model.apply({"params": p}, images))(params, shown)
    boxes = np.asarray(found.det.boxes[-1, 0])
    low, high = (np.clip(boxes[:, :2] + side * boxes[:, 2:] / 2, 0, 1) * (WIDTH, HEIGHT) for side in (-1, 1))
    expected = np.concatenate([low, high - low], axis=1)
    places, _ = tracker.detect(video()[0])
    assert len(places)
    for place in places:  # in pixels of the frame, of which boxes are fractions
        assert np.abs(expected - place).max(axis=1).min() < 1e-3
    # What lies in the padding has no say.
    noise = np.random.default_rng(1).integers(0, 256, shown.pixels.shape, dtype=np.uint8)
    noisy = PaddedImages(np.where(np.asarray(shown.mask)[..., None], shown.pixels, noise), shown.extent)
    again = jax.jit(lambda p, images: model.apply({"params": p}, images))(params, noisy)
    np.testing.assert_array_equal(again.det.boxes, found.det.boxes)


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


def test_a_full_tracker_says_so_once(tracker: Tracker, caplog: pytest.LogCaptureFixture) -> None:
    tracker._said.clear()
    spread = np.array([[12 * i, 4, 8, 30] for i in range(5)], np.float32)
    for _ in range(2):
        tracker.start(WIDTH, HEIGHT)
        for frame in video():
            tracker.step(frame, spread)
    assert sum("max_detections makes room" in line for line in caplog.messages) == 1
    assert sum("beyond 5 are dropped" in line for line in caplog.messages) <= 1
    association = Association(dataclasses.replace(CONFIG, max_tracks=1))
    two = Candidates(*(np.ones((2, n), np.float32) for n in (4, 6, 6)), np.ones(2, np.float32))
    two.boxes[:] = [[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]]
    none = two[np.zeros(0, int)]
    association.update(none, np.zeros(0, np.float32), two, none)
    assert association.full
    assert len(association.tracks) == 1


def test_other_thresholds_share_the_compiled_passes(tracker: Tracker) -> None:
    other = tracker.with_options(match_threshold=0.9, agreement_threshold=0.3)
    assert (other.config.match_threshold, tracker.config.match_threshold) == (0.9, -1.0)
    assert other._jitted_track is tracker._jitted_track
    with pytest.raises(StoryjaxError, match="make another tracker"):
        tracker.with_options(hypotheses=4)


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


def under(tracker: Tracker, protocol: Protocol, **options: Any) -> Tracker:
    """The same compiled network under another protocol."""
    changed = copy.copy(tracker)
    changed.config = dataclasses.replace(CONFIG, protocol=protocol, **options)
    changed.start(WIDTH, HEIGHT)
    return changed


def test_one_shot_tracks_only_what_resembles_the_exemplar(tracker: Tracker) -> None:
    box = np.array([[5, 5, 20, 20]], np.float32)
    alone, all_of_them = (under(tracker, "one_shot", exemplar_threshold=least) for least in (1.0, -1.0))
    assert len(alone.step(video()[0], box)) == 1
    assert len(all_of_them.step(video()[0], box)) > 1
    assert len(alone.step(video()[1])) >= 1


def test_another_detectors_boxes_start_nothing_beside_the_users(tracker: Tracker) -> None:
    users = under(tracker, "user")
    frames = iter(enumerate(video(2), 1))
    sequence = VideoSequence("two", 10.0, WIDTH, HEIGHT, 2, lambda report: frames)
    given = rows([1], [4], [[5, 5, 20, 20]])
    others = rows([1, 2, 2], [-1, -1, -1], [[30, 10, 12, 12], [30, 10, 12, 12], [6, 5, 20, 20]])
    found = [[one.id for one in each] for _, _, each in from_first_boxes(users, sequence, given, others=others)]
    assert found[0] == [4]
    assert set(found[1]) <= {4}
    assert len(users._association.tracks) == 1


def test_tracked_objects_have_the_most_probable_class_of_a_model_with_labels(monkeypatch) -> None:
    """The head is a linear map of the decoder's outputs; here of these, without a network."""
    model = Mqt(MqtConfig(detr=dataclasses.replace(DETR, classes=2), isolate_det=True))
    states = np.zeros((3, DETR.width), np.float32)
    states[:, 0], states[:, 1] = (1.0, 0.2, 0.5), (0.0, 1.0, 0.6)
    kernel = np.zeros((DETR.width, 2), np.float32)
    kernel[0, 0], kernel[1, 1] = 1.0, 1.0
    head = {"kernel": kernel, "bias": np.array([0.0, -0.2], np.float32)}  # (1, -0.2), (0.2, 0.8), (0.5, 0.4)
    config = dataclasses.replace(CONFIG, protocol="private")
    tracker = Tracker(model, {"class_head": head}, SIZE, config, labels=("person", "thing"))
    boxes = np.array([[0.2, 0.5, 0.2, 0.9], [0.5, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.9]], np.float32)
    det = {"boxes": boxes, "appearance": np.eye(3, DETR.width, dtype=np.float32), "state": states}
    det["objectness"] = np.array([0.9, 0.8, 0.7], np.float32)
    nothing = tracker._no_tracks()
    monkeypatch.setattr(tracker, "_run", lambda image, boxes: {"own": nothing, "given": nothing, "det": det})
    tracker.start(WIDTH, HEIGHT)
    found = {round(one.score, 1): (one.label, one.category) for one in tracker.step(video()[0])}
    assert found == {0.9: ("person", 0), 0.8: ("thing", 1), 0.7: ("person", 0)}
    plain = Tracker(model, {"class_head": head}, SIZE, config)
    monkeypatch.setattr(plain, "_run", tracker._run)
    plain.start(WIDTH, HEIGHT)
    assert not any(hasattr(one, "label") for one in plain.step(video()[0]))
