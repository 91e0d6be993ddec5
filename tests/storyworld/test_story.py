"""The story model keeps its promises: seeded, coherent, without ambiguity."""

import itertools

import numpy as np
import pytest

from storyjax.embedded.alignment_prompts import KINDS, draw, requests
from storyjax.storyworld.story.cast import PEOPLE, phrases
from storyjax.storyworld.story.language import (
    cast_note,
    cast_sentence,
    clause,
    narration,
    note,
    part_note,
    sentence,
    verb_phrase,
)
from storyjax.storyworld.story.story import Performance, StoryStyle, make_story
from storyjax.storyworld.story.vocabulary import vocabulary

SEEDS = range(200)


def test_same_seed_same_story() -> None:
    assert make_story(7) == make_story(7)
    assert make_story(7) != make_story(8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_events_follow_one_another_without_gaps(seed: int) -> None:
    story = make_story(seed)
    assert story.events[0].start == 0
    assert all(a.end == b.start and a.end > a.start for a, b in itertools.pairwise(story.events))
    assert story.event_at(story.events[3].start + 0.01) is story.events[3]
    assert story.event_at(1e9) is story.events[-1]


def test_no_doing_occurs_twice_and_everybody_appears() -> None:
    for seed in SEEDS:
        story = make_story(seed)
        done = [p.phrase for event in story.events if event.role != "travel" for p in event.performances]
        assert len(done) == len(set(done))
        seen = {p.person for event in story.events for p in event.performances}
        assert seen == {person.name for person in story.cast}


def test_reactions_follow_their_mishaps_by_somebody_else() -> None:
    for seed in SEEDS:
        story = make_story(seed)
        for event in story.events:
            assert (event.cause is not None) == (event.role == "reaction")
            if event.cause is not None:
                cause = story.events[event.cause]
                assert cause.role == "mishap"
                assert cause.end == event.start
                assert cause.lead.person != event.lead.person
                assert cause.place == event.place


def test_unseen_people_stay_unseen_unless_asked_for() -> None:
    known = {person.name for person in PEOPLE.values() if person.known}
    assert all({person.name for person in make_story(seed).cast} <= known for seed in SEEDS)
    mixed = [make_story(seed, StoryStyle(known_people=False)) for seed in range(20)]
    assert any({person.name for person in story.cast} - known for story in mixed)
    assert [person.name for person in make_story(0, StoryStyle(names=("ivy", "sam"))).cast] == ["ivy", "sam"]


def test_every_word_is_in_the_vocabulary() -> None:
    words = set(vocabulary())
    assert len(words) == len(vocabulary())
    for seed in range(50):
        story = make_story(seed)
        said = [narration(story), cast_sentence(story), *(request.text for request in requests(story))]
        said += [line.text for line in story.lines]
        assert set(" ".join(said).split()) <= words


def _ways(performance: Performance) -> tuple[str, str]:
    return clause(performance), f"who {verb_phrase(performance)}"


def test_requests_name_the_moment_they_ask_for() -> None:
    story = make_story(3)
    parts = [(event, first.person) for event in story.events for first in event.performances]
    told = {note(event, person): (event, person) for event, person in parts}
    alone = {part_note(event, person): (event, person) for event, person in parts}
    for request in requests(story):
        if request.span is None:
            assert request.note == cast_note(story)
            continue
        # A question is answered by the part of one performer alone.
        event, first = (alone if request.kind == "question" else told)[request.note]
        assert request.span == (event.start, event.end)
        assert request.sentence == sentence(event, first)
        if request.kind in ("after", "before"):
            ahead = request.named[1] <= request.span[0]
            assert ahead == (request.kind == "after")
        if request.kind in ("that", "while", "trip"):
            assert request.named == request.span
        if request.kind in ("time", "after", "before", "while"):
            assert event.role == "travel" or request.text.split()[0] == first
        if request.kind == "that":
            assert any(said in request.text for p in event.performances if p.person == first for said in _ways(p))
    drawn = draw(story, {"time": 1.0, "people": 1.0}, 40, np.random.default_rng(0))
    assert {request.kind for request in drawn} == {"time", "people"}
    assert {request.kind for request in requests(story)} <= set(KINDS)


def test_there_are_enough_doings_for_every_event_and_for_wrong_options() -> None:
    # 15 events less two trips and two mishap–reaction pairs, each with a companion, and four things nobody did.
    assert len(phrases("neutral")) >= 2 * 9 + 4
    assert len(phrases("mishap")) >= 2 + 4
