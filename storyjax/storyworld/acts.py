"""How every action of StoryWorld looks: a pose, the thing it is done to, and a mark that shows it in any single frame.

An act is drawn in a cell one unit wide and `CELL_HEIGHT` units high; (0, 0) is the middle of its floor. The performer stands to the
left and acts to the right; mirroring is up to the stage.
"""

from collections.abc import Callable
from dataclasses import dataclass

from storyjax.storyworld.cast import Person
from storyjax.storyworld.pen import Colour, Pen, Point
from storyjax.storyworld.people import Pose, draw_arms, draw_body
from storyjax.storyworld.things import INK, STEEL, WHITE, WOOD, draw_thing, shade

CELL_HEIGHT = 1.5
BEATS = 3  # how many pictures an action's movement has

_YELLOW, _ORANGE, _RED = (255, 225, 40), (255, 140, 20), (230, 30, 40)
_BLUE, _SKY, _PINK = (40, 100, 235), (90, 190, 255), (255, 80, 160)


@dataclass(frozen=True)
class Actor:
    """Somebody about to be drawn in an act: who, with which thing (kind, colour), in which beat of the movement."""

    pen: Pen
    person: Person
    kind: str | None
    colour: Colour
    beat: int

    @property
    def swing(self) -> float:
        """-1, 0 or 1: where in its movement the action is."""
        return (0.0, 1.0, -1.0)[self.beat % BEATS]

    def body(
        self, pose: Pose, x: float, y: float = 0.0, scale: float = 1.0, turn: float = 0.0, arms: bool = True
    ) -> None:
        with self.pen.drawing("person"), self.pen.at(x, y, scale, turn):
            draw_body(self.pen, self.person, pose)
            if arms:
                draw_arms(self.pen, self.person, pose)

    def arms(
        self, pose: Pose, x: float, y: float = 0.0, scale: float = 1.0, back: bool = True, front: bool = True
    ) -> None:
        with self.pen.drawing("person"), self.pen.at(x, y, scale):
            draw_arms(self.pen, self.person, pose, back, front)

    def thing(self, x: float, y: float, size: float, turn: float = 0.0) -> None:
        assert self.kind is not None, "this act needs a thing"
        with self.pen.drawing("thing"), self.pen.at(x, y, size, turn):
            draw_thing(self.pen, self.kind, self.colour)


_ACTS: dict[str, Callable[[Actor], None]] = {}


def draw_act(actor: Actor, action: str) -> None:
    """Draws a person doing an action of `cast.ACTIONS` other than travelling."""
    _ACTS[action](actor)


def _act(action: str) -> Callable[[Callable[[Actor], None]], Callable[[Actor], None]]:
    def register(function: Callable[[Actor], None]) -> Callable[[Actor], None]:
        _ACTS[action] = function
        return function

    return register


