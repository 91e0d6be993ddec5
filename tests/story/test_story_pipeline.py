"""The pipeline on toy films: what it finds, what it does again, and what a killed run leaves."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.gallery import Gallery
from storyjax.story import captions, film_pass, pipeline, stages
from storyjax.story.export.document import NAME
from storyjax.story.options import StoryOptions
from storyjax.story.pipeline import Done, make_story
from storyjax.story.rows import BROKEN
from storyjax.story.store import Story
from tests.story.toy_films import BLUE, GREEN, RED, ToyNetworks, colour_of, write_film

SHOTS = [(2.0, [(RED, 5)]), (1.5, [(RED, 5), (GREEN, 60)]), (2.0, []), (1.5, [(BLUE, 30)])]


def make_gallery(folder: Path, **people: tuple[int, int, int]) -> Path:
    gallery = Gallery(folder)
    for name, colour in people.items():
        entry = gallery.create(name, "person")
        gallery.learn(entry, "face", "colours", colour_of(np.full((2, 2, 3), colour, np.uint8))[None], "photo")
    return folder


def tell(films: Any, out: Path, **options: Any) -> Done:
    asked = StoryOptions(models="off", **options)
    return make_story(films, out, asked, networks=ToyNetworks(asked))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "one.mp4", SHOTS)


def seen_in(out: Path, name: str) -> list[tuple[str, float, float]]:
    with Story.open(out) as story:
        names = {entity.id: entity.name for entity in story.entities()}
        return [
            (names[one.entity], round(one.start_s, 1), round(one.end_s, 1))
            for one in story.appearances(story.film(name).id)
        ]


def dump(out: Path) -> list[str]:
    """The tables as SQL, without what is of the clock."""
    db = sqlite3.connect(out / "story.sqlite")
    db.execute("UPDATE stages SET done_at = '', cpu_s = 0")
    return list(db.iterdump())


def test_shots_tracks_and_names_of_a_film(film: Path, tmp_path: Path) -> None:
    gallery = make_gallery(tmp_path / "gallery", Ana=RED, Ben=GREEN)
    done = tell([film], tmp_path / "story", gallery=gallery)
    assert done.films == ["one"]
    with Story.open(tmp_path / "story") as story:
        (row,) = story.films()
        assert (row.state, row.has_audio, row.width, row.path) == ("done", False, 96, f"../{_relative(film, tmp_path)}")
        assert [round(shot.start_s, 1) for shot in story.shots(row.id)] == [0.0, 2.0, 3.5, 5.5]
        assert all(shot.still is not None for shot in story.shots(row.id))
        tracks = story.tracks(row.id)
        assert [(track.kind, track.category) for track in tracks] == [("person", "person")] * 4
        box = story.boxes(tracks[0].id)[0]
        assert box[1:5] == pytest.approx([5 / 96, 20 / 64, 24 / 96, 24 / 64], abs=0.03)
        assert len(story.vectors("frame", "colours", row.id)) == 8
    assert sorted(seen_in(tmp_path / "story", "one")) == [("Ana", 0.0, 3.5), ("Ben", 2.0, 3.5), ("Person 1", 5.5, 7.0)]
    assert (tmp_path / "story" / NAME).is_file()


def _relative(film: Path, tmp_path: Path) -> str:
    return f"../{film.parent.name}/{film.name}" if film.parent.parent == tmp_path.parent else str(film)


def test_only_what_is_new_or_changed_is_done(film: Path, tmp_path: Path) -> None:
    gallery = make_gallery(tmp_path / "gallery", Ana=RED)
    out = tmp_path / "story"
    tell([film], out, gallery=gallery)
    assert tell([film], out, gallery=gallery).stages == []
    make_gallery(gallery, Cleo=BLUE)
    assert [name for _, name in tell([film], out, gallery=gallery).stages] == ["names", "appearances"]
    assert ("Cleo", 5.5, 7.0) in seen_in(out, "one")
    other = write_film(tmp_path / "two.mp4", SHOTS[:1])
    done = tell([film, other], out, gallery=gallery)
    assert {name for name, _ in done.stages} == {"two"}
    assert seen_in(out, "two") == [("Ana", 0.0, 2.0)]
    write_film(other, SHOTS[3:])  # another film of that name
    tell([film, other], out, gallery=gallery)
    assert seen_in(out, "two") == [("Cleo", 0.0, 1.5)]


def test_a_group_keeps_its_name_over_films_and_runs(film: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "story", write_film(tmp_path / "two.mp4", SHOTS[3:])
    tell([film, other], out)
    before = seen_in(out, "one")
    assert seen_in(out, "two") == [(before[-1][0], 0.0, 1.5)]
    assert {name for name, _, _ in before} == {"Person 1", "Person 2", "Person 3"}
    tell([film, other], out, gallery=make_gallery(tmp_path / "gallery", Ana=GREEN))
    renamed = {name for name, _, _ in seen_in(out, "one")}
    assert renamed == {"Ana", "Person 1", "Person 3"}
    assert seen_in(out, "two") == [(before[-1][0], 0.0, 1.5)]


class Killed(BaseException):
    """Stands for a kill at that moment."""


def _killed(at: int, count: list[int]) -> Callable[..., None]:
    def act(*_: Any, **__: Any) -> None:
        count[0] += 1
        if count[0] == at:
            raise Killed

    return act


@pytest.mark.parametrize("place", ["look", "rows", "stage"])
def test_a_killed_run_goes_on_and_gives_the_same(
    film: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell([film], tmp_path / "whole")
    where = {
        "look": (film_pass.FilmPass, "_look"),
        "rows": (stages, "_copy"),
        "stage": (pipeline, "_hash"),
    }[place]
    original = getattr(*where)
    for at in {"look": (1, 9, 20), "rows": (1,), "stage": (1, 2, 3, 4, 5)}[place]:
        kill = _killed(at, [0])

        def step(*given: Any, kill: Callable[..., None] = kill) -> Any:
            kill()
            return original(*given)

        monkeypatch.setattr(*where, step)
        with pytest.raises(Killed):
            tell([film], tmp_path / "killed")
    monkeypatch.setattr(*where, original)
    tell([film], tmp_path / "killed")
    assert dump(tmp_path / "killed") == dump(tmp_path / "whole")


def test_shots_that_a_killed_run_ended_are_not_looked_at_again(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    original = film_pass.FilmPass._look

    def look(self: film_pass.FilmPass, frame: Any) -> None:
        looked.append(frame.start_s)
        if len(looked) == stop:
            raise Killed
        original(self, frame)

    monkeypatch.setattr(film_pass.FilmPass, "_look", look)
    stop = 0
    tell([film], tmp_path / "whole")
    every, stop = list(looked), len(looked) - 1
    looked.clear()
    with pytest.raises(Killed):
        tell([film], tmp_path / "story")
    stop = 0
    looked.clear()
    tell([film], tmp_path / "story")
    assert looked == [time for time in every if time >= looked[0]]
    assert 0 < len(looked) < len(every)
    looked.clear()
    stop = len(every) - 1
    with pytest.raises(Killed):
        tell([film], tmp_path / "changed")
    stop = 0
    looked.clear()
    tell([film], tmp_path / "changed", fps=2.0)  # other settings: all is done anew
    assert looked[0] == 0.0


def test_shots_have_captions_where_they_are_asked_for(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[float, float]] = []

    def describe(media: Path, part: tuple[float, float]) -> tuple[str, float]:
        assert media == film
        parts.append(part)
        return f" shot {len(parts)} " if len(parts) != 3 else "", 0.25

    monkeypatch.setattr(captions, "load_captioner", lambda options: describe)
    out = tmp_path / "story"
    tell([film], out)
    assert parts == []
    assert ("one", "captions") in tell([film], out, captions=True).stages
    assert [(round(a, 2), round(b, 2)) for a, b in parts] == [(0.05, 1.95), (2.05, 3.45), (3.55, 5.45), (5.55, 6.95)]
    with Story.open(out) as story:
        shown = {one.shot: (one.kind, one.text, one.confidence) for one in story.captions(1)}
        assert list(shown.values()) == [("caption", f"shot {n}", 0.25) for n in (1, 2, 4)]
        assert [shot.number for shot in story.shots(1) if shot.id in shown] == [0, 1, 3]
    assert tell([film], out, captions=True).stages == []
    tell([film], out)
    with Story.open(out) as story:
        assert story.captions(1) == []


def test_broken_films_are_named_and_passed_over(film: Path, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    shutil.copy(film, tmp_path / "films" / "good.mp4")
    (tmp_path / "films" / "bad.mp4").write_bytes(b"no film" * 500)
    done = tell([tmp_path / "films"], tmp_path / "story")
    assert done.films == ["good"]
    assert "bad.mp4" in done.broken["bad"]
    assert any("bad is left out" in line for line in done.lines())
    (tmp_path / "films" / "good.mp4").write_bytes(b"no longer" * 500)
    done = tell([tmp_path / "films"], tmp_path / "story")
    assert done.films == []
    with Story.open(tmp_path / "story") as story:
        assert story.film("good").state == BROKEN


def test_a_film_that_is_cut_short_gives_what_is_there(tmp_path: Path) -> None:
    film = write_film(tmp_path / "cut.avi", [(4.0, [(RED, 5)]), (4.0, [(GREEN, 5)])])
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    assert tell([film], tmp_path / "story").films == ["cut"]
    assert seen_in(tmp_path / "story", "cut")[0][:2] == ("Person 1", 0.0)


def test_films_of_one_name_and_a_folder_that_moves(film: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "here" / folder).mkdir(parents=True)
        shutil.copy(film, tmp_path / "here" / folder / "one.mp4")
    out = tmp_path / "here" / "story"
    assert tell([tmp_path / "here"], out).films == ["a - one.mp4", "b - one.mp4"]
    (tmp_path / "here").rename(tmp_path / "there")
    with Story.open(tmp_path / "there" / "story") as story:
        assert all(story.media(row).is_file() for row in story.films())
    assert tell([tmp_path / "there"], tmp_path / "there" / "story").stages == []


def test_what_a_person_can_get_wrong(film: Path, tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="is not there"):
        tell([tmp_path / "nothing.mp4"], tmp_path / "story")
    with pytest.raises(StoryjaxError, match="--fps is 0"):
        tell([film], tmp_path / "story", fps=0.0)
    with pytest.raises(StoryjaxError, match="--teach writes into a gallery"):
        tell([film], tmp_path / "story", teach=True)
    with pytest.raises(StoryjaxError, match="holds no video"):
        tell([tmp_path], tmp_path / "story")


def test_a_disk_that_is_full_loses_nothing(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, other = tmp_path / "story", write_film(tmp_path / "two.mp4", SHOTS[:1])
    tell([film], out)
    before = seen_in(out, "one")
    original = stages._copy

    def full(*given: Any) -> None:
        original(*given)
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(stages, "_copy", full)
    with pytest.raises(StoryjaxError, match="disk is full"):
        tell([film, other], out)
    assert seen_in(out, "one") == before
    with Story.open(out) as story:
        assert story.tracks(story.film("two").id) == []
