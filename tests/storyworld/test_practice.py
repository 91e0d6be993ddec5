"""Exercises for times and sequences: the note answers what is asked, and the story bears it out."""

import numpy as np
import pytest

from storyjax.data.prompts import spread, timestamps
from storyjax.embedded.sequence_tasks import (
    BINS,
    FUTURE,
    KINDS,
    MAX_EXTRA,
    NOTE_ACTIONS,
    OBSERVED,
    SequenceExample,
    draw_cut,
    draw_examples,
)
from storyjax.storyworld.story.language import NOTE_WORDS, sentence, verb_phrase
from storyjax.storyworld.story.routines import action, routine
from storyjax.storyworld.story.story import Story, make_story


def one(kind: str, story: Story, seed: int = 0, shown: int | None = None) -> SequenceExample:
    return draw_examples(story, {kind: 1.0}, 1, np.random.default_rng(seed), shown)[0]


def so_far(asked: SequenceExample) -> list[str]:
    """The actions that a prompt tells."""
    return asked.prompt.partition("Actions: ")[2].removesuffix(",").split(", ")


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
    all_told = so_far(asked) + asked.target.split(", ")
    assert len(all_told) == OBSERVED + FUTURE
    assert f"{len(all_told)} actions" in asked.prompt
    times = asked.condition[0::2]
    first = next(i for i, event in enumerate(story.events) if event.start == times[0])
    assert said[first : first + len(all_told)] == all_told
    assert asked.condition[1::2] == tuple(all_told[:OBSERVED])
    assert asked.note == " ".join(all_told[OBSERVED : OBSERVED + NOTE_ACTIONS])
    assert [start for start, _ in asked.spans] == [e.start for e in story.events[first + OBSERVED :][:NOTE_ACTIONS]]


def test_actions_are_asked_for_from_the_beginning_and_one_by_one() -> None:
    targets = [len(one("actions", routine(2), seed).target.split(", ")) for seed in range(40)]
    assert set(targets) <= set(range(FUTURE - MAX_EXTRA, FUTURE + 1))
    assert 10 < targets.count(FUTURE) < 30


@pytest.mark.parametrize("seed", range(30))
def test_the_note_of_a_truncated_video_covers_what_was_seen_before(seed: int) -> None:
    story = routine(seed)
    said = [" ".join(action(e.lead, e.place)) for e in story.events]
    shown = draw_cut(story, np.random.default_rng(seed))
    asked = one("actions", story, seed, shown)
    first = next(i for i, event in enumerate(story.events) if event.start == asked.condition[0])
    assert first + OBSERVED <= shown  # what is observed is seen
    ahead = said[first + OBSERVED :][:NOTE_ACTIONS]
    known = [name in said[:shown] for name in ahead]
    told = ahead[: known.index(False)] if False in known else ahead
    assert asked.note == " ".join(told)
    assert [said[round(start / 1.5)] for start, _ in asked.spans] == told
    assert all(end <= story.events[shown - 1].end for _, end in asked.spans)


def test_half_of_the_videos_end_after_what_is_observed() -> None:
    story = routine(4)
    last = [one("actions", story, seed, 10).condition[2] == story.events[9].start for seed in range(60)]
    assert 20 < sum(last) < 50
    lengths = [draw_cut(story, np.random.default_rng(seed)) for seed in range(200)]
    assert (min(lengths), max(lengths)) == (OBSERVED, len(story.events) - FUTURE)


def test_moments_are_of_whole_videos() -> None:
    with pytest.raises(ValueError, match="breaks off"):
        one("moments", routine(0), shown=4)


def test_a_story_that_is_no_routine_has_actions_ahead_too() -> None:
    story = make_story(3)
    for seed in range(20):
        asked = one("actions", story, seed)
        assert len(asked.note.split()) == NOTE_WORDS
        assert asked.target.replace(",", "").startswith(asked.note)


def test_a_grounded_sentence_has_its_own_times() -> None:
    story = make_story(3)
    asked = one("grounding", story)
    event = next(e for e in story.events if sentence(e) == asked.condition[0])
    assert asked.note == f"{round(event.start)} {round(event.end)}"
    assert asked.target == f"<extra_id_0> {round(event.start)} <extra_id_1> {round(event.end)}"


def test_what_is_hidden_completes_the_sentence() -> None:
    story = make_story(4)
    asked = one("filling", story)
    kept = asked.prompt.split(maxsplit=2)[2].removesuffix("<extra_id_0>")
    whole = kept + asked.target.removeprefix("<extra_id_0> ")
    assert whole in [sentence(e) for e in story.events]


def test_kinds_are_drawn_by_their_fractions() -> None:
    drawn = draw_examples(routine(5), {"moments": 0.8, "actions": 0.2}, 50, np.random.default_rng(0))
    counts = {kind: sum(one.kind == kind for one in drawn) for kind in KINDS}
    assert counts["moments"] > counts["actions"] > 0
    assert counts["moments"] + counts["actions"] == 50


def test_stamps_are_evenly_taken() -> None:
    assert spread([3, 4, 5], 8) == [3, 4, 5]
    assert spread(list(range(1, 17)), 4) == [1, 6, 11, 16]
    assert timestamps([(0.0, 1.0), (9.0, 10.0)], 10.0, 20) == [1, 2, 19, 20]
