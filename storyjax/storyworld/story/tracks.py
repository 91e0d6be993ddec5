"""Sequences for tracking: seeded scenes of moving things, with the truth of every frame (thesis Ch. 2).

People, things and vehicles walk through, wander, leave and come back; pairs meet, hide each other and go on or turn
back, some of them look-alikes; a post or a hedge may stand in front; the camera pans and shakes. Objects lower in
the image are nearer, larger, and hide the others.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int32, UInt8

from storyjax.storyworld.draw.canvas import Canvas, Number
from storyjax.storyworld.draw.moving_objects import (
    ALL_KINDS,
    SEEN_KINDS,
    Cutout,
    Look,
    cut,
    cutout,
    draw_look,
    similar_look,
)
from storyjax.storyworld.draw.scenery import MARGIN
from storyjax.storyworld.draw.sprites import background, rimmed
from storyjax.storyworld.render.render import paste
from storyjax.storyworld.story.cast import PLACES

_NOISE = 2.0  # standard deviation of the sensor noise, in grey levels


@dataclass(frozen=True)
class TrackStyle:
    """What sequences are like.

    Attributes:
        width, height: of the image, in pixels; at most as high as wide.
        frames: least and most.
        fps: frames a second.
        movers: how many objects move through a sequence, least and most.
        kinds: what they are drawn from.
        one_kind: whether all moving objects of a sequence are of one kind, as in GMOT-40.
        meeting: the fraction of moving objects that come in pairs that meet.
        alike: the fraction of these pairs that look alike.
        returning: the fraction of the others that leave and come back.
        camera: the most that the camera pans, in pixels; it shakes by a sixth of it.
        blinds: posts and hedges in front, at most.
    """

    width: int = 160
    height: int = 96
    frames: tuple[int, int] = (40, 80)
    fps: int = 10
    movers: tuple[int, int] = (3, 7)
    kinds: tuple[str, ...] = SEEN_KINDS
    one_kind: bool = False
    meeting: float = 0.6
    alike: float = 0.5
    returning: float = 0.35
    camera: int = 12
    blinds: int = 1


@dataclass(frozen=True)
class MovingObject:
    """Somebody or something that moves: `path` is where its foot is in each frame, in pixels of the scene."""

    number: int  # from 1
    look: Look
    path: Float64[np.ndarray, "t 2"]


@dataclass(frozen=True)
class Sequence:
    """A scene before it is drawn."""

    seed: int
    style: TrackStyle
    place: str
    road: bool
    light: float
    objects: tuple[MovingObject, ...]
    blinds: tuple[tuple[int, int, int, int], ...]  # (x, foot, width, height) in pixels of the scene
    camera: Float64[np.ndarray, "t 2"]

    @property
    def length(self) -> int:
        """Frames."""
        return len(self.camera)


@dataclass(frozen=True)
class Truth:
    """What is to be seen in a frame. Boxes are left, top, width, height in pixels, 0-based.

    `boxes` are of the whole moving object, hidden parts too, cut to the image; `visible` are of its pixels that show;
    `visibility` is the fraction of all its pixels that show. An object of which nothing shows has an empty `visible`
    box; one outside the image is left out.
    """

    ids: Int32[np.ndarray, " m"]
    kinds: tuple[str, ...]
    boxes: Float32[np.ndarray, "m 4"]
    visible: Float32[np.ndarray, "m 4"]
    visibility: Float32[np.ndarray, " m"]


def plan_sequence(seed: int, style: TrackStyle | None = None) -> Sequence:
    """Returns the scene of that seed: who moves where, before a pixel of it is drawn."""
    style = style or TrackStyle()
    rng = np.random.default_rng([seed, 0x77AC])
    length = int(rng.integers(style.frames[0], style.frames[1] + 1))
    place = list(PLACES)[int(rng.integers(len(PLACES)))]
    count = int(rng.integers(style.movers[0], style.movers[1] + 1))
    kinds = [style.kinds[int(i)] for i in rng.integers(len(style.kinds), size=count)]
    if style.one_kind:
        kinds = [kinds[0]] * count
    elif "person" in style.kinds:  # every third moving object is a person
        kinds = ["person" if rng.uniform() < 0.35 else kind for kind in kinds]
    looks: list[Look] = []
    paths: list[Float64[np.ndarray, "t 2"]] = []
    while len(paths) < count:
        look = draw_look(kinds[len(paths)], rng)
        if count - len(paths) >= 2 and rng.uniform() < style.meeting:
            like = rng.uniform() < style.alike
            looks += [look, similar_look(look, rng) if like else draw_look(kinds[len(paths) + 1], rng)]
            paths += _meeting(style, length, rng)
        else:
            looks.append(look)
            paths.append(_alone(style, length, rng))
    objects = tuple(MovingObject(i, *pair) for i, pair in enumerate(zip(looks, paths, strict=True), 1))
    blinds = tuple(_blind(style, rng) for _ in range(int(rng.integers(style.blinds + 1))))
    light = float(rng.uniform(0.86, 1.08))
    return Sequence(seed, style, place, bool(rng.uniform() < 0.3), light, objects, blinds, _camera(style, length, rng))


def _ground(style: TrackStyle) -> tuple[float, float]:
    """The highest and the lowest foot, in pixels from the top."""
    return 0.45 * style.height, 0.98 * style.height


def _through(points: list[tuple[Number, Number, Number]], length: int) -> Float64[np.ndarray, "t 2"]:
    """A path through (frame, x, y), straight from point to point."""
    frames, xs, ys = (np.array(column, np.float64) for column in zip(*points, strict=True))
    times = np.arange(length)
    return np.stack([np.interp(times, frames, xs), np.interp(times, frames, ys)], 1)


def _alone(style: TrackStyle, length: int, rng: np.random.Generator) -> Float64[np.ndarray, "t 2"]:
    """The path of somebody who meets nobody on purpose: comes through, comes back, or wanders."""
    low, high = _ground(style)
    y, width = float(rng.uniform(low, high)), style.width
    side = float(rng.choice((-1, 1)))
    out, back = (width / 2 - side * (width / 2 + 26), width / 2 + side * (width / 2 + 26))
    draw = rng.uniform()
    if draw < style.returning:
        gone = float(rng.uniform(0.35, 0.5)) * length
        absent = float(rng.uniform(8, 16))
        turn = float(rng.uniform(0.3, 0.7)) * width
        again = float(rng.uniform(low, high))
        # In the image, out at the nearer side, and in again.
        edge = -24.0 if turn < width / 2 else width + 24.0
        points = [(0, turn, y), (0.4 * gone, turn + side * 8, y), (gone, edge, y), (gone + absent, edge, again)]
        points.append((length - 1.0, width - turn, again))
    elif draw < 0.6 + 0.4 * style.returning:
        start, speed = float(rng.uniform(-0.3, 0.4)) * length, float(rng.uniform(1.4, 3.4))
        end = start + abs(back - out) / speed
        points = [(start, out, y), (end, back, float(np.clip(y + rng.uniform(-12, 12), low, high)))]
    else:
        points, frame = [], 0.0
        x = float(rng.uniform(0.1, 0.9)) * width
        while frame < length + 16:
            points.append((frame, x, y))
            x = float(np.clip(x + rng.uniform(-30, 30), 8, width - 8))
            y = float(np.clip(y + rng.uniform(-8, 8), low, high))
            frame += float(rng.uniform(10, 18))
    return _through(points, length)


def _meeting(style: TrackStyle, length: int, rng: np.random.Generator) -> list[Float64[np.ndarray, "t 2"]]:
    """The paths of two who come from either side, stay in front of each other for a moment, and go on or turn back."""
    low, high = _ground(style)
    where, y = float(rng.uniform(0.22, 0.78)) * style.width, float(rng.uniform(low + 4, high - 4))
    when = float(rng.uniform(0.2, 0.75)) * length
    stay = float(rng.uniform(1, 5))
    turns = rng.uniform() < 0.5
    paths = []
    for side in (-1.0, 1.0):
        speed = float(rng.uniform(1.3, 2.8))
        foot = y + float(rng.uniform(-3, 3))
        before, near = speed * (when - stay), 5.0
        after, beyond = speed * (length - when - stay), side * near if turns else -side * near
        away = side * after if turns else -side * after
        points = [
            (0, where + side * (near + before), foot),
            (when - stay, where + side * near, foot),
            (when, where if turns else where + 0.1 * side, foot),
            (when + stay, where + beyond, foot),
            (float(length), where + beyond + away, foot + float(rng.uniform(-6, 6))),
        ]
        paths.append(_through(points, length))
    return paths


def _blind(style: TrackStyle, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Something that stands in front: a narrow post, or a low hedge."""
    x = int(rng.uniform(0.2, 0.8) * style.width)
    width, height = ((8, 62), (26, 24))[int(rng.integers(2))]
    return x, int(rng.uniform(0.85, 1.0) * style.height), width, height


