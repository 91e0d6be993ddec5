"""Stories of habit: a few actions that come again and again in the same order, so that what is next can be foreseen.

Ordinary stories never repeat an action (story.py), which makes moments easy to name and the future hard to predict.
Anticipation (§3.3.4) and finding *all* moments of an action need the opposite.
"""

import dataclasses

import numpy as np

from storyjax.storyworld.story.story import Event, Performance, Story, StoryStyle, make_story

ACTIONS = 30  # in a routine: 8 observed, 20 to come, and two places to begin at
SECONDS = 1.5  # of an action


def routine(seed: int, actions: int = ACTIONS, seconds: float = SECONDS, cycle: tuple[int, int] = (3, 6)) -> Story:
    """Returns a story of `actions` events, each of somebody alone, that repeat every few (`cycle` bounds how many, both
    ends included). The same arguments always give the same story."""
    rng = np.random.default_rng([seed, 0x52])
    base = make_story(seed, StoryStyle())
    ordinary = [event for event in base.events if event.role == "neutral"]
    length = int(rng.integers(cycle[0], cycle[1] + 1))
    chosen = [ordinary[i] for i in sorted(rng.permutation(len(ordinary))[:length])]
    events = tuple(
        Event(index * seconds, (index + 1) * seconds, "neutral", one.place, (one.lead,))
        for index, one in ((index, chosen[index % length]) for index in range(actions))
    )
    return dataclasses.replace(base, events=events, lines=())


def action(performance: Performance, place: str) -> tuple[str, str]:
    """Returns (verb, noun) of a performance; what is done to nothing has the place for its noun, as every action needs
    one."""
    return performance.action, performance.thing or place
