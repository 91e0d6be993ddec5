"""The staging: everybody is where the ground truth says, inside the image, with what is theirs beside them."""

import numpy as np
import pytest

from storyjax.storyworld.render.render import render_frames
from storyjax.storyworld.story.cast import PEOPLE
from storyjax.storyworld.story.stage import placements, shot_at
from storyjax.storyworld.story.story import make_story


@pytest.fixture(scope="module")
def story():
    return make_story(11)


def _moments(story):
    return [start + share * (end - start) for start, end in _spans(story) for share in (0.1, 0.5, 0.9)]


def _spans(story):
    return [(event.start, event.end) for event in story.events]


def test_every_person_and_thing_has_a_box_in_the_image(story):
    for seconds in _moments(story):
        shot = shot_at(story, seconds)
        found = placements(shot)
        performances = story.event_at(seconds).performances
        assert sorted(p.name for p in found if p.kind == "person") == sorted(p.person for p in performances)
        things = [(p.performer, p.name) for p in found if p.kind == "thing"]
        assert sorted(things) == sorted((p.person, p.thing) for p in performances if p.thing is not None)
        for placement in found:
            x0, y0, x1, y1 = placement.box
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            assert (x1 - x0) * (y1 - y0) > 0.01


def test_a_persons_box_holds_their_shirt(story):
    """Pixels of the colour of somebody's shirt lie within their box, apart from the little that the background has."""
    size = 128
    for seconds in _moments(story):
        shot = shot_at(story, seconds)
        frame = render_frames(story, [seconds], size)[0].astype(float) / shot.light
        for placement in placements(shot, size):
            if placement.kind != "person":
                continue
            near = np.abs(frame - np.array(PEOPLE[placement.name].shirt)).max(-1) < 30
            x0, y0, x1, y1 = (round(v * size) for v in placement.box)
            inside = near[y0:y1, x0:x1]
            assert inside.mean() > 0.01, (seconds, placement)
            assert inside.mean() > 2 * (near.sum() - inside.sum()) / (near.size - inside.size), (seconds, placement)


def test_two_performers_stand_apart_and_act_outwards():
    """So that it is plain which of them does what: each thing is on its performer's side of the image."""
    pairs = 0
    for seed in range(5):
        story = make_story(seed)
        for event in story.events:
            if len(event.performances) < 2:
                continue
            pairs += 1
            shot = shot_at(story, (event.start + event.end) / 2)
            found = placements(shot)
            middles = {(p.performer, p.kind): (p.box[0] + p.box[2]) / 2 for p in found}
            sides = {p.performance.person: p.x > 0.5 for p in shot.figures}
            assert sorted(sides.values()) == [False, True]
            for (performer, kind), middle in middles.items():
                assert (middle > 0.5) == sides[performer], (event, performer, kind)
                person = middles[(performer, "person")]
                assert abs(middle - 0.5) > abs(person - 0.5) - 0.03, (event, performer, kind)
    assert pairs > 10


def test_left_and_right_say_nothing_about_who_leads():
    left = []
    for seed in range(30):
        story = make_story(seed)
        for event in story.events:
            if len(event.performances) == 2:
                left.append(shot_at(story, event.start).figures[0].x < 0.5)
    assert 0.35 < np.mean(left) < 0.65


def test_a_journey_shows_where_it_leads(story):
    for event in story.events:
        shot = shot_at(story, event.start)
        assert shot.event is event
        assert shot.road == (event.role == "travel")
    assert shot_at(story, story.duration + 5).event is story.events[-1]
