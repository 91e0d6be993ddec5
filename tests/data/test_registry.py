"""The registry's names lead to builders and exporters, and what is wrong with a name is said in one line."""

import inspect
from pathlib import Path

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data import registry
from storyjax.data.builders.base import OfficialBuilder
from storyjax.data.builders.coco import Coco
from storyjax.data.registry import DATASETS, DatasetEntry, prepare_split, prepare_splits, resolve, write_synthetic


def error_of(function, *arguments, **keywords) -> str:
    with pytest.raises(StoryjaxError) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", DATASETS)
def test_every_name_leads_to_a_builder_and_an_exporter(name: str) -> None:
    entry = DATASETS[name]
    assert next(iter(inspect.signature(resolve(entry.exporter)).parameters)) == "directory"
    if entry.builder is None:  # its chapter reads the official files
        return
    builder = resolve(entry.builder)
    assert issubclass(builder, OfficialBuilder)
    assert not inspect.isabstract(builder)
    assert builder.TITLE
    assert builder.SPLITS


def test_an_unknown_data_set_and_split(tmp_path: Path) -> None:
    line = error_of(prepare_split, "mot71", tmp_path, tmp_path, "train")
    assert "config.data.dataset: unknown 'mot71'. Did you mean 'mot17'?" in line
    assert "Did you mean 'coco'" in error_of(write_synthetic, "cocoo", tmp_path, {})
    assert "look_listen_recognise has no records to prepare" in error_of(
        prepare_split, "look_listen_recognise", tmp_path, tmp_path, "test"
    )
    assert "NExT-QA has no split 'vall', only train, val, test. Did you mean 'val'?" in error_of(
        prepare_split, "nextqa", tmp_path, tmp_path, "vall"
    )


def test_a_name_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("storyjax.data.builders.nowhere:Nothing", "storyjax.data.builders.coco:Koko", "storyjax.data:", ":x"):
        assert f"the data registry names '{name}', which cannot be imported: " in error_of(resolve, name)
    broken = DatasetEntry(DATASETS["coco"].builder, "storyjax.storyworld.export.nowhere:export_coco")
    monkeypatch.setitem(registry.DATASETS, "coco", broken)
    assert "No module named 'storyjax.storyworld.export.nowhere'" in error_of(
        prepare_split, "coco", tmp_path, tmp_path, "train", synthetic={}
    )


def test_an_unknown_argument_of_an_exporter_and_a_data_set_without_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = error_of(write_synthetic, "coco", tmp_path / "world", {"cuonts": {"train": 1}})
    assert line == "config.data.synthetic: coco: got an unexpected keyword argument 'cuonts'."
    monkeypatch.setitem(registry.DATASETS, "coco", DatasetEntry(DATASETS["coco"].builder))
    assert "there is no synthetic coco, only nextqa" in error_of(write_synthetic, "coco", tmp_path / "world", {})


def test_several_splits_are_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reads = []
    read = Coco.read

    def counted(root: Path):
        reads.append(root)
        return read(root)

    monkeypatch.setattr(Coco, "read", staticmethod(counted))
    synthetic = {"counts": {"train": 2, "val": 1}}
    splits = prepare_splits("coco", tmp_path / "world", tmp_path / "cache", synthetic=synthetic)
    assert {name: len(source) for name, source in splits.items()} == {"train": 2, "val": 1}
    assert len(reads) == 1
    assert prepare_split("coco", tmp_path / "world", tmp_path / "cache", "val").place == splits["val"].place
    assert list(prepare_splits("coco", tmp_path / "world", tmp_path / "cache", ("val",))) == ["val"]
    for function, split in ((prepare_split, "test"), (prepare_splits, ("val", "test"))):
        line = error_of(function, "coco", tmp_path / "world", tmp_path / "cache", split)
        assert line == "COCO has no split 'test', only train, val."
