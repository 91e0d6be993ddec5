"""this-is-my from its official layout, as StoryWorld writes it."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.thisismy import ThisIsMy, read_segments
from storyjax.data.video import probe
from storyjax.storyworld.export.thisismy import export_thisismy

COUNTS = {"instances": 5, "train": 2, "eval": 1, "test": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_thisismy(tmp_path_factory.mktemp("thisismy") / "world", COUNTS)


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world, tmp_path / "world"))


def test_records_are_what_the_tables_say(world: Path, tmp_path: Path) -> None:
    splits = ThisIsMy.prepare_splits(world, tmp_path)
    assert {name: len(source) for name, source in splits.items()} == {"train": 10, "eval": 5, "test": 10}
    record = splits["test"][0]
    assert record["caption"].startswith("* in the ")
    assert record["name"] == f"my {record['category']} {record['name'].split()[-1]}"
    assert probe(record["video"]).duration_s == pytest.approx(3, abs=0.3)
    assert record["boxes"].shape == (12, 4)
    assert (record["boxes"][:, 2] > record["boxes"][:, 0]).all()
    assert [splits["train"][i]["instance"] for i in range(10)] == np.repeat(np.arange(5), 2).tolist()
    assert all(splits["train"][i]["caption"] == "" for i in range(10))
    # A second preparation finds the first.
    made = sorted(path.name for path in (tmp_path / "this_is_my").iterdir())
    ThisIsMy.prepare_splits(world, tmp_path)
    assert sorted(path.name for path in (tmp_path / "this_is_my").iterdir()) == made


def test_rivals_appear_in_the_same_contexts_and_are_learnt_elsewhere(tmp_path: Path) -> None:
    counts = {"instances": 2, "train": 3, "eval": 0, "test": 2}
    root = export_thisismy(tmp_path / "world", {**counts, "instances": 10})
    by_kind: dict[str, list[set[str]]] = {}
    captions: dict[str, set[str]] = {}
    with (root / "this-is-my-dataset" / "this-is-my_eval-captions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            captions.setdefault(row["item"], set()).add(row["caption"])
            if row["caption"] not in by_kind.setdefault(row["class"], []):
                by_kind[row["class"]].append(row["caption"])
    for kind, told in by_kind.items():
        rivals = [found for item, found in captions.items() if item.startswith(f"my {kind} ")]
        assert len(rivals) == 2
        assert rivals[0] == rivals[1] == set(told)
    names = [item.split()[-1] for item in captions]
    assert len(set(names)) == len(names)


def test_another_number_of_scenes_shows_the_same_things_elsewhere(world: Path, tmp_path: Path) -> None:
    other = export_thisismy(tmp_path / "other", {**COUNTS, "scenes": 1})
    captions = [json.loads((root / "captions.json").read_text()) for root in (world, other)]
    assert captions[0] == captions[1]
    tables = [(root / "this-is-my-dataset" / "this-is-my_eval-captions.csv").read_text() for root in (world, other)]
    assert tables[0] != tables[1]


def test_a_world_is_found_again_and_never_mixed(world: Path) -> None:
    before = (world / "manifest.json").stat().st_mtime_ns
    assert export_thisismy(world, COUNTS) == world
    assert (world / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(StoryjaxError, match="another StoryWorld"):
        export_thisismy(world, {**COUNTS, "test": 1})
    with pytest.raises(StoryjaxError, match="something else"):
        export_thisismy(world.parent, COUNTS)


def test_missing_segments_are_left_out_up_to_a_fraction(copy: Path, tmp_path: Path) -> None:
    lost = next(s for s in read_segments(copy) if s.split == "eval")
    lost.path.unlink()
    assert len(ThisIsMy.prepare(copy, tmp_path / "data", "eval")) == 4
    with pytest.raises(StoryjaxError, match="1 of 25 segments"):
        ThisIsMy.prepare_splits(copy, tmp_path / "data", max_broken_fraction=0.01)


def test_errors_that_a_person_can_fix_are_one_line(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="get the repository"):
        read_segments(tmp_path / "nowhere")
    table = copy / "this-is-my-dataset" / "segments.csv"
    text = table.read_text()
    table.write_text(text.replace("instance_name", "instance"))
    with pytest.raises(StoryjaxError, match=r"lacks the column\(s\) instance_name"):
        read_segments(copy)
    table.write_text("\n".join(text.splitlines()[:3]))
    with pytest.raises(StoryjaxError, match="lists segment"):
        read_segments(copy)
    table.write_text(text)
    (copy / "boxes.json").write_text("[")
    with pytest.raises(StoryjaxError, match="boxes by name"):
        ThisIsMy.prepare_splits(copy, tmp_path / "data")


def test_a_caption_is_of_a_segment_and_an_instance(tmp_path: Path) -> None:
    # As in the official files: one segment shows two instances, and its caption asks for one of them (thirty captions
    # are thirty test records; a join on the segment alone made 33).
    folder = tmp_path / "this-is-my-dataset"
    for name in (folder, tmp_path / "train_segment", tmp_path / "eval_segment"):
        name.mkdir()
    head = "segment_id,is_anchor,instance_name,video_id,channel_id,start_time,end_time,query\n"
    rows = [
        "a1,True,Nikki's car,v1,c,0,1,car",
        "a2,True,Nikki's bag,v2,c,0,1,bag",
        "s1,False,,v3,c,0,1,",
        "s2,False,,v3,c,1,2,",
    ]
    (folder / "segments.csv").write_text(head + "\n".join(rows) + "\n")
    (folder / "this-is-my_test-set.json").write_text(json.dumps({"a1": ["s1", "s2"], "a2": ["s1"]}))
    captions = [
        "s1,1,Nikki's bag,bag,near *",
        "s2,0,Nikki's car,car,* at night",
        "s2,1,Nikki's bag,bag,on *",
        "a1,0,Nikki's car,car,*",
    ]
    (folder / "this-is-my_eval-captions.csv").write_text("segs,ids,item,class,caption\n" + "\n".join(captions) + "\n")
    broken: list[str] = []
    found = read_segments(tmp_path, broken)
    assert [(s.segment_id, s.name, s.split, s.caption) for s in found if s.segment_id in ("s1", "s2")] == [
        ("s1", "Nikki's car", "eval", ""),
        ("s2", "Nikki's car", "test", "* at night"),
        ("s1", "Nikki's bag", "test", "near *"),
    ]
    assert [line.partition(": ")[2] for line in broken] == [
        "segment a1 is of a video that is learnt from",
        "no segment s2 shows 'Nikki's bag'",
    ]
