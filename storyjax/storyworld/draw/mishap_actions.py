"""How mishaps and the reactions to them are drawn: a pose, the thing concerned and a mark, clear in a single frame."""

from storyjax.storyworld.draw.actor import BLUE, ORANGE, RED, SKY, YELLOW, Act, Actor, draw_arrow, draw_drop, registrar
from storyjax.storyworld.draw.canvas import Point
from storyjax.storyworld.draw.people import Pose
from storyjax.storyworld.draw.things import INK, WHITE, shade

MISHAP_ACTIONS: dict[str, Act] = {}
_act = registrar(MISHAP_ACTIONS)


@_act("drop")
def _drop(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.36, 0.74), (0.34, 0.84), mouth="open", eyes="wide")
    a.body(pose, -0.22)
    draw_arrow(a.canvas, 0.12, 0.66, 0.12, 180, RED)
    draw_arrow(a.canvas, 0.34, 0.7, 0.12, 180, RED)
    a.thing(0.22, 0.29 + 0.02 * s, 0.58, 150 + 8 * s)


@_act("spill")
def _spill(a: Actor) -> None:
    s = a.swing
    liquid = shade(a.colour, 1.0)
    pose = Pose((-0.38, 0.8), (0.3, 0.74), mouth="open", eyes="wide")
    a.body(pose, -0.24)
    a.canvas.oval(0.16, 0.05, 0.36, 0.09, INK)
    with a.canvas.drawing("thing"):
        a.canvas.oval(0.16, 0.05, 0.34, 0.075, liquid)
        a.canvas.poly(((0.22, 0.62), (0.4, 0.62), (0.36 + 0.03 * s, 0.05), (0.2 + 0.03 * s, 0.05)), liquid)
    for x, y in ((0.1, 0.24), (0.46, 0.3), (0.06, 0.4)):
        draw_drop(a.canvas, x, y + 0.03 * s, 0.06, liquid)
    a.thing(0.24, 0.76, 0.5, -125)
    a.arms(pose, -0.24, back=False)


@_act("break")
def _break(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.36, 0.86), (0.2, 0.96), mouth="open", eyes="wide")
    a.body(pose, -0.26)
    a.canvas.star(0.2, 0.36, 0.44, 0.3, 11, (130, 240, 255), 8 * s)
    a.thing(0.2, 0.34, 0.58, -6)
    with a.canvas.drawing("thing"):
        crack = ((0.27, 0.66), (0.15, 0.48), (0.26, 0.36), (0.12, 0.2), (0.2, 0.04))
        a.canvas.line(crack, 0.085, INK)
        a.canvas.line(crack, 0.035, WHITE)
    for x, y, turn in ((0.44, 0.78, 20), (0.04, 0.8, -30), (0.28, 0.92, 60), (0.46, 0.04, 10), (-0.06, 0.04, 80)):
        with a.canvas.at(x, y + 0.02 * s, 0.09, turn + 15 * s):
            a.canvas.poly(((-1, -0.7), (1, -0.5), (0.1, 1)), INK)
            a.canvas.poly(((-0.7, -0.5), (0.7, -0.35), (0.1, 0.65)), a.colour)


@_act("pop")
def _pop(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.34, 0.8), (0.28, 0.66), mouth="open", eyes="wide")
    a.body(pose, -0.2)
    a.canvas.line(((0.08, 0.66), (0.2, 0.86)), 0.03, INK)
    a.canvas.star(0.24, 1.08, 0.3 + 0.02 * s, 0.15, 10, ORANGE, 90 + 8 * s)
    a.canvas.star(0.24, 1.08, 0.21 + 0.02 * s, 0.11, 10, YELLOW, 90 + 8 * s)
    with a.canvas.drawing("thing"):
        for x, y in ((0.24, 1.1), (0.08, 1.3), (0.42, 1.28), (0.44, 0.9), (0.06, 0.94)):
            a.canvas.oval(x, y, 0.07, 0.05, a.colour)


