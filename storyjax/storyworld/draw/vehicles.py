"""What travelling looks like: a large vehicle with its traveller, whose head shows. Side views that drive to the right.

Drawn in a cell one unit wide and `VEHICLE_HEIGHT` high; (0, 0) is the middle of its floor.
"""

from storyjax.storyworld.draw.actor import Act, Actor, registrar
from storyjax.storyworld.draw.canvas import Canvas, Colour, Number
from storyjax.storyworld.draw.people import Pose
from storyjax.storyworld.draw.things import INK, STEEL, WHITE, shade

VEHICLE_HEIGHT = 0.95

_RIDE = Pose((0.3, 0.52), (0.36, 0.5), ((0.18, 0.04), (0.3, 0.06)), knees=((0.22, 0.28), (0.28, 0.28)))
_RIDES: dict[str, Act] = {}
_vehicle = registrar(_RIDES)


def draw_ride(actor: Actor) -> None:
    """Draws the actor's vehicle with the actor in or on it."""
    assert actor.kind is not None, "travelling needs a vehicle"
    _RIDES[actor.kind](actor)


def _wheel(canvas: Canvas, x: Number, y: Number, r: Number, hub: Colour, beat: int) -> None:
    canvas.disc(x, y, r, INK)
    canvas.disc(x, y, 0.5 * r, hub)
    with canvas.at(x, y, 1.0, 40.0 * beat):
        canvas.line(((-0.5 * r, 0.0), (0.5 * r, 0.0)), 0.2 * r, INK)


@_vehicle("bike")
def _bike(a: Actor) -> None:
    canvas = a.canvas
    with canvas.drawing("thing"):
        for x in (-0.3, 0.3):
            canvas.arc(x, 0.2, 0.17, 0, 360, 0.05, a.colour)
            with canvas.at(x, 0.2, 1.0, 30.0 * a.beat):
                for turn in (0, 60, 120):
                    with canvas.at(0.0, 0.0, 1.0, turn):
                        canvas.line(((-0.16, 0.0), (0.16, 0.0)), 0.014, STEEL)
        frame = (200, 30, 40)
        canvas.line(((-0.3, 0.2), (-0.1, 0.42), (0.22, 0.42), (0.0, 0.18), (-0.3, 0.2)), 0.045, frame)
        canvas.line(((-0.1, 0.42), (0.0, 0.18)), 0.045, frame)
        canvas.line(((0.3, 0.2), (0.2, 0.5), (0.28, 0.53)), 0.045, a.colour)
        canvas.oval(-0.1, 0.45, 0.09, 0.03, INK)
    foot = 0.03 * a.swing
    pose = Pose(
        (0.38, 0.36), (0.4, 0.38), ((0.12, -0.1 - foot), (0.24, -0.02 + foot)), knees=((0.26, 0.2), (0.3, 0.22))
    )
    a.body(pose, -0.1, 0.27, 0.6)


@_vehicle("car")
def _car(a: Actor) -> None:
    canvas = a.canvas
    pose = Pose((0.2, 0.5), (0.34, 0.52))
    a.body(pose, -0.06, 0.16, 0.62)
    with canvas.drawing("thing"):
        canvas.line(((0.14, 0.36), (0.24, 0.62)), 0.03, STEEL)
        canvas.poly(((-0.46, 0.4), (-0.42, 0.12), (0.48, 0.12), (0.48, 0.3), (0.16, 0.4), (-0.24, 0.4)), a.colour)
        canvas.poly(((-0.46, 0.4), (-0.24, 0.4), (-0.26, 0.44), (-0.46, 0.46)), shade(a.colour, 0.75))
        canvas.rect(-0.18, 0.16, 0.12, 0.36, shade(a.colour, 0.85))
        canvas.disc(0.45, 0.25, 0.04, (255, 240, 150))
        for x in (-0.27, 0.28):
            _wheel(canvas, x, 0.12, 0.12, STEEL, a.beat)


@_vehicle("boat")
def _boat(a: Actor) -> None:
    canvas = a.canvas
    bob = 0.01 * a.swing
    with canvas.drawing("thing"):
        canvas.rect(0.09, 0.3 + bob, 0.13, 0.94 + bob, (120, 75, 45))
        canvas.poly(((0.15, 0.92 + bob), (0.15, 0.44 + bob), (0.46, 0.44 + bob)), a.colour)
        canvas.poly(((0.15, 0.62 + bob), (0.15, 0.54 + bob), (0.36, 0.54 + bob), (0.31, 0.62 + bob)), (230, 60, 50))
    a.body(Pose(), -0.14, 0.14 + bob, 0.62)
    with canvas.drawing("thing"):
        canvas.poly(((-0.5, 0.4 + bob), (0.5, 0.4 + bob), (0.36, 0.12), (-0.38, 0.12)), a.colour)
        canvas.poly(((-0.5, 0.4 + bob), (0.5, 0.4 + bob), (0.47, 0.33 + bob), (-0.48, 0.33 + bob)), (30, 60, 140))
    for i in range(6):
        canvas.pie(-0.42 + 0.17 * i + 0.03 * a.swing, 0.08, 0.1, 0, 180, (60, 140, 230))
    canvas.rect(-0.5, 0.0, 0.5, 0.1, (60, 140, 230))
    for i in range(5):
        canvas.line(((-0.4 + 0.2 * i, 0.06), (-0.32 + 0.2 * i, 0.06)), 0.025, WHITE)


