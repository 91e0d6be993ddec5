"""Asking stories as they are: misheard sentences, unknown voices, two dogs, several films, strange names."""

from collections.abc import Iterator

import pytest

from storyjax.story.questions.ask import ask
from storyjax.story.questions.meaning import Window
from storyjax.story.questions.quotes import Sayings, aligned, within_one_edit, words_of
from storyjax.story.questions.times import take_windows
from storyjax.story.rows import DONE, Appearance, Caption, Entity, Film, Shot, Track, Utterance
from storyjax.story.store import Story

PEOPLE = ["Ana", "Ada", "Will", "Jean-Luc Dupont", "<b>Bo</b>", "נועה"]
THINGS = [("Chia", "dog"), ("Rolo", "dog"), ("Will's cup", "cup"), ("Tea", "cup")]
LINES = {
    "one": [
        (1.0, 4.0, "Every time my call him,", "Ana"),
        (4.1, 6.0, "his sister answers the film.", "Ana"),
        (7.0, 9.0, "The plane leaves tonight and my bank is still empty.", None),
        (10.0, 12.0, "It was raining so hard at the street the king or the", "Will"),
        (13.0, 14.0, "Fine.", "Jean-Luc Dupont"),
        (15.0, 16.0, "Good night.", "Ada"),
        (17.0, 18.0, "Good night, my dear old friend.", "<b>Bo</b>"),
    ],
    "two": [(1.0, 2.0, "Good night.", "Will"), (3.0, 4.0, "שלום", "נועה")],
}
SEEN = {
    "one": [("Ana", 0.0, 9.0), ("Chia", 1.0, 6.0), ("Rolo", 8.0, 18.0), ("Will", 9.5, 18.0), ("Tea", 1.0, 2.0)],
    "two": [("Ada", 0.0, 5.0), ("Will's cup", 0.0, 5.0)],
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("hard") / "story"
    with Story.create(folder) as story:
        rows = [("person", name, None) for name in PEOPLE] + [("thing", *thing) for thing in THINGS]
        ids = {name: number for number, (_, name, _) in enumerate(rows, 1)}
        with story.transaction() as db:
            for number, (kind, name, category) in enumerate(rows, 1):
                story.add(db, Entity(number, kind, name, category, f"{number:032x}"))
            for name, lines in LINES.items():
                film = story.add(db, Film(0, name, f"{name}.mp4", 1, 1, name, 20.0, 9, 9, 5.0, True, True, DONE))
                shot = story.add(db, Shot(0, film, 0, 0.0, 20.0))
                story.add(db, Caption(0, film, shot, "place", "living room", 0.4))
                story.add(db, Caption(0, film, shot, "place", "bar", 0.3))
                for number, (start, end, text, who) in enumerate(lines):
                    speaker, label = (ids[who], who) if who else (None, "Speaker 1")
                    story.add(db, Utterance(0, film, number, start, end, text, speaker, label, None))
                for who, start, end in SEEN[name]:
                    story.add(db, Appearance(0, film, ids[who], start, end, 0.5))
                story.add(db, Track(0, film, 0, shot, "person", None, 12.5, 14.5, None, None))
        yield story


ANSWERS = {
    # Misheard, cut in two, in part.
    'who says "Every time I call him, his sister answers the phone"?': ("Ana",),
    'what does Will say after "every time I call him"?': ("It was raining so hard at the street the king or the",),
    'who says "It was raining so hard that the street became a river."?': ("Will",),
    'what does Ana say before "the plane leaves tonight"?': ("Every time my call him, his sister answers the film.",),
    # A whole sentence is not the longer one that begins with it.
    'who says "good night"?': ("Ada", "Will"),
    'who says "good night my dear friend"?': ("<b>Bo</b>",),
    # The speaker is not known, and the question says who it is.
    'what does Will say right after Ana says "the plane leaves tonight and my bag is still empty"?': (
        "It was raining so hard at the street the king or the",
    ),
    # Names that are words, parts of names, other scripts.
    "how often does Will speak": (2,),
    "will Will speak?": ("yes",),
    "what does Dupont say?": ("Fine.",),
    "what does jean-luc say?": ("Fine.",),
    "when does <b>Bo</b> speak?": ((17.0, 18.0),),
    'who says "שלום"?': ("נועה",),
    "when does נועה speak?": ((3.0, 4.0),),
    "when is Ada seen?": ((0.0, 5.0),),
    # Things.
    "when is Ana's dog seen?": ((1.0, 6.0),),
    "when is the dog of Will seen?": ((8.0, 18.0),),
    "when is the dog Rolo seen?": ((8.0, 18.0),),
    "when is a dog seen?": ((1.0, 6.0), (8.0, 18.0)),
    "when is Will's cup seen?": ((0.0, 5.0),),
    # Places of two words; films.
    "who is seen in the living room at 0:03?": ("Ana", "Ada"),
    "who is seen at 0:03 in the film one": ("Ana",),
    "in which films does Will speak?": ("one", "two"),
    "which episode shows Ada?": ("two",),
    "what does Will say in film two?": ("Good night.",),
}


@pytest.mark.parametrize("question", ANSWERS)
def test_answers(story: Story, question: str) -> None:
    answer = ask(story, question)
    assert answer.values == ANSWERS[question], answer.text


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ('who says "the plane leaves tonight"?', "whose voice the story does not know"),
        ('does Ada say "Fine."?', None),
        ("when is Ava seen?", "called 'Ava'"),  # Ana and Ada are other names
        ("when is Ada's dog seen?", "which dog is Ada's: ask for Chia or Rolo"),
        ("when is the cat seen?", "called 'the cat'"),
        ("who is seen in the bar?", "no shot shows 'bar'"),
        ('who says "the aeroplane flies tomorrow and my suitcase is full"?', "nobody says"),
        ('who says "!!"?', "a quotation is empty"),
        ("x" * 5000, "not understood"),
        ("who says " + "very " * 500 + "little?", "'little' is not among"),
    ],
)
def test_not_known(story: Story, question: str, reason: str | None) -> None:
    answer = ask(story, question)
    assert answer.known == (reason is None), answer.text
    assert (reason or "Jean-Luc Dupont does") in answer.text


