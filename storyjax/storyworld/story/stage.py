"""The staging of a story: what the camera sees at a time, and where. Ground truth for boxes and tracks comes from here.

Everything is drawn from the story's seed, so that a moment looks the same whenever it is asked for.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from storyjax.storyworld.draw.canvas import Colour
from storyjax.storyworld.draw.sprites import cell_height, figure
from storyjax.storyworld.story.cast import KINDS, VEHICLES
from storyjax.storyworld.story.story import Event, Performance, Story

BEATS_PER_SECOND = 3.0
_PASSERS = ("bird", "cloud", "leaf")


@dataclass(frozen=True)
class Figure:
    """A performer on the stage, in fractions of the image: the cell's middle, its floor (from below) and its width."""

    performance: Performance
    colour: Colour
    x: float
    floor: float
    width: float
    mirror: bool
    beat: int


@dataclass(frozen=True)
class PasserBy:
    """A bird, cloud or leaf in the background: its beat, centre and width, in fractions of the image."""

    kind: str
    x: float
    y: float
    width: float
    beat: int


@dataclass(frozen=True)
class Shot:
    """What the camera sees at a time. `pan` moves the background, as a fraction of it; figures move a third of that."""

    seconds: float
    event: Event
    road: bool
    pan: tuple[float, float]
    light: float
    figures: tuple[Figure, ...]
    passer: PasserBy | None


@dataclass(frozen=True)
class Placement:
    """Ground truth: something in the image and its box, as fractions of the image: left, top, right, bottom.

    `kind` is "person" or "thing"; `name` the person's name or the thing's kind; `performer` who has to do with it.
    """

    kind: str
    name: str
    performer: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Setting:
    """What is drawn once for an event."""

    slots: tuple[tuple[float, float, float, bool, float], ...]  # x, floor, width, mirror, phase of the sway
    light: float
    passer: tuple[str, float, float, float] | None  # kind, height, width, direction


@lru_cache(maxsize=256)
def _settings(seed: int, counts: tuple[tuple[int, bool], ...], scenes: tuple[int, ...]) -> tuple[_Setting, ...]:
    rng = np.random.default_rng([seed, 0x5A])
    lights = rng.uniform(0.86, 1.08, size=max(scenes) + 1)
    return tuple(
        _setting(rng, count, travel, float(lights[scene]))
        for (count, travel), scene in zip(counts, scenes, strict=True)
    )


def _setting(rng: np.random.Generator, count: int, travel: bool, light: float) -> _Setting:
    # Always the same number of draws, so that one event does not change the look of the next.
    draw: list[float] = rng.uniform(size=12).tolist()
    slots = []
    for i in range(count):
        mirror = draw[3] < 0.5
        if travel:
            x, width = 0.5 + 0.04 * (draw[0] - 0.5), 0.86
        elif count == 1:
            x, width = 0.5 + 0.24 * (draw[0] - 0.5), (0.56, 0.6, 0.63)[int(3 * draw[1])]
        else:
            left = (i == 0) == (draw[2] < 0.5)
            mirror = left  # both act outwards, so that what lies beside a performer is that performer's
            x, width = (0.26 if left else 0.74) + 0.02 * (draw[5 + i] - 0.5), (0.44, 0.47)[int(2 * draw[1])]
        floor = 0.05 + 0.04 * draw[7 + i]
        slots.append((x, floor, width, mirror, 2 * math.pi * draw[9]))
    passer = None
    if draw[10] < 0.3:
        kind = _PASSERS[int(draw[10] * 10)]
        passer = (kind, 0.06 + 0.16 * draw[11], 0.1, 1.0 if draw[9] < 0.5 else -1.0)
    return _Setting(tuple(slots), light, passer)


def _scene_indices(story: Story) -> tuple[int, ...]:
    """The scene that each event belongs to; a journey belongs to where it leads."""
    scenes, scene = [], 0
    for before, event in zip((None, *story.events), story.events, strict=False):
        scene += before is not None and before.place != event.place
        scenes.append(scene)
    return tuple(scenes)


def event_index(story: Story, seconds: float) -> int:
    """Returns the index of the event that is under way at a time; the last one at and after the end."""
    return next((i for i, event in enumerate(story.events) if seconds < event.end), len(story.events) - 1)


def thing_colour(story: Story, performance: Performance) -> Colour:
    """Returns the colour of what somebody deals with: a story's particular things have their own."""
    own = {thing.kind: thing.colour for thing in story.things}
    kind = performance.thing
    if kind is None:
        return (0, 0, 0)
    return own.get(kind) or (VEHICLES if performance.action == "go" else KINDS)[kind]


def shot_at(story: Story, seconds: float) -> Shot:
    """Returns what the camera sees of a story at a time (seconds from its start)."""
    index = event_index(story, seconds)
    event = story.events[index]
    counts = tuple((len(e.performances), e.role == "travel") for e in story.events)
    setting = _settings(story.seed, counts, _scene_indices(story))[index]
    beat = int(seconds * BEATS_PER_SECOND)
    figures = []
    for performance, (x, floor, width, mirror, phase) in zip(event.performances, setting.slots, strict=True):
        sway = 0.012 * math.sin(1.7 * seconds + phase)
        figures.append(Figure(performance, thing_colour(story, performance), x + sway, floor, width, mirror, beat % 3))
    camera = story.camera
    pan = camera.pan * math.sin(2 * math.pi * seconds / camera.pan_period)
    shake = camera.shake * math.sin(37.0 * seconds), camera.shake * math.cos(29.0 * seconds)
    passer = None
    if setting.passer is not None:
        kind, y, width, direction = setting.passer
        progress = (seconds - event.start) / (event.end - event.start)
        passer = PasserBy(kind, 0.5 + direction * (1.3 * progress - 0.65), y, width, beat % 3)
    return Shot(
        seconds, event, event.role == "travel", (pan + shake[0], shake[1]), setting.light, tuple(figures), passer
    )


def corner(shot: Shot, figure_: Figure, size: int) -> tuple[int, int, int]:
    """Returns where a figure's cell lies in an image of `size` pixels: left, top, and its width in pixels."""
    width = round(figure_.width * size)
    height = round(cell_height(figure_.performance.action) * width)
    left = round((figure_.x - shot.pan[0] / 3) * size - width / 2)
    top = round((1 - figure_.floor - shot.pan[1] / 3) * size) - height
    return left, top, width


def placements(shot: Shot, size: int = 96) -> tuple[Placement, ...]:
    """Returns the ground truth of a shot: every person and every thing of the performers, with its box cut to the
    image."""
    found = []
    for f in shot.figures:
        left, top, width = corner(shot, f, size)
        p = f.performance
        boxes = figure(p.person, p.action, p.thing, f.colour, f.beat, width, f.mirror).boxes
        for kind, (x0, y0, x1, y1) in sorted(boxes.items()):
            corners = [float(min(1.0, max(0.0, v / size))) for v in (left + x0, top + y0, left + x1, top + y1)]
            box = (corners[0], corners[1], corners[2], corners[3])
            found.append(Placement(kind, p.person if kind == "person" else str(p.thing), p.person, box))
    return tuple(found)
