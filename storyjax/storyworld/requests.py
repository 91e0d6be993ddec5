"""What one may ask to have told of a story, with the words that tell it: the exercises that align a resampler.

A request is a conditioning text, or a time span, and the story's own note and sentence about the moment that it singles
out.
"""

from dataclasses import dataclass

import numpy as np

from storyjax.storyworld.language import cast_note, cast_sentence, clause, note, sentence, verb_phrase
from storyjax.storyworld.questions import questions
from storyjax.storyworld.story import Event, Story

KINDS = ("time", "people", "after", "before", "while", "that", "reason", "trip", "question")


@dataclass(frozen=True)
class Request:
    """`text` singles out a moment (empty for kind "time", where `span` does); `note` and `sentence` tell it.

    `span` is the moment's start and end in seconds, `named` that of the moment which the words name: "after ana danced"
    names the dance and singles out what follows. Both are None for the whole story.
    """

    kind: str
    text: str
    note: str
    sentence: str
    span: tuple[float, float] | None
    named: tuple[float, float] | None


def requests(story: Story) -> list[Request]:
    """Everything that may be requested of a story, the questions of `questions.py` last."""
    people = _Moment(cast_note(story), cast_sentence(story), None)
    moments = [_Moment(note(event), sentence(event), (event.start, event.end)) for event in story.events]
    made = [people.asked("people", "the people")]
    for index, (event, moment) in enumerate(zip(story.events, moments, strict=True)):
        made.append(moment.asked("time", ""))
        before = moments[index - 1] if index else None
        after = moments[index + 1] if index + 1 < len(moments) else None
        made.extend(_anchored(event, moment, before, after))
        if event.cause is not None:
            made.append(moments[event.cause].asked("reason", f"why {clause(event.lead)}", moment))
    places = {moment.note: index for index, moment in enumerate(moments)}
    # What a question names, counted in events from the one that answers it.
    step = {"TN": -1, "TP": 1, "CW": 1}
    for question in questions(story):
        place = places.get(question.evidence)
        if place is None:
            made.append(people.asked("question", question.question))
        else:
            named = moments[place + step.get(question.type, 0)]
            made.append(moments[place].asked("question", question.question, named))
    return made


@dataclass(frozen=True)
class _Moment:
    """An event, or the whole story, as it is told."""

    note: str
    sentence: str
    span: tuple[float, float] | None

    def asked(self, kind: str, text: str, named: "_Moment | None" = None) -> Request:
        return Request(kind, text, self.note, self.sentence, self.span, (named or self).span)


def _anchored(event: Event, moment: _Moment, before: _Moment | None, after: _Moment | None) -> list[Request]:
    """Requests that name the event, or its neighbours by way of it."""
    if event.role == "travel":
        return [moment.asked("trip", f"{event.lead.person} went to the {event.place}")]
    made = []
    for performance in event.performances:
        said = clause(performance)
        made.append(moment.asked("that", said))
        made.append(moment.asked("that", f"who {verb_phrase(performance)}"))
        if len(event.performances) == 2:
            made.append(moment.asked("while", f"while {said}"))
        if after is not None:
            made.append(after.asked("after", f"right after {said}", moment))
        if before is not None:
            made.append(before.asked("before", f"right before {said}", moment))
    return made


def draw(story: Story, shares: dict[str, float], count: int, rng: np.random.Generator) -> list[Request]:
    """`count` requests, their kinds drawn by `shares` among the kinds that the story has."""
    by_kind: dict[str, list[Request]] = {}
    for request in requests(story):
        by_kind.setdefault(request.kind, []).append(request)
    kinds = [kind for kind in KINDS if shares.get(kind, 0) > 0 and kind in by_kind]
    share = np.array([shares[kind] for kind in kinds])
    drawn = rng.choice(len(kinds), size=count, p=share / share.sum())
    return [by_kind[kinds[i]][int(rng.integers(len(by_kind[kinds[i]])))] for i in drawn]
