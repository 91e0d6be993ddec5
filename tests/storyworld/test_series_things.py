"""Things in a series: where they are, that nothing else changes, and what the truth says of people and things."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from storyjax.storyworld.draw.personal_objects import PersonalObject
from storyjax.storyworld.export.series import episode_cast, held_out_episode, training_episode, truth_of
from storyjax.storyworld.export.series_things import THINGS
from storyjax.storyworld.render.episode_video import FPS, SIZE, episode_frames, shot_boxes
from storyjax.storyworld.story.belongings import Belonging


@pytest.fixture(scope="module")
def episodes():
    """An episode without and with things."""
    return held_out_episode(2, 30.0), held_out_episode(2, 30.0, things=True)


def frame(episode, seconds: float) -> np.ndarray:
    """Returns the image at a time (seconds)."""
    return next(episode_frames(episode, [round(seconds * FPS)])).astype(int)


def test_things_change_nothing_but_the_pixels_that_they_cover(episodes) -> None:
    plain, furnished = episodes
    assert [replace(shot, things=()) for shot in furnished.shots] == list(plain.shots)
    assert replace(furnished, shots=()) == replace(plain, shots=())
    shot = next(shot for shot in furnished.shots if len(shot.figures) == 1 and len(shot.things) == 1)
    ((left, top, right, bottom),) = shot_boxes(shot)[1]
    middle = (shot.start + shot.end) / 2
    changed = (frame(plain, middle) != frame(furnished, middle)).any(axis=-1)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / SIZE
    assert np.abs(found - (left, top, right, bottom)).max() <= 1.5 / SIZE


def test_things_are_beside_their_owner_beside_others_and_alone() -> None:
    shots = [shot for number in (1, 2, 3) for shot in held_out_episode(number, 30.0, things=True).shots]
    cast = [({figure.name for figure in shot.figures}, placed.owner) for shot in shots for placed in shot.things]
    assert any(owner in people for people, owner in cast)
    assert any(people and owner not in people for people, owner in cast)
    assert any(not people for people, _ in cast)
    assert 0.3 < np.mean([bool(shot.things) for shot in shots]) < 0.8
    assert {placed.thing.name for shot in shots for placed in shot.things} <= {b.thing.name for b in THINGS}


def test_no_thing_to_learn_from_looks_like_one_of_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    alike, other = replace(THINGS[0].thing, name="kite"), PersonalObject("hat", "red", name="drum")

    def draw(owners: Sequence[str], count: int, seed: int) -> tuple[Belonging, ...]:
        return tuple(Belonging(owner, thing) for owner in owners for thing in (alike, other))

    monkeypatch.setattr("storyjax.storyworld.export.series.draw_belongings", draw)
    shots = training_episode(3, 20.0, things=True).shots
    assert {placed.thing for shot in shots for placed in shot.things} == {other}


def test_boxes_of_people_are_where_people_are(episodes) -> None:
    plain = episodes[0]
    shot = next(shot for shot in plain.shots if len(shot.figures) == 2)
    first, second = shot_boxes(shot)[0]
    middle = (shot.start + shot.end) / 2
    shots = list(plain.shots)
    shots[plain.shots.index(shot)] = replace(shot, figures=())
    changed = (frame(plain, middle) != frame(replace(plain, shots=tuple(shots)), middle)).any(axis=-1)
    halves = {"left": changed[:, : SIZE // 2], "right": changed[:, SIZE // 2 :]}
    for box, half, offset in ((first, halves["left"], 0), (second, halves["right"], SIZE // 2)):
        rows, columns = np.flatnonzero(half.any(axis=1)), np.flatnonzero(half.any(axis=0)) + offset
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / SIZE
        assert np.abs(found - box).max() <= 2.5 / SIZE  # whoever speaks nods by a pixel


def test_the_truth_says_who_and_what_is_where(episodes) -> None:
    listed = [c.name for c in episode_cast(2)]
    truth = truth_of(episodes[1], listed)
    assert [(s["start"], s["end"], s["place"]) for s in truth["shots"]] == [
        (round(s.start, 3), round(s.end, 3), s.place) for s in episodes[1].shots
    ]
    people = [person for shot in truth["shots"] for person in shot["people"]]
    assert {p["name"] for p in people if p["listed"]} <= {name.capitalize() for name in listed}
    assert [p["name"] for p in people if not p["listed"]]  # the extra
    things = [thing for shot in truth["shots"] for thing in shot["things"]]
    known = {b.thing.name.capitalize(): (b.thing.kind, b.owner.capitalize()) for b in THINGS}
    assert things
    assert all((thing["category"], thing["owner"]) == known[thing["name"]] for thing in things)
    for one in (*people, *things):
        left, top, right, bottom = one["box"]
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
    said = [line for line in truth["lines"] if line["visible"]]
    for line in said[:5]:
        shot = next(s for s in truth["shots"] if s["start"] <= (line["start"] + line["end"]) / 2 < s["end"])
        assert line["speaker"] in {p["name"] for p in shot["people"]}
