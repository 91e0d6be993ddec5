"""How everyday actions are drawn: a pose, the thing it is done to, and a mark that shows it in any single frame."""

from storyjax.storyworld.draw.actor import (
    BLUE,
    ORANGE,
    PINK,
    RED,
    SKY,
    YELLOW,
    Act,
    Actor,
    draw_arrow,
    draw_drop,
    draw_heart,
    draw_note,
    registrar,
)
from storyjax.storyworld.draw.people import Pose
from storyjax.storyworld.draw.things import INK, STEEL, WHITE, WOOD, shade

EVERYDAY_ACTIONS: dict[str, Act] = {}
_act = registrar(EVERYDAY_ACTIONS)


@_act("dance")
def _dance(a: Actor) -> None:
    tiles = (PINK, SKY, YELLOW, (120, 240, 90))
    for i in range(4):
        pen_x = -0.48 + 0.24 * i
        a.canvas.poly(
            ((pen_x, -0.02), (pen_x + 0.24, -0.02), (pen_x + 0.22, 0.17), (pen_x + 0.02, 0.17)), tiles[(i + a.beat) % 4]
        )
    s = a.swing
    pose = Pose((-0.42, 0.98 - 0.1 * s), (0.42, 0.42 + 0.1 * s), ((-0.22, 0.08), (0.26, 0.14)), mouth="open")
    a.body(pose, -0.02 + 0.03 * s, 0.03, 1.0, 9 * s)
    a.canvas.star(-0.38, 1.3, 0.13, 0.05, 4, PINK)
    a.canvas.star(0.36, 1.2, 0.15, 0.06, 4, YELLOW)
    a.canvas.star(0.42, 0.86, 0.1, 0.04, 4, SKY)


@_act("jump")
def _jump(a: Actor) -> None:
    lift = 0.22 + 0.05 * a.swing
    a.canvas.oval(0.0, 0.03, 0.32, 0.05, (70, 70, 70))
    for x in (-0.36, 0.36):
        draw_arrow(a.canvas, x, 0.2, 0.19, 0, YELLOW)
    knees = ((-0.24, 0.3), (0.24, 0.3))
    a.body(Pose((-0.36, 1.02), (0.36, 1.02), ((-0.14, 0.1), (0.14, 0.1)), knees=knees, mouth="open"), 0.0, lift)


@_act("sleep")
def _sleep(a: Actor) -> None:
    a.canvas.rect(-0.5, 0.02, 0.5, 0.2, (60, 90, 190))
    a.canvas.rect(-0.5, -0.0, -0.42, 0.42, WOOD)
    a.canvas.rect(0.42, -0.0, 0.5, 0.3, WOOD)
    a.canvas.oval(-0.28, 0.3, 0.2, 0.13, WHITE)
    pose = Pose((-0.24, 0.45), (0.24, 0.45), mouth="flat", eyes="closed")
    a.body(pose, 0.46, 0.3, 0.82, 90)
    for i, (x, y) in enumerate(((-0.18, 0.62), (0.05, 0.82), (0.3, 1.05))):
        size = 0.13 + 0.05 * i + 0.015 * a.swing
        with a.letters(x, y, size):
            zed = ((-0.7, 0.8), (0.7, 0.8), (-0.7, -0.8), (0.7, -0.8))
            a.canvas.line(zed, 0.62, (35, 45, 140))
            a.canvas.line(zed, 0.34, WHITE)


@_act("wave")
def _wave(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.27, 0.4), (0.37 + 0.03 * s, 1.0), elbows=(None, (0.36, 0.7)))
    a.body(pose, -0.1)
    with a.canvas.drawing("person"), a.canvas.at(0.29 + 0.03 * s, 1.06, 1.0, -14 * s):
        for angle in (-52, -26, 0, 26):
            with a.canvas.at(0.0, 0.02, 1.0, angle):
                a.canvas.line(((0.0, 0.0), (0.0, 0.2)), 0.075, a.person.skin)
        a.canvas.disc(0.0, 0.0, 0.12, a.person.skin)
    a.canvas.poly(((-0.3, 1.2), (-0.2, 1.22), (-0.16, 1.04)), WHITE)
    a.canvas.oval(-0.3, 1.31, 0.2, 0.16, WHITE)
    with a.letters(-0.3, 1.31, 0.1):
        a.canvas.line(((-1.0, -0.8), (-1.0, 0.8)), 0.45, BLUE)
        a.canvas.line(((-1.0, 0.0), (0.0, 0.0)), 0.45, BLUE)
        a.canvas.line(((0.0, -0.8), (0.0, 0.8)), 0.45, BLUE)
        a.canvas.line(((0.95, -0.8), (0.95, 0.8)), 0.45, BLUE)


