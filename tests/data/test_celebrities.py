"""The builders of Ch. 4's data sets, on StoryWorld in their official layouts, and on files as people leave them."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.celebrities import (
    CelebritiesInAction,
    CelebritiesInPlaces,
    phrase,
    read_actions,
    read_place_queries,
    read_places,
)
from storyjax.data.builders.vggface import VGGFace, VGGFace2, read_vggface, read_vggface2
from storyjax.data.images import decode_image
from storyjax.storyworld.export.celebrities import (
    cast_of_clips,
    export_cia,
    export_cip,
    export_vggface,
    export_vggface2,
    people_to_learn,
)
from storyjax.storyworld.story.population import EVERYONE


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("celebrities")
    export_vggface2(root / "vggface2", photos=2, test_people=1, people=3)
    export_vggface(root / "vggface", photos=2, people=2)
    export_cip(root / "cip", pictures=10, distractors=2, faces=1)
    export_cia(root / "cia", train=12, val=1, test=30, faces=1)
    return root


def refusal(function, *arguments, **keywords) -> str:
    with pytest.raises(StoryjaxError) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_vggface2_is_read_person_by_person(world, tmp_path):
    source = VGGFace2.prepare(world / "vggface2", tmp_path, "train")
    assert [row["name"] for row in source.labels] == [
        n for n in sorted(people_to_learn(3), key=number) for _ in range(2)
    ]
    record = pickle.loads(pickle.dumps(source))[1]
    image = decode_image(record["media"], record["path"])
    assert image.shape == (64, 64, 3)
    left, top, right, bottom = (float(part) for part in record["box"].split())
    assert 0 <= left < right <= 64
    assert 0 <= top < bottom <= 64
    again = VGGFace2.prepare(world / "vggface2", tmp_path, "train")
    assert again.folder == source.folder
    unseen = VGGFace2.prepare(world / "vggface2", tmp_path, "test").labels
    assert not EVERYONE[unseen[0]["name"]].known


def number(name: str) -> int:
    return list(EVERYONE).index(name)


def test_vggface_is_cut_to_loose_crops(world, tmp_path):
    source = VGGFace.prepare(world / "vggface", tmp_path, "train")
    assert len(source) == 4
    box, crop = (np.array([float(v) for v in source.labels[0][key].split()]) for key in ("box", "crop"))
    np.testing.assert_allclose(crop[2:] - crop[:2], 2 * (box[2:] - box[:2]), atol=1e-6)
    np.testing.assert_allclose((crop[2:] + crop[:2]) / 2, (box[2:] + box[:2]) / 2, atol=1e-6)


def test_places_know_who_is_seen_and_what_is_a_distractor(world, tmp_path):
    source = CelebritiesInPlaces.prepare(world / "cip", tmp_path, "test")
    assert len(source) == 12
    seen = {row["celebrity"]: row["seen"] for row in source.labels}
    groups = cast_of_clips()
    assert seen.pop("") == ""
    assert all((flag == "1") == (name in groups["learn"]) for name, flag in seen.items())
    faces = CelebritiesInPlaces.prepare(world / "cip", tmp_path, "faces")
    assert {row["celebrity"] for row in faces.labels} == {*groups["learn"], *groups["unseen"]}
    pairs = read_place_queries(world / "cip")
    assert set(pairs) == {(row["celebrity"], row["place"]) for row in source.labels if row["celebrity"]}
    assert read_place_queries(tmp_path) is None


def test_actions_come_from_the_annotations_or_from_hollywood2s_own_lists(world, tmp_path):
    source = CelebritiesInAction.prepare(world / "cia", tmp_path, "test")
    assert len(source) == 30
    table = (world / "cia" / "annotations.csv").read_text()
    assert ",,\n" in table  # some clips are labelled by ClipSets alone
    for row in source.labels:
        assert len(row["actors"]) == len(row["actions"]) in (1, 2)
        assert row["scene"] in ("kitchen", "park", "library", "garden", "forest", "desert", "garage", "harbour")
        assert all(action and "_" not in action for action in row["actions"])
    assert any(record["path"].startswith("tv_human") for record in (source[i] for i in range(30)))
    assert phrase("GetOutCar") == "getting out of a car"
    assert phrase("ice_skating_rink") == "ice skating rink"
    train = read_actions(world / "cia", "train")
    assert not {a for item in train.items for a in item.labels["actors"]} & set(cast_of_clips()["unseen"])


@pytest.mark.parametrize(
    ("read", "split", "file"),
    [
        (read_vggface2, "train", "meta"),
        (read_vggface2, "train", "bb_landmark"),
        (read_vggface, "train", "files"),
        (read_places, "test", "annotations.csv"),
        (read_places, "faces", "faces"),
        (read_actions, "test", "annotations.csv"),
    ],
)
def test_what_is_missing_is_one_line(world, tmp_path, read, split, file):
    kind = {read_vggface2: "vggface2", read_vggface: "vggface", read_places: "cip", read_actions: "cia"}[read]
    copy = tmp_path / kind
    shutil.copytree(world / kind, copy)
    target = copy / file
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert "put" in refusal(read, copy, split) or "get" in refusal(read, copy, split)


def edit(world: Path, tmp_path: Path, kind: str, file: str, old: str, new: str) -> Path:
    copy = tmp_path / kind
    shutil.copytree(world / kind, copy)
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    return copy


@pytest.mark.parametrize(
    ("kind", "file", "read", "split", "column"),
    [
        ("cia", "annotations.csv", read_actions, "test", "actor"),
        ("cip", "annotations.csv", read_places, "test", "celebrity"),
        ("vggface2", "meta/identity_meta.csv", read_vggface2, "train", "Name"),
        ("vggface2", "bb_landmark/loose_bb_train.csv", read_vggface2, "train", "NAME_ID"),
    ],
)
def test_a_missing_column_is_named(world, tmp_path, kind, file, read, split, column):
    copy = edit(world, tmp_path, kind, file, column, f"{column}s")
    line = refusal(read, copy, split)
    assert f"lacks the column(s) {column}" in line
    assert f"Did you mean '{column}s'" in line


def test_lines_that_make_no_sense_are_left_out_and_counted(world, tmp_path):
    copy = edit(world, tmp_path, "cip", "annotations.csv", ",1\n", ",maybe\n")
    reading = read_places(copy, "test")
    assert len(reading.items) == 11
    assert "seen is 'maybe'" in reading.broken[0]
    assert "of 12 items cannot be used" in refusal(CelebritiesInPlaces.prepare, copy, tmp_path / "p", "test")
    assert len(CelebritiesInPlaces.prepare(copy, tmp_path / "p", "test", max_broken_fraction=0.1)) == 11
    reading.items[0].path.write_bytes(b"")
    name = reading.items[0].path.name
    assert any(f"{name} is empty" in line for line in read_places(copy, "test").broken)
    reading.items[1].path.unlink()
    assert any("No such file" in line for line in read_places(copy, "test").broken)


def test_lists_of_clips_that_make_no_sense(world, tmp_path):
    lists = sorted((world / "cia" / "Hollywood2" / "ClipSets").glob("*.txt"))
    copy = edit(world, tmp_path, "cia", f"Hollywood2/ClipSets/{lists[0].name}", "  1", "  yes")
    assert "is not 'CLIP 1' or 'CLIP -1'" in refusal(read_actions, copy, "test")


def test_a_list_of_vggface_with_a_short_line(world, tmp_path):
    name = people_to_learn(2)[0]
    copy = edit(world, tmp_path, "vggface", f"files/{name}.txt", " 3.00 1.00 1", "")
    reading = read_vggface(copy, "train")
    assert len(reading.items) == 3
    assert "6 words instead of 9" in reading.broken[0]


def test_older_lists_of_vggface_have_a_checksum(world, tmp_path):
    table = world / "vggface" / "files" / f"{people_to_learn(2)[0]}.txt"
    line = table.read_text().splitlines()[0]
    number, url, *rest = line.split()
    older = " ".join([number, "d41d8cd98f00b204e9800998ecf8427e", url, *rest])
    blanks = " ".join([number, "http://x.org/a photo 12.jpg", *rest])
    copy = edit(world, tmp_path, "vggface", f"files/{table.name}", line, f"{older}\n\n{blanks}\n{line}")
    items = read_vggface(copy, "train").items
    assert not read_vggface(copy, "train").broken
    assert (
        items[0].labels
        == items[1].labels
        == items[2].labels
        == read_vggface(world / "vggface", "train").items[0].labels
    )


def test_an_unknown_split(world, tmp_path):
    assert "no split 'trian'" in refusal(VGGFace2.prepare, world / "vggface2", tmp_path, "trian")
