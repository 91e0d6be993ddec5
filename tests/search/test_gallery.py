"""The gallery stores entries whole or not at all, and no name leads out of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from colours import Colours

from storyjax.core.errors import StoryjaxError
from storyjax.search.gallery import Gallery
from storyjax.search.names import folder_name, normalise_name, skeleton

TOKEN = np.arange(8, dtype=np.float32)[None]
PHOTOS = [np.full((200, 300, 3), 90, np.uint8)] * 2


def enrolled(gallery: Gallery, *names: str) -> Gallery:
    for name in names:
        gallery.add(name, Colours(), None, TOKEN, PHOTOS)
    return gallery


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_keeps_and_forgets(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path / "gallery"), "ben", "Ana", "Michael Richards")
    assert [entry.name for entry in gallery.entries()] == ["Ana", "ben", "Michael Richards"]
    entry = gallery.get("ana")
    assert (entry.name, entry.kind, entry.photos) == ("Ana", "person", 2)
    assert np.array_equal(gallery.tokens([entry], Colours())["Ana"], TOKEN)
    folder = tmp_path / "gallery" / folder_name("Ana")
    assert sorted(os.listdir(folder)) == ["1.jpg", "2.jpg", "entry.json", "token.safetensors"]
    gallery.forget("ANA")
    assert [entry.name for entry in gallery.entries()] == ["ben", "Michael Richards"]
    assert not folder.exists()
    with pytest.raises(StoryjaxError, match="'ana' is not enrolled"):
        gallery.get("ana")


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
    (folder,) = os.listdir(tmp_path / "inside" / "gallery")
    assert folder == folder_name(name)
    assert folder.isascii()
    assert len(folder) < 60
    assert gallery.get(name).name == normalise_name(name)
    gallery.forget(name)
    assert os.listdir(tmp_path / "inside" / "gallery") == []


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


def test_tokens_of_another_model_or_damaged(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path), "ana")
    entry = gallery.get("ana")
    with pytest.raises(StoryjaxError, match="'ana' was enrolled with another model"):
        gallery.tokens([entry], Colours(weights="others"))
    path = tmp_path / folder_name("ana") / "token.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoryjaxError, match="cannot read weights"):
        gallery.tokens([entry], Colours())


def test_a_damaged_or_moved_entry(tmp_path: Path) -> None:
    gallery = enrolled(Gallery(tmp_path), "ana")
    path = tmp_path / folder_name("ana") / "entry.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps(good | {"name": "../../elsewhere"}))
    with pytest.raises(StoryjaxError, match="does not belong"):
        gallery.entries()
    for text in ("", "{", "[]", "{}", json.dumps(good | {"extra": 1}), json.dumps(good | {"name": 7})):
        path.write_text(text)
        with pytest.raises(StoryjaxError, match="is damaged"):
            gallery.entries()


def test_a_link_in_the_gallery_is_not_followed_when_forgetting(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    gallery = enrolled(Gallery(tmp_path / "gallery"), "ana")
    (tmp_path / "gallery" / folder_name("ana")).rename(elsewhere)
    (tmp_path / "gallery" / folder_name("ana")).symlink_to(elsewhere)
    gallery.forget("ana")
    assert (elsewhere / "token.safetensors").exists()
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
        for token in gallery.tokens(entries, Colours()).values():
            assert np.array_equal(token, TOKEN)
    # Photos of a removed person do not outlive the next change.
    (tmp_path / ".going-x").mkdir()
    (tmp_path / ".going-x" / "1.jpg").touch()
    enrolled(gallery, "carla")
    assert not (tmp_path / ".going-x").exists()
