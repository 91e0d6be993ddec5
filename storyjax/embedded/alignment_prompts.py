"""Requests about a story, with the words that answer them: the examples that a resampler is aligned on.

A request is a conditioning text, or a time span, and a note and a sentence about the moment that it selects.
"""

from dataclasses import dataclass, replace

import numpy as np

from storyjax.storyworld.story.language import cast_note, cast_sentence, clause, note, part_note, sentence, verb_phrase
from storyjax.storyworld.story.questions import Question, questions
from storyjax.storyworld.story.story import Event, Story

KINDS = ("time", "people", "after", "before", "while", "that", "reason", "trip", "question")


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        kind: one of KINDS.
        text: the words that select a moment, for kind "time" together with `span`.
        note, sentence: about the moment.
        span: the moment's start and end in seconds; None for the whole story.
        named: the same of the moment that the words name: "after ana danced" names the dance and selects what follows.
    """

    kind: str
    text: str
    note: str
    sentence: str
    span: tuple[float, float] | None
    named: tuple[float, float] | None


def requests(story: Story) -> list[Request]:
    """Returns all requests about a story, the questions of `questions.py` last.

    Two people may act in a moment. The one that the words ask about comes first in the note: nothing in the video shows
    who leads a moment, so a note in that order could only be guessed. What answers a question is that person's part
    alone, so that it is read from the video who does what, and not left to a reader of notes.
    """
    made = [_about_everybody(story, "people", "the people")]
    for index, event in enumerate(story.events):
        made.extend(_of_moment(event))
        if event.role != "travel":
            made.extend(_of_neighbours(event, story.events[:index][-1:], story.events[index + 1 :][:1]))
        if event.cause is not None:
            cause = story.events[event.cause]
            made.append(_request("reason", f"why {clause(event.lead)}", cause, cause.lead.person, event))
    places = {note(event): index for index, event in enumerate(story.events)}
    # What a question names, counted in events from the one that answers it.
    step = {"TN": -1, "TP": 1, "CW": 1}
    for question in questions(story):
        place = places.get(question.evidence)
        if place is None:
            made.append(_about_everybody(story, "question", question.question))
        else:
            event, named = story.events[place], story.events[place + step.get(question.type, 0)]
            made.append(_answering(question, event, named))
    return made


def _answering(question: Question, event: Event, named: Event) -> Request:
    """The request that is a question, which names one event and may be answered by another."""
    request = _request("question", question.question, event, question.about, named)
    return request if question.about is None else replace(request, note=part_note(event, question.about))


def _request(kind: str, text: str, event: Event, first: str | None, named: Event | None = None) -> Request:
    named = named or event
    span = (event.start, event.end)
    return Request(kind, text, note(event, first), sentence(event, first), span, (named.start, named.end))


def _about_everybody(story: Story, kind: str, text: str) -> Request:
    return Request(kind, text, cast_note(story), cast_sentence(story), None, None)


def _of_moment(event: Event) -> list[Request]:
    """Requests for an event by its time, by its time and a person in it, and by the actions in it."""
    if event.role == "travel":
        return [
            _request("time", "", event, None),
            _request("trip", f"{event.lead.person} went to the {event.place}", event, None),
        ]
    made = []
    for performance in event.performances:
        person, said = performance.person, clause(performance)
        made.append(_request("time", person, event, person))
        made.append(_request("that", said, event, person))
        made.append(_request("that", f"who {verb_phrase(performance)}", event, person))
        made.extend(
            _request("while", f"{other.person} while {said}", event, other.person)
            for other in event.performances
            if other != performance
        )
    return made


def _of_neighbours(event: Event, before: tuple[Event, ...], after: tuple[Event, ...]) -> list[Request]:
    """Requests for what a person did right before and after an event, which they name by its actions."""
    return [
        _request(kind, f"{performance.person} right {kind} {clause(named)}", neighbour, performance.person, event)
        for kind, neighbours in (("before", before), ("after", after))
        for neighbour in neighbours
        for performance in neighbour.performances
        for named in event.performances
    ]


def draw(story: Story, mix: dict[str, float], count: int, rng: np.random.Generator) -> list[Request]:
    """Returns `count` requests, their kinds drawn by the frequencies `mix` among the kinds that the story has."""
    by_kind: dict[str, list[Request]] = {}
    for request in requests(story):
        by_kind.setdefault(request.kind, []).append(request)
    kinds = [kind for kind in KINDS if mix.get(kind, 0) > 0 and kind in by_kind]
    weights = np.array([mix[kind] for kind in kinds])
    drawn = rng.choice(len(kinds), size=count, p=weights / weights.sum())
    return [by_kind[kinds[i]][int(rng.integers(len(by_kind[kinds[i]])))] for i in drawn]
