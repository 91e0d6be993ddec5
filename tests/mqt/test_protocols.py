"""The protocols of the benchmarks: TAO's frames, GMOT-40's one exemplar, boxes of other detectors, crowds, reversal."""

import dataclasses
import gc
import json
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from following import OverlapTracker, TruthTracker, squares
from small_mqt import DETR
from test_mqt_data import a_record
from test_query_measures import Few
from test_sequences import write_folder, write_video

from storyjax.core.config import from_config, load_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.tao import Tao
from storyjax.data.images import read_image
from storyjax.data.mot_text import concatenate, no_rows, rows, write_rows
from storyjax.metrics.tracking import tracking_scores
from storyjax.mqt import eval_tracking
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.config import MqtData, tracker_config
from storyjax.mqt.data import DetectionEvalLoader, DetectionLoader, SimulatedPairEvalLoader, View
from storyjax.mqt.datasets import Sources
from storyjax.mqt.eval_detection import detection_evaluator, true_boxes
from storyjax.mqt.eval_tracking import reverse, tracking_evaluator, user_initialised_evaluator
from storyjax.mqt.external_detections import detection_files, read_detections
from storyjax.mqt.model import Mqt, MqtConfig
from storyjax.mqt.predictions import tracking_prediction
from storyjax.mqt.sequences import VideoSequence, open_sequence, prepared_sequences
from storyjax.storyworld.export.tracks_pictures import export_tao
from storyjax.train.experiment import HostPrediction

VIEW = View(size=(96, 160), max_objects=4, flip=0.0, jitter=0.0)


@pytest.fixture(scope="module")
def tao(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tao(tmp_path_factory.mktemp("worlds") / "tao", {"train": 1, "validation": 1})


def test_tao_is_tracked_through_all_frames_and_judged_in_the_annotated_ones(tao: Path, tmp_path: Path) -> None:
    source = Tao.prepare(tao, tmp_path, "validation")
    (video,) = prepared_sequences(source, tao)
    files = sorted((tao / "frames" / video.name).glob("*.jpg"))
    frames = list(video.frames())
    assert video.length == len(frames) == len(files) == 2 * len(source) - len(files) % 2
    assert video.annotated == tuple(range(1, len(files) + 1, 2))
    assert set(video.ground_truth.frame.tolist()) <= set(video.annotated)
    assert [number for number, _ in frames] == list(range(1, len(files) + 1))
    for number in (1, 2, len(files)):
        assert np.array_equal(frames[number - 1][1], read_image(files[number - 1]))
    # What is found between annotated frames counts neither way.
    truth = video.ground_truth
    between = rows([2, 4], [99, 99], [[0, 0, 9, 9]] * 2)
    tracker = TruthTracker(concatenate([truth, between]))
    results = tracking_evaluator("tao", lambda params: tracker, lambda: [video], with_baseline=False).run({}, lambda: 0)
    assert results["tao/mota"] == results["tao/idf1"] == 1
    assert tracking_scores([truth], [concatenate([truth, between])])["mota"] < 1
    results = user_initialised_evaluator("tao", lambda params: tracker, lambda: [video]).run({}, lambda: 0)
    assert results["tao/track_map"] == pytest.approx(1)
    assert [number for number, _ in reverse(video).frames()] == list(range(1, video.length + 1))


def test_tao_without_the_frames_between_says_so(tao: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Tao.prepare(tao, tmp_path, "validation")
    with caplog.at_level(logging.WARNING):
        (video,) = prepared_sequences(source, tmp_path / "nowhere")
    assert video.length == len(source)
    assert video.annotated is None
    assert "only its annotated frames" in caplog.text
    missing = dataclasses.replace(source.sequences[0].origin, names=("gone.jpg", *source.sequences[0].origin.names[1:]))
    source.sequences[0] = dataclasses.replace(source.sequences[0], origin=missing)
    (video,) = prepared_sequences(source, tao)  # a file that is gone keeps its place
    assert video.annotated is not None
    assert len(video.annotated) == len(source)


def counted(length: int) -> tuple[VideoSequence, list[int]]:
    """A sequence, and the most of its frames that were alive at once while it was read."""
    alive: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
    most = [0]

    def read(report) -> Iterator[tuple[int, np.ndarray]]:
        for number in range(1, length + 1):
            image = np.full((24, 32, 3), number, np.uint8)
            alive[number] = image
            most[0] = max(most[0], len(alive))
            yield number, image
            del image

    return VideoSequence("counted", 10.0, 32, 24, length, read), most


def test_a_reversed_sequence_is_never_whole_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eval_tracking, "_MOST_REVERSED", 7)
    video, most = counted(60)
    gc.collect()
    seen = [(number, int(image[0, 0, 0])) for number, image in reverse(video).frames()]
    assert seen == [(number, 61 - number) for number in range(1, 61)]
    assert most[0] <= 7 + 3
    huge = dataclasses.replace(video, width=40_000, height=30_000)
    assert [int(image[0, 0, 0]) for _, image in reverse(huge).frames()] == list(range(60, 0, -1))


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_parts_of_folders_and_videos_are_those_of_the_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eval_tracking, "_MOST_REVERSED", 9)
    path = write_folder(tmp_path / "v", range(1, 41)) if kind == "folder" else write_video(tmp_path / "v.mp4", 70)
    video = open_sequence(path)
    frames = [image for _, image in video.frames()]
    for first, last in ((1, 3), (20, 31), (len(frames), len(frames))):
        part = list(video.frames_between(first, last))
        assert [number for number, _ in part] == list(range(first, last + 1))
        assert all(np.array_equal(image, frames[number - 1]) for number, image in part)
    back = [image for _, image in reverse(video).frames()]
    assert all(np.array_equal(a, b) for a, b in zip(back, frames[::-1], strict=True))