def _note(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    with pen.at(x, y, size):
        pen.oval(0.0, 0.0, 0.5, 0.36, colour)
        pen.line(((0.4, 0.0), (0.4, 1.5), (0.95, 1.1)), 0.26, colour)


def _heart(pen: Pen, x: float, y: float, size: float) -> None:
    with pen.at(x, y, size):
        pen.disc(-0.45, 0.3, 0.55, _RED)
        pen.disc(0.45, 0.3, 0.55, _RED)
        pen.poly(((-0.98, 0.15), (0.98, 0.15), (0.0, -1.05)), _RED)


def _drop(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    with pen.at(x, y, size):
        pen.disc(0.0, 0.0, 0.6, colour)
        pen.poly(((-0.55, 0.25), (0.55, 0.25), (0.0, 1.3)), colour)


def _arrow(pen: Pen, x: float, y: float, size: float, turn: float, colour: Colour) -> None:
    """An arrow that points up before it is turned."""
    with pen.at(x, y, size, turn):
        pen.poly(((-0.25, -1), (0.25, -1), (0.25, 0.1), (0.7, 0.1), (0.0, 1.0), (-0.7, 0.1), (-0.25, 0.1)), colour)


@_act("dance")
def _dance(a: Actor) -> None:
    tiles = (_PINK, _SKY, _YELLOW, (120, 240, 90))
    for i in range(4):
        pen_x = -0.48 + 0.24 * i
        a.pen.poly(
            ((pen_x, -0.02), (pen_x + 0.24, -0.02), (pen_x + 0.22, 0.12), (pen_x + 0.02, 0.12)), tiles[(i + a.beat) % 4]
        )
    s = a.swing
    pose = Pose((-0.42, 0.98 - 0.1 * s), (0.42, 0.42 + 0.1 * s), ((-0.22, 0.08), (0.26, 0.14)), mouth="open")
    a.body(pose, -0.02 + 0.03 * s, 0.03, 1.0, 9 * s)
    a.pen.star(-0.38, 1.3, 0.13, 0.05, 4, _PINK)
    a.pen.star(0.36, 1.2, 0.15, 0.06, 4, _YELLOW)
    a.pen.star(0.42, 0.86, 0.1, 0.04, 4, _SKY)


@_act("jump")
def _jump(a: Actor) -> None:
    lift = 0.22 + 0.05 * a.swing
    a.pen.oval(0.0, 0.03, 0.32, 0.05, (70, 70, 70))
    for x in (-0.36, 0.36):
        _arrow(a.pen, x, 0.2, 0.19, 0, _YELLOW)
    knees = ((-0.24, 0.3), (0.24, 0.3))
    a.body(Pose((-0.36, 1.02), (0.36, 1.02), ((-0.14, 0.1), (0.14, 0.1)), knees=knees, mouth="open"), 0.0, lift)


@_act("sleep")
def _sleep(a: Actor) -> None:
    a.pen.rect(-0.5, 0.02, 0.5, 0.2, (60, 90, 190))
    a.pen.rect(-0.5, -0.0, -0.42, 0.42, WOOD)
    a.pen.rect(0.42, -0.0, 0.5, 0.3, WOOD)
    a.pen.oval(-0.28, 0.3, 0.2, 0.13, WHITE)
    pose = Pose((-0.24, 0.45), (0.24, 0.45), mouth="flat", eyes="closed")
    a.body(pose, 0.46, 0.3, 0.82, 90)
    for i, (x, y) in enumerate(((-0.18, 0.62), (0.05, 0.82), (0.3, 1.05))):
        size = 0.13 + 0.05 * i + 0.015 * a.swing
        with a.pen.at(x, y, size):
            zed = ((-0.7, 0.8), (0.7, 0.8), (-0.7, -0.8), (0.7, -0.8))
            a.pen.line(zed, 0.62, (35, 45, 140))
            a.pen.line(zed, 0.34, WHITE)


@_act("wave")
def _wave(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.27, 0.4), (0.36 + 0.03 * s, 1.02), elbows=(None, (0.34, 0.7)))
    a.body(pose, -0.12)
    with a.pen.drawing("person"), a.pen.at(0.26 + 0.03 * s, 1.1, 1.0, -12 * s):
        for angle in (-50, -24, 0, 24):
            with a.pen.at(0.0, 0.02, 1.0, angle):
                a.pen.line(((0.0, 0.0), (0.0, 0.19)), 0.07, a.person.skin)
        a.pen.disc(0.0, 0.0, 0.11, a.person.skin)
    for r in (0.28, 0.36):
        a.pen.arc(0.24, 1.1, r, -35, 20, 0.05, WHITE)
        a.pen.arc(0.24, 1.1, r, 120, 150, 0.05, WHITE)


@_act("sing")
def _sing(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.3, 0.55), (0.16, 0.74), elbows=(None, (0.3, 0.58)), mouth="open", eyes="closed")
    a.body(pose, -0.16)
    a.pen.line(((0.04, 0.72), (0.0, 0.8)), 0.08, INK)
    a.pen.disc(-0.02, 0.82, 0.07, STEEL)
    for x, y, size in ((0.2, 0.95 + 0.03 * s, 0.16), (0.36, 1.2 - 0.03 * s, 0.19), (-0.42, 1.18 + 0.03 * s, 0.15)):
        _note(a.pen, x, y, size * 1.25, WHITE)
        _note(a.pen, x, y, size, INK)


