"""`storyjax find` with the shipped models: enrol from photos, index, find, better than chance."""

import json
from pathlib import Path

import pytest

import storyjax
from storyjax.cli.main import run
from storyjax.storyworld.export.album import PEOPLE, belongings, export_album

if not (Path(storyjax.__file__).parent / "weights" / "shipped" / "clip_pad_storyworld").is_dir():
    pytest.skip("no CLIP-PAD comes with storyjax", allow_module_level=True)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, videos and an index of them, made by the command."""
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
    """Whether a hit shows a person (doing something)."""
    events = json.loads((album / "truth.json").read_text())[Path(hit["file"]).name]
    return any(
        event["start_s"] < hit["end_s"]
        and event["end_s"] > hit["start_s"]
        and any(who == name and what in does for who, does in zip(event["who"], event["what"], strict=True))
        for event in events
    )


def quality(album: Path, name: str, capsys) -> tuple[float, float]:
    """Average precision of everything ranked for a name, and chance: the fraction of hits that show it."""
    right = [shows(album, hit, name) for hit in found(album, f"An image of <{name}>", capsys, "--top", "1000")]
    assert any(right)
    return sum(sum(right[: i + 1]) / (i + 1) for i in range(len(right)) if right[i]) / sum(right), sum(right) / len(
        right
    )


def test_finds_people_enrolled_from_photos(album: Path, capsys) -> None:
    """Also people who were in no training data: the last two."""
    precision, chance = zip(*(quality(album, name, capsys) for name in PEOPLE), strict=True)
    assert sum(precision) > 1.6 * sum(chance), (precision, chance)


def test_finds_things_in_the_same_index(album: Path, capsys) -> None:
    things = belongings()[:3]
    for thing in things:
        enrolled = ["--thing", thing.kind, "--gallery", str(album.parent / "gallery")]
        assert run(["find", "enrol", thing.name, str(album / "photos" / thing.name), *enrolled]) == 0
    precision, chance = zip(*(quality(album, thing.name, capsys) for thing in things), strict=True)
    # One of the three is found well, the others hardly: 2.8 times chance in all.
    assert sum(precision) > 2 * sum(chance), (precision, chance)
