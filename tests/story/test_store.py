"""story.sqlite: what is written is read, transactions are whole, and bad files are told in a line."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.story.rows import Vector
from storyjax.story.store import Story
from tests.story.small_story import ANA, BEN, CHIA, SPOKEN, make_story


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        (film,) = story.films()
        assert (film.name, film.has_audio, film.duration_s) == ("garden", True, 60.0)
        assert story.media(film) == tmp_path / "garden.mp4"
        assert [e.name for e in story.entities("person")] == ["Ana", "Ben", "Person 1"]
        assert [(a.start_s, a.end_s) for a in story.appearances(film.id, ANA)] == [(0, 10), (10, 20), (40, 60)]
        assert [u.text for u in story.utterances(speaker=BEN)] == [SPOKEN[1][2], SPOKEN[3][2]]
        (dog,) = [track for track in story.tracks(film.id) if track.entity == CHIA]
        boxes = story.boxes(dog.id)
        assert boxes.shape == (12, 6)
        assert boxes[1].tolist() == pytest.approx([12.5, 0.7, 0.2, 0.2, 0.6, 0.9])
        assert dog.evidence == {"faces": 3}


def test_words_are_found_whatever_their_accents_and_signs(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        assert [u.start_s for u in story.said("the DOG?")] == [2.0]
        assert [u.start_s for u in story.said("gárden")] == [5.0]
        assert {u.start_s for u in story.said('i "')} == {12.0, 24.0}
        assert story.said('" NEAR(') == []
        assert story.said("") == []


def test_vectors_keep_their_bits_and_are_told_apart_by_network(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        value = np.array([0.6, -0.8, 0.0], np.float32)
        with story.transaction() as db:
            story.add(db, Vector(0, 1, "face", 2, 4.5, "one", value))
            story.add(db, Vector(0, 1, "face", 2, 5.5, "another", -value))
        (found,) = story.vectors("face", "one")
        assert np.array_equal(found.vector, value)
        assert found.owner == 2


def delete_and_stop(story: Story) -> None:
    with story.transaction() as db:
        db.execute("DELETE FROM utterances")
        raise KeyboardInterrupt


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        with pytest.raises(KeyboardInterrupt):
            delete_and_stop(story)
        assert len(story.utterances()) == len(SPOKEN)


def test_stories_that_cannot_be_used_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match=r"no story in .*: 'storyjax story VIDEO"):
        Story.open(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(StoryjaxError, match="holds something else than a story"):
        Story.create(tmp_path)
    story = make_story(tmp_path / "story")
    story.set_meta("version", "99")
    story.close()
    with pytest.raises(StoryjaxError, match="version 99 of the tables"):
        Story.open(tmp_path / "story")
    (tmp_path / "story" / "story.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StoryjaxError, match="is damaged"):
        Story.open(tmp_path / "story")


def test_the_documented_tables_can_be_read_with_sqlite_alone(tmp_path: Path) -> None:
    make_story(tmp_path / "story").close()
    db = sqlite3.connect(tmp_path / "story" / "story.sqlite")
    question = "SELECT e.name, sum(end_s - start_s) FROM appearances a JOIN entities e ON e.id = a.entity GROUP BY 1"
    assert dict(db.execute(question)) == {"Ana": 40.0, "Ben": 26.0, "Chia": 6.0, "Person 1": 17.0}