@_act("eat")
def _eat(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.36, 0.62), (0.2, 0.78 + 0.05 * s), elbows=(None, (0.3, 0.6)), mouth="open")
    a.body(pose, -0.2, 0.06)
    a.pen.line(((0.02, 0.8 + 0.05 * s), (-0.05, 0.98 + 0.05 * s)), 0.05, STEEL)
    a.pen.rect(-0.5, 0.0, 0.5, 0.42, _RED)
    for i in range(5):
        for j in range(2):
            if (i + j) % 2 == 0:
                a.pen.rect(-0.5 + 0.2 * i, 0.21 * j, -0.3 + 0.2 * i, 0.21 + 0.21 * j, WHITE)
    a.pen.oval(0.22, 0.44, 0.28, 0.06, (225, 230, 240))
    a.thing(0.22, 0.68, 0.5)


@_act("kick")
def _kick(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.42, 0.66), (0.26, 0.86), ((-0.12, 0.04), (0.38, 0.26 + 0.03 * s)), mouth="open")
    a.body(pose, -0.2, 0.0, 1.0, 8)
    a.thing(0.28, 0.28 + 0.03 * s, 0.46, -20 * s)
    for r in (0.3, 0.38):
        a.pen.arc(0.26, 0.28, r, 35, 100, 0.05, _YELLOW)


@_act("read")
def _read(a: Actor) -> None:
    a.pen.rect(-0.34, 0.0, 0.1, 0.3, (120, 40, 110))
    a.pen.rect(-0.4, 0.24, 0.14, 0.34, (160, 70, 150))
    s = a.swing
    feet = ((0.08, 0.0), (0.26, 0.0))
    pose = Pose((0.06, 0.5), (0.42, 0.5), feet, knees=((0.14, 0.3), (0.26, 0.3)), eyes="glasses", mouth="flat")
    a.body(pose, -0.14, 0.04, arms=False)
    a.thing(0.16, 0.6 + 0.015 * s, 0.56)
    a.arms(pose, -0.14, 0.04)


@_act("play")
def _play(a: Actor) -> None:
    s = a.swing
    if a.kind == "guitar":
        pose = Pose((0.02, 0.44 + 0.05 * s), (0.36, 0.72), mouth="smile", eyes="closed")
        a.body(pose, -0.12, arms=False)
        a.thing(0.04, 0.58, 0.78, -62)
        a.arms(pose, -0.12)
    else:
        pose = Pose((0.02, 0.66 + 0.06 * s), (0.42, 0.7 - 0.06 * s), mouth="open")
        a.body(pose, -0.2)
        a.thing(0.18, 0.3, 0.6)
        a.pen.line(((-0.18, 0.68 + 0.06 * s), (0.1, 0.48 + 0.06 * s)), 0.05, (250, 220, 160))
        a.pen.line(((0.22, 0.72 - 0.06 * s), (0.3, 0.48 - 0.06 * s)), 0.05, (250, 220, 160))
    for r in (0.1, 0.19, 0.28):
        a.pen.arc(0.2, 1.02, r, 10 + 6 * s, 70 + 6 * s, 0.05, _ORANGE)


@_act("fly")
def _fly(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.3, 0.46), (0.3, 0.6), mouth="open")
    a.pen.line(((0.1, 0.6), (0.26, 0.86), (0.26 + 0.04 * s, 1.1)), 0.03, WHITE)
    a.body(pose, -0.2)
    if a.kind == "plane":
        a.pen.rect(0.02, 0.52, 0.2, 0.66, INK)
        a.pen.line(((0.16, 0.6), (0.2, 0.78)), 0.03, _RED)
    a.thing(0.22 + 0.03 * s, 1.16 + 0.03 * s, 0.56, 8 * s)
    for y in (0.86, 0.76):
        a.pen.line(((0.34, y), (0.48, y + 0.03)), 0.04, WHITE)


