"""The official layouts of tracking and detection data, as StoryWorld writes them, become records that say the same."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.coco import Coco
from storyjax.data.builders.crowdhuman import CrowdHuman
from storyjax.data.builders.gmot import Gmot40
from storyjax.data.builders.mot import Mot17, Mot20
from storyjax.data.builders.tao import Tao
from storyjax.data.images import decode_image
from storyjax.data.mot_text import by_frame, read_rows
from storyjax.storyworld.export.tracks_mot import export_gmot, export_mot
from storyjax.storyworld.export.tracks_pictures import export_coco, export_crowdhuman, export_tao
from storyjax.storyworld.story.tracks import TrackStyle

SHORT = TrackStyle(frames=(6, 8))
HELD_OUT, UNSEEN = ("StoryWorld-8*",), ("StoryWorld-9*",)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("worlds")
    export_mot(root / "mot17", {"train": 2, "held_out": 1, "unseen": 1}, style=SHORT)
    export_mot(root / "mot20", {"train": 1, "held_out": 0, "unseen": 0}, detectors=("FRCNN",), style=SHORT)
    export_gmot(root / "gmot", {"kinds": 1, "sequences": 1})
    export_coco(root / "coco", {"train": 5, "val": 2})
    export_crowdhuman(root / "crowdhuman", {"train": 3, "val": 1})
    export_tao(root / "tao", {"train": 1, "validation": 1})
    return root


@pytest.fixture
def changed(worlds: Path, tmp_path: Path):
    """A copy of a world to break, and where its records go."""

    def copy(name: str) -> tuple[Path, Path]:
        shutil.copytree(worlds / name, tmp_path / name)
        return tmp_path / name, tmp_path / "prepared"

    return copy


def test_mot17_is_one_sequence_with_three_detectors(worlds: Path, tmp_path: Path) -> None:
    splits = Mot17.prepare_splits(worlds / "mot17", tmp_path, held_out=HELD_OUT, unseen=UNSEEN)
    assert {split: [s.name for s in source.sequences] for split, source in splits.items()} == {
        "train": ["StoryWorld-0001", "StoryWorld-0002"],
        "held_out": ["StoryWorld-8001"],
        "unseen": ["StoryWorld-9001"],
    }
    source = splits["train"]
    assert source.detectors == ("DPM", "FRCNN", "SDP")
    second = source.sequences[1]
    record = source[second.start + 3]
    assert (record["sequence"], record["frame"], record["length"]) == ("StoryWorld-0002", 4, second.length)
    folder = worlds / "mot17" / "train" / "StoryWorld-0002-SDP"
    assert record["image"] == (folder / "img1" / "000004.jpg").read_bytes()
    truth = by_frame(read_rows(folder / "gt" / "gt.txt", truth=True))[4]
    assert np.array_equal(record["boxes"], truth.xywh_px)
    assert np.array_equal(record["considered"], truth.targets)
    assert np.array_equal(record["ignored"], truth.distractors)
    found = by_frame(read_rows(folder / "det" / "det.txt"))[4]
    assert np.allclose(record["detections"][record["detector"] == 2][:, :4], found.xywh_px, atol=1e-3)
    assert len(source) == sum(sequence.length for sequence in source.sequences)


def test_records_are_prepared_once_and_again_when_a_file_changes(changed) -> None:
    world, prepared = changed("mot17")
    first = Mot17.prepare(world, prepared, "train")
    assert Mot17.prepare(world, prepared, "train").place == first.place
    path = world / "train" / "StoryWorld-0001-DPM" / "gt" / "gt.txt"
    path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")
    again = Mot17.prepare(world, prepared, "train")
    assert again.place != first.place
    assert len(again[0]["ids"]) == len(first[0]["ids"]) - 1


def test_mot20_has_one_detector_without_a_name(worlds: Path, tmp_path: Path) -> None:
    source = Mot20.prepare(worlds / "mot20", tmp_path, "train")
    assert source.detectors == ("public",)
    assert source.sequences[0].name == "StoryWorld-0001"


def test_missing_frames_and_broken_rows_are_named_and_the_rest_is_used(changed) -> None:
    world, prepared = changed("mot17")
    folder = world / "train" / "StoryWorld-0001-DPM"
    (folder / "img1" / "000003.jpg").unlink()
    os.truncate(folder / "img1" / "000005.jpg", 0)
    with (folder / "gt" / "gt.txt").open("a") as file:
        file.write("2,1,5,5,0,9,1,1,1\n99,1,5,5,9,9,1,1,1\n")
    source = Mot17.prepare(world, prepared, "train")
    assert len(source.broken) == 4
    text = " ".join(source.broken)
    for part in ("frame 3 is missing", "frame 5 is missing", "0 × 9", "frame 99"):
        assert part in text
    assert [bool(source[i]["image"]) for i in range(5)] == [True, True, False, True, False]
    with pytest.raises(StoryjaxError, match=r"cannot be used \(\d\.\d%\), more than the allowed 1\.0%"):
        Mot17.prepare_splits(world, prepared, max_broken_fraction=0.01)


def test_gmot_counts_frames_from_zero_on_disk(worlds: Path, tmp_path: Path) -> None:
    source = Gmot40.prepare(worlds / "gmot", tmp_path, "test")
    (sequence,) = source.sequences
    label = (worlds / "gmot" / "track_label" / f"{sequence.name}.txt").read_text().splitlines()[0].split(",")
    record = source[int(label[0])]
    assert record["frame"] == int(label[0]) + 1
    assert record["boxes"][0].tolist() == [float(v) for v in label[2:6]]
    assert record["considered"].all()
    assert decode_image(record["image"], "it").shape == (96, 160, 3)


def test_tao_has_annotated_frames_and_kinds(worlds: Path, tmp_path: Path) -> None:
    splits = Tao.prepare_splits(worlds / "tao", tmp_path)
    assert set(splits) == {"train", "validation"}
    source = splits["train"]
    content = json.loads((worlds / "tao" / "annotations" / "train.json").read_text())
    assert len(source) == len(content["images"])
    names = [category["name"] for category in sorted(content["categories"], key=lambda category: category["id"])]
    by_id = {category["id"]: category["name"] for category in content["categories"]}
    tracks = {track["id"]: by_id[track["category_id"]] for track in content["tracks"]}
    for record in (source[0], source[5]):
        assert [names[kind] for kind in record["kinds"]] == [tracks[int(number)] for number in record["ids"]]
        assert record["considered"].all()
    people = Tao.prepare(worlds / "tao", tmp_path, "validation", only="person")
    assert {int(kind) for i in range(len(people)) for kind in people[i]["kinds"]} <= {names.index("person")}
    with pytest.raises(StoryjaxError, match="no category 'unicorn'"):
        Tao.prepare_splits(worlds / "tao", tmp_path, only="unicorn")


def test_coco_and_crowdhuman_have_images_with_boxes(worlds: Path, tmp_path: Path) -> None:
    splits = Coco.prepare_splits(worlds / "coco", tmp_path)
    assert {split: len(source) for split, source in splits.items()} == {"train": 5, "val": 2}
    record = splits["train"][2]
    content = json.loads((worlds / "coco" / "annotations" / "instances_train2017.json").read_text())
    expected = [a for a in content["annotations"] if a["image_id"] == record["image_id"]]
    assert np.array_equal(record["boxes"], np.array([a["bbox"] for a in expected], np.float32))
    assert [splits["train"].categories[k] for k in record["kinds"]] == [
        content["categories"][a["category_id"] - 1]["name"] for a in expected
    ]
    crowd = CrowdHuman.prepare(worlds / "crowdhuman", tmp_path, "train")
    line = json.loads((worlds / "crowdhuman" / "annotation_train.odgt").read_text().splitlines()[1])
    record = crowd[1]
    assert np.array_equal(record["boxes"], np.array([b["fbox"] for b in line["gtboxes"]], np.float32))
    assert record["crowd"].tolist() == [bool(b["extra"]["ignore"]) for b in line["gtboxes"]]


def test_unknown_ids_and_boxes_without_area_are_named_and_left_out(changed) -> None:
    world, prepared = changed("coco")
    path = world / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    count = len(content["annotations"])
    content["annotations"][0]["image_id"] = 4711
    content["annotations"][1]["category_id"] = 99
    content["annotations"][2]["bbox"] = [1, 2, 0, 4]
    path.write_text(json.dumps(content))
    (world / "train2017" / "000000000005.jpg").unlink()
    with pytest.raises(StoryjaxError, match=r"COCO .* 8 of 36 .*no image 4711"):
        Coco.prepare_splits(world, prepared)
    source = Coco.prepare(world, prepared, "train", max_broken_fraction=0.5)
    assert len(source) == 4
    last = sum(a["image_id"] == 5 for a in content["annotations"])
    assert sum(len(source[i]["boxes"]) for i in range(4)) == count - 3 - last
    text = " ".join(source.broken)
    for part in ("no image 4711", "no category 99", "[1, 2, 0, 4] has no area", "000000000005.jpg cannot be read"):
        assert part in text


def test_unknown_tracks_of_tao_are_named(changed) -> None:
    world, prepared = changed("tao")
    path = world / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["track_id"] = 999
    path.write_text(json.dumps(content))
    source = Tao.prepare(world, prepared, "train", max_broken_fraction=0.5)
    assert source.broken == ("train.json annotation 1: there is no track 999",)


@pytest.mark.parametrize(
    ("prepare", "needed"),
    [
        (lambda a, b: Mot17.prepare_splits(a, b), "MOT17.zip from motchallenge.net"),
        (lambda a, b: Mot20.prepare_splits(a, b), "MOT20.zip from motchallenge.net"),
        (Gmot40.prepare_splits, "github.com/Spritea/GMOT40"),
        (Tao.prepare_splits, "taodataset.org"),
        (Coco.prepare_splits, "cocodataset.org"),
        (CrowdHuman.prepare_splits, "www.crowdhuman.org"),
    ],
)
def test_a_missing_data_set_says_where_to_get_it(prepare, needed: str, tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match=needed) as error:
        prepare(tmp_path / "nowhere", tmp_path / "prepared")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "prepared").exists()


def test_a_pattern_that_fits_nothing_and_a_broken_seqinfo_are_errors(changed) -> None:
    world, prepared = changed("mot17")
    with pytest.raises(StoryjaxError, match="fits 'MOT17-09'"):
        Mot17.prepare_splits(world, prepared, held_out=("MOT17-09",))
    (world / "train" / "StoryWorld-0001-DPM" / "seqinfo.ini").write_text("[Sequence]\nname=x\nframeRate=0\n")
    with pytest.raises(StoryjaxError, match=r"seqinfo\.ini"):
        Mot17.prepare_splits(world, prepared)
