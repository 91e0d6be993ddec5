"""`storyjax gallery forget --story`: nothing of a person is left, in the gallery or in a story."""

from pathlib import Path

import numpy as np
import pytest
from small_story import make_story

from storyjax.cli import main
from storyjax.gallery.gallery import Gallery

MARK = np.frombuffer(b"UNIQUEVECTORMARK", np.float32)[None]
PICTURE = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)


def test_forgetting_goes_into_a_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery, folder = Gallery(tmp_path / "gallery"), tmp_path / "story"
    ana, other = gallery.create("Ana", "person", pictures=[PICTURE]), gallery.create("Anna", "person")
    gallery.create("Ben", "person")
    gallery.learn(ana, "face", "f", MARK, "film:garden#track 1")
    with make_story(folder) as story, story.transaction() as db:
        db.execute("UPDATE entities SET gallery = ? WHERE name = 'Ana'", (other.id,))  # known by the entry merged away
    gallery.merge("Anna", "Ana")
    pictures = [path.read_bytes() for path in gallery.pictures(gallery.get("Ana"))]
    asked = ["gallery", "forget", "ana", "--gallery", str(gallery.folder)]
    assert main.run([*asked, "--story", str(tmp_path / "none")]) == 2  # everything is still there
    assert gallery.get("Ana").id == ana.id
    assert main.run([*asked, "--story", str(folder)]) == 0
    assert "3 tracks and 3 sentences have no name any more" in capsys.readouterr().out
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b'"Ana"' not in data
            assert b"UNIQUEVECTORMARK" not in data
            assert ana.id.encode() not in data
            assert other.id.encode() not in data
            assert data not in pictures
    assert [entry.name for entry in gallery.entries()] == ["Ben"]