@_act("carry")
def _carry(a: Actor) -> None:
    s = a.swing
    stride = 0.2 + 0.06 * s
    pose = Pose(
        (-0.26, 1.1), (0.26, 1.1), ((-stride, 0.06), (stride, 0.04)), elbows=((-0.32, 0.86), (0.32, 0.86)), mouth="flat"
    )
    with a.pen.at(0.0, 0.0, 0.92):
        a.body(pose, 0.0)
        a.thing(0.0, 1.36 + 0.015 * s, 0.56)
        a.arms(pose, 0.0)
    for x, y in ((-0.44, 0.12), (-0.38, 0.24)):
        a.pen.line(((x, y), (x + 0.1, y)), 0.045, WHITE)


@_act("paint")
def _paint(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.3, 0.42), (0.3, 0.8 + 0.07 * s), mouth="flat")
    a.thing(0.22, 0.28, 0.56)
    with a.pen.drawing("thing"):
        a.pen.rect(0.0, 0.3, 0.2, 0.46, (0, 200, 190))
        a.pen.rect(0.02, 0.14, 0.09, 0.3, (0, 200, 190))
        a.pen.rect(0.26, 0.36, 0.42, 0.5, (0, 200, 190))
    a.body(pose, -0.22)
    y = 0.84 + 0.07 * s
    a.pen.line(((0.06, y - 0.06), (0.22, y + 0.1)), 0.06, WOOD)
    a.pen.line(((0.22, y + 0.1), (0.32, y + 0.2)), 0.14, (0, 200, 190))
    a.pen.rect(-0.5, 0.0, -0.3, 0.2, STEEL)
    a.pen.oval(-0.4, 0.2, 0.1, 0.04, (0, 200, 190))
    _drop(a.pen, 0.4, y + 0.0, 0.06, (0, 200, 190))


@_act("drink")
def _drink(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.28, 0.4), (0.3, 0.72), elbows=(None, (0.36, 0.54)), mouth="open", eyes="closed")
    a.body(pose, -0.2, 0.0, arms=False)
    a.arms(pose, -0.2, front=False)
    a.thing(0.2, 0.86, 0.5, 38 + 6 * s)
    a.arms(pose, -0.2, back=False)
    for x, y in ((0.2, 0.5), (0.32, 0.4), (0.22, 0.28)):
        a.pen.disc(x, y + 0.02 * s, 0.035, _SKY)
    with a.pen.at(0.36, 1.26, 0.1):
        _drop(a.pen, 0.0, 0.0, 1.0, _SKY)
        _drop(a.pen, -1.4, 0.6, 0.7, _SKY)


@_act("throw")
def _throw(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.38, 0.9), (0.34, 0.96), ((-0.22, 0.04), (0.2, 0.04)), mouth="open")
    a.body(pose, -0.22, 0.0, 1.0, -6)
    x, y = 0.26 + 0.02 * s, 1.24
    for step in range(4):
        a.pen.line(((0.5 - 0.02 * step, 0.3 + 0.16 * step), (0.5 - 0.03 * step, 0.38 + 0.16 * step)), 0.04, WHITE)
    for offset in (-0.12, 0.0, 0.12):
        a.pen.line(((x - 0.46, y - 0.12 + offset), (x - 0.28, y - 0.06 + offset)), 0.05, _RED)
    a.thing(x, y, 0.46, 25 * s)


@_act("wash")
def _wash(a: Actor) -> None:
    s = a.swing
    pose = Pose((0.1, 0.5 + 0.04 * s), (0.44, 0.52 - 0.04 * s), mouth="smile")
    a.body(pose, -0.22, arms=False)
    a.thing(0.2, 0.5, 0.54)
    a.arms(pose, -0.22)
    a.pen.poly(((-0.1, 0.34), (0.5, 0.34), (0.42, 0.0), (-0.02, 0.0)), _BLUE)
    a.pen.rect(-0.12, 0.3, 0.5, 0.38, shade(_BLUE, 0.6))
    for x, y, r in (
        (-0.04, 0.42, 0.09),
        (0.12, 0.4, 0.08),
        (0.27, 0.42, 0.1),
        (0.42, 0.4, 0.08),
        (0.4, 0.9, 0.08),
        (0.26, 1.06, 0.06),
    ):
        a.pen.disc(x, y + 0.02 * s, r, (150, 200, 240))
        a.pen.disc(x - 0.01, y + 0.01 + 0.02 * s, 0.8 * r, (235, 248, 255))


