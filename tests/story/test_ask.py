"""`storyjax story ask`: free wordings, answers with the rows they stand on, and "not known" with its reason."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from storyjax.cli.main import run
from storyjax.story.questions.answer import StoryAnswer
from storyjax.story.questions.ask import ask
from storyjax.story.store import Story
from tests.story.small_story import make_story


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with make_story(tmp_path_factory.mktemp("asked") / "story") as story:
        yield story


ANSWERS = {
    'who says "where is the dog"?': ("Ana",),
    "Who said that she is in the garden?": ("Ben",),
    "by whom are the words “I lost my keys again” spoken": ("Ana",),
    "who mentions the garden?": ("Ben",),
    "WHO ANSWERS ANA?": ("Ben",),
    "who speaks after 0:40?": ("Ana",),
    "who speaks the most?": ("Ana",),
    'Who is with Ben when somebody says "I am the postman"?': ("Person 1",),
    'When Ben says "who are you", who is seen with him?': ("nobody",),
    "who is seen in the kitchen between 0:20 and 0:30": ("Ben", "Person 1"),
    "who else is seen while Ana speaks besides Ben?": ("Ana",),
    "when are Ana and Ben together?": ((4.0, 10.0),),
    "Tell me when the dog is visible, please": ((12.0, 18.0),),
    "at what time does Ana first talk about keys?": ((12.0, 14.0),),
    'where is Ben when he says "who are you"?': ("kitchen",),
    "in which place is Ana's dog?": ("garden",),
    'where was "good night" said?': ("kitchen",),
    "How many times does Ana speak?": (3,),
    "how often does Ana speak while Ben is on screen?": (0,),
    "how often does Ben say something in the first half of the film?": (2,),
    "how long is Ben seen?": (26.0,),
    "how long are Ben and Ana seen together?": (6.0,),
    "how many people are seen in the first 5 seconds?": (2,),
    'What does Ben say right after Ana says "Good morning"?': ("She is in the garden.",),
    'what does Ana say right after saying "Good morning, where is the dog?"': ("I lost my keys again.",),
    'Right before "I am the postman", what is said?': ("Who are you?",),
    "what's the last thing Ana says?": ("Good night.",),
    "what did Anna say first?": ("Good morning, where is the dog?",),
    "what did Ana say about her keys": ("I lost my keys again.",),
    'How does Ben reply to "where is the dog"?': ("She is in the garden.",),
    'Are Ana and Ben together when Ana says "I lost my keys again"?': ("no",),
    "Is Chia seen when Ana says I lost my keys again?": ("yes",),
    'does Ana say "who are you"?': ("no",),
    "is the dog seen in the kitchen": ("no",),
    "who speaks more, Ana or Ben?": ("Ana",),
    "Which of Ben and Ana is seen first?": ("Ana",),
    "what is Ana's dog called?": ("Chia",),
    "what did Ana say just before she said 'good night'?": ("I lost my keys again.",),
    "Ana and Ben: are they together at 0:05?": ("yes",),
    'Ana says "good morning". Who speaks next?': ("Ben",),
    "which film shows Chia": ("garden",),
    "what things are seen with Ana?": ("Chia",),
}


@pytest.mark.parametrize("question", ANSWERS)
def test_answers(story: Story, question: str) -> None:
    answer = ask(story, question)
    assert answer.known, answer.text
    assert answer.values == ANSWERS[question], answer.text


NOT_KNOWN = {
    'What does Zelda say after "Good night"?': "called 'Zelda'",
    'who says "the moon is made of cheese"?': "nobody says",
    'what is said after "Good night"?': "nobody speaks right after|nobody speaks after",
    'where is Ana when Ben says "who are you"?': "Ana is not seen",
    "where is Ana's cat?": "called 'Ana's cat'",
    "who is seen in the attic?": "its places are garden, kitchen",
    "when does Ana talk about elephants?": "nobody speaks about 'elephants'",
    "who speaks after 0:55?": "nobody speaks",
    "why does Ana leave?": "not understood",
    'does Ana say "I am the postman"?': "somebody whom the story does not know says",
    "who appears only once?": "ask how often",
    "whose dog is Chia?": "whose something is",
    "how many words does Ana say?": "ask for lines",
    "does Ana dance?": "'dance' is not among the words",
    "hello": "does not say what is asked",
    " ? ": "empty",
    "what did she say?": "whom 'she' means",
    "who does not speak?": "not so",
}


@pytest.mark.parametrize("question", NOT_KNOWN)
def test_what_the_tables_do_not_hold_is_not_known(story: Story, question: str) -> None:
    answer = ask(story, question)
    assert not answer.known
    assert answer.values == ()
    assert answer.text.startswith("not known: ")
    assert any(reason in answer.text for reason in NOT_KNOWN[question].split("|")), answer.text


def test_an_answer_names_its_rows(story: Story) -> None:
    answer = ask(story, 'who is with Ben when Person 1 says "I am the postman"?')
    (proof,) = answer.proofs
    assert (proof.film, proof.start_s, proof.end_s) == ("garden", 24.0, 26.0)
    (row,) = proof.rows["appearances"]
    assert [a.start_s for a in story.appearances() if a.id == row] == [23.0]
    assert proof.models == ("mqt",)
    assert answer.confidence == pytest.approx(0.9)
    assert "garden 0:24–0:26" in answer.in_words()
    misspelt = ask(story, "when is Anna seen?")
    assert misspelt.confidence == pytest.approx(0.81)
    assert "'Anna' is taken as 'Ana'" in misspelt.notes


def test_a_moment_stands_for_now(story: Story) -> None:
    assert ask(story, "who is seen?", at_s=24.0).values == ("Ben", "Person 1")
    assert ask(story, "who is seen in the first 5 seconds?", at_s=24.0).values == ("Ana", "Ben")


def test_what_happens_is_told_of_the_windows_that_the_tables_name(tmp_path: Path) -> None:
    asked = []

    def teller(video: Path, question: str, segment: tuple[float, float]) -> tuple[str, float, str]:
        asked.append((video.name, question, segment))
        return "ana slept", 0.5, "a model"

    with make_story(tmp_path / "story") as story:
        question = 'what does Ana do right after she says "I lost my keys again"?'
        assert "is not there" in ask(story, question, teller=teller).text
        (tmp_path / "garden.mp4").touch()
        answer = ask(story, question, teller=teller)
        assert ask(story, "what happens when Ben is in the garden?", teller=teller).known
    assert asked == [
        ("garden.mp4", "what did ana do ?", (14.0, 19.0)),
        ("garden.mp4", "what happened ?", (4.0, 10.0)),
    ]
    assert (answer.values, answer.confidence) == (("ana slept",), 0.5)
    assert any("no table does" in note for note in answer.notes)


def test_the_command(tmp_path: Path, capsys) -> None:
    make_story(tmp_path / "story").close()
    folder = str(tmp_path / "story")
    assert run(["story", "ask", folder, "who says 'good night'?", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["answer"], found["values"], found["known"]) == ("Ana", ["Ana"], True)
    assert found["evidence"][0]["rows"] == {"utterances": [6]}
    assert run(["story", "ask", folder, "who is seen?", "who sings?", "--at", "0:24"]) == 0
    assert "not known: the question is not understood" in capsys.readouterr().out
    for wrong, line in {
        ("story", "ask", folder, "who?", "--film", "gardn"): "Did you mean 'garden'?",
        ("story", "ask", folder, "who?", "--at", "soon"): "--at soon is no time",
        ("story", "ask", "who is seen?", folder): "the story's folder comes first",
        ("story", "asks", folder): "Did you mean 'ask'?",
    }.items():
        assert run(list(wrong)) == 2
        assert line in capsys.readouterr().err


def test_answers_are_plain_values() -> None:
    answer = StoryAnswer("q", "who", True, "Ana", ("Ana",))
    assert json.loads(json.dumps(answer.to_json()))["values"] == ["Ana"]
