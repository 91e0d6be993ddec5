"""Sentences about a moment that name nobody: 'a woman with red hair in a green shirt kicked the ball in the park .'

Like the captions that a general CLIP learns from, they say more or less about who, what and where; so one sentence may
be true of many moments, and `truth` and `claims` decide which.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storyjax.storyworld.draw.personal_objects import COLOURS, with_article
from storyjax.storyworld.draw.personal_objects import words as words_for_things
from storyjax.storyworld.story.cast import ACTIONS, KINDS, PEOPLE, PLACES, VEHICLES
from storyjax.storyworld.story.language import verb_phrase
from storyjax.storyworld.story.population import EVERYONE, FURTHER_PEOPLE, HAIR, SHIRTS, STYLES, nearest_colour
from storyjax.storyworld.story.stage import thing_colour
from storyjax.storyworld.story.story import Event, Performance, Story
from storyjax.storyworld.story.vocabulary import vocabulary

_ANY = -1  # a sentence says nothing about this
_NOBODY = -2  # there is no such performer
_PRONOUNS, _HAIR, _SHIRTS = ("she", "he"), (*HAIR, "none"), tuple(SHIRTS)
_ACTIONS, _THINGS, _COLOURS = tuple(ACTIONS), (*KINDS, *(v for v in VEHICLES if v not in KINDS)), tuple(COLOURS)
# What can be said of a performer, in this order: pronoun, hair, hair style, shirt, action, thing, the thing's colour.
FACTS = 7
PERFORMERS = 2
_HAIR_WORDS = {"long": "long {} hair", "short": "short {} hair", "curly": "curly {} hair", "bun": "{} hair in a bun"}


@dataclass(frozen=True)
class Description:
    """A sentence and what it claims: the place, and the facts of up to two performers; -1 where it says nothing."""

    text: str
    place: int
    facts: tuple[tuple[int, ...], ...]


def facts_of(story: Story, performance: Performance) -> tuple[int, ...]:
    """Returns what is true of a performer, as FACTS numbers."""
    person = EVERYONE[performance.person]
    bald = person.hair_style == "bald"
    return (
        _PRONOUNS.index(person.pronoun),
        _HAIR.index("none" if bald else nearest_colour(person.hair, HAIR)),
        STYLES.index(person.hair_style),
        _SHIRTS.index(nearest_colour(person.shirt, SHIRTS)),
        _ACTIONS.index(performance.action),
        _ANY if performance.thing is None else _THINGS.index(performance.thing),
        _ANY if performance.thing is None else _colour_of(story, performance),
    )


def _colour_of(story: Story, performance: Performance) -> int:
    return _COLOURS.index(nearest_colour(thing_colour(story, performance), COLOURS))


def truth(story: Story, event: Event) -> tuple[int, np.ndarray]:
    """Returns the place of an event and the facts of its performers (PERFORMERS, FACTS); -2 where there is none."""
    facts = np.full((PERFORMERS, FACTS), _NOBODY, np.int32)
    for row, performance in enumerate(event.performances):
        facts[row] = facts_of(story, performance)
    return list(PLACES).index(event.place), facts


def describe(story: Story, event: Event, rng: np.random.Generator) -> Description:
    """Returns a true sentence about an event, saying more or less."""
    form = float(rng.random())
    first = int(rng.integers(len(event.performances)))
    performance = event.performances[first]
    place = list(PLACES).index(event.place)
    if form < 0.06:
        return Description(f"{_lead_in(rng, True)}the {event.place} .", place, ())
    if form < 0.16 and performance.thing is not None and event.role != "travel":
        return _thing(story, event, performance, rng)
    who, facts = _who(performance.person, rng)
    where = event.role == "travel" or rng.random() < 0.6
    tail = f" in the {event.place} ." if where else " ."
    shown = place if where else _ANY
    if form < 0.3:
        return Description(f"{_lead_in(rng)}{who}{tail}", shown, (facts,))
    if event.role == "travel":
        text = f"{who} went to the {event.place} by {performance.thing} ."
        return Description(text, shown, (_doing(story, performance, facts),))
    if form < 0.6:
        verb = verb_phrase(performance, "gerund")
        text = (
            f"{who} in the {event.place} {verb} ."
            if where and rng.random() < 0.4
            else f"{who} {'is ' if rng.random() < 0.6 else ''}{verb}{tail}"
        )
        return Description(
            _lead_in(rng) + text if " is " not in text else text, shown, (_doing(story, performance, facts),)
        )
    clauses, claimed = [f"{who} {verb_phrase(performance)}"], [_doing(story, performance, facts)]
    for other in event.performances:
        if other != performance:
            who, facts = _who(other.person, rng)
            clauses.append(f"{who} {verb_phrase(other)}")
            claimed.append(_doing(story, other, facts))
    return Description(f"{' and '.join(clauses)}{tail}", shown, tuple(claimed))


def _lead_in(rng: np.random.Generator, always: bool = False) -> str:
    return str(rng.choice(["a photo of ", "an image of "])) if always or rng.random() < 0.5 else ""


def _doing(story: Story, performance: Performance, facts: tuple[int, ...]) -> tuple[int, ...]:
    done = facts_of(story, performance)
    return (*facts[:4], done[4], done[5], _ANY)


def _who(name: str, rng: np.random.Generator) -> tuple[str, tuple[int, ...]]:
    """'somebody', 'a woman', 'a bald man in a red shirt': words for a person, and the facts that they claim."""
    person = EVERYONE[name]
    claimed = [_ANY] * FACTS
    if rng.random() < 0.12:
        return str(rng.choice(["somebody", "a person", "someone"])), tuple(claimed)
    claimed[0] = _PRONOUNS.index(person.pronoun)
    words = "woman" if person.pronoun == "she" else "man"
    if rng.random() < 0.6:
        claimed[2] = STYLES.index(person.hair_style)
        if person.hair_style == "bald":
            words = f"bald {words}"
        elif person.hair_style == "cap":
            words = f"{words} with a cap"
        else:
            hair = nearest_colour(person.hair, HAIR)
            claimed[1] = _HAIR.index(hair)
            words = f"{words} with {_HAIR_WORDS[person.hair_style].format(hair)}"
    if rng.random() < 0.6:
        shirt = nearest_colour(person.shirt, SHIRTS)
        claimed[3] = _SHIRTS.index(shirt)
        words = f"{words} in {with_article(shirt)} shirt"
    return f"a {words}", tuple(claimed)


def _thing(story: Story, event: Event, performance: Performance, rng: np.random.Generator) -> Description:
    claimed = [_ANY] * FACTS
    claimed[5] = _THINGS.index(performance.thing)
    words = str(performance.thing)
    if rng.random() < 0.5:
        claimed[6] = _colour_of(story, performance)
        words = f"{_COLOURS[claimed[6]]} {words}"
    where = rng.random() < 0.5
    tail = f" in the {event.place} ." if where else " ."
    place = list(PLACES).index(event.place) if where else _ANY
    return Description(f"{_lead_in(rng)}{with_article(words)}{tail}", place, (tuple(claimed),))


def claims(description: Description) -> tuple[int, np.ndarray]:
    """Returns what a sentence claims, as arrays like those of `truth`; -1 where it says nothing."""
    facts = np.full((PERFORMERS, FACTS), _ANY, np.int32)
    for row, claimed in enumerate(description.facts):
        facts[row] = claimed
    return description.place, facts


def generic_vocabulary(names: Sequence[str] = (*PEOPLE, *FURTHER_PEOPLE)) -> list[str]:
    """StoryWorld's words, those of descriptions, and names, which a network of these words is never taught."""
    described = [*HAIR, *STYLES, *SHIRTS, "hair", "shirt", "woman", "man", "person", "bald", "doing", "and", "an"]
    return list(dict.fromkeys([*vocabulary(), *described, *words_for_things(), *names]))