def _camera(style: TrackStyle, length: int, rng: np.random.Generator) -> Float64[np.ndarray, "t 2"]:
    reach = style.camera * rng.uniform(0, 1, 2) * (1.0, 0.5)
    phase, period = rng.uniform(0, 2 * np.pi, 2), rng.uniform(30, 70, 2)
    pan = reach * np.sin(2 * np.pi * np.arange(length)[:, None] / period + phase)
    shake = rng.normal(0, style.camera / 6 * rng.uniform(), (length, 2))
    return np.clip(pan + shake, -style.camera, style.camera)


def render_sequence(
    sequence: Sequence, frames: range | None = None
) -> Iterator[tuple[UInt8[np.ndarray, "y x 3"], Truth]]:
    """Yields the images of a sequence with what is true of them, one after another; any frame is the same however
    asked."""
    for index in frames if frames is not None else range(sequence.length):
        yield _frame(sequence, index)


def _frame(sequence: Sequence, index: int) -> tuple[UInt8[np.ndarray, "y x 3"], Truth]:
    style = sequence.style
    pan = np.round(sequence.camera[index]).astype(int)
    frame = _scene(sequence, pan)
    # Whose pixel it is: 0 the scenery, -1 what stands in front of it, else the moving object's number.
    owner = np.zeros((style.height, style.width), np.int16)
    shown = []
    for foot, mover, piece, left, top in sorted(_pieces(sequence, index, pan), key=lambda item: item[0]):
        paste(frame, piece.sprite, left, top)
        box = _own(owner, piece, left, top, -1 if mover is None else mover.number)
        if mover is not None and box is not None:
            shown.append((mover, piece, box))
        del foot
    return _seen(frame, sequence, index), _truth(owner, shown)