def test_the_exemplar_is_the_first_objects_box() -> None:
    truth = rows(
        [2, 1, 1, 1], [1, 7, 5, 4], [[9, 9, 5, 5], [1, 1, 5, 5], [2, 2, 5, 5], [3, 3, 5, 5]], kind=[1, 1, 1, 8]
    )
    video = dataclasses.replace(squares(3), ground_truth=truth)
    exemplar = video.given("exemplar")
    assert (exemplar.frame.tolist(), exemplar.id.tolist()) == ([1], [5])
    with pytest.raises(StoryjaxError, match="no annotated object"):
        dataclasses.replace(video, ground_truth=no_rows()).given("exemplar")


def test_boxes_of_several_detectors_are_given_together() -> None:
    video = squares(4)
    video = dataclasses.replace(video, detections={**video.detections, "external": rows([2], [-1], [[1, 1, 4, 4]])})
    assert len(video.given("external+good")) == 5
    assert video.given(None) is None
    with pytest.raises(
        StoryjaxError, match=r"config.data.detector, of squares: unknown 'FRCNN'.*Known: good, external"
    ):
        video.given("FRCNN")


def test_a_folder_of_detections_has_a_file_for_each_sequence(tmp_path: Path) -> None:
    found = rows([1, 3], [-1, -1], [[4, 5, 6, 7]] * 2, [0.5, 0.25])
    known = {"MOT17-02", "val/YFCC100M/v_1", "MOT20-01", "spare"}
    for name in ("MOT17-02-FRCNN", "val/YFCC100M/v_1", "MOT20-01/det/det"):
        write_rows(tmp_path / f"{name}.txt", found)
    files = detection_files(tmp_path, known)
    assert set(files) == known - {"spare"}
    read = read_detections(files, "MOT17-02", 3)
    assert np.allclose(read.xywh_px, found.xywh_px)
    assert read.score.tolist() == [0.5, 0.25]
    with pytest.raises(StoryjaxError, match=r"no detections of spare: add spare.txt"):
        read_detections(files, "spare", 3)
    with pytest.raises(StoryjaxError, match="in frame 3, but MOT20-01 has 2 frames"):
        read_detections(files, "MOT20-01", 2)
    (tmp_path / "MOT17-02-FRCNN.txt").write_text("1,-1,4,5,6,7,.5\n1,-1,4,five,6,7\n")
    with pytest.raises(StoryjaxError, match=r"MOT17-02-FRCNN.txt line 2 holds what is no number"):
        read_detections(files, "MOT17-02", 3)
    write_rows(tmp_path / "MOT17-02.txt", found)
    with pytest.raises(StoryjaxError, match="are of one sequence, MOT17-02"):
        detection_files(tmp_path, known)
    (tmp_path / "MOT17-02.txt").rename(tmp_path / "MOT17-03.txt")
    with pytest.raises(StoryjaxError, match=r"MOT17-03.txt is of no sequence that there is. Did you mean 'MOT17-02'"):
        detection_files(tmp_path, known)
    with pytest.raises(StoryjaxError, match="there is no folder"):
        detection_files(tmp_path / "no", known)