@_vehicle("bus")
def _bus(a: Actor) -> None:
    canvas = a.canvas
    with canvas.drawing("thing"):
        canvas.rect(-0.5, 0.12, 0.5, 0.84, a.colour)
        canvas.rect(-0.46, 0.4, -0.24, 0.74, (185, 225, 250))
        canvas.rect(-0.2, 0.34, 0.26, 0.78, (185, 225, 250))
        canvas.rect(0.32, 0.2, 0.46, 0.74, (185, 225, 250))
    a.body(Pose((-0.2, 0.45), (0.2, 0.45)), 0.03, 0.14, 0.58)
    with canvas.drawing("thing"):
        canvas.rect(-0.5, 0.12, 0.3, 0.38, a.colour)
        canvas.rect(-0.5, 0.26, 0.3, 0.32, INK)
        for x in (-0.28, 0.2):
            _wheel(canvas, x, 0.12, 0.11, STEEL, a.beat)
        canvas.disc(0.47, 0.17, 0.03, (255, 250, 200))


@_vehicle("horse")
def _horse(a: Actor) -> None:
    canvas = a.canvas
    s = 0.05 * a.swing
    dark = shade(a.colour, 0.5)
    with canvas.drawing("thing"):
        canvas.line(((-0.34, 0.42), (-0.44, 0.34), (-0.46, 0.2)), 0.07, dark)
        for x, step in ((-0.28, s), (-0.18, -s), (0.1, s), (0.2, -s)):
            canvas.line(((x, 0.34), (x + step, 0.04)), 0.07, shade(a.colour, 0.8))
            canvas.oval(x + step + 0.01, 0.03, 0.05, 0.03, INK)
        canvas.oval(-0.04, 0.38, 0.33, 0.13, a.colour)
        canvas.line(((0.2, 0.42), (0.34, 0.64)), 0.16, a.colour)
        canvas.line(((0.34, 0.66), (0.45, 0.56)), 0.12, a.colour)
        canvas.poly(((0.28, 0.72), (0.32, 0.82), (0.37, 0.72)), a.colour)
        canvas.line(((0.24, 0.72), (0.14, 0.52)), 0.07, dark)
        canvas.disc(0.36, 0.66, 0.018, INK)
        canvas.oval(-0.08, 0.49, 0.13, 0.04, (180, 40, 40))
    a.body(Pose((0.38, 0.5), (0.4, 0.52), ((-0.02, 0.12), (0.12, 0.1))), -0.08, 0.26, 0.6)


@_vehicle("train")
def _train(a: Actor) -> None:
    canvas = a.canvas
    with canvas.drawing("thing"):
        canvas.rect(-0.5, 0.78, 0.02, 0.86, shade(a.colour, 0.6))
        canvas.rect(-0.46, 0.16, -0.02, 0.8, a.colour)
        canvas.rect(-0.42, 0.36, -0.04, 0.76, (250, 245, 215))
        canvas.rect(-0.02, 0.16, 0.44, 0.44, a.colour)
        canvas.disc(0.42, 0.3, 0.14, shade(a.colour, 0.7))
        canvas.rect(0.24, 0.44, 0.34, 0.62, INK)
        canvas.rect(0.21, 0.6, 0.37, 0.67, INK)
        canvas.rect(0.02, 0.42, 0.14, 0.52, (230, 190, 40))
    for i, (x, y, r) in enumerate(((0.28, 0.74, 0.07), (0.16, 0.82, 0.08), (0.36, 0.86, 0.08))):
        canvas.disc(x - 0.015 * ((a.beat + i) % 3), y, r, (235, 235, 240))
    a.body(Pose((-0.2, 0.45), (0.2, 0.45)), -0.23, 0.14, 0.58)
    with canvas.drawing("thing"):
        canvas.rect(-0.46, 0.16, -0.02, 0.38, a.colour)
        canvas.rect(-0.5, 0.12, 0.5, 0.18, (200, 50, 40))
        for x in (-0.36, -0.12, 0.12, 0.34):
            _wheel(canvas, x, 0.1, 0.095, (200, 50, 40), a.beat)
