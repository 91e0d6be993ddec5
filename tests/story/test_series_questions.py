"""Questions about StoryWorld's series: what the truth answers, and how many the engine answers from true tables."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.story.questions.answer import StoryAnswer
from storyjax.story.questions.measure import SINGLE_SYSTEMS, is_right, measure
from storyjax.story.store import Story
from storyjax.storyworld.export.series import episode_cast, episode_name, held_out_episode, truth_of
from storyjax.storyworld.story.series_questions import series_questions
from storyjax.storyworld.story.series_wordings import WORDINGS
from tests.story.truth_story import story_of_truth

SAID = "My grandmother swims in the lake every winter."
TRUTH = {
    "lines": [
        {"start": 1.0, "end": 4.0, "speaker": "Ana", "listed": True, "text": SAID},
        {"start": 5.0, "end": 8.0, "speaker": "Ben", "listed": True, "text": "Never!"},
        {"start": 9.0, "end": 12.0, "speaker": "Ana", "listed": True, "text": "The bank is closed."},
        {"start": 13.0, "end": 16.0, "speaker": "Ruth", "listed": False, "text": "Come on!"},
    ],
    "shots": [
        {
            "start": 0.0,
            "end": 4.5,
            "place": "park",
            "people": [{"name": "Ana", "listed": True}, {"name": "Ben", "listed": True}],
            "things": [{"name": "Chia", "category": "dog", "owner": "Ana"}],
        },
        {"start": 4.5, "end": 20.0, "place": "park", "people": [{"name": "Ben", "listed": True}], "things": []},
    ],
}
Questions = dict[str, list[dict[str, Any]]]


def test_what_is_asked_is_true_of_an_episode_written_by_hand() -> None:
    (asked,) = series_questions({"one": TRUTH}, each=50, seed=3).values()
    answers = {(q["kind"], *sorted(map(str, q["answer"]))) for q in asked if q["answerable"]}
    assert ("next words", "The bank is closed.") in answers
    assert ("words after another", "Never!") in answers
    assert ("who speaks next", "Ben") in answers
    assert ("speaker seen", "no") in answers  # Ana, in the bank
    assert ("speech while seen", "2") in answers  # Ana, while Ben is seen
    assert ("place of a thing", "park") in answers
    assert ("who is with a thing", "Ana", "Ben") in answers
    assert not any("Ruth" in q["question"] or "Ruth" in q["answer"] for q in asked)
    nothing = [q for q in asked if not q["answerable"]]
    assert all(q["answer"] == [] for q in nothing)
    assert any(q["kind"] == "next words" and "The bank is closed" in q["question"] for q in nothing)
    assert series_questions({"one": TRUTH}, each=50, seed=3) == {"one": asked}


def test_every_wording_names_what_its_kind_is_about() -> None:
    for kind, wordings in WORDINGS.items():
        for wording in wordings:
            said = set(wording.replace("'s", "").translate(str.maketrans("?.,:;", "     ")).split())
            assert said & set("NMTX") == {
                letter for letter in "NMTX" if letter in wordings[0].replace("?", " ").replace("'", " ").split()
            }, (kind, wording)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Story, Questions]]:
    episode = held_out_episode(1, 60.0, 7, things=True)
    listed = [character.name for character in episode_cast(1)]
    truths = {episode_name(1): json.loads(json.dumps(truth_of(episode, listed)))}
    with story_of_truth(tmp_path_factory.mktemp("true") / "story", truths) as story:
        yield story, series_questions(truths, each=2, seed=7)


def test_true_tables_answer_nearly_all_questions(asked: tuple[Story, Questions]) -> None:
    measured = measure(*asked)
    assert measured["answerable"] >= 0.98, measured
    assert measured["unanswerable"] == 1.0
    assert len(measured) == 2 + len(WORDINGS)


@pytest.mark.parametrize("name", [name for name in SINGLE_SYSTEMS if name.endswith("alone")])
def test_no_system_alone_answers_them(asked: tuple[Story, Questions], name: str) -> None:
    story, questions = asked
    some = {film: found[::4] for film, found in questions.items()}
    measured = measure(story, some, SINGLE_SYSTEMS[name])
    assert measured["answerable"] < 0.5
    assert measured["unanswerable"] == 1.0


def test_answers_are_compared_by_what_they_say() -> None:
    def answered(*values: Any) -> StoryAnswer:
        return StoryAnswer("q", "who", True, "", values)

    assert is_right(answered("Ben", "Ana"), ["Ana", "Ben"])
    assert not is_right(answered("Ben"), ["Ana", "Ben"])
    assert not is_right(answered("Ana", "Ana"), ["Ana", "Ben"])
    assert is_right(answered("my grandmother swims in a lake every winter"), [SAID])
    assert not is_right(answered("My grandmother."), [SAID])
    assert is_right(answered(2), [2])
    assert not is_right(answered(3), [2])
    assert not is_right(answered("yes"), [])
    assert is_right(StoryAnswer("q", "who", False, "not known: why"), [])


def test_wrong_questions_and_parts_are_told_in_a_line(asked: tuple[Story, Questions]) -> None:
    story, _ = asked
    for questions, without, line in (
        ({}, (), "no question to measure with"),
        ({episode_name(1): [{"question": "who speaks?"}]}, (), 'no "answer"'),
        ({"StoryWorld_01x2": [{"question": "who speaks?", "answer": []}]}, (), "Did you mean"),
        ({episode_name(1): [{"question": "who speaks?", "answer": []}]}, ("smell",), "no part of a story"),
    ):
        with pytest.raises(StoryjaxError, match=line):
            measure(story, questions, without)


def test_a_truth_becomes_tables(tmp_path: Path) -> None:
    with story_of_truth(tmp_path / "story", {"one": TRUTH}) as story:
        names = {entity.id: entity.name for entity in story.entities()}
        seen = [(names[a.entity], a.start_s, a.end_s) for a in story.appearances()]
        assert seen == [("Ana", 0.0, 4.5), ("Ben", 0.0, 20.0), ("Chia", 0.0, 4.5)]
        assert [u.label for u in story.utterances()] == ["Ana", "Ben", "Ana", "Unknown"]