def test_person_tracking_in_tao_takes_the_private_detections(tao: Path, tmp_path: Path) -> None:
    section = load_config("mqt_tao:person").data.to_dict()
    section |= {
        "root": {"tao": str(tao)},
        "cache_dir": str(tmp_path / "prepared"),
        "detections_dir": str(tmp_path / "det"),
    }
    data = from_config(MqtData, section, "config.data")
    sources = Sources(data)
    for split in ("train", "validation"):
        for info in sources.split("tao", split).sequences:
            write_rows(tmp_path / "det" / f"{info.name}.txt", rows([1, 2], [-1, -1], [[4, 5, 6, 7]] * 2))
    (video,) = sources.sequences("tao", "validation")
    assert data.detector_of("public") == "external"
    assert video.given(data.detector_of("public")).frame.tolist() == [1, 2]
    assert data.detector_of("private") is None
    assert data.detector_of("user") == "external"
    assert MqtData().detector_of("user") is None
    assert MqtData().detector_of("one_shot") == "exemplar"
    config = load_config("mqt_tao:person").model.tracker
    assert config.protocol == "public"
    assert load_config("mqt_gmot40").model.tracker.protocol == "one_shot"


def test_settings_that_contradict_each_other_are_one_line() -> None:
    with pytest.raises(StoryjaxError, match="'external' detections need config"):
        MqtData(detector="external")
    with pytest.raises(StoryjaxError, match=r"set that to 'external', or 'external\+FRCNN'"):
        MqtData(detections_dir="here")
    for name, value in (
        ("match_threshold", 1.5),
        ("agreement_threshold", -0.1),
        ("nms_iou", 2),
        ("birth_threshold", -1),
    ):
        with pytest.raises(StoryjaxError, match=f"config.model.tracker.{name} is {value:g}; it must be from"):
            tracker_config(TrackerConfig(), {name: float(value)})


def test_what_is_found_in_a_crowd_is_ignored() -> None:
    crowd = np.array([False, True])
    record = a_record([[20, 10, 40, 30], [90, 20, 60, 60]], crowd=crowd)
    arrays = DetectionEvalLoader(VIEW)(record, np.random.default_rng(0))
    assert arrays["present0"].sum() == arrays["crowd_mask0"].sum() == 1
    assert np.allclose(arrays["crowd_boxes0"][0], [120 / 160, 50 / 96, 60 / 160, 60 / 96], atol=1e-6)
    assert set(DetectionLoader(VIEW)(record, np.random.default_rng(0))) == set(arrays) - {"crowd_boxes0", "crowd_mask0"}
    batch = {name: np.asarray(value)[None] for name, value in arrays.items()} | {"record_valid": np.ones(1, bool)}
    evaluator = detection_evaluator(
        Mqt(MqtConfig(detr=DETR)), Few(MqtData(dataset="coco", mode="detection")), "coco", "val"
    )
    # The object, and surer than it two of the crowd: without the region these were false alarms (AP 1/3).
    own, inside = arrays["boxes0"][0], [0.7, 0.5, 0.1, 0.2]
    boxes = np.stack([own, inside, [0.8, 0.5, 0.1, 0.2]]).astype(np.float32)[None]
    outputs = {
        "det": (boxes, np.array([[1.0, 2.0, 3.0]], np.float32)),
        **{name: (arrays["boxes0"][None], np.zeros((1, 4), np.float32)) for name in ("pos", "true")},
    }
    results = evaluator.compute(evaluator.accumulate(None, outputs, batch))
    assert results["coco/det_ap"] == pytest.approx(1)
    assert true_boxes(batch, 0, 0).crowd.tolist() == [False, True]
    pair = SimulatedPairEvalLoader(VIEW)(record, np.random.default_rng(0))
    assert all(pair[f"crowd_mask{view}"].sum() == pair[f"present{view}"].sum() == 1 for view in (0, 1))
    assert jax.tree.all(jax.tree.map(np.all, {view: pair[f"crowd_boxes{view}"] <= 1 for view in (0, 1)}))


