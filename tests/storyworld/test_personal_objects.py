"""Particular things: looks that differ, boxes that fit, words that are true."""

import numpy as np
import pytest

from storyjax.storyworld.draw.personal_objects import (
    COLOURS,
    MARKINGS,
    PERSONAL_KINDS,
    PersonalObject,
    Scene,
    describe,
    draw_personal_objects,
    personal_object_sprite,
    photographs,
    render_scene,
    words,
)
from storyjax.storyworld.story.cast import PLACES


def test_personal_objects_differ_and_are_reproducible() -> None:
    things = draw_personal_objects(30, 0, ("dog", "car", "cup"))
    assert things == draw_personal_objects(30, 0, ("dog", "car", "cup"))
    assert things != draw_personal_objects(30, 1, ("dog", "car", "cup"))
    looks = [(thing.kind, thing.looks) for thing in things]
    assert len(set(looks)) == len(looks)
    assert all(thing.name != thing.kind for thing in things)


@pytest.mark.parametrize("kind", PERSONAL_KINDS)
def test_colour_and_marking_can_be_seen(kind: str) -> None:
    plain = personal_object_sprite(PersonalObject(kind, "red"), 48)
    blue = personal_object_sprite(PersonalObject(kind, "blue"), 48)
    assert (np.abs(plain.ink.astype(int) - blue.ink).sum(-1) > 60).sum() > 60
    for marking in MARKINGS[1:]:
        marked = personal_object_sprite(PersonalObject(kind, "red", marking, "white"), 48)
        assert (np.abs(plain.ink.astype(int) - marked.ink).sum(-1) > 60).sum() > 10


def test_the_box_holds_what_differs_with_the_thing() -> None:
    scene = Scene(PersonalObject("dog", "red"), "park", neighbour="drum", seed=3)
    other = Scene(PersonalObject("dog", "blue"), "park", neighbour="drum", seed=3)
    first, boxes = render_scene(scene, [0.0, 1.5])
    second, again = render_scene(other, [0.0, 1.5])
    assert boxes == again
    for one, two, (left, top, right, bottom) in zip(first, second, boxes, strict=True):
        rows, columns = np.nonzero(np.abs(one.astype(int) - two).sum(-1) > 60)
        assert columns.min() >= left * 96 - 2
        assert columns.max() <= right * 96 + 2
        assert rows.min() >= top * 96 - 2
        assert rows.max() <= bottom * 96 + 2
        assert len(rows) > 100


def test_descriptions_are_true_and_of_known_words() -> None:
    pictures, scenes = photographs(20, 4, size=32)
    assert pictures.shape == (20, 32, 32, 3)
    known = {*words(), *PERSONAL_KINDS, *PLACES, "."}
    rng = np.random.default_rng(0)
    for scene in scenes:
        said = describe(scene, rng).split()
        assert scene.subject.kind in said
        assert not {colour for colour in COLOURS if colour in said} - {scene.subject.colour, scene.subject.second}
        unknown = {word for word in said if word not in known} - {scene.neighbour}
        assert not unknown