@_act("sing")
def _sing(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.3, 0.55), (0.16, 0.74), elbows=(None, (0.3, 0.58)), mouth="open", eyes="closed")
    a.body(pose, -0.16)
    a.canvas.line(((0.04, 0.72), (0.0, 0.8)), 0.08, INK)
    a.canvas.disc(-0.02, 0.82, 0.07, STEEL)
    for x, y, size in ((0.2, 0.95 + 0.03 * s, 0.16), (0.36, 1.2 - 0.03 * s, 0.19), (-0.42, 1.18 + 0.03 * s, 0.15)):
        draw_note(a.canvas, x, y, size * 1.25, WHITE)
        draw_note(a.canvas, x, y, size, INK)


@_act("eat")
def _eat(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.36, 0.62), (0.2, 0.78 + 0.05 * s), elbows=(None, (0.3, 0.6)), mouth="open")
    a.body(pose, -0.2, 0.06)
    a.canvas.line(((0.02, 0.8 + 0.05 * s), (-0.05, 0.98 + 0.05 * s)), 0.05, STEEL)
    a.canvas.rect(-0.5, 0.0, 0.5, 0.42, RED)
    for i in range(5):
        for j in range(2):
            if (i + j) % 2 == 0:
                a.canvas.rect(-0.5 + 0.2 * i, 0.21 * j, -0.3 + 0.2 * i, 0.21 + 0.21 * j, WHITE)
    a.canvas.oval(0.22, 0.44, 0.28, 0.06, (225, 230, 240))
    a.thing(0.22, 0.68, 0.5)


@_act("kick")
def _kick(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.42, 0.66), (0.26, 0.86), ((-0.12, 0.04), (0.38, 0.26 + 0.03 * s)), mouth="open")
    a.body(pose, -0.2, 0.0, 1.0, 8)
    a.thing(0.28, 0.28 + 0.03 * s, 0.46, -20 * s)
    for r in (0.3, 0.38):
        a.canvas.arc(0.26, 0.28, r, 35, 100, 0.05, YELLOW)


@_act("read")
def _read(a: Actor) -> None:
    a.canvas.rect(-0.34, 0.0, 0.1, 0.3, (120, 40, 110))
    a.canvas.rect(-0.4, 0.24, 0.14, 0.34, (160, 70, 150))
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
        a.canvas.line(((-0.18, 0.68 + 0.06 * s), (0.1, 0.48 + 0.06 * s)), 0.05, (250, 220, 160))
        a.canvas.line(((0.22, 0.72 - 0.06 * s), (0.3, 0.48 - 0.06 * s)), 0.05, (250, 220, 160))
    for r in (0.1, 0.19, 0.28):
        a.canvas.arc(0.2, 1.02, r, 10 + 6 * s, 70 + 6 * s, 0.05, ORANGE)


@_act("fly")
def _fly(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.3, 0.46), (0.3, 0.6), mouth="open")
    a.canvas.line(((0.1, 0.6), (0.26, 0.86), (0.26 + 0.04 * s, 1.1)), 0.03, WHITE)
    a.body(pose, -0.2)
    if a.kind == "plane":
        a.canvas.rect(0.02, 0.52, 0.2, 0.66, INK)
        a.canvas.line(((0.16, 0.6), (0.2, 0.78)), 0.03, RED)
    a.thing(0.2 + 0.02 * s, 1.17 + 0.02 * s, 0.6, 8 * s)


@_act("carry")
def _carry(a: Actor) -> None:
    s = a.swing
    stride = 0.2 + 0.06 * s
    pose = Pose(
        (-0.26, 1.1), (0.26, 1.1), ((-stride, 0.06), (stride, 0.04)), elbows=((-0.32, 0.86), (0.32, 0.86)), mouth="flat"
    )
    with a.canvas.at(0.0, 0.0, 0.92):
        a.body(pose, 0.0)
        a.thing(0.0, 1.37 + 0.01 * s, 0.61)
        a.arms(pose, 0.0)
    for x, y in ((-0.44, 0.12), (-0.38, 0.24)):
        a.canvas.line(((x, y), (x + 0.1, y)), 0.045, WHITE)


