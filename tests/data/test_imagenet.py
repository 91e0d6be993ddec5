"""ImageNet's tars, as StoryWorld writes them, to the records of TFDS's own data set."""

import tarfile
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.imagenet import (
    TRAIN,
    VAL,
    Imagenet2012,
    class_names,
    tar_images,
)
from storyjax.data.images import decode_image
from storyjax.storyworld.export.imagenet import SYNSETS, export_imagenet


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_imagenet(tmp_path_factory.mktemp("imagenet") / "world", {"train": 20, "val": 3})


def test_records_are_those_of_tfds(world: Path, tmp_path: Path) -> None:
    train, validation = (Imagenet2012.prepare(world, tmp_path, split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (20, 3)
    names = class_names()
    assert len(names) == 1000
    records = [train[i] for i in range(20)]
    assert {names[record["label"]] for record in records} == set(SYNSETS.values())
    assert all(record["file_name"].startswith(names[record["label"]]) for record in records)
    assert decode_image(records[0]["image"], "it").shape == (96, 96, 3)
    # The records and their order are those of TFDS's own way to prepare.
    builder = Imagenet2012(data_dir=tmp_path / "own")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(world)))
    own = builder.as_data_source("train", decoders=Imagenet2012.SOURCE.DECODERS)
    assert [(each["file_name"].decode(), each["image"], each["label"]) for each in own] == [
        (each["file_name"], each["image"], each["label"]) for each in records
    ]
    # What TFDS has prepared is used as it is.
    (folder,) = (tmp_path / "imagenet2012").glob("*/imagenet2012")
    assert len(Imagenet2012.prepare(tmp_path / "nowhere", folder.parent, "train")) == 20


def test_members_may_lie_in_folders_of_their_tar(world: Path, tmp_path: Path) -> None:
    for name in (TRAIN, VAL):  # as `tar -cf FILE .` writes them
        with tarfile.open(world / name) as source, tarfile.open(tmp_path / name, "w") as target:
            folder = tarfile.TarInfo("./")
            folder.type = tarfile.DIRTYPE
            target.addfile(folder)
            for member in source:
                content = source.extractfile(member)
                member.name = f"./{member.name}"
                target.addfile(member, content)
    for name, count in ((TRAIN, 20), (VAL, 3)):
        found, expected = ([(i.name, i.label, i.read()) for i in tar_images(root / name)] for root in (tmp_path, world))
        assert len(expected) == count
        assert found == expected


def test_a_truncated_tar_is_an_error(world: Path, tmp_path: Path) -> None:
    cut = tmp_path / TRAIN
    cut.write_bytes((world / TRAIN).read_bytes()[:30_000])
    with pytest.raises(StoryjaxError, match="download it again"):
        tar_images(cut)
    with pytest.raises(StoryjaxError, match="register at"):
        Imagenet2012.prepare(tmp_path / "nowhere", tmp_path, "train")