@_act("hug")
def _hug(a: Actor) -> None:
    s = a.swing
    pose = Pose((0.16, 0.42), (0.34, 0.58), elbows=((-0.16, 0.4), (0.34, 0.5)), eyes="closed")
    a.body(pose, -0.14, arms=False)
    a.thing(0.14, 0.5, 0.58)
    a.arms(pose, -0.14)
    _heart(a.pen, 0.3, 1.2, 0.155 + 0.01 * s)


@_act("drop")
def _drop_it(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.36, 0.74), (0.34, 0.84), mouth="open", eyes="wide")
    a.body(pose, -0.22)
    _arrow(a.pen, 0.12, 0.66, 0.12, 180, _RED)
    _arrow(a.pen, 0.34, 0.7, 0.12, 180, _RED)
    a.thing(0.23, 0.28 + 0.03 * s, 0.5, 150 + 8 * s)


@_act("spill")
def _spill(a: Actor) -> None:
    s = a.swing
    liquid = shade(a.colour, 1.0)
    pose = Pose((-0.38, 0.8), (0.3, 0.74), mouth="open", eyes="wide")
    a.body(pose, -0.24)
    a.pen.oval(0.16, 0.05, 0.36, 0.09, INK)
    with a.pen.drawing("thing"):
        a.pen.oval(0.16, 0.05, 0.34, 0.075, liquid)
        a.pen.poly(((0.22, 0.62), (0.4, 0.62), (0.36 + 0.03 * s, 0.05), (0.2 + 0.03 * s, 0.05)), liquid)
    for x, y in ((0.1, 0.24), (0.46, 0.3), (0.06, 0.4)):
        _drop(a.pen, x, y + 0.03 * s, 0.06, liquid)
    a.thing(0.24, 0.76, 0.5, -125)
    a.arms(pose, -0.24, back=False)


@_act("break")
def _break(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.36, 0.86), (0.24, 0.86), mouth="open", eyes="wide")
    a.body(pose, -0.24)
    a.thing(0.22, 0.34, 0.56)
    with a.pen.drawing("thing"):
        crack = ((0.26, 0.66), (0.16, 0.5), (0.28, 0.38), (0.14, 0.22), (0.24, 0.04))
        a.pen.line(crack, 0.13, INK)
        a.pen.line(crack, 0.04, _ORANGE)
    for x, y, turn in ((0.4, 0.74, 20), (0.08, 0.72, -30), (0.3, 0.86, 60), (0.44, 0.06, 10), (0.0, 0.06, 80)):
        with a.pen.at(x, y + 0.02 * s, 0.09, turn + 15 * s):
            a.pen.poly(((-1, -0.7), (1, -0.5), (0.1, 1)), INK)
            a.pen.poly(((-0.7, -0.5), (0.7, -0.35), (0.1, 0.65)), a.colour)


@_act("pop")
def _pop(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.34, 0.8), (0.28, 0.66), mouth="open", eyes="wide")
    a.body(pose, -0.2)
    a.pen.line(((0.08, 0.66), (0.2, 0.86)), 0.03, INK)
    a.pen.star(0.24, 1.08, 0.3 + 0.02 * s, 0.15, 10, _ORANGE, 90 + 8 * s)
    a.pen.star(0.24, 1.08, 0.21 + 0.02 * s, 0.11, 10, _YELLOW, 90 + 8 * s)
    with a.pen.drawing("thing"):
        for x, y in ((0.24, 1.1), (0.08, 1.3), (0.42, 1.28), (0.44, 0.9), (0.06, 0.94)):
            a.pen.oval(x, y, 0.07, 0.05, a.colour)


