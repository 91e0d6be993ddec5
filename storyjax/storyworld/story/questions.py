"""Questions about a story, in NExT-QA's types, with options that cannot be told apart without the video.

| type | asks | example |
|---|---|---|
| CW | causal, why | why did ana cry ? — because ben dropped the cup |
| CH | causal, how | how did ana go to the park ? — by bike |
| TN | temporal, next | what did ben do right after ana danced ? — kicked the ball |
| TP | temporal, previous | what did ben do right before ana danced ? |
| TC | temporal, current | what did ben do while ana danced ? |
| DL | descriptive, location | where did ana dance ? — in the park |
| DC | descriptive, count | how many people are in the video ? — 4 |
| DO | descriptive, other | who danced ? — ana |

Chance is 0.20. Against shortcuts: all five options of a question are of one kind (all ordinary actions, all mishaps
...); for TN and TP the twin that answers the opposite question is always among them, together with other things that do
happen in the video and things that don't; counts are drawn evenly and their options are always the same five.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from storyjax.storyworld.story.cast import ACTIONS, PEOPLE, PLACES, VEHICLES, phrases
from storyjax.storyworld.story.language import cast_note, clause, note, pronoun_clause, verb_phrase
from storyjax.storyworld.story.story import Event, Performance, Story

TYPES = ("CW", "CH", "TN", "TC", "TP", "DL", "DC", "DO")
OPTIONS = 5


@dataclass(frozen=True)
class Question:
    """One multiple-choice question. `answer` is the 0-based index of the right option.

    `evidence` is the note (language.py) of the event that answers it, and `about` names whose part in that event is
    asked for, where it is somebody's: never shown to a model under test, they serve to train readers and to pre-train
    resamplers.
    """

    type: str
    question: str
    options: tuple[str, ...]
    answer: int
    evidence: str
    about: str | None = None


@dataclass(frozen=True)
class QuestionStyle:
    """At most how many questions of each type a story gives."""

    per_type: int = 2


def questions(story: Story, style: QuestionStyle | None = None) -> list[Question]:
    """Returns all the questions asked of a story, the same for the same story and style."""
    style = style or QuestionStyle()
    rng = np.random.default_rng([story.seed, 0x51])
    asked: list[Question] = []
    for make in (_why, _how, _next, _current, _previous, _where, _count, _who):
        candidates = make(story, rng)
        order = rng.permutation(len(candidates))[: style.per_type]
        asked.extend(candidates[i] for i in order)
    return asked


def _ask(
    rng: np.random.Generator,
    kind: str,
    text: str,
    right: str,
    wrong: list[str],
    evidence: str,
    about: str | None = None,
) -> Question:
    """Shuffles the right answer among the first four distinct wrong ones."""
    distinct = [option for option in dict.fromkeys(wrong) if option != right][: OPTIONS - 1]
    if len(distinct) < OPTIONS - 1:
        raise ValueError(f"question '{text}' has only {len(distinct)} wrong options")
    options = [right, *distinct]
    order = rng.permutation(OPTIONS)
    shuffled = tuple(options[i] for i in order)
    return Question(kind, text, shuffled, shuffled.index(right), evidence, about)


def _mixed(rng: np.random.Generator, first: list[str], inside: list[str], outside: list[str]) -> list[str]:
    """Wrong options: those in `first`, then one or two that happen in the video, then ones that don't."""
    inside = [inside[i] for i in rng.permutation(len(inside))]
    outside = [outside[i] for i in rng.permutation(len(outside))]
    taken = int(rng.integers(1, 3))
    return first + inside[:taken] + outside + inside[taken:]


def _ordinary_phrases(story: Story) -> tuple[list[str], list[str]]:
    """Ordinary verb phrases (past tense) that happen in the story, and those that don't."""
    performed = {p.phrase for event in story.events for p in event.performances}
    every = phrases("neutral")
    inside = [verb_phrase(Performance("", *phrase)) for phrase in every if phrase in performed]
    outside = [verb_phrase(Performance("", *phrase)) for phrase in every if phrase not in performed]
    return inside, outside


def _neighbours(story: Story) -> list[tuple[Event, Event, Event]]:
    """Three ordinary events in a row: the one before, the anchor and the one after."""
    rows = zip(story.events, story.events[1:], story.events[2:], strict=False)
    return [row for row in rows if all(event.role == "neutral" for event in row)]


