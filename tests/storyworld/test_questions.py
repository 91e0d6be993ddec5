"""Questions are answerable from the story and not from themselves."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from storyjax.storyworld.story.language import notes, verb_phrase
from storyjax.storyworld.story.questions import OPTIONS, TYPES, Question, QuestionStyle, questions
from storyjax.storyworld.story.story import make_story


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    return [question for seed in range(1200) for question in questions(make_story(seed))]


def test_every_type_is_asked_with_five_distinct_options(asked: list[Question]) -> None:
    assert {question.type for question in asked} == set(TYPES)
    assert all(len(set(question.options)) == OPTIONS for question in asked)
    assert all(len(questions(make_story(seed), QuestionStyle(per_type=1))) <= len(TYPES) for seed in range(20))


def test_right_options_are_spread_evenly(asked: list[Question]) -> None:
    places = Counter(question.answer for question in asked)
    assert max(places.values()) < 1.1 * min(places.values())
    counts = Counter(q.options[q.answer] for q in asked if q.type == "DC")
    assert max(counts.values()) < 1.4 * min(counts.values())


def test_next_and_previous_hold_each_others_answer() -> None:
    for seed in range(100):
        story = make_story(seed)
        for question in questions(story):
            if question.type not in ("TN", "TP"):
                continue
            right = question.options[question.answer]
            leads = {verb_phrase(event.lead): index for index, event in enumerate(story.events)}
            step = 1 if question.type == "TN" else -1
            twin = leads[right] - 2 * step
            assert verb_phrase(story.events[twin].lead) in question.options


def test_the_evidence_contains_the_answer() -> None:
    for seed in range(100):
        story = make_story(seed)
        for question in questions(story):
            right = question.options[question.answer]
            assert question.evidence in notes(story)
            if question.type == "DC":
                assert right in question.evidence.split()


def test_options_alone_do_not_give_the_answer_away(asked: list[Question]) -> None:
    """A reader that only knows how often an option was right, by type, stays near the chance of 0.20."""
    half = len(asked) // 2
    right, offered = defaultdict(Counter), defaultdict(Counter)
    for question in asked[:half]:
        for index, option in enumerate(question.options):
            offered[question.type][option] += 1
            right[question.type][option] += index == question.answer
    hits = []
    for question in asked[half:]:
        share = [right[question.type][o] / max(1, offered[question.type][o]) for o in question.options]
        hits.append(int(np.argmax(share)) == question.answer)
    assert np.mean(hits) < 0.25
