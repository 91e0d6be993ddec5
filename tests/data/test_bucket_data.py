"""Official files and prepared records in a bucket: the same records as on a disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from cloud_storage import BUCKET, CloudStorage, cloud_storage
from media import write_video

from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.data.registry import prepare_splits, write_synthetic
from storyjax.data.video import decode_frames, probe

WORLD = {"counts": {"instances": 2, "train": 1, "eval": 1, "test": 1}}
ROOT, CACHE = f"gs://{BUCKET}/data/world", f"gs://{BUCKET}/prepared"


@pytest.fixture(scope="module")
def cloud():
    with cloud_storage() as found:
        yield found


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    write_synthetic("thisismy", folder / "world", WORLD)
    return folder


def records(sources) -> dict[str, list]:
    return {name: [source[i] for i in range(len(source))] for name, source in sources.items()}


def test_records_of_a_bucket_are_those_of_a_disk(cloud: CloudStorage, local: Path) -> None:
    expected = records(prepare_splits("thisismy", local / "world", local / "prepared"))
    found = records(prepare_splits("thisismy", ROOT, CACHE, synthetic=WORLD))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 2, "eval": 2, "test": 2}
    for name, rows in expected.items():
        for row, other in zip(rows, found[name], strict=True):
            assert row.keys() == other.keys()
            for key in row:
                np.testing.assert_array_equal(row[key], other[key], err_msg=key)
    # A second start reads no annotation, no video and no size of a file by itself.
    asked = len(cloud.asked)
    assert records(prepare_splits("thisismy", ROOT, CACHE, synthetic=WORLD)).keys() == found.keys()
    assert not [line for line in cloud.asked[asked:] if "/o/data/world/" in line and "manifest.json" not in line]


def test_a_preparation_that_was_cut_short_is_made_again_and_one_in_the_way_is_left(cloud: CloudStorage) -> None:
    cache = place(f"gs://{BUCKET}/cut")
    write_synthetic("thisismy", ROOT, WORLD)
    cloud.refuse("POST", "upload", 403, "The quota is used up", times=10**9)
    with pytest.raises(StoryjaxError, match=r"cannot prepare data in gs://.*quota.*choose another cache_dir"):
        prepare_splits("thisismy", ROOT, cache)
    cloud.refusals.clear()
    (folder,) = {path.parent.name for path in place(CACHE).rglob("*/complete.json")}
    (cache / "this_is_my" / folder / "summary.json").write_text("half")  # and no complete.json
    sources = prepare_splits("thisismy", ROOT, cache)
    assert json.loads((cache / "this_is_my" / folder / "summary.json").read_text())["broken"] == []
    assert len(sources["train"]) == 2
    with pytest.raises(StoryjaxError, match="holds another StoryWorld"):
        write_synthetic("thisismy", ROOT, {"counts": {"instances": 3, "train": 1, "eval": 1, "test": 1}})
    (place(f"gs://{BUCKET}/own") / "file.txt").write_text("mine")
    with pytest.raises(StoryjaxError, match="holds something else than StoryWorld"):
        write_synthetic("thisismy", f"gs://{BUCKET}/own", WORLD)


def test_a_video_in_a_bucket_is_that_of_a_disk(cloud: CloudStorage, tmp_path: Path) -> None:
    write_video(tmp_path / "a b.mp4", 12)
    video = place(f"gs://{BUCKET}/films/a b.mp4")
    video.write_bytes((tmp_path / "a b.mp4").read_bytes())
    assert probe(str(video)) == probe(tmp_path / "a b.mp4")
    asked = len(cloud.asked)
    assert decode_frames(str(video), [0.1, 0.3], 80)[0].shape == (2, 80, 80, 3)
    assert not [line for line in cloud.asked[asked:] if "alt=media" in line], "it is fetched once"
    with pytest.raises(StoryjaxError, match=r"cannot fetch gs://.*none\.mp4: there is no such bucket or object"):
        probe(f"gs://{BUCKET}/films/none.mp4")


def test_a_root_that_is_not_there_says_what_to_put_where(cloud: CloudStorage) -> None:
    with pytest.raises(StoryjaxError, match=f"this-is-my is not in gs://{BUCKET}/nowhere .* get the repository"):
        prepare_splits("thisismy", f"gs://{BUCKET}/nowhere", CACHE)
    with pytest.raises(StoryjaxError, match="gs://nobucket"):
        prepare_splits("thisismy", "gs://nobucket/world", CACHE)