@_act("cry")
def _cry(a: Actor) -> None:
    s = a.swing
    a.pen.oval(0.0, 0.04, 0.46, 0.07, _SKY)
    pose = Pose((-0.16, 0.86), (0.17, 0.86), elbows=((-0.32, 0.62), (0.32, 0.62)), mouth="sad", eyes="closed")
    a.body(pose, 0.0, arms=False)
    for side in (-1, 1):
        a.pen.arc(side * 0.3, 0.8, 0.2, 90 - 90 * side, 90 + 10 * side, 0.09, _BLUE)
        _drop(a.pen, side * 0.42, 0.6 + 0.04 * s, 0.1, _BLUE)
        _drop(a.pen, side * 0.4, 0.26 - 0.04 * s, 0.1, _BLUE)
        _drop(a.pen, side * 0.42, 1.12, 0.07, _BLUE)
    a.arms(pose, 0.0)


@_act("laugh")
def _laugh(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.06, 0.5), (0.08, 0.46), elbows=((-0.32, 0.52), (0.32, 0.5)), mouth="open", eyes="closed")
    a.body(pose, 0.0, 0.0, 1.0, -7 * s)
    for x, y, size in ((-0.36, 1.3, 0.11), (0.36, 1.3, 0.11), (0.4, 0.92, 0.09), (-0.4, 0.92, 0.09)):
        with a.pen.at(x, y + 0.02 * s, size):
            for width, colour in ((0.75, INK), (0.42, _YELLOW)):
                a.pen.line(((-1.0, -0.9), (-1.0, 0.9)), width, colour)
                a.pen.line(((-1.0, 0.0), (-0.1, 0.0)), width, colour)
                a.pen.line(((-0.1, -0.9), (-0.1, 0.9)), width, colour)
                a.pen.line(((0.5, -0.9), (0.9, 0.9), (1.3, -0.9)), width, colour)


@_act("hide")
def _hide(a: Actor) -> None:
    s = a.swing
    a.body(Pose(mouth="flat", eyes="wide"), 0.0, -0.08 + 0.03 * s)
    stone = (135, 138, 145)
    rock: tuple[Point, ...] = (
        (-0.5, 0.0),
        (-0.46, 0.36),
        (-0.26, 0.56),
        (0.04, 0.5),
        (0.32, 0.58),
        (0.48, 0.3),
        (0.5, 0.0),
    )
    a.pen.poly(rock, shade(stone, 0.6))
    a.pen.poly(tuple((0.92 * x, 0.92 * y) for x, y in rock), stone)
    a.pen.poly(((-0.26, 0.5), (0.02, 0.45), (-0.08, 0.3), (-0.34, 0.28)), shade(stone, 1.3))
    a.pen.line(((0.18, 0.46), (0.1, 0.26), (0.24, 0.08)), 0.04, shade(stone, 0.5))
    with a.pen.drawing("person"):
        for x in (-0.2, 0.22):
            a.pen.oval(x, 0.5 - 0.01 * s, 0.09, 0.07, a.person.skin)


@_act("shout")
def _shout(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.16, 0.78), (0.2, 0.78), elbows=((-0.34, 0.62), (0.36, 0.6)), mouth="open", eyes="wide")
    a.body(pose, -0.2)
    for r in (0.16, 0.28, 0.4):
        a.pen.arc(0.0, 0.82, r + 0.01 * s, -32, 32, 0.07, _RED)
    for x in (0.2, 0.38):
        a.pen.poly(((x - 0.07, 1.46), (x + 0.07, 1.46), (x + 0.035, 1.2), (x - 0.035, 1.2)), _RED)
        a.pen.disc(x, 1.12, 0.055, _RED)


@_act("faint")
def _faint(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.42, 0.62), (0.44, 0.62), ((-0.2, 0.04), (0.16, 0.1)), mouth="flat", eyes="crossed")
    a.pen.oval(0.0, 0.08, 0.5, 0.08, (70, 70, 70))
    a.body(pose, 0.5, 0.3, 0.84, 84)
    for i in range(4):
        x = -0.42 + 0.22 * i + 0.03 * s
        y = 0.72 + (0.12, 0.22, 0.22, 0.12)[i]
        a.pen.star(x, y, 0.14, 0.06, 5, INK)
        a.pen.star(x, y, 0.11, 0.05, 5, _YELLOW)
    a.pen.arc(-0.1, 0.6, 0.34, 30, 150, 0.04, WHITE)
