"""Particular things in episodes: Ana's dog Chia, which lies beside Ana, beside somebody else, or alone.

Things are put into the shots of an episode that is written already, by a random generator of their own: without things
an episode has the same pixels and the same sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from storyjax.storyworld.draw.personal_objects import PERSONAL_KINDS, PersonalObject, draw_personal_objects
from storyjax.storyworld.story.episodes import Episode, EpisodeShot, PlacedThing


@dataclass(frozen=True)
class Belonging:
    """A particular thing and whose it is (a key of `population.EVERYONE`)."""

    owner: str
    thing: PersonalObject


# Fractions: of its owner's scenes that a thing is in; of scenes with the thing of somebody who is not there; of the
# shots of a scene that show what is there; of those, that show two things where there is room.
_WITH_OWNER, _OF_OTHERS, _SHOWN, _TWO = 0.7, 0.35, 0.6, 0.3


def draw_belongings(owners: Sequence[str], count: int, seed: int) -> tuple[Belonging, ...]:
    """Returns `count` things of random kinds and looks, each of a random one of `owners`."""
    rng = np.random.default_rng([seed, 0xBE])
    kinds = [PERSONAL_KINDS[i] for i in rng.permutation(len(PERSONAL_KINDS))[: max(1, count - 1)]]
    things = draw_personal_objects(count, int(rng.integers(2**31)), kinds)
    return tuple(Belonging(owners[int(rng.integers(len(owners)))], thing) for thing in things)


def with_things(episode: Episode, belongings: Sequence[Belonging]) -> Episode:
    """Returns the episode with things in some of its shots; all else is as it was."""
    rng = np.random.default_rng([episode.seed, 0x7416])
    shots: list[EpisodeShot] = []
    for scene in _scenes(episode):
        people = {figure.name for shot in scene for figure in shot.figures}
        here = [b for b in belongings if b.owner in people and rng.random() < _WITH_OWNER]
        others = [b for b in belongings if b.owner not in people]
        if others and rng.random() < _OF_OTHERS:
            here.append(others[int(rng.integers(len(others)))])
        shots += [replace(shot, things=_placed(shot, here, rng)) for shot in scene]
    return replace(episode, shots=tuple(shots))


def _scenes(episode: Episode) -> list[list[EpisodeShot]]:
    """The shots by scene: every scene begins with music, over a shot of its own."""
    middles = [(music.start + music.end) / 2 for music in episode.music]
    scenes: list[list[EpisodeShot]] = []
    for shot in episode.shots:
        if not scenes or any(shot.start <= middle < shot.end for middle in middles):
            scenes.append([])
        scenes[-1].append(shot)
    return scenes


def _placed(shot: EpisodeShot, here: list[Belonging], rng: np.random.Generator) -> tuple[PlacedThing, ...]:
    if not here or rng.random() >= _SHOWN:
        return ()
    # Beside one person there is room on both sides, between two people for a single thing.
    places = {0: (0.3, 0.7), 1: (0.14, 0.86), 2: (0.5,)}[len(shot.figures)]
    count = min(len(here), len(places), 2 if rng.random() < _TWO else 1)
    widths = {0: (0.26, 0.38), 1: (0.2, 0.28), 2: (0.17, 0.22)}[len(shot.figures)]
    chosen = [here[i] for i in rng.permutation(len(here))[:count]]
    found = []
    for belonging, place in zip(chosen, rng.permutation(len(places)), strict=False):
        width = float(rng.uniform(*widths))
        middle = places[place] + float(rng.uniform(-0.04, 0.04))
        x = float(np.clip(middle, width / 2, 1 - width / 2))
        foot, mirror = float(rng.uniform(0.86, 0.98)), bool(rng.random() < 0.5)
        found.append(PlacedThing(belonging.thing, belonging.owner, x, foot, width, mirror))
    return tuple(found)
