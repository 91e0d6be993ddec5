"""The album shows what its truth says, and is the same each time."""

import json
from pathlib import Path

from storyjax.data.images import read_image
from storyjax.data.video import probe
from storyjax.storyworld.export.album import PEOPLE, belongings, export_album


def test_photos_videos_and_truth(tmp_path: Path) -> None:
    album = export_album(tmp_path / "a", {"stories": 2, "photos": 2, "scenes": 1})
    named = {thing.name for thing in belongings()[:3]}
    assert {path.name for path in (album / "photos").iterdir()} == {*PEOPLE, *named}
    for photo in album.glob("photos/*/*.jpg"):
        assert read_image(photo).shape == (96, 96, 3)
    truth = json.loads((album / "truth.json").read_text())
    films = sorted((album / "films").iterdir())
    assert sorted(truth) == [film.name for film in films]
    assert len(films) == 2 + 6
    for film in films:
        events = truth[film.name]
        assert abs(probe(film).duration_s - events[-1]["end_s"]) < 0.3
        for event in events:
            assert len(event["who"]) == len(event["what"]) > 0
            assert event["start_s"] < event["end_s"]
    assert {event["who"][0] for film, events in truth.items() if film.startswith("scene") for event in events} > named
    again = export_album(tmp_path / "b", {"stories": 2, "photos": 2, "scenes": 1})
    for path in album.rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(album)).read_bytes()
