"""The gallery stores entries whole or not at all, reads what earlier versions wrote, and no name leads out of it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import exclusive_lock
from storyjax.gallery import gallery as module
from storyjax.gallery.gallery import Entry, Gallery, Taught
from storyjax.gallery.names import folder_name, normalise_name, skeleton
from storyjax.gallery.record import MAX_PICTURES, PICTURE_PIXELS

TOKEN = np.arange(8, dtype=np.float32)[None]
PHOTOS = [np.full((200, 300, 3), 90, np.uint8)] * 2


def enrolled(gallery: Gallery, *names: str) -> Gallery:
    for name in names:
        gallery.create(name, "person", taught=[Taught("token", "colours", TOKEN, "enrolled", PHOTOS)])
    return gallery


def old_entry(folder: Path, name: str, token: np.ndarray = TOKEN) -> None:
    """An entry as version 0.1 wrote it."""
    entry = {"name": name, "kind": "person", "category": None, "fingerprint": "colours", "photos": 2}
    place = folder / folder_name(name)
    place.mkdir(parents=True)
    (place / "entry.json").write_text(json.dumps(entry | {"date": "2026-10-03"}))
    save_file({"token": token}, place / "token.safetensors")
    for number in (1, 2):
        (place / f"{number}.jpg").write_bytes(b"picture %d" % number)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def place(gallery: Gallery, name: str) -> Path:
    return gallery.folder / gallery.get(name).id


def contents(gallery: Gallery) -> dict[str, bytes]:
    return {str(path.relative_to(gallery.folder)): path.read_bytes() for path in gallery.folder.rglob("*.*")}


def test_keeps_and_forgets(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path / "gallery"), "ben", "Ana", "Michael Richards")
    assert [entry.name for entry in gallery.entries()] == ["Ana", "ben", "Michael Richards"]
    entry = gallery.get("ana")
    assert (entry.name, entry.kind, entry.photos, entry.counts) == ("Ana", "person", 2, {"token": 1})
    assert np.array_equal(gallery.vectors("token", "colours")[entry.id], TOKEN)
    assert len(gallery.pictures(entry)) == 2
    folder = place(gallery, "Ana")
    gallery.forget("ANA")
    assert [entry.name for entry in gallery.entries()] == ["ben", "Michael Richards"]
    assert not folder.exists()
    with pytest.raises(StoryjaxError, match="'ana' is not enrolled"):
        gallery.get("ana")
    with pytest.raises(StoryjaxError, match="no longer"):
        gallery.learn(entry, "face", "f", TOKEN, "taught")


def test_an_unknown_name_gives_the_nearest(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    with pytest.raises(StoryjaxError, match=r"nobody is enrolled in .*gallery"):
        gallery.get("ana")
    enrolled(gallery, "Anna", "Anne", "Boris")
    with pytest.raises(StoryjaxError, match=r"nearest: Ann[ae], Ann[ae];") as error:
        gallery.get("ann")
    assert "Boris" not in str(error.value)
    with pytest.raises(StoryjaxError, match="known: Anna, Anne, Boris"):
        gallery.get("xyz")


HOSTILE = [
    *("../up", "../../up", "/etc/cron.d/x", "..", ".", ".hidden", "a/b", "a\\b", "C:evil", "a\0b", "a\nb", "-rf"),
    *(
        "",
        "   ",
        "x" * 61,
        "x" * 5000,
        "a<b>",
        "what?",
        "star*",
        "ana\u200b",
        "\u202eana",
        "аna",
        "\ud83d",
        "／etc",
        "…/…",
    ),
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name[:10]).encode("ascii", "replace").decode())
def test_hostile_names_are_refused(tmp_path: Path, name: str) -> None:
    gallery = enrolled(Gallery(tmp_path / "inside" / "gallery"), "ben")
    before = tree(tmp_path)
    with pytest.raises(StoryjaxError) as error:
        enrolled(gallery, name)
    assert "\n" not in str(error.value)
    with pytest.raises(StoryjaxError):
        gallery.forget(name)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["CON", "nul.txt", "COM1", "Zoë", "山田", "O'Neil", "x" * 60, "é" * 60, "сара", "a. b."]
)
def test_odd_names_stay_inside(tmp_path: Path, name: str) -> None:
    gallery = enrolled(Gallery(tmp_path / "inside" / "gallery"), name)
    assert os.listdir(tmp_path) == ["inside"]
    assert os.listdir(tmp_path / "inside") == ["gallery"]
    (folder,) = (path.name for path in gallery.folder.iterdir() if path.is_dir())
    assert folder == gallery.get(name).id
    assert gallery.get(name).name == normalise_name(name)
    gallery.forget(name)
    assert sorted(os.listdir(gallery.folder)) == [".lock", "gallery.json"]


def test_names_that_only_look_different(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path), "cop", "paul")
    for same in ("COP", " cop ", "ｃｏｐ"):
        with pytest.raises(StoryjaxError, match="'cop' is enrolled already, from 2 photos"):
            gallery.check_new(same)
    for alike in ("сор", "pau1", "c0p"):
        with pytest.raises(StoryjaxError, match="looks like"):
            gallery.check_new(alike)
    assert skeleton("zoë") != skeleton("zoe")
    assert gallery.check_new("copper") == "copper"


def test_damaged_vectors(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path), "ana")
    (path,) = place(gallery, "ana").glob("vectors-*")
    whole = path.read_bytes()
    for data in (whole[:-5], whole[:-32] + np.full(8, np.nan, np.float32).tobytes(), b""):
        path.write_bytes(data)
        with pytest.raises(StoryjaxError, match="cannot read"):
            gallery.vectors("token", "colours")
    path.unlink()
    with pytest.raises(StoryjaxError, match="has lost its file of vectors"):
        gallery.vectors("token", "colours")
    gallery.forget("ana")
    assert gallery.entries() == []


def test_a_damaged_or_moved_entry(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path), "ana")
    path = place(gallery, "ana") / "entry.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps(good | {"id": "0" * 32}))
    with pytest.raises(StoryjaxError, match="does not belong"):
        gallery.entries()
    wrong = [good | {"name": "../../elsewhere"}, good | {"vectors": "../x"}, good | {"kind": "dog"}, {"format": 2}, []]
    sources = {"a": {"photos": 1, "pictures": ["../1.jpg"]}}
    for text in ("", "{", *map(json.dumps, [*wrong, good | {"sources": sources}, good | {"name": 7}])):
        path.write_text(text)
        with pytest.raises(StoryjaxError, match="is damaged"):
            gallery.entries()
    path.write_text(json.dumps(good | {"format": 3}))
    with pytest.raises(StoryjaxError, match="this version does not read"):
        gallery.entries()


def test_a_link_in_the_gallery_is_not_followed_when_forgetting(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    gallery = enrolled(Gallery(tmp_path / "gallery"), "ana")
    folder = place(gallery, "ana")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    gallery.forget("ana")
    assert (elsewhere / "entry.json").exists()
    assert gallery.entries() == []


def test_a_gallery_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoryjaxError, match="is a file"):
        Gallery(tmp_path / "file")
    with pytest.raises(StoryjaxError, match="cannot be read"):
        Gallery("a\0b")
    with pytest.raises(StoryjaxError, match="cannot write"):
        enrolled(Gallery("/proc/gallery"), "ana")


def test_killed_while_enrolling_and_forgetting(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_gallery import *
gallery = Gallery({str(tmp_path)!r})
print("ready", flush=True)
while True:
    enrolled(gallery, "ana", "ben")
    gallery.forget("ana")
    gallery.forget("ben")
"""
    for _ in range(2):
        gallery = Gallery(tmp_path)
        for entry in gallery.entries():
            gallery.forget(entry.name)
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(np.random.default_rng().uniform(0.02, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        entries = gallery.entries()
        assert {entry.name for entry in entries} <= {"ana", "ben"}
        for token in gallery.vectors("token", "colours").values():
            assert np.array_equal(token, TOKEN)
    # Photos of a removed person do not outlive the next change.
    (tmp_path / ".going-x").mkdir()
    (tmp_path / ".going-x" / "1.jpg").touch()
    enrolled(gallery, "carla")
    assert not (tmp_path / ".going-x").exists()


def test_learns_and_takes_back(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    assert gallery.entries() == []
    assert not gallery.folder.exists()
    ana, chia = gallery.create("ana", "person"), gallery.create("chia", "thing", "dog", PHOTOS)
    assert (chia.category, chia.counts, chia.photos) == ("dog", {}, 2)
    one, two, other = (np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32) for seed in range(3))
    gallery.learn(ana, "face", "old", one, "a.jpg", PHOTOS)
    gallery.learn(ana, "face", "new", two, "a.jpg")
    assert gallery.learn(ana, "voice", "v", other, "film:x#track 1", seconds=[1, 2, 3]).counts == {
        "face": 6,
        "voice": 3,
    }
    assert np.array_equal(gallery.vectors("face", "old")[ana.id], one)
    assert gallery.vectors("face", "none") == {}
    assert [entry.name for entry in gallery.stale("face", "newest")] == ["ana"]
    assert gallery.stale("face", "new") == []
    again = gallery.learn(ana, "face", "new", other[:1], "a.jpg")  # in place of the same
    assert again.counts == {"face": 4, "voice": 3}
    gallery.learn(ana, "face", "new", two, "/home/ana/b.jpg")  # nothing names the machine
    assert np.array_equal(gallery.vectors("face", "new", "person")[ana.id], np.concatenate([other[:1], two]))
    assert gallery.vectors("face", "new", "thing") == {}
    assert "home" not in (place(gallery, "ana") / "entry.json").read_text()
    left = gallery.unlearn(ana, "a.jpg")
    assert (left.counts, gallery.pictures(left)) == ({"face": 3, "voice": 3}, [])
    assert sorted(path.suffix for path in place(gallery, "ana").iterdir()) == [".json", ".safetensors"]
    with pytest.raises(StoryjaxError, match="has nothing from"):
        gallery.unlearn(ana, "a.jpg")
    for wrong in (one[:0], one * np.nan, np.ones((1, 5), np.float32)):
        with pytest.raises(StoryjaxError):
            gallery.learn(ana, "face", "new", wrong, "c.jpg")
    with pytest.raises(StoryjaxError, match="no role 'smell'"):
        gallery.learn(ana, "smell", "new", one, "c.jpg")
    assert gallery.get("ana") == left


def test_pictures_are_small_and_few(tmp_path: Path) -> None:
    from PIL import Image

    gallery = Gallery(tmp_path)
    ana = gallery.create("ana", "person")
    ana = gallery.add_pictures(ana, "film:x#track 1", [np.full((600, 800, 3), 9, np.uint8)] * 40)
    assert (ana.photos, len(gallery.pictures(ana))) == (40, MAX_PICTURES)
    with Image.open(gallery.pictures(ana)[0]) as picture:
        assert max(picture.size) == PICTURE_PIXELS
    assert len(gallery.pictures(gallery.add_pictures(ana, "film:x#track 1", PHOTOS))) == 2


def test_renames_and_merges(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path), "ana", "anna", "Ben")
    gallery.create("chia", "thing", "dog")
    ana, anna = gallery.get("ana"), gallery.get("anna")
    with pytest.raises(StoryjaxError, match="'Ben' is enrolled already"):
        gallery.rename("ana", "ben")
    assert gallery.rename("ana", "Ana").id == ana.id
    assert gallery.rename("Ana", "Ana Weiß").name == "Ana Weiß"
    gallery.learn(anna, "face", "f", TOKEN, "a.jpg")
    gallery.learn(ana, "face", "f", np.concatenate([TOKEN, TOKEN + 1]), "a.jpg")
    for name, into in (("ben", "chia"), ("Ben", "ben"), ("nobody", "ben")):
        with pytest.raises(StoryjaxError):
            gallery.merge(name, into)
    merged = gallery.merge("anna", "ana weiß")
    assert (merged.id, merged.name, merged.merged) == (ana.id, "Ana Weiß", (anna.id,))
    assert merged.counts == {"token": 1, "face": 2}  # one token, or a prompt would have two words
    assert len(gallery.pictures(merged)) == 4
    assert gallery.by_id(anna.id) == gallery.by_id(ana.id) == merged
    assert [entry.name for entry in gallery.entries()] == ["Ana Weiß", "Ben", "chia"]
    assert gallery.merge("Ana Weiß", "Ben").merged == (ana.id, anna.id)
    gallery.forget("ben")
    assert gallery.by_id(anna.id) is None


def test_a_merge_that_was_killed_half_way_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = enrolled(Gallery(tmp_path), "ana", "anna")
    monkeypatch.setattr(Gallery, "_remove", lambda self, folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        gallery.merge("anna", "ana")
    monkeypatch.undo()
    assert [entry.name for entry in gallery.entries()] == ["ana"]
    gallery.rename("ana", "Ana")
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_nothing_is_left_of_whom_is_forgotten(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path), "Ben")
    mark = np.frombuffer(b"UNIQUEVECTORMARK", np.float32)[None]
    ana = gallery.create("Ana Unique", "person", pictures=PHOTOS)
    ana = gallery.learn(ana, "face", "f", mark, "ana unique.jpg", PHOTOS)
    gallery.merge("Ana Unique", gallery.rename("Ben", "Ana Unique 2").name)
    pictures = {hashlib.sha256(path.read_bytes()).digest() for path in gallery.pictures(gallery.get("Ana Unique 2"))}
    assert any(b"UNIQUEVECTORMARK" in data for data in contents(gallery).values())
    (tmp_path / ".going-killed").mkdir()
    (tmp_path / ".going-killed" / "entry.json").write_text("Ana Unique")
    gallery.forget("Ana Unique 2")
    for name, data in contents(gallery).items():
        assert b"unique" not in (name.encode() + data).lower()
        assert hashlib.sha256(data).digest() not in pictures
    assert sorted(os.listdir(tmp_path)) == [".lock", "gallery.json"]


def test_old_galleries_are_read_and_converted_when_written_to(tmp_path: Path) -> None:
    for name in ("Ana", "ben"):
        old_entry(tmp_path, name)
    gallery = Gallery(tmp_path)
    before = tree(tmp_path)
    ana = gallery.get("ana")
    assert isinstance(ana, Entry)
    assert (ana.photos, ana.created, ana.counts) == (2, "2026-10-03", {"token": 1})
    assert np.array_equal(gallery.vectors("token", "colours")[ana.id], TOKEN)
    assert gallery.evidence(ana)[0].width == 8
    assert [path.name for path in gallery.pictures(ana)] == ["1.jpg", "2.jpg"]
    with pytest.raises(StoryjaxError, match="from 2 photos on 2026-10-03"):
        gallery.check_new("ANA")
    assert tree(tmp_path) == before  # reading never writes
    gallery.create("carla", "person")
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {entry.id for entry in gallery.entries()}
    assert gallery.get("ana") == ana
    assert np.array_equal(gallery.vectors("token", "colours")[ana.id], TOKEN)
    assert [path.read_bytes() for path in gallery.pictures(ana)] == [b"picture 1", b"picture 2"]
    old_entry(tmp_path, "Ana")  # a conversion that was killed before its last step
    assert gallery.get("ana") == ana
    gallery.forget("ana")
    assert not list(tmp_path.glob("ana-*"))


def test_later_formats_and_other_writers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = enrolled(Gallery(tmp_path), "ana")
    monkeypatch.setattr(module, "_LOCK_WAIT_S", 0.05)
    with (
        exclusive_lock(tmp_path / ".lock", "locked"),
        pytest.raises(StoryjaxError, match="being changed by another process"),
    ):
        gallery.forget("ana")
    assert gallery.get("ana").name == "ana"
    (tmp_path / "gallery.json").write_text('{"format": 3}')
    with pytest.raises(StoryjaxError, match="update storyjax"):
        gallery.entries()