def test_what_was_assumed_is_said(story: Story) -> None:
    def notes(question: str) -> str:
        return "; ".join(ask(story, question).notes)

    assert "seen with Ana for 5 s" in notes("when is Ana's dog seen?")
    assert "may be any of Chia, Rolo" in notes("when is a dog seen?")
    assert "is taken as" in notes('who says "It was raining so hard that the street became a river."?')
    assert "is not sure: taken as Ana" in notes('what is said right after Ana says "the plane leaves tonight"?')
    assert "whom the story does not know is seen" in notes('who is seen when Jean-Luc says "fine"?')
    assert "who speaks just before or after" in notes("who talks to Ada?")


def test_sentences_are_aligned() -> None:
    quoted = words_of("You lost the tickets")
    assert aligned(quoted, words_of("Let me guess, you lost the ticket again")) == pytest.approx(2.5)
    assert aligned(quoted, words_of("tickets the lost you")) < 1.3
    assert within_one_edit("ana", "anna")
    assert within_one_edit("form", "from")
    assert not within_one_edit("ana", "anton")


def test_candidates_come_from_the_films_that_are_asked(story: Story) -> None:
    two = story.film("two").id
    assert [m.utterances[0].film for m in Sayings(story, two).quoted("good night")] == [two]
    assert Sayings(story).quoted('" NEAR(') == []
    assert [m.utterances[0].text for m in Sayings(story).about("sisters")] == ["his sister answers the film."]


@pytest.mark.parametrize(
    ("text", "left", "window"),
    [
        ("who speaks after 2:10 in the garden", "who speaks in the garden", Window(130.0, None)),
        ("who speaks between 1:00 and 1 minute 30 seconds", "who speaks", Window(60.0, 90.0)),
        ("in the last ten seconds who speaks", "who speaks", Window(-10.0, None)),
        ("who is seen in the third minute of the film", "who is seen", Window(120.0, 180.0)),
        ("who is seen at 1:02:03?", "who is seen?", Window(3722.0, 3724.0)),
        ("who speaks before half a minute", "who speaks", Window(None, 30.0)),
        ("who speaks in the second half", "who speaks", Window(0.5, 1.0, True)),
        ("who speaks at the start", "who speaks", Window(0.0, 0.15, True)),
    ],
)
def test_times(text: str, left: str, window: Window) -> None:
    assert take_windows(text) == (left, [window])
    assert take_windows("who speaks second") == ("who speaks second", [])


def test_windows_count_from_either_end() -> None:
    assert Window(-10.0, None).within(60.0) == (50.0, 60.0)
    assert Window(0.5, 1.0, True).within(60.0) == (30.0, 60.0)
    assert Window(None, 30.0).within(60.0) == (0.0, 30.0)
