"""A data set that was prepared is found again without reading its annotations, and anything that changed is noticed."""

import contextlib
import io
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders import msrvtt, starts
from storyjax.data.builders.coco import Coco
from storyjax.data.builders.crowdhuman import CrowdHuman
from storyjax.data.builders.msrvtt import MsrVtt


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    root = tmp_path / "coco"
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in range(20)]
    for image in images:
        (root / "val2017" / image["file_name"]).write_bytes(picture())
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 3, 4]} for i in range(20)]
    boxes.append({"id": 99, "image_id": 3, "category_id": 1, "bbox": [1, 2, 0, 4]})  # without an area
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose annotations were read."""
    read, done = Coco.read, []
    monkeypatch.setattr(Coco, "read", staticmethod(lambda root: (done.append(root), read(root))[1]))
    return done


def test_a_second_start_reads_no_annotations(coco: Path, readings: list[Path], tmp_path: Path, caplog) -> None:
    first = Coco.prepare(coco, tmp_path / "out", "val")
    with caplog.at_level(logging.WARNING):
        again = Coco.prepare(coco, tmp_path / "out", "val")
    assert len(readings) == 1
    assert again.place == first.place
    assert again[3]["boxes"].tolist() == [[1, 2, 3, 4]]
    assert "annotation 99: its box [1, 2, 0, 4] has no area" in caplog.text  # named at every start
    with pytest.raises(
        StoryjaxError, match=r"1 of 41 images and boxes cannot be used \(2\.4%\), more than the allowed 1"
    ):
        Coco.prepare(coco, tmp_path / "out", "val", max_broken_fraction=0.01)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "val2017" / "3.jpg").unlink(),
        lambda root: os.utime(root / "val2017" / "3.jpg", ns=(1, 1)),
        lambda root: (root / "val2017" / "3.jpg").write_bytes(picture() + b"x"),
        lambda root: os.utime(root / "annotations" / "instances_val2017.json", ns=(1, 1)),
        lambda root: (root / "annotations" / "instances_train2017.json").write_text("{"),
    ],
)
def test_whatever_changes_is_noticed(change: Callable, coco: Path, readings: list[Path], tmp_path: Path) -> None:
    Coco.prepare(coco, tmp_path / "out", "val", max_broken_fraction=0.2)
    change(coco)
    with contextlib.suppress(StoryjaxError):  # of the file that is no JSON
        Coco.prepare(coco, tmp_path / "out", "val", max_broken_fraction=0.2)
    assert len(readings) == 2


def test_of_a_huge_folder_the_names_and_its_own_date_count(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> str:
        return starts.start_key("COCO", coco, coco / "prepared", {})

    monkeypatch.setattr(starts, "LOOKED_AT", 5)
    images = coco / "val2017"
    before, date = key(), images.stat().st_mtime_ns
    (images / "3.jpg").write_bytes(b"another")
    assert key() == before
    (images / "3.jpg").rename(images / "03.jpg")
    os.utime(images, ns=(date, date))
    renamed = key()
    assert renamed != before
    os.utime(images, ns=(date, date + 1))
    assert key() != renamed
    os.utime(coco / "annotations" / "instances_val2017.json", ns=(1, 1))  # in a folder of its own
    assert key() not in (before, renamed)


def test_mended_readers_and_lost_folders_are_noticed(
    coco: Path, readings: list[Path], tmp_path: Path, monkeypatch
) -> None:
    place = Coco.prepare(coco, tmp_path / "out", "val").folder
    monkeypatch.setattr(starts, "_readers", lambda: "other code")
    Coco.prepare(coco, tmp_path / "out", "val")
    assert len(readings) == 2
    place.rename(tmp_path / "gone")
    assert len(Coco.prepare(coco, tmp_path / "out", "val")) == 20
    assert len(readings) == 3


def test_what_is_prepared_may_lie_in_the_same_folder(coco: Path, readings: list[Path]) -> None:
    for _ in range(2):
        Coco.prepare(coco, coco / "prepared", "val")
    assert len(readings) == 1


def test_linked_folders_count_and_may_lead_in_circles(coco: Path, readings: list[Path], tmp_path: Path) -> None:
    (coco / "val2017").rename(tmp_path / "elsewhere")
    (coco / "val2017").symlink_to(tmp_path / "elsewhere")
    for name in ("here", "again"):
        (coco / name).symlink_to(coco)
    for _ in range(2):
        Coco.prepare(coco, tmp_path / "out", "val")
    os.utime(tmp_path / "elsewhere" / "3.jpg", ns=(1, 1))
    Coco.prepare(coco, tmp_path / "out", "val")
    assert len(readings) == 2


def test_msrvtt_looks_for_a_file_once_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = [{"video_id": f"video{i}", "split": "train"} for i in range(3)]
    sentences = [{"video_id": f"video{i % 3}", "caption": f"caption {i}"} for i in range(60)]
    (tmp_path / "train_val_videodatainfo.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    (tmp_path / "TrainValVideo").mkdir()
    for i in range(2):
        (tmp_path / "TrainValVideo" / f"video{i}.mp4").write_bytes(b"film")
    looked, find = [], msrvtt.find_video
    monkeypatch.setattr(msrvtt, "find_video", lambda folders, name: (looked.append(name), find(folders, name))[1])
    found = MsrVtt.read(tmp_path, "train")
    assert looked == ["video0", "video1", "video2"]
    assert [len(each.columns["caption"]) for each in found.videos.values()] == [20, 20]
    assert (found.lost, found.rows) == (20, 60)


def test_crowdhuman_reads_the_heads_of_images_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "a.jpg").write_bytes(picture())
    line = {"ID": "a", "gtboxes": [{"tag": "person", "fbox": [1, 2, 3, 4]}]}
    (tmp_path / "annotation_train.odgt").write_text(json.dumps(line) + "\n")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read whole"))
    (image,) = CrowdHuman.read(tmp_path).images
    assert (image.width, image.height) == (40, 30)
