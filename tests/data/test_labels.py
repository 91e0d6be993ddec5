"""The labels beside prepared records, which are read one by one."""

import pickle
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.labels import Labels, LabelWriter, Part, _ShardLabels, label_file, write_label_counts

WRITTEN = [["a", {"text": ["eins\n", "zwei"]}], ["b\u2028", {"text": []}], ["ü", {"text": ["три"]}]]


def write_labels(folder: Path, split: str, *shards: Iterable) -> None:
    """Writes labels as preparing does, shard by shard."""
    counts = []
    for number, labels in enumerate(shards):
        text, places = (folder / label_file(split, number, len(shards), ending) for ending in ("jsonl", "npy"))
        with LabelWriter(text, places) as writer:
            counts.append(sum(1 for label in labels if writer.add(label)))
    write_label_counts(folder, split, counts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_labels(tmp_path, "train", [], WRITTEN[:1], [], WRITTEN[1:])
    return tmp_path


def test_each_is_what_was_written(folder: Path) -> None:
    labels = Labels(folder, "train")
    assert list(labels) == [labels[i] for i in range(3)] == WRITTEN
    assert (labels[-1], labels[1:]) == (WRITTEN[-1], WRITTEN[1:])
    assert list(Part(labels, 0)) == ["a", "b\u2028", "ü"]
    assert Part(labels, 1)[:1] == [{"text": ["eins\n", "zwei"]}]
    with pytest.raises(IndexError):
        labels[3]


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    write_labels(tmp_path, "train", (["x" * (i % 97), i] for i in range(2000)))
    labels = Labels(tmp_path, "train")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: labels[i][1], range(2000))) == list(range(2000))


def test_none_at_all_are_none(tmp_path: Path) -> None:
    write_labels(tmp_path, "val", [])
    assert list(Labels(tmp_path, "val")) == []


@pytest.mark.parametrize("harm", ["missing", "cut", "of another"])
def test_damage_is_one_line(folder: Path, harm: str) -> None:
    text, places = (folder / label_file("train", 3, 4, ending) for ending in ("jsonl", "npy"))
    if harm == "missing":
        text.unlink()
    elif harm == "cut":
        text.write_bytes(text.read_bytes()[:-4])
    else:
        np.save(places, np.array([0, 5], np.int64))
    with pytest.raises(StoryjaxError, match=r"is no prepared data set \(.*\): prepare it again"):
        Labels(folder, "train")[2]


def test_those_of_older_versions_are_read(tmp_path: Path) -> None:
    with LabelWriter(tmp_path / "labels-train.jsonl", tmp_path / "labels-train.npy") as writer:
        for label in WRITTEN:
            writer.add(label)
    assert list(Labels(tmp_path, "train")) == WRITTEN


def test_starting_does_not_read_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = Labels(folder, "train")
    monkeypatch.setattr(_ShardLabels, "read", lambda *_: pytest.fail("a label was read"))
    assert len(labels) == len(Part(labels, 0)) == 3
    assert len(pickle.loads(pickle.dumps(labels))) == 3


def test_another_process_maps_them_anew(folder: Path) -> None:
    labels = Labels(folder, "train")
    assert labels[1] == WRITTEN[1]
    assert list(pickle.loads(pickle.dumps(labels))) == WRITTEN