def _temporal(
    story: Story, rng: np.random.Generator, kind: str, word: str, pick: Callable[[tuple[Event, Event, Event]], tuple]
) -> list[Question]:
    inside, outside = _ordinary_phrases(story)
    made = []
    for row in _neighbours(story):
        anchor_event = row[1]
        anchor = anchor_event.performances[int(rng.integers(len(anchor_event.performances)))]
        answer_event, twin = pick(row)
        right = verb_phrase(answer_event.lead)
        named = pronoun_clause(anchor) if anchor.person == answer_event.lead.person else clause(anchor)
        text = f"what did {answer_event.lead.person} do right {word} {named} ?"
        # What happens at the same moment as the anchor or the answer is left out: too close to call.
        close = {verb_phrase(p) for p in (*anchor_event.performances, *answer_event.performances)}
        others = [phrase for phrase in inside if phrase not in close]
        wrong = _mixed(rng, [verb_phrase(twin.lead)], others, outside)
        made.append(_ask(rng, kind, text, right, wrong, note(answer_event), answer_event.lead.person))
    return made


def _next(story: Story, rng: np.random.Generator) -> list[Question]:
    return _temporal(story, rng, "TN", "after", lambda row: (row[2], row[0]))


def _previous(story: Story, rng: np.random.Generator) -> list[Question]:
    return _temporal(story, rng, "TP", "before", lambda row: (row[0], row[2]))


def _current(story: Story, rng: np.random.Generator) -> list[Question]:
    inside, outside = _ordinary_phrases(story)
    made = []
    for event in story.events:
        if len(event.performances) < 2:
            continue
        order = rng.permutation(2)
        asked, anchor = (event.performances[i] for i in order)
        text = f"what did {asked.person} do while {clause(anchor)} ?"
        others = [phrase for phrase in inside if phrase != verb_phrase(anchor)]
        wrong = _mixed(rng, [], others, outside)
        made.append(_ask(rng, "TC", text, verb_phrase(asked), wrong, note(event), asked.person))
    return made


def _why(story: Story, rng: np.random.Generator) -> list[Question]:
    names = [person.name for person in story.cast]
    mishaps = [event.lead for event in story.events if event.role == "mishap"]
    unused = [phrase for phrase in phrases("mishap") if phrase not in {mishap.phrase for mishap in mishaps}]
    made = []
    for event in story.events:
        if event.cause is None:
            continue
        cause = story.events[event.cause]
        # Wrong causes: the story's other mishaps, then mishaps that nobody had.
        invented = [Performance(str(rng.choice(names)), *unused[i]) for i in rng.permutation(len(unused))]
        wrong = [f"because {clause(p)}" for p in (*mishaps, *invented)]
        text = f"why did {event.lead.person} {ACTIONS[event.lead.action].base} ?"
        made.append(_ask(rng, "CW", text, f"because {clause(cause.lead)}", wrong, note(cause), cause.lead.person))
    return made


def _how(story: Story, rng: np.random.Generator) -> list[Question]:
    trips = [event for event in story.events if event.role == "travel"]
    modes = [list(VEHICLES)[i] for i in rng.permutation(len(VEHICLES))]
    made = []
    for trip in trips:
        text = f"how did {trip.lead.person} go to the {trip.place} ?"
        others = [event.lead.thing for event in trips] + modes
        made.append(_ask(rng, "CH", text, f"by {trip.lead.thing}", [f"by {mode}" for mode in others], note(trip)))
    return made


def _where(story: Story, rng: np.random.Generator) -> list[Question]:
    others = [*story.places, *(list(PLACES)[i] for i in rng.permutation(len(PLACES)))]
    made = []
    for event in story.events:
        if event.role == "travel":
            continue
        performance = event.performances[int(rng.integers(len(event.performances)))]
        text = f"where did {performance.person} {verb_phrase(performance, 'base')} ?"
        wrong = [f"in the {place}" for place in others]
        made.append(_ask(rng, "DL", text, f"in the {event.place}", wrong, note(event), performance.person))
    return made


def _count(story: Story, rng: np.random.Generator) -> list[Question]:
    counts = [str(number) for number in range(2, 2 + OPTIONS)]
    right = str(len(story.cast))
    return [_ask(rng, "DC", "how many people are in the video ?", right, counts, cast_note(story))]


def _who(story: Story, rng: np.random.Generator) -> list[Question]:
    cast = [person.name for person in story.cast]
    known = {person.known for person in story.cast} == {True}
    strangers = [name for name, person in PEOPLE.items() if name not in cast and (person.known or not known)]
    made = []
    for event in story.events:
        if event.role == "travel":
            continue
        performance = event.performances[int(rng.integers(len(event.performances)))]
        wrong = _mixed(rng, [], [name for name in cast if name != performance.person], strangers)
        text = f"who {verb_phrase(performance)} ?"
        made.append(_ask(rng, "DO", text, performance.person, wrong, note(event), performance.person))
    return made
