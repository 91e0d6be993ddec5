"""Corrections: done at once, kept through re-runs, taught to the gallery, undone."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.gallery import Gallery
from storyjax.story.appearances import store_appearances
from storyjax.story.corrections.correct import Corrector, apply_corrections
from storyjax.story.rows import Entity, Track, Utterance, Vector
from storyjax.story.store import Story, add_boxes
from tests.story.small_story import ANA, BEN, CHIA, SEEN, SOMEBODY, SPOKEN, make_story
from tests.story.test_story_pipeline import make_gallery, seen_in, tell
from tests.story.toy_films import BLUE, GREEN, RED, write_film

FACE = "net"


def names_of(story: Story) -> dict[float, str | None]:
    """Who every track is of, by the time and the place at which it begins."""
    names = {one.id: one.name for one in story.entities()}
    return {
        (round(track.start_s), round(float(story.boxes(track.id)[0, 1]), 1)): names.get(track.entity)
        for track in story.tracks(1)
    }


def speakers_of(story: Story) -> dict[float, str]:
    return {round(line.start_s): line.label for line in story.utterances(1)}


def analyse_again(story: Story, seed: int) -> None:
    """What a re-run does: other numbers and ids, times and boxes a little off, and the names that it found at first."""
    rng = random.Random(seed)
    (film,) = story.films()
    with story.transaction() as db:
        db.execute("DELETE FROM vectors")
        db.execute("DELETE FROM appearances")
        db.execute("DELETE FROM tracks")
        db.execute("DELETE FROM utterances")
        known = {one.gallery: one.id for one in story.entities() if one.gallery}
        facts = {ANA: ("Ana", "a"), BEN: ("Ben", "b"), CHIA: ("Chia", "c"), SOMEBODY: ("Person 1", None)}
        ids: dict[int, int] = {}

        def entity(key: int) -> int:
            name, letter = facts[key]
            kind = "thing" if key == CHIA else "person"
            gallery = None if letter is None else letter * 32
            if key not in ids:
                names = {one.name for one in story.entities()}
                free = name if name not in names else f"Person {10 + seed % 7}"
                ids[key] = known.get(gallery) or story.add(
                    db, Entity(0, kind, free, "dog" if key == CHIA else None, gallery)
                )
            return ids[key]

        for number, (who, start, end, left) in enumerate(rng.sample(SEEN, len(SEEN))):
            off = rng.uniform(-0.2, 0.2)
            start, end = max(0.0, start + off), end + rng.uniform(-0.2, 0.2)
            kind = "thing" if who == CHIA else "person"
            track = story.add(
                db, Track(0, film.id, 50 + number, 1, kind, None, start, end, entity(who), 0.8, model="mqt")
            )
            times = np.arange(start, end, 0.4)
            add_boxes(db, track, [(time, left + rng.uniform(-0.02, 0.02), 0.2, 0.2, 0.6, 0.9) for time in times])
        for number, (start, end, text, who) in enumerate(SPOKEN):
            off = rng.uniform(-0.2, 0.2)
            label = facts[who][0]
            row = Utterance(
                0, film.id, 90 + number, start + off, end + off, text, entity(who), label, 0.8, model="voices"
            )
            story.add(db, row)
        apply_corrections(story, film)
        store_appearances(story, db, film)


def track_at(story: Story, start: float, left: float) -> int:
    for track in story.tracks(1):
        if abs(track.start_s - start) < 0.5 and abs(float(story.boxes(track.id)[0, 1]) - left) < 0.1:
            return track.id
    raise AssertionError((start, left))


def correct(story: Story, action: str, place: int) -> None:
    """One of several corrections; what cannot be done to the story as it is, is left."""
    corrector = Corrector(story)
    entities = story.entities("person")
    track = story.tracks(1)[place % len(story.tracks(1))]
    line = story.utterances(1)[place % len(story.utterances(1))]
    try:
        if action == "rename":
            corrector.rename(entities[place % len(entities)].id, f"Dora {place}")
        elif action == "merge":
            corrector.merge(entities[place % len(entities)].id, entities[(place + 1) % len(entities)].id)
        elif action == "assign":
            corrector.assign_track(track.id, "Emil" if track.kind == "person" else "Rex")
        elif action == "split":
            middle = (track.start_s + track.end_s) / 2
            corrector.assign_track(track.id, "Fritz" if track.kind == "person" else "Rex", middle, track.end_s)
        elif action == "say":
            corrector.assign_line(line.id, entities[(place + 1) % len(entities)].id)
        elif action == "reject":
            corrector.reject_track(track.id)
        else:
            corrector.reject_line(line.id)
    except StoryjaxError:
        pass


ACTIONS = st.tuples(
    st.sampled_from(["rename", "merge", "assign", "split", "say", "reject", "unsay"]), st.integers(0, 30)
)


@settings(max_examples=10, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_corrections_give_the_same_names_after_a_rerun(tmp_path_factory, actions, seed) -> None:
    with make_story(tmp_path_factory.mktemp("s") / "story") as story:
        for action, place in actions:
            correct(story, action, place)
        names, speakers = names_of(story), speakers_of(story)
        named = {key: name for key, name in names.items() if not (name or "").startswith("Person")}
        said = {key: name for key, name in speakers.items() if not name.startswith("Person")}
        analyse_again(story, seed)
        assert named.items() <= names_of(story).items()
        assert said.items() <= speakers_of(story).items()


@settings(max_examples=6, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=1, max_size=4))
def test_undoing_all_corrections_gives_the_story_of_before(tmp_path_factory, actions) -> None:
    folder = tmp_path_factory.mktemp("s")
    with make_story(folder / "story") as story:
        (film,) = story.films()
        with story.transaction() as db:
            store_appearances(story, db, film)

        def everything() -> list:
            tables = ("entities", "tracks", "boxes", "utterances")
            return [story.db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables]

        before = everything()
        for action, place in actions:
            correct(story, action, place)
        while story.corrections():
            Corrector(story).undo()
        assert everything() == before
        with pytest.raises(StoryjaxError, match="no correction to undo"):
            Corrector(story).undo()


def test_who_was_rejected_is_never_given_again(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        Corrector(story).reject_track(track_at(story, 20, 0.1))
        assert names_of(story)[20, 0.1] is None
        assert [a.start_s for a in story.appearances(1, BEN)] == [4.0]
        analyse_again(story, 3)
        assert names_of(story)[20, 0.1] is None
        assert names_of(story)[4, 0.6] == "Ben"


def test_a_span_of_a_track_is_split_off_with_its_boxes_and_vectors(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        track = track_at(story, 20, 0.1)
        with story.transaction() as db:
            for time in (22.0, 30.0, 39.0):
                story.add(db, Vector(0, 1, "face", track, time, FACE, np.eye(3, dtype=np.float32)[0]))
        Corrector(story).assign_track(track, ANA, 25.0, 35.0)
        pieces = sorted(
            (t.start_s, t.end_s, t.entity) for t in story.tracks(1) if 20 <= t.start_s < 40 and t.entity != SOMEBODY
        )
        assert pieces == [(20.0, 25.0, BEN), (25.0, 35.0, ANA), (35.0, 40.0, BEN)]
        middle = track_at(story, 25, 0.1)
        assert story.boxes(middle)[0, 0] == 25.0
        assert story.boxes(middle)[-1, 0] == 34.5
        assert [v.owner == middle for v in story.vectors("face", FACE)] == [False, True, False]
        with pytest.raises(StoryjaxError, match="give a part of it"):
            Corrector(story).assign_track(middle, ANA, 50.0, 55.0)


def with_faces(story: Story, tmp_path: Path) -> Gallery:
    """Faces of all tracks, and a gallery that knows Ana and Ben under the ids of the story."""
    gallery = Gallery(tmp_path / "gallery")
    with story.transaction() as db:
        for track in story.tracks(1):
            vector = np.zeros(8, np.float32)
            vector[track.entity or 0] = 1.0
            story.add(db, Vector(0, 1, "face", track.id, track.start_s, FACE, vector))
        for name, entity in (("Ana", ANA), ("Ben", BEN)):
            entry = gallery.create(name, "person")
            db.execute("UPDATE entities SET gallery = ? WHERE id = ?", (entry.id, entity))
    return gallery


def test_the_gallery_learns_what_is_assigned_and_unlearns_what_is_taken_back(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        gallery = with_faces(story, tmp_path)
        corrector = Corrector(story, gallery)
        unknown = track_at(story, 23, 0.6)
        corrector.assign_track(unknown, ANA)
        ana = gallery.get("Ana")
        assert [e.source for e in gallery.evidence(ana)] == ["film:garden#track 5"]
        assert gallery.vectors("face", FACE)[ana.id][0, SOMEBODY] == 1.0
        corrector.reject_track(unknown)
        assert gallery.evidence(gallery.get("Ana")) == ()
        corrector.undo()
        assert [e.source for e in gallery.evidence(gallery.get("Ana"))] == ["film:garden#track 5"]
        corrector.undo()
        assert gallery.evidence(gallery.get("Ana")) == ()
        assert names_of(story)[23, 0.6] == "Person 1"


def test_a_named_group_becomes_an_entry_of_the_gallery(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        gallery = with_faces(story, tmp_path)
        corrector = Corrector(story, gallery)
        corrector.rename(SOMEBODY, "Dora")
        dora = gallery.get("Dora")
        assert dora.counts["face"] == 1
        assert [one.gallery for one in story.entities() if one.name == "Dora"] == [dora.id]
        assert speakers_of(story)[24] == "Dora"
        corrector.undo()
        assert [entry.name for entry in gallery.entries()] == ["Ana", "Ben"]
        assert speakers_of(story)[24] == "Person 1"


def test_renaming_and_merging_change_the_gallery_and_come_back(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        gallery = with_faces(story, tmp_path)
        corrector = Corrector(story, gallery)
        corrector.rename(ANA, "Anna")
        assert [entry.name for entry in gallery.entries()] == ["Anna", "Ben"]
        assert speakers_of(story)[2] == "Anna"
        corrector.assign_track(track_at(story, 0, 0.1), ANA)
        corrector.merge(ANA, BEN)
        assert [entry.name for entry in gallery.entries()] == ["Ben"]
        assert set(speakers_of(story).values()) == {"Ben", "Person 1"}
        corrector.undo()
        assert [entry.name for entry in gallery.entries()] == ["Anna", "Ben"]
        assert gallery.get("Anna").counts["face"] == 1
        (anna,) = [one for one in story.entities() if one.name == "Anna"]
        assert anna.gallery == gallery.get("Anna").id


def test_the_pipeline_keeps_what_was_corrected_and_finds_it_in_other_films(tmp_path: Path) -> None:
    film = write_film(tmp_path / "one.mp4", [(1.5, [(GREEN, 60)]), (1.5, [(BLUE, 30)])])
    gallery, out = make_gallery(tmp_path / "gallery", Ana=RED, Ben=GREEN), tmp_path / "story"
    tell([film], out, gallery=gallery)
    assert seen_in(out, "one") == [("Ben", 0.0, 1.5), ("Person 1", 1.5, 3.0)]
    with Story.open(out) as story:
        assert story.meta()["gallery"] == "../gallery"
        corrector = Corrector(story, Gallery(gallery))
        (group,) = [one.id for one in story.entities() if not one.named]
        corrector.rename(group, "Dora")
        corrector.assign_track(story.tracks(1)[0].id, "Zoe")
    other = write_film(tmp_path / "two.mp4", [(1.5, [(BLUE, 10)])])
    tell([film, other], out, gallery=gallery, fps=4.0)  # another rate: all tracks anew
    assert seen_in(out, "one") == [("Zoe", 0.0, 1.5), ("Dora", 1.5, 3.0)]
    assert seen_in(out, "two") == [("Dora", 0.0, 1.5)]
    with Story.open(out) as story:
        assert "run 'storyjax story' again" in Corrector(story, Gallery(gallery)).undo()
    tell([film, other], out, gallery=gallery, fps=4.0)
    assert seen_in(out, "one") == [("Ben", 0.0, 1.5), ("Dora", 1.5, 3.0)]


def test_whoever_was_forgotten_does_not_come_back_by_an_undo(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        Corrector(story).assign_track(track_at(story, 20, 0.1), ANA)
        with story.transaction() as db:
            for table, column in (("appearances", "entity"), ("tracks", "entity"), ("utterances", "speaker")):
                verb = f"DELETE FROM {table}" if table == "appearances" else f"UPDATE {table} SET {column} = NULL"
                db.execute(f"{verb} WHERE {column} = ?", (BEN,))
            db.execute("DELETE FROM entities WHERE id = ?", (BEN,))
        Corrector(story).undo()
        assert names_of(story)[20, 0.1] is None
        assert "Ben" not in [one.name for one in story.entities()]


def test_who_stands_elsewhere_at_that_time_is_somebody_else(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        (film,) = story.films()
        track = track_at(story, 0, 0.1)
        Corrector(story).assign_track(track, "Zoe")
        with story.transaction() as db:
            db.execute('UPDATE boxes SET "left" = 0.7 WHERE track = ?', (track,))
            db.execute("UPDATE tracks SET entity = ?, source = 'auto' WHERE id = ?", (ANA, track))
        apply_corrections(story, film)
        assert "Zoe" not in names_of(story).values()


def test_a_voice_that_nobody_knows_is_named_at_once(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        with story.transaction() as db:
            db.execute("UPDATE utterances SET speaker = NULL, label = 'Speaker 2' WHERE number IN (1, 3)")
        Corrector(story).assign_line(story.utterances(1)[1].id, BEN, whole_voice=True)
        assert [line.number for line in story.utterances(speaker=BEN)] == [1, 3]
        Corrector(story).undo()
        assert [line.label for line in story.utterances(1)].count("Speaker 2") == 2


def test_what_cannot_be_corrected_is_said_and_changes_nothing(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        corrector = Corrector(story, with_faces(story, tmp_path))
        wrong = [
            (lambda: corrector.rename(ANA, "ben"), "there is a Ben already"),
            (lambda: corrector.rename(99, "Zoe"), "no entity number 99"),
            (lambda: corrector.rename(ANA, "  "), "name"),
            (lambda: corrector.merge(ANA, ANA), "one already"),
            (lambda: corrector.merge(ANA, CHIA), "they cannot be one"),
            (lambda: corrector.assign_track(99, ANA), "no track number 99"),
            (lambda: corrector.assign_track(track_at(story, 12, 0.7), ANA), "choose another"),
            (lambda: corrector.assign_line(99, ANA), "no sentence number 99"),
        ]
        before = story.db.execute("SELECT * FROM tracks").fetchall()
        for act, message in wrong:
            with pytest.raises(StoryjaxError, match=message):
                act()
        assert story.corrections() == []
        assert story.db.execute("SELECT * FROM tracks").fetchall() == before
        assert [entry.name for entry in Gallery(tmp_path / "gallery").entries()] == ["Ana", "Ben"]


def test_after_a_rerun_an_undone_correction_is_gone_with_the_next_run(tmp_path: Path) -> None:
    with make_story(tmp_path / "story") as story:
        corrector = Corrector(story)
        corrector.assign_track(track_at(story, 20, 0.1), ANA)
        with story.transaction() as db:
            for name in ("names", "appearances"):
                db.execute("INSERT INTO stages VALUES (1, ?, 'key', '', 'now', 0.0)", (name,))
        analyse_again(story, 5)
        assert "run 'storyjax story' again" in corrector.undo()
        assert story.db.execute("SELECT count(*) FROM stages").fetchone() == (0,)
        analyse_again(story, 6)
        assert names_of(story)[20, 0.1] == "Ben"
