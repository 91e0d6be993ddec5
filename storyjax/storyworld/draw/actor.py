"""The performer of an action, about to be drawn with a thing, and the marks that several actions share.

An action is drawn in a cell one unit wide and `CELL_HEIGHT` units high; (0, 0) is the middle of its floor. The
performer stands to the left and acts to the right; mirroring is up to the stage.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from storyjax.storyworld.draw.canvas import Canvas, Colour, Number
from storyjax.storyworld.draw.people import Pose, draw_arms, draw_body
from storyjax.storyworld.draw.things import draw_thing
from storyjax.storyworld.story.cast import Person

CELL_HEIGHT = 1.5
BEATS = 3  # how many images an action's movement has

YELLOW, ORANGE, RED = (255, 225, 40), (255, 140, 20), (230, 30, 40)
BLUE, SKY, PINK = (40, 100, 235), (90, 190, 255), (255, 80, 160)


@dataclass(frozen=True)
class Actor:
    """A performer about to be drawn: the person, the thing (kind, colour), and the beat of the movement.

    `mirror`: whether the whole action is drawn mirrored; letters are then turned back.
    """

    canvas: Canvas
    person: Person
    kind: str | None
    colour: Colour
    beat: int
    mirror: bool = False

    @property
    def swing(self) -> float:
        """-1, 0 or 1: where in its movement the action is."""
        return (0.0, 1.0, -1.0)[self.beat % BEATS]

    def body(
        self, pose: Pose, x: Number, y: Number = 0.0, scale: Number = 1.0, turn: Number = 0.0, arms: bool = True
    ) -> None:
        """Draws the actor's body at (x, y), and the arms if `arms`."""
        with self.canvas.drawing("person"), self.canvas.at(x, y, scale, turn):
            draw_body(self.canvas, self.person, pose)
            if arms:
                draw_arms(self.canvas, self.person, pose)

    def arms(
        self, pose: Pose, x: Number, y: Number = 0.0, scale: Number = 1.0, back: bool = True, front: bool = True
    ) -> None:
        """Draws the actor's arms alone."""
        with self.canvas.drawing("person"), self.canvas.at(x, y, scale):
            draw_arms(self.canvas, self.person, pose, back, front)

    def letters(self, x: Number, y: Number, size: Number) -> AbstractContextManager[None]:
        """Returns a frame for letters, which read from left to right whichever way the actor faces."""
        return self.canvas.at(x, y, size, mirror=self.mirror)

    def thing(self, x: Number, y: Number, size: Number, turn: Number = 0.0) -> None:
        """Draws the actor's thing at (x, y), `size` units large."""
        assert self.kind is not None, "this action needs a thing"
        with self.canvas.drawing("thing"), self.canvas.at(x, y, size, turn):
            draw_thing(self.canvas, self.kind, self.colour)


# How an action is drawn.
Act = Callable[[Actor], None]


def registrar(acts: dict[str, Act]) -> Callable[[str], Callable[[Act], Act]]:
    """Returns a decorator that enters functions into a table of actions under a name."""

    def enter(name: str) -> Callable[[Act], Act]:
        def register(function: Act) -> Act:
            acts[name] = function
            return function

        return register

    return enter


def draw_note(canvas: Canvas, x: Number, y: Number, size: Number, colour: Colour) -> None:
    """Draws a musical note."""
    with canvas.at(x, y, size):
        canvas.oval(0.0, 0.0, 0.5, 0.36, colour)
        canvas.line(((0.4, 0.0), (0.4, 1.5), (0.95, 1.1)), 0.26, colour)


def draw_heart(canvas: Canvas, x: Number, y: Number, size: Number) -> None:
    """Draws a red heart."""
    with canvas.at(x, y, size):
        canvas.disc(-0.45, 0.3, 0.55, RED)
        canvas.disc(0.45, 0.3, 0.55, RED)
        canvas.poly(((-0.98, 0.15), (0.98, 0.15), (0.0, -1.05)), RED)


def draw_drop(canvas: Canvas, x: Number, y: Number, size: Number, colour: Colour) -> None:
    """Draws a drop that falls."""
    with canvas.at(x, y, size):
        canvas.disc(0.0, 0.0, 0.6, colour)
        canvas.poly(((-0.55, 0.25), (0.55, 0.25), (0.0, 1.3)), colour)


def draw_arrow(canvas: Canvas, x: Number, y: Number, size: Number, turn: Number, colour: Colour) -> None:
    """Draws an arrow that points up before it is turned."""
    with canvas.at(x, y, size, turn):
        canvas.poly(((-0.25, -1), (0.25, -1), (0.25, 0.1), (0.7, 0.1), (0.0, 1.0), (-0.7, 0.1), (-0.25, 0.1)), colour)
