"""How many questions about a story are answered right: by kind, and how many without an answer get "not known".

Questions are JSON objects, as `storyjax data series` writes them to questions/EPISODE.json: "question", "answer" (a
list of names, places, sentences, numbers, "yes" or "no"; empty where there is none), "kind", and "answerable".
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.story.questions.answer import StoryAnswer
from storyjax.story.questions.ask import ask
from storyjax.story.questions.quotes import aligned, words_of
from storyjax.story.store import Story

# A sentence is right if so much of it, by the weight of its words, is what was said: which line it is counts, not what
# the speech recogniser made of it. Two sentences of StoryWorld share less than half of that.
_SAME_SENTENCE = 0.6
# What a story holds without one or more of its systems (evidence.PARTS that are taken away).
SINGLE_SYSTEMS: dict[str, tuple[str, ...]] = {
    "all": (),
    "named subtitles alone": ("sight", "places"),
    "subtitles without names alone": ("names", "sight", "places"),
    "tracks alone": ("speech", "names", "places"),
    "without places": ("places",),
}


def measure(
    story: Story, questions: Mapping[str, Sequence[Mapping[str, Any]]], without: Collection[str] = ()
) -> dict[str, float]:
    """Returns the fraction of questions that are answered right.

    Args:
        story: that is asked.
        questions: about each film, by the film's name.
        without: parts of the story that are taken away (evidence.PARTS).

    Returns:
        of each kind, of "answerable" (all that have an answer) and of "unanswerable" ("not known" is right).

    Raises:
        StoryjaxError: the story has none of the films, or a question lacks something.
    """
    right: dict[str, list[bool]] = {}
    for film, asked in questions.items():
        for question in asked:
            answer = ask(story, _field(question, "question"), story.film(film).name, without=without)
            correct = is_right(answer, _field(question, "answer"))
            group = "answerable" if question.get("answerable", True) else "unanswerable"
            right.setdefault(group, []).append(correct)
            if group == "answerable":
                right.setdefault(str(question.get("kind", "other")), []).append(correct)
    if not right:
        raise StoryjaxError("there is no question to measure with")
    return {name: sum(found) / len(found) for name, found in right.items()}


def is_right(answer: StoryAnswer, expected: Sequence[Any]) -> bool:
    """Returns whether an answer is the expected one: the same names, places, number or sentences, in any order; if
    nothing is expected, whether it is "not known"."""
    if not expected:
        return not answer.known
    if not answer.known or len(answer.values) != len(expected):
        return False
    left = list(answer.values)
    for wanted in expected:
        match = next((value for value in left if _same(value, wanted)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same(value: Any, wanted: Any) -> bool:
    if not isinstance(value, str) or not isinstance(wanted, str):
        return bool(value == wanted)
    if value.casefold() == wanted.casefold():
        return True
    said, expected = words_of(value), words_of(wanted)
    if said == expected:
        return True
    if len(expected) < 2:
        return False
    whole = max(aligned(expected, expected), aligned(said, said))
    return aligned(expected, said) / whole >= _SAME_SENTENCE


def _field(question: Mapping[str, Any], name: str) -> Any:
    if name not in question:
        raise StoryjaxError(f'a question has no "{name}": it needs question, answer, kind and answerable')
    return question[name]
