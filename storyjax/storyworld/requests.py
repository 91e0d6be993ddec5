"""What one may ask to have told of a story, with the sentence that tells it: the exercises that align a resampler.

A request is a conditioning text, or a time span, and the story's own sentence about the moment that it singles out.
"""

from dataclasses import dataclass

import numpy as np

from storyjax.storyworld.language import cast_sentence, clause, sentence, verb_phrase
from storyjax.storyworld.questions import questions
from storyjax.storyworld.story import Event, Story

KINDS = ("time", "people", "after", "before", "while", "that", "reason", "trip", "question")


@dataclass(frozen=True)
class Request:
    """`text` singles out a moment (empty for kind "time", where `span` does); `target` tells it. Times in seconds."""

    kind: str
    text: str
    target: str
    span: tuple[float, float]


def requests(story: Story) -> list[Request]:
    """Everything that may be requested of a story, the questions of `questions.py` last."""
    whole = (0.0, story.duration)
    made = [Request("people", "the people", cast_sentence(story), whole)]
    for before, event, after in zip((None, *story.events), story.events, (*story.events[1:], None), strict=False):
        span = (event.start, event.end)
        made.append(Request("time", "", sentence(event), span))
        made.extend(_anchored(event, before, after))
        if event.cause is not None:
            cause = story.events[event.cause]
            made.append(Request("reason", f"why {clause(event.lead)}", sentence(cause), (cause.start, cause.end)))
    for question in questions(story):
        spans = {sentence(event): (event.start, event.end) for event in story.events}
        span = spans.get(question.evidence, whole)
        made.append(Request("question", question.question, question.evidence, span))
    return made


def _anchored(event: Event, before: Event | None, after: Event | None) -> list[Request]:
    """Requests that name the event, or its neighbours by way of it."""
    span = (event.start, event.end)
    if event.role == "travel":
        said = f"{event.lead.person} went to the {event.place}"
        return [Request("trip", said, sentence(event), span)]
    made = []
    for performance in event.performances:
        said = clause(performance)
        made.append(Request("that", said, sentence(event), span))
        made.append(Request("that", f"who {verb_phrase(performance)}", sentence(event), span))
        if len(event.performances) == 2:
            made.append(Request("while", f"while {said}", sentence(event), span))
        if after is not None:
            made.append(Request("after", f"right after {said}", sentence(after), (after.start, after.end)))
        if before is not None:
            made.append(Request("before", f"right before {said}", sentence(before), (before.start, before.end)))
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
