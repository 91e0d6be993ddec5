"""Photographs of StoryWorld's people, as loose crops: somebody's head with some of what is around it.

Every photo is drawn anew: the background, how loose the crop is, how the head is held, the light; sometimes glasses,
and sometimes somebody else at the edge, for loose crops often show more than one.
"""

import numpy as np
from jaxtyping import UInt8

from storyjax.storyworld.draw.canvas import Canvas
from storyjax.storyworld.draw.people import HEAD, HEAD_RADIUS, Pose, draw_arms, draw_body
from storyjax.storyworld.draw.sprites import Box, background, clipped, rimmed
from storyjax.storyworld.render.render import paste
from storyjax.storyworld.story.cast import PLACES, Person
from storyjax.storyworld.story.population import EVERYONE

PHOTO_SIZE = 64
_BYSTANDERS = 0.15  # fraction of photos with somebody else at the edge


def photograph(
    name: str, rng: np.random.Generator, size: int = PHOTO_SIZE, loose: tuple[float, float] = (0.45, 0.95)
) -> tuple[UInt8[np.ndarray, "{size} {size} 3"], Box]:
    """Returns a photo of somebody, and the box around the head: left, top, right, bottom in pixels.

    `loose` bounds the pixels of a person's unit (a standing person has 1.15) as fractions of the image.
    """
    unit = float(rng.uniform(*loose)) * size
    x, y = size * (0.5 + rng.uniform(-0.07, 0.07)), size * (0.36 + rng.uniform(-0.06, 0.06))
    ground = background(str(rng.choice(list(PLACES))), False, 96)
    frame = _backdrop(ground, size, rng)
    if rng.random() < _BYSTANDERS:
        others = [person for person in EVERYONE.values() if person.known and person.name != name]
        side = -1 if rng.random() < 0.5 else 1
        other = others[int(rng.integers(len(others)))]
        paste(frame, _portrait(other, size, unit * 0.8, (x + side * 0.75 * unit, y + 0.1 * unit), rng), 0, 0)
    paste(frame, _portrait(EVERYONE[name], size, unit, (x, y), rng), 0, 0)
    noisy = frame * rng.uniform(0.86, 1.08) + rng.normal(0, 2.0, frame.shape)
    head = HEAD_RADIUS * 1.25 * unit
    corners = (x - head, y - head, x + head, y + head)
    return np.clip(noisy, 0, 255).astype(np.uint8), clipped(corners, size)


def _backdrop(ground: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A window of a place, at the photo's size."""
    side = min(ground.shape[0], max(size, 64))
    left, top = (int(rng.integers(ground.shape[0] - side + 1)) for _ in range(2))
    window = ground[top : top + side, left : left + side]
    rows = np.arange(size) * side // size
    return window[rows][:, rows].copy()


def _portrait(person: Person, size: int, unit: float, head: tuple[float, float], rng: np.random.Generator):
    def hand(side: int) -> tuple[float, float]:
        return side * float(rng.uniform(0.2, 0.38)), float(rng.uniform(0.3, 0.62))

    pose = Pose(
        back=hand(-1),
        front=hand(1),
        mouth=str(rng.choice(["smile", "open", "sad", "flat"])),
        eyes=str(rng.choice(["open", "open", "open", "wide", "closed", "glasses"])),
    )
    canvas = Canvas((size, size), unit, head, supersample=3)
    with canvas.at(0.0, 0.0, turn=float(rng.uniform(-14, 14)), mirror=bool(rng.random() < 0.5)), canvas.at(0.0, -HEAD):
        draw_body(canvas, person, pose)
        draw_arms(canvas, person, pose)
    return rimmed(canvas.picture(), {})
