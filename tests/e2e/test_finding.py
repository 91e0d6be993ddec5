"""`storyjax find` with the shipped models: enrol from photos, index, find, far better than chance."""

import json
from pathlib import Path

import pytest

import storyjax
from storyjax.cli import run
from storyjax.storyworld.album import PEOPLE, belongings, export_album

TOP = 5

if not (Path(storyjax.__file__).parent / "weights" / "shipped" / "clip_pad_storyworld").is_dir():
    pytest.skip("no CLIP-PAD comes with storyjax", allow_module_level=True)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, films and an index of them, made by the command."""
    folder = tmp_path_factory.mktemp("find")
    album = export_album(folder / "album", {"stories": 10, "photos": 5, "scenes": 3})
    for name in PEOPLE:
        assert run(["find", "enrol", name, str(album / "photos" / name), "--gallery", str(folder / "gallery")]) == 0
    assert run(["find", "index", str(album / "films"), "--out", str(folder / "index")]) == 0
    return album


def found(album: Path, prompt: str, capsys, *more: str) -> list[dict]:
    where = ["--index", str(album.parent / "index"), "--gallery", str(album.parent / "gallery")]
    capsys.readouterr()
    assert run(["find", prompt, *where, "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)["hits"]


def shows(album: Path, hit: dict, name: str, what: str = "") -> bool:
    """Whether somebody (doing something) is to be seen within a hit."""
    events = json.loads((album / "truth.json").read_text())[Path(hit["file"]).name]
    return any(
        event["start_s"] < hit["end_s"]
        and event["end_s"] > hit["start_s"]
        and any(who == name and what in does for who, does in zip(event["who"], event["what"], strict=True))
        for event in events
    )


def test_finds_people_enrolled_from_photos(album: Path, capsys) -> None:
    """Also people whom no model has ever seen: the last two."""
    right, chance = [], []
    for name in PEOPLE:
        every = found(album, f"An image of <{name}>", capsys, "--top", "1000")
        chance.append(sum(shows(album, hit, name) for hit in every) / len(every))
        right.append(sum(shows(album, hit, name) for hit in every[:TOP]) / TOP)
    assert sum(right) / 4 > 2 * sum(chance) / 4, (right, chance)


def test_finds_a_thing_in_the_same_index(album: Path, capsys) -> None:
    right = 0
    for thing in belongings()[:3]:
        photos = str(album / "photos" / thing.name)
        enrolled = ["--thing", thing.kind, "--gallery", str(album.parent / "gallery")]
        assert run(["find", "enrol", thing.name, photos, *enrolled]) == 0
        hits = found(album, f"An image of <{thing.name}>", capsys, "--top", str(TOP))
        right += sum(shows(album, hit, thing.name) for hit in hits)
    # A thing is to be seen in 6 of some 300 clips: chance is 0.3 right ones among these 15.
    assert right > 3, right