@_act("paint")
def _paint(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.3, 0.42), (0.3, 0.8 + 0.07 * s), mouth="flat")
    a.thing(0.22, 0.28, 0.56)
    with a.canvas.drawing("thing"):
        a.canvas.rect(0.0, 0.3, 0.2, 0.46, (0, 200, 190))
        a.canvas.rect(0.02, 0.14, 0.09, 0.3, (0, 200, 190))
        a.canvas.rect(0.26, 0.36, 0.42, 0.5, (0, 200, 190))
    a.body(pose, -0.22)
    y = 0.84 + 0.07 * s
    a.canvas.line(((0.06, y - 0.06), (0.22, y + 0.1)), 0.06, WOOD)
    a.canvas.line(((0.22, y + 0.1), (0.32, y + 0.2)), 0.14, (0, 200, 190))
    a.canvas.rect(-0.5, 0.0, -0.3, 0.2, STEEL)
    a.canvas.oval(-0.4, 0.2, 0.1, 0.04, (0, 200, 190))
    draw_drop(a.canvas, 0.4, y + 0.0, 0.06, (0, 200, 190))


@_act("drink")
def _drink(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.28, 0.4), (0.3, 0.72), elbows=(None, (0.36, 0.54)), mouth="open", eyes="closed")
    a.body(pose, -0.2, 0.0, arms=False)
    a.arms(pose, -0.2, front=False)
    a.thing(0.21, 0.86, 0.56, 38 + 6 * s)
    a.arms(pose, -0.2, back=False)
    for x, y in ((0.2, 0.5), (0.32, 0.4), (0.22, 0.28)):
        a.canvas.disc(x, y + 0.02 * s, 0.035, SKY)
    with a.canvas.at(0.36, 1.26, 0.1):
        draw_drop(a.canvas, 0.0, 0.0, 1.0, SKY)
        draw_drop(a.canvas, -1.4, 0.6, 0.7, SKY)


@_act("throw")
def _throw(a: Actor) -> None:
    s = a.swing
    pose = Pose((-0.38, 0.62), (0.36, 0.94 + 0.03 * s), ((-0.24, 0.04), (0.2, 0.04)), mouth="open")
    a.body(pose, -0.24, 0.0, 1.0, -6)
    x, y = 0.26 + 0.02 * s, 1.24
    for dx in (-0.02, 0.09, 0.2):
        a.canvas.line(((x + dx - 0.06, 0.62 + 0.5 * dx), (x + dx - 0.02, 0.92)), 0.06, RED)
    a.thing(x, y, 0.48, 25 * s)


@_act("wash")
def _wash(a: Actor) -> None:
    s = a.swing
    pose = Pose((0.14, 0.44), (0.34, 0.84 + 0.05 * s), elbows=(None, (0.26, 0.62)))
    a.body(pose, -0.24)
    a.thing(0.22, 0.58, 0.54)
    a.canvas.poly(((-0.06, 0.34), (0.5, 0.34), (0.42, 0.0), (0.02, 0.0)), BLUE)
    a.canvas.rect(-0.08, 0.29, 0.5, 0.37, shade(BLUE, 0.6))
    a.canvas.rect(0.02, 0.84 + 0.05 * s, 0.2, 0.95 + 0.05 * s, YELLOW)
    foam = ((-0.03, 0.4, 0.08), (0.1, 0.38, 0.07), (0.34, 0.38, 0.07), (0.46, 0.4, 0.08), (0.42, 0.98, 0.09))
    for x, y, r in (*foam, (0.3, 1.16, 0.07), (0.46, 1.26, 0.05), (0.13, 1.04, 0.06)):
        a.canvas.disc(x, y + 0.02 * s, r, (130, 190, 240))
        a.canvas.disc(x - 0.01, y + 0.01 + 0.02 * s, 0.78 * r, (240, 250, 255))


@_act("hug")
def _hug(a: Actor) -> None:
    s = a.swing
    pose = Pose((0.16, 0.42), (0.34, 0.58), elbows=((-0.16, 0.4), (0.34, 0.5)), eyes="closed")
    a.body(pose, -0.14, arms=False)
    a.thing(0.15, 0.5, 0.64)
    a.arms(pose, -0.14)
    draw_heart(a.canvas, 0.3, 1.2, 0.155 + 0.01 * s)
