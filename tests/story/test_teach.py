"""Voices that a film taught: of whom, from what, and once."""

from pathlib import Path

import numpy as np
import pytest

from storyjax.gallery.gallery import Gallery
from storyjax.story.rows import Vector
from storyjax.story.teach import teach_voices
from tests.story.small_story import ANA, make_story


def test_a_gallery_is_taught_the_voices_of_its_people_once(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    ids = [gallery.create(name, "person").id for name in ("Ana", "Ben")]
    with make_story(tmp_path / "story") as story:
        (film,) = story.films()
        with story.transaction() as db:
            for old, new in zip(("a" * 32, "b" * 32), ids, strict=True):
                db.execute("UPDATE entities SET gallery = ? WHERE gallery = ?", (new, old))
            for line in story.utterances(film.id):
                voice = np.eye(4, dtype=np.float32)[0 if line.speaker == ANA else 1]
                story.add(db, Vector(0, film.id, "voice", line.id, line.start_s, "net", voice))
        assert teach_voices(story, film, gallery, "net") == ["Ana"]  # Ben speaks for 4.5 s, which is too little
        assert teach_voices(story, film, gallery, "net") == []
    (((evidence, rows),)) = gallery.rows(gallery.get("Ana"))
    assert (evidence.role, evidence.source) == ("voice", "film:garden")
    assert rows.tolist() == [pytest.approx([1, 0, 0, 0])]
    assert set(gallery.vectors("voice", "net")) == {ids[0]}
