"""`storyjax track --detector`: a published Deformable DETR, as the hub has it, finds what `transformers` finds."""

import functools
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
import transformers
from following import square
from hub_detr import NAMES, small_detr, write_detr
from PIL import Image

from storyjax.cli.main import run
from storyjax.core.errors import StoryjaxError
from storyjax.data.mot_text import read_rows
from storyjax.models.resnet import IMAGENET_DEVIATION, IMAGENET_MEAN
from storyjax.mqt.class_detector import ClassDetector
from storyjax.mqt.detector_tracker import DetectorTracker, class_names
from storyjax.mqt.images import WHOLE, Fit, crop
from storyjax.mqt.linking import LinkOptions

SIZE = (48, 80)  # of frames


@pytest.fixture(scope="module")
def model() -> transformers.DeformableDetrForObjectDetection:
    return small_detr()


@pytest.fixture(scope="module")
def folder(model: transformers.PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detr(model, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)


@functools.cache
def tracker_of(folder: Path, *classes: str) -> DetectorTracker:
    options = LinkOptions(min_score=0.01, low_score=0.01, min_hits=1)
    return DetectorTracker.from_pretrained(folder, classes, options, shorter=64)


def test_it_finds_what_transformers_finds(
    model: transformers.DeformableDetrForObjectDetection, folder: Path, image: np.ndarray
) -> None:
    """On the same pixels: the padding that ours adds to whole steps has no influence."""
    resized = Fit(64, 107).size(*SIZE, (107, 107))
    assert resized == (64, 107)
    tracker = tracker_of(folder)
    pixels = np.asarray(crop(image, WHOLE, resized)).astype(np.float32) / 255
    standard = (pixels - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_DEVIATION, np.float32)
    padded = np.zeros((64, 128, 3), np.float32)
    padded[:, :107] = standard
    mask = np.zeros((1, 64, 128), np.int64)
    mask[:, :, :107] = 1
    with torch.no_grad():
        theirs = model(torch.from_numpy(padded[None].transpose(0, 3, 1, 2)), pixel_mask=torch.from_numpy(mask))
    probability = theirs.logits[0].sigmoid().numpy()[:, 1:]  # without the class that was never learnt
    boxes = theirs.pred_boxes[0].numpy()
    found = tracker._found(image, 0.0)
    assert len(found)
    for box, score, label in zip(found.xywh_px, found.scores, found.labels, strict=True):
        row = int(np.abs(probability.max(axis=1) - score).argmin())
        assert probability[row].max() == pytest.approx(float(score), abs=1e-4)
        assert probability[row].argmax() + 1 == label
        low = np.clip(boxes[row, :2] - boxes[row, 2:] / 2, 0, 1)
        high = np.clip(boxes[row, :2] + boxes[row, 2:] / 2, 0, 1)
        expected = np.concatenate([low, high - low]) * (SIZE[1], SIZE[0], SIZE[1], SIZE[0])
        np.testing.assert_allclose(box, expected, atol=1e-2)


def test_a_file_of_transformers_5_has_one_class_head_for_all_layers(
    model: transformers.PreTrainedModel, folder: Path, image: np.ndarray, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    with safetensors.safe_open(tmp_path / "model.safetensors", "np") as file:
        assert "class_embed.1.weight" not in file.keys()  # noqa: SIM118 (the file is no mapping)
    one, other = (tracker_of(path)._found(image, 0.0) for path in (folder, tmp_path))
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.xywh_px, other.xywh_px)


def test_only_the_named_classes_are_found(folder: Path, image: np.ndarray) -> None:
    every = tracker_of(folder)._found(image, 0.0)
    dogs = tracker_of(folder, "dog")._found(image, 0.0)
    assert set(dogs.labels) == {2}
    assert 0 not in every.labels


def test_one_object_of_a_class_is_the_most_certain_box(
    folder: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    detector = ClassDetector(str(folder))
    assert detector.labels == ("cup", "dog", "person")
    tracker_of(folder), tracker_of(folder, "dog")  # loaded before the loader is replaced
    load = staticmethod(lambda place, classes, *_: tracker_of(folder, *classes))
    monkeypatch.setattr(DetectorTracker, "from_pretrained", load)
    monkeypatch.setattr("storyjax.core.notes._TOLD", {})
    for category, classes in (("dog", ("dog",)), ("poodle", ())):
        with caplog.at_level(logging.WARNING, "storyjax.notes"):
            box = detector.detect(image, category)
        assert ("--class NAME names one: cup, dog, person" in caplog.text) == (category == "poodle")
        found = tracker_of(folder, *classes)._found(image, 0.01)
        left, top, right, bottom = np.multiply(box, (SIZE[1], SIZE[0]) * 2)
        np.testing.assert_allclose((left, top, right - left, bottom - top), found.xywh_px[0], atol=1e-3)
        assert found.scores[0] == found.scores.max()
    with pytest.raises(StoryjaxError, match=r"--class: the detector has no class 'dgo'\. Did you mean 'dog'"):
        ClassDetector(str(folder), "dgo")


def frames(folder: Path) -> Path:
    folder.mkdir()
    for number in range(1, 5):
        Image.fromarray(square(number)).save(folder / f"{number:06d}.png")
    return folder


def test_the_command_tracks_by_a_downloaded_and_by_an_imported_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frames(tmp_path / "video")
    assert run(["import", "deformable-detr", "--from", str(folder), "--out", "imported"]) == 0
    assert json.loads((tmp_path / "imported" / "labels.json").read_text()) == list(NAMES.values())
    capsys.readouterr()
    common = ["track", "video", "--min-score", "0.05", "--shorter", "64", "--classes", "dog, cup"]
    for place, out in ((folder, "a.txt"), ("imported", "b.txt")):
        assert run([*common, "--detector", str(place), "--out", out, "--render", f"{out}.mp4"]) == 0
    said = capsys.readouterr()
    assert "no MQT" in said.err
    lines = (tmp_path / "a.txt").read_text()
    assert lines == (tmp_path / "b.txt").read_text()
    classes = {line.split(",")[7] for line in lines.splitlines()}
    assert classes
    assert classes <= {"2", "3"}
    for number in classes:
        assert f"{number} {NAMES[int(number)]}" in said.out
    assert (read_rows(tmp_path / "a.txt").xywh_px[:, 2:] > 0).all()


def test_the_models_folder_has_the_detector_that_is_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frames(tmp_path / "video")
    assert run(["models", "get", "track", "--from", str(folder), "--models", "models"]) == 0
    capsys.readouterr()
    common = ["track", "video", "--min-score", "0.05", "--shorter", "64", "--models", "models"]
    assert run([*common, "--classes", "dog", "--out", "a.txt"]) == 0
    said = capsys.readouterr()
    assert "models/track" in said.err
    assert "classes (column 8): 2 dog" in said.out
    # What only an MQT takes, or another model, goes on without it.
    assert run([*common, "--checkpoint", "shipped:mqt_storyworld"]) == 2
    assert "--min-score is for the boxes of --detections or --detector" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--classes", "person,dgo"], "--classes: the detector has no class 'dgo'. Did you mean 'dog'? It has cup,"),
        (["--classes", "N/A"], "no class 'N/A'"),
        (["--min-score", "1.5"], "--min-score is 1.5"),
        (["--shorter", "9"], "--shorter is 9"),
        (["--checkpoint", "shipped:mqt_storyworld"], "leave --checkpoint out"),
    ],
)
def test_slips_are_one_line(
    arguments: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = frames(tmp_path / "video")
    assert run(["track", str(video), "--out", str(tmp_path / "t.txt"), "--detector", str(folder), *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1], lines
    assert not (tmp_path / "t.txt").exists()


def test_a_folder_that_is_no_detector_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = frames(tmp_path / "video")
    (tmp_path / "empty").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "clip"}')
    for folder, said in (("empty", "has no config.json"), ("other", "'clip', not 'deformable_detr'")):
        assert run(["track", str(video), "--out", str(tmp_path / "t.txt"), "--detector", str(tmp_path / folder)]) == 2
        assert said in capsys.readouterr().err
    assert run(["track", str(video), "--classes", "dog"]) == 2
    assert "--classes is for --detector" in capsys.readouterr().err


def test_classes_without_names_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert class_names(tmp_path, 3) == ("0", "1", "2")