def _pieces(
    sequence: Sequence, index: int, pan: np.ndarray
) -> Iterator[tuple[float, MovingObject | None, Cutout, int, int]]:
    """(foot, moving object, image, left, top) of all that may be in a frame."""
    low, high = _ground(sequence.style)
    for mover in sequence.objects:
        x, foot = mover.path[index]
        step = mover.path[min(index + 1, sequence.length - 1)] - mover.path[max(index - 1, 0)]
        scale = 0.75 + 0.35 * float(np.clip((foot - low) / (high - low), 0, 1))
        size = max(12, 2 * round(mover.look.size * scale / 2))  # even sizes alone: fewer images to draw
        beat = (index // 2 + mover.number) % 3 if np.abs(step).max() > 0.5 else 0
        piece = cutout(mover.look, size, beat, bool(step[0] < 0))
        height, width = piece.solid.shape
        yield foot, mover, piece, round(x - width / 2) - int(pan[0]), round(foot) - height - int(pan[1])
    for x, foot, width, height in sequence.blinds:
        piece = _screen(width, height, sequence.seed % 3)
        yield foot + 0.5, None, piece, x - width // 2 - int(pan[0]), foot - height - int(pan[1])


def _own(
    owner: Int16[np.ndarray, "y x"], piece: Cutout, left: int, top: int, number: int
) -> tuple[int, int, int, int] | None:
    """Marks the pixels that a piece covers; its box (left, top, right, bottom) cut to the image, None if outside."""
    height, width = piece.solid.shape
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(owner.shape[1], left + width), min(owner.shape[0], top + height)
    if x0 >= x1 or y0 >= y1:
        return None
    owner[y0:y1, x0:x1][piece.solid[y0 - top : y1 - top, x0 - left : x1 - left]] = number
    return x0, y0, x1, y1


def _truth(
    owner: Int16[np.ndarray, "y x"], shown: list[tuple[MovingObject, Cutout, tuple[int, int, int, int]]]
) -> Truth:
    shown = sorted(shown, key=lambda item: item[0].number)
    boxes, visible, shares = [], [], []
    for mover, piece, (x0, y0, x1, y1) in shown:
        mine = owner[y0:y1, x0:x1] == mover.number
        columns, rows = np.flatnonzero(mine.any(0)), np.flatnonzero(mine.any(1))
        boxes.append((x0, y0, x1 - x0, y1 - y0))
        if len(columns):
            visible.append((x0 + columns[0], y0 + rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1))
        else:
            visible.append((x0, y0, 0, 0))
        shares.append(mine.sum() / piece.area)
    return Truth(
        np.array([mover.number for mover, _, _ in shown], np.int32),
        tuple(mover.look.kind for mover, _, _ in shown),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(visible, np.float32).reshape(-1, 4),
        np.array(shares, np.float32),
    )


def _scene(sequence: Sequence, pan: np.ndarray) -> UInt8[np.ndarray, "y x 3"]:
    """The background that the camera sees, with the ground in the lower half."""
    style = sequence.style
    whole = background(sequence.place, sequence.road, style.width)
    margin = round(MARGIN * style.width)
    top = margin + style.width - style.height - round(0.08 * style.height) + int(pan[1])
    left = margin + int(pan[0])
    top, left = (
        int(np.clip(v, 0, whole.shape[i] - s)) for i, (v, s) in enumerate(((top, style.height), (left, style.width)))
    )
    return whole[top : top + style.height, left : left + style.width].copy()


def _screen(width: int, height: int, colour: int) -> Cutout:
    key = (width, height, colour)
    if key not in _SCREENS:
        tint = ((96, 78, 60), (46, 92, 52), (120, 122, 130))[colour]
        canvas = Canvas((width, height), 1.0, (0, height))
        canvas.rect(0, 0, width, height, tint)
        for i in range(0, height, 6):
            canvas.rect(0, i, width, i + 2, tuple(int(0.8 * c) for c in tint))  # type: ignore[arg-type]
        _SCREENS[key] = cut(rimmed(canvas.picture(), {}))
    return _SCREENS[key]


_SCREENS: dict[tuple[int, int, int], Cutout] = {}
_FIELD = np.round(np.random.default_rng(0x402).normal(0, _NOISE, (256, 384, 3))).astype(np.int16)


def _seen(frame: UInt8[np.ndarray, "y x 3"], sequence: Sequence, index: int) -> UInt8[np.ndarray, "y x 3"]:
    """What a sensor makes of an image: the light of the scene, and noise."""
    height, width = frame.shape[:2]
    lit = (frame.astype(np.int16) * np.int16(round(sequence.light * 64))) >> 6
    if height <= 192 and width <= 320:
        ticket = (index * 2654435761 + sequence.seed * 40503) & 0xFFFFFFFF
        dx, dy = (ticket >> 8) % 64, (ticket >> 18) % 64
        lit += _FIELD[dy : dy + height, dx : dx + width]
    return np.clip(lit, 0, 255).astype(np.uint8)


def tracks_fingerprint(style: TrackStyle | None = None) -> bytes:
    """Changes when sequences of this style would be planned or drawn in another way."""
    digest = hashlib.sha256(" ".join(ALL_KINDS).encode())
    for seed in range(2):
        sequence = plan_sequence(seed, style)
        for frame, truth in render_sequence(sequence, range(0, sequence.length, 19)):
            digest.update(frame.tobytes() + truth.boxes.tobytes() + truth.visibility.tobytes())
    return digest.digest()
