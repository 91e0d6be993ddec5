"""Cached drawings: figures (somebody doing something) and backgrounds, ready to be pasted into frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8, UInt16

from storyjax.storyworld.draw.actor import CELL_HEIGHT, Act, Actor
from storyjax.storyworld.draw.canvas import Canvas, Colour
from storyjax.storyworld.draw.everyday_actions import EVERYDAY_ACTIONS
from storyjax.storyworld.draw.mishap_actions import MISHAP_ACTIONS
from storyjax.storyworld.draw.scenery import MARGIN, draw_place
from storyjax.storyworld.draw.vehicles import VEHICLE_HEIGHT, draw_ride
from storyjax.storyworld.story.cast import PLACES
from storyjax.storyworld.story.population import EVERYONE

Box = tuple[float, float, float, float]  # left, top, right, bottom
_ACTS: dict[str, Act] = {**EVERYDAY_ACTIONS, **MISHAP_ACTIONS, "go": draw_ride}
_EDGE = np.array((20, 20, 30), np.float32)  # a dark rim keeps figures apart from every background


@dataclass(frozen=True)
class Sprite:
    """An image with opacity: `ink` is the colour times the opacity, `clear` 256 less the opacity (0 to 256).

    `boxes` gives where the person and the thing lie, in pixels from the sprite's upper left corner.
    """

    ink: UInt8[np.ndarray, "y x 3"]
    clear: UInt16[np.ndarray, "y x 1"]
    boxes: dict[str, Box]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.ink.shape[1], self.ink.shape[0]


def clipped(corners: Sequence[float], limit: int | float) -> Box:
    """Returns a box cut to a square image: `corners` (left, top, right, bottom) between 0 and `limit`."""
    left, top, right, bottom = (float(np.clip(corner, 0, limit)) for corner in corners)
    return left, top, right, bottom


def cell_height(action: str) -> float:
    """Returns the height of an action's cell over its width."""
    return VEHICLE_HEIGHT if action == "go" else CELL_HEIGHT


@lru_cache(maxsize=3000)
def figure(person: str, action: str, thing: str | None, colour: Colour, beat: int, width: int, mirror: bool) -> Sprite:
    """Returns somebody doing something, `width` pixels wide with everything that belongs to it."""
    height = round(cell_height(action) * width)
    foot = max(1, round(0.03 * width))
    canvas = Canvas((width, height), width * 0.96, (width / 2, height - foot), supersample=3 if width >= 120 else 4)
    actor = Actor(canvas, EVERYONE[person], thing, colour, beat, mirror)
    with canvas.at(0.0, 0.0, mirror=mirror):
        _ACTS[action](actor)
    boxes = {part: _clip(canvas.extent(part), width, height) for part in canvas.extents}
    return rimmed(canvas.picture(), boxes)


def _clip(box: Box | None, width: int, height: int) -> Box:
    assert box is not None, "only parts that were drawn have a box"
    return max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3])


def rimmed(picture: UInt8[np.ndarray, "y x 4"], boxes: dict[str, Box]) -> Sprite:
    """Returns the sprite of a drawing with a dark outline around it."""
    opacity = picture[..., 3].astype(np.float32) / 255
    spread = opacity.copy()
    reach = max(1, round(picture.shape[1] / 56))
    for _ in range(reach):
        wider = spread.copy()
        np.maximum(wider[1:], spread[:-1], out=wider[1:])
        np.maximum(wider[:-1], spread[1:], out=wider[:-1])
        np.maximum(wider[:, 1:], spread[:, :-1], out=wider[:, 1:])
        np.maximum(wider[:, :-1], spread[:, 1:], out=wider[:, :-1])
        spread = wider
    rim = 0.75 * spread * (1 - opacity)
    ink = picture[..., :3] + rim[..., None] * _EDGE
    clear = np.round(256 * (1 - opacity - rim)).astype(np.uint16)
    return Sprite(np.minimum(ink, 255).astype(np.uint8), clear[..., None], boxes)


@lru_cache(maxsize=64)
def background(place: str, road: bool, size: int) -> UInt8[np.ndarray, "y x 3"]:
    """Returns a place with its margin on every side: (1 + 2 MARGIN) times as wide and high as the image."""
    margin = round(MARGIN * size)
    canvas = Canvas((size + 2 * margin, size + 2 * margin), size, (margin, size + margin), (0, 0, 0), supersample=3)
    draw_place(canvas, PLACES[place], road)
    return np.ascontiguousarray(canvas.picture()[..., :3])


@lru_cache(maxsize=64)
def draw_passer_by(kind: str, beat: int, width: int) -> Sprite:
    """Returns a small distractor: a bird, a cloud or a leaf."""
    canvas = Canvas((width, width), width, (width / 2, width / 2))
    if kind == "bird":
        lift = (0.3, 0.0, -0.2)[beat % 3]
        canvas.line(((-0.45, lift), (0.0, 0.0), (0.45, lift)), 0.12, (40, 40, 55))
    elif kind == "cloud":
        for x, y, r in ((-0.25, 0.0, 0.2), (0.02, 0.08, 0.26), (0.28, 0.0, 0.18)):
            canvas.disc(x, y, r, (240, 244, 250))
    else:
        with canvas.at(0.0, 0.0, 1.0, 50.0 * beat):
            canvas.oval(0.0, 0.0, 0.3, 0.14, (215, 120, 40))
    return rimmed(canvas.picture(), {})
