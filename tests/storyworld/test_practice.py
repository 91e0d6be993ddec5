"""Exercises for times and sequences: the note answers what is asked, and the story bears it out."""

import numpy as np
import pytest

from storyjax.data.prompts import spread, timestamps
from storyjax.storyworld.language import NOTE_WORDS, sentence, verb_phrase
from storyjax.storyworld.practice import BINS, FUTURE, KINDS, LATEST, OBSERVED, TOLD, Practice, practise
from storyjax.storyworld.routines import action, routine
from storyjax.storyworld.story import Story, tell


def one(kind: str, story: Story, seed: int = 0) -> Practice:
    return practise(story, {kind: 1.0}, 1, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("seed", range(4))
def test_moments_are_all_the_times_of_an_action(seed: int) -> None:
    story = routine(seed)
    asked = one("moments", story, seed)
    wanted = [e for e in story.events if verb_phrase(e.lead, "gerund") == asked.condition[0]]
    assert list(asked.spans) == [(e.start, e.end) for e in wanted]
    assert len(wanted) >= 5
    stamps = list(map(int, asked.note.split()))
    assert stamps == sorted(stamps)
    assert len(stamps) == NOTE_WORDS
    seconds = [(stamp - 0.5) * story.duration / BINS for stamp in stamps]
    width = story.duration / BINS
    assert all(any(s - width < t < e + width for s, e in asked.spans) for t in seconds)
    assert sorted(map(int, asked.target.split())) == stamps


def test_a_query_is_for_the_first_time_alone() -> None:
    story = routine(1)
    asked = one("queries", story)
    (span,) = asked.spans
    first = next(e for e in story.events if f" {verb_phrase(e.lead, 'base')} ?" in asked.condition[0])
    assert span == (first.start, first.end)
    assert list(map(int, asked.note.split())) == spread(timestamps([span], story.duration, BINS), NOTE_WORDS)


@pytest.mark.parametrize("seed", range(6))
def test_the_actions_ahead_begin_with_those_of_the_note(seed: int) -> None:
    story = routine(2)
    asked = one("actions", story, seed)
    said = [" ".join(action(e.lead, e.place)) for e in story.events]
    so_far = asked.prompt.partition("Actions: ")[2].removesuffix(",").split(", ")
    all_told = so_far + asked.target.split(", ")
    assert len(all_told) == OBSERVED + FUTURE
    assert f"{len(all_told)} actions" in asked.prompt
    times = asked.condition[0::2]
    first = next(i for i, event in enumerate(story.events) if event.start == times[0])
    assert said[first : first + len(all_told)] == all_told
    assert asked.condition[1::2] == tuple(all_told[:OBSERVED])
    assert asked.note == " ".join(all_told[OBSERVED : OBSERVED + TOLD])
    assert [start for start, _ in asked.spans] == [e.start for e in story.events[first + OBSERVED :][:TOLD]]


def test_actions_are_asked_for_from_the_beginning_and_one_by_one() -> None:
    targets = [len(one("actions", routine(2), seed).target.split(", ")) for seed in range(40)]
    assert set(targets) <= set(range(FUTURE - LATEST, FUTURE + 1))
    assert 10 < targets.count(FUTURE) < 30


def test_a_story_that_is_no_routine_has_actions_ahead_too() -> None:
    story = tell(3)
    for seed in range(20):
        asked = one("actions", story, seed)
        assert len(asked.note.split()) == NOTE_WORDS
        assert asked.target.replace(",", "").startswith(asked.note)


def test_a_grounded_sentence_has_its_own_times() -> None:
    story = tell(3)
    asked = one("grounding", story)
    event = next(e for e in story.events if sentence(e) == asked.condition[0])
    assert asked.note == f"{round(event.start)} {round(event.end)}"
    assert asked.target == f"<extra_id_0> {round(event.start)} <extra_id_1> {round(event.end)}"


def test_what_is_hidden_completes_the_sentence() -> None:
    story = tell(4)
    asked = one("filling", story)
    kept = asked.prompt.split(maxsplit=2)[2].removesuffix("<extra_id_0>")
    whole = kept + asked.target.removeprefix("<extra_id_0> ")
    assert whole in [sentence(e) for e in story.events]


def test_kinds_come_up_by_their_shares() -> None:
    drawn = practise(routine(5), {"moments": 0.8, "actions": 0.2}, 50, np.random.default_rng(0))
    counts = {kind: sum(one.kind == kind for one in drawn) for kind in KINDS}
    assert counts["moments"] > counts["actions"] > 0
    assert counts["moments"] + counts["actions"] == 50


def test_stamps_are_evenly_taken() -> None:
    assert spread([3, 4, 5], 8) == [3, 4, 5]
    assert spread(list(range(1, 17)), 4) == [1, 6, 11, 16]
    assert timestamps([(0.0, 1.0), (9.0, 10.0)], 10.0, 20) == [1, 2, 19, 20]
