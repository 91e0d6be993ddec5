"""Galleries go into one file and come back; what is in a file is not trusted."""

import errno
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.gallery import archive, command
from storyjax.gallery.gallery import Gallery, Taught

FACE = np.arange(12, dtype=np.float32).reshape(3, 4)
PHOTOS = [np.full((40, 60, 3), shade, np.uint8) for shade in (30, 200)]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    gallery = Gallery(tmp_path / "secret-folder" / "one")
    ana = gallery.create("Ana & Ben", "person", taught=[Taught("face", "f", FACE, "/home/x/a.jpg", PHOTOS)])
    gallery.learn(ana, "voice", "v", FACE[:1], "film:one#track 3", seconds=[4.5], model="ecapa")
    gallery.create("חיה", "thing", "dog")
    assert archive.export_gallery(gallery, tmp_path / "people.zip") == 2
    return tmp_path / "people.zip"


def test_everything_comes_back(tmp_path: Path, exported: Path) -> None:
    one, two = Gallery(tmp_path / "secret-folder" / "one"), Gallery(tmp_path / "two")
    assert b"secret-folder" not in exported.read_bytes()
    with zipfile.ZipFile(exported) as packed:
        assert all(b"/home" not in packed.read(name) for name in packed.namelist())
    done = archive.import_gallery(two, exported)
    assert [entry.name for entry in done.added] == [entry.name for entry in one.entries()]
    assert two.entries() == one.entries()
    ana = two.get("ana & ben")
    assert [evidence for evidence, _ in two.rows(ana)] == list(one.evidence(ana))
    assert np.array_equal(two.vectors("face", "f")[ana.id], FACE)
    assert [path.read_bytes() for path in two.pictures(ana)] == [path.read_bytes() for path in one.pictures(ana)]
    again = archive.import_gallery(two, exported)  # also after a run that was killed half way
    assert (again.added, len(again.known)) == ((), 2)
    assert archive.export_gallery(two, tmp_path / "again.zip") == 2
    assert (tmp_path / "again.zip").read_bytes() == exported.read_bytes()


def test_conflicts_are_said_and_renames_solve_them(tmp_path: Path, exported: Path) -> None:
    gallery = Gallery(tmp_path / "two")
    gallery.create("ana & ben", "person")
    with pytest.raises(StoryjaxError, match=r"'Ana & Ben' of .*people.zip cannot be taken in .*--rename"):
        command.take_in(gallery, str(exported), [])
    assert len(gallery.entries()) == 1  # nor anybody else of the file
    for wrong in (["nobody=x"], ["ana & ben"], ["ana & ben=חיה"], ["ana & ben=a/b"], ["a=b", "a=c"]):
        with pytest.raises(StoryjaxError):
            command.take_in(gallery, str(exported), wrong)
    assert "Ana Two" in command.take_in(gallery, str(exported), ["Ana & Ben=Ana Two"])
    assert [entry.name for entry in gallery.entries()] == ["ana & ben", "Ana Two", "חיה"]
    gallery.rename("Ana Two", "Ana Three")
    with pytest.raises(StoryjaxError, match="is 'Ana Three' here"):
        command.take_in(gallery, str(exported), [])
    assert "nobody new" in command.take_in(gallery, str(exported), ["Ana & Ben=Ana Three"])


def test_a_file_cannot_hide_somebody_who_is_here(tmp_path: Path, exported: Path) -> None:
    gallery = Gallery(tmp_path / "two")
    cleo = gallery.create("Cleo", "person")
    hostile = changed(exported, lambda entry: entry | {"merged": [cleo.id]})
    with pytest.raises(StoryjaxError, match="merged from 'Cleo'"):
        archive.import_gallery(gallery, hostile)
    gallery.create("Dan", "person")
    assert [entry.name for entry in gallery.entries()] == ["Cleo", "Dan"]


def changed(file: Path, change: Callable[[dict], dict], **others: bytes) -> Path:
    """A copy of an exported file with another entry.json of Ana, and other files."""
    made = file.with_name("changed.zip")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("/entry.json") and b"Ana" in data:
                data = json.dumps(change(json.loads(data))).encode()
            new.writestr(name, others.pop(Path(name).suffix[1:], data))
        for name, data in others.items():
            new.writestr(name, data)
    return made


def picture(size: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (size, size)).save(data, format="JPEG")
    return data.getvalue()


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "a path that leads out": lambda file: changed(file, dict, **{"../../evil": b"x"}),
    "a path from the root": lambda file: changed(file, dict, **{"/etc/evil": b"x"}),
    "a file of no entry": lambda file: changed(file, dict, **{"0" * 32 + "/run.sh": b"x"}),
    "an invalid name": lambda file: changed(file, lambda entry: entry | {"name": "../up"}),
    "another id": lambda file: changed(file, lambda entry: entry | {"id": "0" * 32}),
    "a picture elsewhere": lambda file: changed(
        file, lambda entry: entry | {"sources": {"a": {"photos": 1, "pictures": ["../../x.jpg"]}}}
    ),
    "a path as a source": lambda file: changed(
        file, lambda entry: entry | {"sources": {"/home/x": {"photos": 1, "pictures": []}}}
    ),
    "vectors that are none": lambda file: changed(file, dict, safetensors=b"\x80\x04pickle"),
    "too few vectors": lambda file: changed(
        file, lambda entry: entry | {"evidence": [row | {"rows": 4} for row in entry["evidence"]]}
    ),
    "a picture that is none": lambda file: changed(file, dict, jpg=b"<svg onload=alert(1)>"),
    "a huge picture": lambda file: changed(file, dict, jpg=picture(4000)),
    "a later format": lambda file: changed(file, lambda entry: entry | {"format": 9}),
    "JSON too deep": lambda file: changed(file, dict, json=b"[" * 100_000),
    "a bomb": lambda file: changed(file, dict, jpg=bytes(archive.MAX_FILE_BYTES + 1)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, exported: Path, kind: str) -> None:
    gallery = Gallery(tmp_path / "inside" / "gallery")
    hostile = HOSTILE[kind](exported)
    before = {path for path in tmp_path.rglob("*") if "inside" not in path.parts}
    with pytest.raises(StoryjaxError) as error:
        archive.import_gallery(gallery, hostile)
    assert "\n" not in str(error.value)
    assert gallery.entries() == []
    assert {path for path in tmp_path.rglob("*") if "inside" not in path.parts} == before


def test_what_is_no_file_of_a_gallery(tmp_path: Path, exported: Path) -> None:
    gallery = Gallery(tmp_path / "two")
    (tmp_path / "cut.zip").write_bytes(exported.read_bytes()[:-100])
    (tmp_path / "empty.zip").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("holiday.txt", "x")
    for name in ("cut.zip", "empty.zip", "other.zip", "none.zip", "."):
        with pytest.raises(StoryjaxError, match=r"no exported gallery|cannot|can be read|not there"):
            archive.import_gallery(gallery, tmp_path / name)
    assert not gallery.folder.exists()
    with pytest.raises(StoryjaxError, match="nothing to export"):
        archive.export_gallery(gallery, tmp_path / "x.zip")
    with pytest.raises(StoryjaxError, match=r"ends in \.zip"):
        command.export(gallery, "people.tar")


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = exported.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive, "_put", full)
    with pytest.raises(StoryjaxError, match=r"people.zip cannot be written \(No space left"):
        archive.export_gallery(Gallery(tmp_path / "secret-folder" / "one"), exported)
    assert exported.read_bytes() == before
    assert not list(tmp_path.glob(".*"))