@_act("cry")
def _cry(a: Actor) -> None:
    s = a.swing
    a.canvas.oval(0.0, 0.04, 0.46, 0.07, SKY)
    pose = Pose((-0.16, 0.86), (0.17, 0.86), elbows=((-0.32, 0.62), (0.32, 0.62)), mouth="sad", eyes="closed")
    a.body(pose, 0.0, arms=False)
    for side in (-1, 1):
        a.canvas.arc(side * 0.3, 0.8, 0.2, 90 - 90 * side, 90 + 10 * side, 0.09, BLUE)
        draw_drop(a.canvas, side * 0.42, 0.6 + 0.04 * s, 0.1, BLUE)
        draw_drop(a.canvas, side * 0.4, 0.26 - 0.04 * s, 0.1, BLUE)
        draw_drop(a.canvas, side * 0.42, 1.12, 0.07, BLUE)
    a.arms(pose, 0.0)


@_act("laugh")
def _laugh(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.06, 0.5), (0.08, 0.46), elbows=((-0.32, 0.52), (0.32, 0.5)), mouth="open", eyes="closed")
    a.body(pose, 0.0, 0.0, 1.0, -7 * s)
    for x, y, size in ((-0.36, 1.3, 0.11), (0.36, 1.3, 0.11), (0.4, 0.92, 0.09), (-0.4, 0.92, 0.09)):
        with a.letters(x, y + 0.02 * s, size):
            for width, colour in ((0.75, INK), (0.42, YELLOW)):
                a.canvas.line(((-1.0, -0.9), (-1.0, 0.9)), width, colour)
                a.canvas.line(((-1.0, 0.0), (-0.1, 0.0)), width, colour)
                a.canvas.line(((-0.1, -0.9), (-0.1, 0.9)), width, colour)
                a.canvas.line(((0.5, -0.9), (0.9, 0.9), (1.3, -0.9)), width, colour)


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
    a.canvas.poly(rock, shade(stone, 0.6))
    a.canvas.poly(tuple((0.92 * x, 0.92 * y) for x, y in rock), stone)
    a.canvas.poly(((-0.26, 0.5), (0.02, 0.45), (-0.08, 0.3), (-0.34, 0.28)), shade(stone, 1.3))
    a.canvas.line(((0.18, 0.46), (0.1, 0.26), (0.24, 0.08)), 0.04, shade(stone, 0.5))
    with a.canvas.drawing("person"):
        for x in (-0.2, 0.22):
            a.canvas.oval(x, 0.5 - 0.01 * s, 0.09, 0.07, a.person.skin)


@_act("shout")
def _shout(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.16, 0.78), (0.2, 0.78), elbows=((-0.34, 0.62), (0.36, 0.6)), mouth="open", eyes="wide")
    a.body(pose, -0.2)
    for r in (0.16, 0.28, 0.4):
        a.canvas.arc(0.0, 0.82, r + 0.01 * s, -32, 32, 0.07, RED)
    for x in (0.2, 0.38):
        a.canvas.poly(((x - 0.07, 1.46), (x + 0.07, 1.46), (x + 0.035, 1.2), (x - 0.035, 1.2)), RED)
        a.canvas.disc(x, 1.12, 0.055, RED)


@_act("faint")
def _faint(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.42, 0.62), (0.44, 0.62), ((-0.2, 0.04), (0.16, 0.1)), mouth="flat", eyes="crossed")
    a.canvas.oval(0.0, 0.08, 0.5, 0.08, (70, 70, 70))
    a.body(pose, 0.5, 0.3, 0.84, 84)
    for i in range(4):
        x = -0.42 + 0.22 * i + 0.03 * s
        y = 0.72 + (0.12, 0.22, 0.22, 0.12)[i]
        a.canvas.star(x, y, 0.14, 0.06, 5, INK)
        a.canvas.star(x, y, 0.11, 0.05, 5, YELLOW)
    a.canvas.arc(-0.1, 0.6, 0.34, 30, 150, 0.04, WHITE)