class Sequences(Sources):
    """A sequence as MOT17 has it, of three detectors, without ground truth."""

    def sequences(self, dataset: str, split: str) -> list[VideoSequence]:
        found = {name: squares(3).ground_truth[:number] for number, name in enumerate(("DPM", "FRCNN", "SDP"), 1)}
        return [dataclasses.replace(squares(3, name="MOT17-01"), ground_truth=no_rows(), detections=found)]


def files_of(prediction: HostPrediction) -> dict[str, str]:
    predict = prediction.predict({})
    rows = [row for unit in range(prediction.units()) for row in predict(unit)]
    return dict(prediction.files(json.loads(json.dumps(rows))))


def test_mot17s_server_gets_a_file_for_each_detector() -> None:
    data = MqtData(eval_splits=("mot17:test",))
    make = lambda params: OverlapTracker()  # noqa: E731
    files = files_of(tracking_prediction(Sequences(data), "mot17", "test", "private", make))
    assert set(files) == {f"mot17_test/MOT17-01-{name}.txt" for name in ("DPM", "FRCNN", "SDP")}
    assert len(set(files.values())) == 1
    lines = files["mot17_test/MOT17-01-DPM.txt"].splitlines()
    assert lines[0] == "1,1,2.00,9.00,6.00,6.00,1.0000,-1,-1,-1"
    assert len(lines) == 3
    files = files_of(tracking_prediction(Sequences(data), "mot17", "test", "public", make))
    assert [len(files[f"mot17_test/MOT17-01-{name}.txt"].splitlines()) for name in ("DPM", "FRCNN", "SDP")] == [1, 2, 3]
    nothing = Sequences(dataclasses.replace(data, detector="DPM"))
    nothing.sequences = lambda dataset, split: [dataclasses.replace(squares(2), detections={})]
    assert set(files_of(tracking_prediction(nothing, "mot20", "test", "private", make))) == {"mot20_test/squares.txt"}


def test_taos_server_gets_its_own_numbers(tao: Path, tmp_path: Path) -> None:
    options = {"dataset": "tao", "root": {"tao": str(tao)}, "cache_dir": str(tmp_path)}
    sources = Sources(MqtData(**options, eval_splits=("tao:validation",)))
    (video,) = sources.sequences("tao", "validation")
    make = lambda params: TruthTracker(video.ground_truth)  # noqa: E731
    (text,) = files_of(tracking_prediction(sources, "tao", "validation", "user", make)).values()
    content = json.loads((tao / "annotations" / "validation.json").read_text())
    expected = {
        (one["image_id"], one["category_id"], *(round(value, 2) for value in one["bbox"]))
        for one in content["annotations"]
    }
    found = json.loads(text)
    assert {(one["image_id"], one["category_id"], *one["bbox"]) for one in found} == expected
    assert {one["video_id"] for one in found} == {content["videos"][0]["id"]}
    assert {one["track_id"] for one in found} == set(range(1, len(content["tracks"]) + 1))
    with pytest.raises(StoryjaxError, match="name a category"):
        files_of(tracking_prediction(sources, "tao", "validation", "private", make))
    people = Sources(MqtData(**options, eval_splits=("tao:validation",), only="person"))
    (text,) = files_of(tracking_prediction(people, "tao", "validation", "private", make)).values()
    number = next(each["id"] for each in content["categories"] if each["name"] == "person")
    assert {one["category_id"] for one in json.loads(text)} == {number}
