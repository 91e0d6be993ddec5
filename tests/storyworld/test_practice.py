"""Exercises for times and sequences: the note answers what is asked, and the story bears it out."""

import numpy as np
import pytest

from storyjax.data.prompts import spread, timestamps
from storyjax.storyworld.language import NOTE_WORDS, sentence, verb_phrase
from storyjax.storyworld.practice import BINS, FUTURE, KINDS, OBSERVED, Practice, practise
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


def test_the_actions_ahead_begin_with_those_of_the_note() -> None:
    story = routine(2)
    asked = one("actions", story)
    said = [" ".join(action(e.lead, e.place)) for e in story.events]
    ahead = asked.target.split(", ")
    assert len(ahead) == FUTURE
    assert " ".join(ahead[: NOTE_WORDS // 2]) == asked.note
    first = next(i for i in range(len(said)) if said[i + OBSERVED : i + OBSERVED + FUTURE] == ahead)
    assert asked.condition[1::2] == tuple(said[first + OBSERVED - 3 : first + OBSERVED])
    assert asked.condition[0::2] == tuple(e.start for e in story.events[first + OBSERVED - 3 : first + OBSERVED])
    assert asked.spans[0][0] == story.events[first + OBSERVED].start


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
