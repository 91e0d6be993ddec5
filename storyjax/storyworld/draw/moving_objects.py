"""What moves in StoryWorld's sequences for tracking: people, things and vehicles, each with a look of its own.

Looks are drawn with the functions of the stories, at 12 to 45 pixels. A look-alike is of the same kind in slightly
different colours, so that the two are hard to tell apart. Random objects have no kind in common: each is composed of
shapes at random, so that a model that learns from them learns what an object is and not what kinds there are. Random
vehicles are such with somebody in or on them, and with wheels or without: a rider is not a moving object of its own.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from storyjax.storyworld.draw.actor import BEATS, Actor
from storyjax.storyworld.draw.canvas import Canvas, Colour
from storyjax.storyworld.draw.people import Pose, draw_arms, draw_body
from storyjax.storyworld.draw.sprites import Sprite, rimmed
from storyjax.storyworld.draw.things import draw_thing, shade
from storyjax.storyworld.draw.vehicles import VEHICLE_HEIGHT, draw_ride
from storyjax.storyworld.story.cast import KINDS, PEOPLE, VEHICLES, Person

# "toy car" is the thing, "car" the vehicle with its driver.
SEEN_KINDS = (
    "person", "dog", "ball", "box", "balloon", "chair", "lamp", "drum", "plane", "toy car", "bike", "car", "bus",
)  # fmt: skip
# Never in training: what the class-agnostic test is made of.
UNSEEN_KINDS = ("bear", "guitar", "umbrella", "hat", "vase", "kite", "horse", "train", "boat")
ALL_KINDS = SEEN_KINDS + UNSEEN_KINDS
RANDOM_OBJECT, RANDOM_VEHICLE = "oddment", "odd ride"
# What a long training shows besides; as many random objects as there are kinds.
MORE_KINDS = (
    "cake", "apple", "pizza", "book", "map", "flower", "fence", "milk", "tea", "cup", "phone", "soup", "window",
    *(RANDOM_OBJECT,) * 26,
)  # fmt: skip
RANDOM_VEHICLES = (RANDOM_VEHICLE,) * 13
_RIDES = frozenset((*VEHICLES, RANDOM_VEHICLE))
_PALETTE: tuple[Colour, ...] = (
    (220, 40, 50), (245, 215, 40), (40, 160, 70), (40, 90, 220), (240, 130, 190), (250, 140, 30), (140, 70, 190),
    (60, 200, 210), (245, 245, 235), (60, 60, 70), (130, 80, 45), (150, 220, 90),
)  # fmt: skip
_SKINS = tuple(dict.fromkeys(person.skin for person in PEOPLE.values()))
_HAIRS = tuple(dict.fromkeys(person.hair for person in PEOPLE.values()))
_STYLES = ("short", "long", "bun", "curly", "cap", "bald")
_TINT = 34  # how far, in grey levels, a look-alike's colours are off


@dataclass(frozen=True)
class Look:
    """What a moving object looks like: its kind, its colour (of things and vehicles), the person that it is or carries.

    `size` is in pixels at the front of the scene: the height of a person, the width of everything else; `shape` is the
    seed of a random object or vehicle.
    """

    kind: str
    colour: Colour
    person: Person
    size: int
    shape: int = 0


def draw_look(kind: str, rng: np.random.Generator) -> Look:
    """Returns a random look for a moving object of that kind."""
    if kind == RANDOM_OBJECT:
        return Look(kind, _any_colour(rng), PEOPLE["ana"], int(rng.integers(14, 43)), int(rng.integers(2**31)))
    low, high = (22, 40) if kind == "person" else (26, 42) if kind in _RIDES else (14, 26)
    colours = [_PALETTE[i] for i in rng.permutation(len(_PALETTE))]
    own = {**KINDS, **VEHICLES}.get(kind.removeprefix("toy "), colours[0])
    person = replace(
        PEOPLE["ana"],
        name="somebody",
        skin=_SKINS[int(rng.integers(len(_SKINS)))],
        hair=_HAIRS[int(rng.integers(len(_HAIRS)))],
        hair_style=_STYLES[int(rng.integers(len(_STYLES)))],
        shirt=colours[0],
        trousers=colours[1],
    )
    if kind == RANDOM_VEHICLE:
        return Look(kind, _any_colour(rng), person, int(rng.integers(low, high + 1)), int(rng.integers(2**31)))
    return Look(kind, own if rng.uniform() < 0.3 else colours[2], person, int(rng.integers(low, high + 1)))


def _any_colour(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(c) for c in rng.integers(15, 251, 3))
    return red, green, blue


def similar_look(look: Look, rng: np.random.Generator) -> Look:
    """Returns the look of another object of the same kind and size whose colours differ a little."""

    def off(colour: Colour) -> Colour:
        shift = _TINT * rng.choice((-1, 1), 3)
        return tuple(int(np.clip(c + s, 15, 250)) for c, s in zip(colour, shift, strict=True))  # type: ignore[return-value]

    person = look.person
    person = replace(person, shirt=off(person.shirt), trousers=off(person.trousers))
    return replace(look, colour=off(look.colour), person=person)


@dataclass(frozen=True)
class Cutout:
    """An image cut to what is opaque of it, and where it is opaque."""

    sprite: Sprite
    solid: Bool[np.ndarray, "y x"]

    @property
    def area(self) -> int:
        """Opaque pixels."""
        return int(self.solid.sum())


@lru_cache(maxsize=4000)
def cutout(look: Look, size: int, beat: int, mirror: bool) -> Cutout:
    """Returns a moving object drawn `size` pixels high (a person) or wide (everything else), in a beat of movement."""
    if look.kind == "person":
        sprite = _person(look.person, size, beat, mirror)
    elif look.kind in _RIDES:
        sprite = _ride(look, size, beat, mirror)
    else:
        canvas = Canvas((size + 2, size + 2), size, (size / 2 + 1, size / 2 + 1))
        tilt = (0.0, 5.0, -5.0)[beat % BEATS]
        with canvas.at(0.0, 0.0, 1.0, tilt, mirror=mirror):
            if look.kind == RANDOM_OBJECT:
                _draw_random_object(canvas, look)
            else:
                draw_thing(canvas, look.kind.removeprefix("toy "), look.colour)
        sprite = rimmed(canvas.picture(), {})
    return cut(sprite)


def cut(sprite: Sprite) -> Cutout:
    """Returns a sprite without its empty margins."""
    solid = sprite.clear[..., 0] < 128
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    sprite = Sprite(np.ascontiguousarray(sprite.ink[part]), np.ascontiguousarray(sprite.clear[part]), {})
    return Cutout(sprite, np.ascontiguousarray(solid[part]))


def _draw_random_object(canvas: Canvas, look: Look) -> None:
    """Two to six shapes of up to three colours about a middle, in half of the cases the same left and right."""
    rng = np.random.default_rng([look.shape, 0x0DD])
    others = [_any_colour(rng) for _ in range(2)]
    colours = [look.colour, look.colour, shade(look.colour, float(rng.uniform(0.5, 0.9))), *others]
    both_sides = rng.uniform() < 0.5
    # A body, so that it hangs together, and parts that lie on its edge.
    rx, ry = rng.uniform(0.12, 0.34, 2)
    _shape(canvas, rng, 0.0, 0.0, rx, ry, look.colour)
    for _ in range(int(rng.integers(1, 6))):
        angle = rng.uniform(0, 2 * np.pi)
        x, y = rx * np.cos(angle), ry * np.sin(angle)
        wide, high = rng.uniform(0.04, 0.22, 2)
        colour, state = colours[int(rng.integers(len(colours)))], rng.bit_generator.state
        _shape(canvas, rng, x, y, wide, high, colour)
        if both_sides:
            rng.bit_generator.state = state
            with canvas.at(0.0, 0.0, mirror=True):
                _shape(canvas, rng, x, y, wide, high, colour)


def _draw_random_vehicle(actor: Actor, shape: int) -> None:
    """A hull at random and parts on it, behind and before somebody who sits, stands or looks out; often with wheels."""
    rng = np.random.default_rng([shape, 0x01DE])
    canvas, dark = actor.canvas, shade(actor.colour, float(rng.uniform(0.5, 0.9)))
    colours = (actor.colour, actor.colour, dark, _any_colour(rng), _any_colour(rng))

    def parts(count: int, low: float, high: float) -> None:
        for _ in range(count):
            wide, tall = rng.uniform(0.04, 0.2, 2)
            x, y = rng.uniform(-0.5 + wide, 0.5 - wide), rng.uniform(low, high)
            _shape(canvas, rng, x, y, wide, min(tall, y, VEHICLE_HEIGHT - y), colours[int(rng.integers(len(colours)))])

    low, top = rng.uniform(0.04, 0.22), rng.uniform(0.3, 0.6)
    left, right = -rng.uniform(0.3, 0.5), rng.uniform(0.3, 0.5)
    parts(int(rng.integers(0, 5)), 0.25, top + 0.15)
    seat = float(rng.uniform(left + 0.12, right - 0.12))
    if rng.uniform() < 0.85:
        actor.body(Pose((0.2, 0.45), (0.35, 0.48)), seat, float(rng.uniform(low, 0.3)), float(rng.uniform(0.5, 0.64)))
    slant = rng.uniform(-0.12, 0.12, 4)
    canvas.poly(
        ((left, low + slant[0]), (right, low + slant[1]), (right + slant[2], top), (left + slant[3], top)), actor.colour
    )
    parts(int(rng.integers(0, 4)), low, top)
    wheels, r = int(rng.choice((0, 0, 2, 2, 3, 4))), float(rng.uniform(0.07, 0.16))
    for x in np.linspace(left + r, right - r, wheels) if wheels else ():
        canvas.disc(float(x), r, r, colours[-1] if rng.uniform() < 0.3 else (30, 30, 36))
        canvas.disc(float(x), r, 0.5 * r, (170, 175, 185))


def _shape(canvas: Canvas, rng: np.random.Generator, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
    """An oval, a box, a triangle, a star, a stick or a polygon of any form, about (x, y)."""
    which = int(rng.integers(6))
    if which == 0:
        canvas.oval(x, y, rx, ry, colour)
    elif which == 1:
        canvas.rect(x - rx, y - ry, x + rx, y + ry, colour)
    elif which == 2:
        canvas.poly(((x - rx, y - ry), (x + rx, y - ry), (x + rx * rng.uniform(-1, 1), y + ry)), colour)
    elif which == 3:
        canvas.star(x, y, max(rx, ry), max(rx, ry) * rng.uniform(0.4, 0.8), int(rng.integers(3, 8)), colour)
    elif which == 4:
        angle, reach = rng.uniform(0, np.pi), max(rx, ry)
        dx, dy = reach * np.cos(angle), reach * np.sin(angle)
        canvas.line(((x - dx, y - dy), (x + dx, y + dy)), max(0.06, 0.5 * min(rx, ry)), colour)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 6))
        canvas.poly([(x + rx * np.cos(a) * rng.uniform(0.6, 1), y + ry * np.sin(a)) for a in angles], colour)


def _person(person: Person, height: int, beat: int, mirror: bool) -> Sprite:
    unit = height / 1.24
    width = round(0.95 * unit) + 2
    canvas = Canvas((width, height + 2), unit, (width / 2, height))
    swing = (0.0, 0.12, -0.12)[beat % BEATS]
    pose = Pose((-0.24, 0.42 - swing), (0.24, 0.42 + swing), ((-0.1 - swing, 0.04), (0.1 + swing, 0.04)))
    with canvas.at(0.0, 0.0, mirror=mirror):
        draw_body(canvas, person, pose)
        draw_arms(canvas, person, pose)
    return rimmed(canvas.picture(), {})


def _ride(look: Look, width: int, beat: int, mirror: bool) -> Sprite:
    height = round(VEHICLE_HEIGHT * width) + 2
    canvas = Canvas((width + 2, height), width, (width / 2 + 1, height - 1))
    with canvas.at(0.0, 0.0, mirror=mirror):
        actor = Actor(canvas, look.person, look.kind, look.colour, beat, mirror)
        if look.kind == RANDOM_VEHICLE:
            _draw_random_vehicle(actor, look.shape)
        else:
            draw_ride(actor)
    return rimmed(canvas.picture(), {})
