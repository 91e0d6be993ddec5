"""The one who acts: somebody with a thing, about to be drawn, and the marks that several actions share.

An act is drawn in a cell one unit wide and `CELL_HEIGHT` units high; (0, 0) is the middle of its floor. The performer
stands to the left and acts to the right; mirroring is up to the stage.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from storyjax.storyworld.draw.canvas import Colour, Number, Pen
from storyjax.storyworld.draw.people import Pose, draw_arms, draw_body
from storyjax.storyworld.draw.things import draw_thing
from storyjax.storyworld.story.cast import Person

CELL_HEIGHT = 1.5
BEATS = 3  # how many pictures an action's movement has

YELLOW, ORANGE, RED = (255, 225, 40), (255, 140, 20), (230, 30, 40)
BLUE, SKY, PINK = (40, 100, 235), (90, 190, 255), (255, 80, 160)


@dataclass(frozen=True)
class Actor:
    """Somebody about to be drawn in an act: who, with which thing (kind, colour), in which beat of the movement.

    `mirror` says that the whole act is being drawn mirrored: letters are then turned back.
    """

    pen: Pen
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
        with self.pen.drawing("person"), self.pen.at(x, y, scale, turn):
            draw_body(self.pen, self.person, pose)
            if arms:
                draw_arms(self.pen, self.person, pose)

    def arms(
        self, pose: Pose, x: Number, y: Number = 0.0, scale: Number = 1.0, back: bool = True, front: bool = True
    ) -> None:
        with self.pen.drawing("person"), self.pen.at(x, y, scale):
            draw_arms(self.pen, self.person, pose, back, front)

    def letters(self, x: Number, y: Number, size: Number) -> AbstractContextManager[None]:
        """A place for letters, which read from left to right whatever way the actor faces."""
        return self.pen.at(x, y, size, mirror=self.mirror)

    def thing(self, x: Number, y: Number, size: Number, turn: Number = 0.0) -> None:
        assert self.kind is not None, "this act needs a thing"
        with self.pen.drawing("thing"), self.pen.at(x, y, size, turn):
            draw_thing(self.pen, self.kind, self.colour)


# How an action is drawn.
Act = Callable[[Actor], None]


def registrar(acts: dict[str, Act]) -> Callable[[str], Callable[[Act], Act]]:
    """A decorator that enters functions into a table of acts under a name."""

    def enter(name: str) -> Callable[[Act], Act]:
        def register(function: Act) -> Act:
            acts[name] = function
            return function

        return register

    return enter


def draw_note(pen: Pen, x: Number, y: Number, size: Number, colour: Colour) -> None:
    with pen.at(x, y, size):
        pen.oval(0.0, 0.0, 0.5, 0.36, colour)
        pen.line(((0.4, 0.0), (0.4, 1.5), (0.95, 1.1)), 0.26, colour)


def draw_heart(pen: Pen, x: Number, y: Number, size: Number) -> None:
    with pen.at(x, y, size):
        pen.disc(-0.45, 0.3, 0.55, RED)
        pen.disc(0.45, 0.3, 0.55, RED)
        pen.poly(((-0.98, 0.15), (0.98, 0.15), (0.0, -1.05)), RED)


def draw_drop(pen: Pen, x: Number, y: Number, size: Number, colour: Colour) -> None:
    with pen.at(x, y, size):
        pen.disc(0.0, 0.0, 0.6, colour)
        pen.poly(((-0.55, 0.25), (0.55, 0.25), (0.0, 1.3)), colour)


def draw_arrow(pen: Pen, x: Number, y: Number, size: Number, turn: Number, colour: Colour) -> None:
    """An arrow that points up before it is turned."""
    with pen.at(x, y, size, turn):
        pen.poly(((-0.25, -1), (0.25, -1), (0.25, 0.1), (0.7, 0.1), (0.0, 1.0), (-0.7, 0.1), (-0.25, 0.1)), colour)
