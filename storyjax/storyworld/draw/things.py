"""What the things of StoryWorld look like: every kind has a shape and a colour of its own.

Each thing is drawn in a square from -0.5 to 0.5, standing on its lower edge.
"""

from collections.abc import Callable

from storyjax.storyworld.draw.canvas import Canvas, Colour

INK: Colour = (25, 25, 35)
WHITE: Colour = (255, 255, 255)
STEEL: Colour = (170, 178, 190)
LEAF: Colour = (40, 140, 50)
WOOD: Colour = (130, 85, 50)

_DRAWN: dict[str, Callable[[Canvas, Colour], None]] = {}


def draw_thing(canvas: Canvas, kind: str, colour: Colour) -> None:
    """Draws a thing of a kind of `cast.KINDS`."""
    _DRAWN[kind](canvas, colour)


def shade(colour: Colour, share: float) -> Colour:
    """Returns a darker (share < 1) or lighter (share > 1) tone of a colour."""
    return tuple(max(0, min(255, int(c * share))) for c in colour)  # type: ignore[return-value]


def _draws(kind: str) -> Callable[[Callable[[Canvas, Colour], None]], Callable[[Canvas, Colour], None]]:
    def register(function: Callable[[Canvas, Colour], None]) -> Callable[[Canvas, Colour], None]:
        _DRAWN[kind] = function
        return function

    return register


@_draws("cake")
def _cake(canvas: Canvas, colour: Colour) -> None:
    canvas.rect(-0.46, -0.45, 0.46, 0.02, (150, 85, 45))
    canvas.rect(-0.46, -0.24, 0.46, -0.14, WHITE)
    canvas.rect(-0.46, 0.0, 0.46, 0.2, colour)
    for x in (-0.36, -0.12, 0.12, 0.36):
        canvas.disc(x, 0.0, 0.1, colour)
    for x in (-0.25, 0.0, 0.25):
        canvas.rect(x - 0.035, 0.2, x + 0.035, 0.38, (80, 120, 230))
        canvas.oval(x, 0.43, 0.05, 0.08, (255, 170, 20))


@_draws("apple")
def _apple(canvas: Canvas, colour: Colour) -> None:
    canvas.disc(-0.15, -0.1, 0.32, colour)
    canvas.disc(0.15, -0.1, 0.32, colour)
    canvas.oval(0.0, -0.2, 0.34, 0.27, colour)
    canvas.oval(-0.22, 0.0, 0.08, 0.12, (255, 170, 160))
    canvas.line(((0.0, 0.15), (0.05, 0.4)), 0.09, (90, 55, 30))
    canvas.oval(0.24, 0.35, 0.2, 0.1, LEAF)


@_draws("pizza")
def _pizza(canvas: Canvas, colour: Colour) -> None:
    canvas.poly(((-0.48, 0.35), (0.48, 0.35), (0.0, -0.5)), colour)
    canvas.line(((-0.42, 0.38), (0.42, 0.38)), 0.2, (190, 110, 40))
    for x, y in ((-0.2, 0.14), (0.18, 0.16), (0.0, -0.14)):
        canvas.disc(x, y, 0.11, (205, 35, 25))


@_draws("ball")
def _ball(canvas: Canvas, colour: Colour) -> None:
    canvas.disc(0.0, 0.0, 0.48, INK)
    canvas.disc(0.0, 0.0, 0.44, colour)
    canvas.star(0.0, 0.0, 0.2, 0.162, 5, INK)
    for x, y in ((0.0, 0.38), (0.36, 0.12), (0.22, -0.31), (-0.22, -0.31), (-0.36, 0.12)):
        canvas.disc(x, y, 0.1, INK)


@_draws("box")
def _box(canvas: Canvas, colour: Colour) -> None:
    canvas.rect(-0.46, -0.48, 0.46, 0.34, shade(colour, 0.6))
    canvas.rect(-0.41, -0.43, 0.41, 0.29, colour)
    canvas.rect(-0.1, -0.43, 0.1, 0.29, (225, 200, 140))
    canvas.poly(((-0.46, 0.3), (-0.3, 0.46), (0.3, 0.46), (0.46, 0.3)), shade(colour, 0.8))


@_draws("book")
def _book(canvas: Canvas, colour: Colour) -> None:
    canvas.poly(((-0.5, 0.36), (0.0, 0.26), (0.5, 0.36), (0.5, -0.4), (0.0, -0.5), (-0.5, -0.4)), colour)
    canvas.poly(((-0.42, 0.38), (-0.03, 0.26), (-0.03, -0.38), (-0.42, -0.28)), WHITE)
    canvas.poly(((0.42, 0.38), (0.03, 0.26), (0.03, -0.38), (0.42, -0.28)), WHITE)
    for y in (0.16, 0.0, -0.16):
        canvas.line(((-0.34, y + 0.06), (-0.12, y)), 0.06, STEEL)
        canvas.line(((0.34, y + 0.06), (0.12, y)), 0.06, STEEL)


@_draws("map")
def _map(canvas: Canvas, colour: Colour) -> None:
    for i, tone in enumerate((1.0, 0.86, 1.0)):
        x, dip = -0.5 + i / 3, 0.08 * (i % 2)
        canvas.poly(
            ((x, 0.4 - dip), (x + 1 / 3, 0.32 + dip), (x + 1 / 3, -0.48 + dip), (x, -0.4 - dip)), shade(colour, tone)
        )
    canvas.line(((-0.4, -0.3), (-0.18, 0.02), (0.08, -0.12), (0.26, 0.16)), 0.08, (50, 110, 220))
    canvas.oval(-0.28, 0.2, 0.14, 0.1, (90, 180, 80))
    canvas.line(((0.18, 0.08), (0.38, 0.28)), 0.09, (220, 30, 30))
    canvas.line(((0.38, 0.08), (0.18, 0.28)), 0.09, (220, 30, 30))


@_draws("guitar")
def _guitar(canvas: Canvas, colour: Colour) -> None:
    canvas.line(((0.0, 0.0), (0.0, 0.45)), 0.1, (70, 40, 20))
    canvas.rect(-0.09, 0.36, 0.09, 0.52, (70, 40, 20))
    canvas.disc(0.0, -0.25, 0.27, colour)
    canvas.disc(0.0, 0.02, 0.2, colour)
    canvas.disc(0.0, -0.1, 0.1, INK)
    canvas.rect(-0.12, -0.36, 0.12, -0.3, INK)


@_draws("drum")
def _drum(canvas: Canvas, colour: Colour) -> None:
    canvas.rect(-0.42, -0.4, 0.42, 0.18, colour)
    canvas.oval(0.0, -0.4, 0.42, 0.1, colour)
    for x in (-0.42, -0.14, 0.14):
        canvas.line(((x, 0.14), (x + 0.14, -0.4), (x + 0.28, 0.14)), 0.05, (255, 220, 70))
    canvas.oval(0.0, 0.2, 0.44, 0.14, INK)
    canvas.oval(0.0, 0.21, 0.38, 0.1, (250, 245, 225))


@_draws("kite")
def _kite(canvas: Canvas, colour: Colour) -> None:
    canvas.poly(((0.0, 0.5), (0.36, 0.14), (0.0, -0.4), (-0.36, 0.14)), colour)
    canvas.poly(((0.0, 0.5), (0.36, 0.14), (0.0, 0.14)), (255, 225, 60))
    canvas.poly(((0.0, -0.4), (-0.36, 0.14), (0.0, 0.14)), (255, 225, 60))
    canvas.line(((0.0, -0.4), (0.1, -0.46), (0.0, -0.5)), 0.04, INK)


@_draws("plane")
def _plane(canvas: Canvas, colour: Colour) -> None:
    canvas.poly(((-0.05, 0.05), (0.18, 0.05), (-0.12, 0.46), (-0.24, 0.46)), shade(colour, 0.7))
    canvas.oval(0.0, 0.0, 0.5, 0.15, colour)
    canvas.poly(((-0.32, 0.05), (-0.48, 0.32), (-0.36, 0.32), (-0.18, 0.08)), (220, 60, 50))
    canvas.poly(((-0.08, -0.04), (0.18, -0.04), (-0.16, -0.42), (-0.28, -0.42)), shade(colour, 0.75))
    canvas.oval(0.34, 0.06, 0.1, 0.06, (60, 150, 230))
    for x in (-0.12, 0.02, 0.16):
        canvas.disc(x, 0.04, 0.04, (60, 150, 230))


@_draws("umbrella")
def _umbrella(canvas: Canvas, colour: Colour) -> None:
    canvas.line(((0.0, 0.3), (0.0, -0.4), (0.1, -0.46), (0.18, -0.36)), 0.07, INK)
    canvas.pie(0.0, 0.02, 0.48, 0, 180, colour)
    for x in (-0.32, 0.0, 0.32):
        canvas.pie(x, 0.0, 0.16, 0, 180, (190, 140, 235))
    canvas.line(((0.0, 0.4), (0.0, 0.5)), 0.06, INK)


@_draws("flower")
def _flower(canvas: Canvas, colour: Colour) -> None:
    canvas.line(((0.0, -0.48), (0.0, 0.1)), 0.09, LEAF)
    canvas.oval(-0.17, -0.24, 0.18, 0.08, LEAF)
    canvas.oval(0.17, -0.32, 0.18, 0.08, LEAF)
    for x, y in ((0.0, 0.4), (0.2, 0.26), (0.13, 0.03), (-0.13, 0.03), (-0.2, 0.26)):
        canvas.disc(x, y, 0.15, colour)
    canvas.disc(0.0, 0.19, 0.14, (255, 225, 40))


@_draws("chair")
def _chair(canvas: Canvas, colour: Colour) -> None:
    for x in (-0.3, 0.3):
        canvas.rect(x - 0.07, -0.5, x + 0.07, -0.05, shade(colour, 0.7))
    canvas.rect(-0.37, -0.1, -0.23, 0.5, colour)
    canvas.rect(0.23, -0.1, 0.37, 0.5, colour)
    for y in (0.36, 0.14):
        canvas.rect(-0.37, y - 0.07, 0.37, y + 0.07, colour)
    canvas.rect(-0.43, -0.16, 0.43, 0.0, shade(colour, 1.15))


@_draws("fence")
def _fence(canvas: Canvas, colour: Colour) -> None:
    for y in (-0.22, 0.14):
        canvas.rect(-0.5, y - 0.06, 0.5, y + 0.06, shade(colour, 0.75))
    for x in (-0.38, -0.13, 0.13, 0.38):
        canvas.poly(((x - 0.09, -0.5), (x + 0.09, -0.5), (x + 0.09, 0.3), (x, 0.46), (x - 0.09, 0.3)), INK)
        canvas.poly(((x - 0.07, -0.48), (x + 0.07, -0.48), (x + 0.07, 0.28), (x, 0.42), (x - 0.07, 0.28)), colour)


@_draws("milk")
def _milk(canvas: Canvas, colour: Colour) -> None:
    canvas.rect(-0.3, -0.5, 0.3, 0.2, (60, 120, 220))
    canvas.rect(-0.25, -0.46, 0.25, 0.18, colour)
    canvas.poly(((-0.3, 0.2), (0.3, 0.2), (0.16, 0.42), (-0.16, 0.42)), (60, 120, 220))
    canvas.rect(-0.16, 0.4, 0.16, 0.5, colour)
    canvas.rect(-0.25, -0.22, 0.25, 0.0, (60, 120, 220))


@_draws("tea")
def _tea(canvas: Canvas, colour: Colour) -> None:
    canvas.arc(0.3, -0.16, 0.14, -100, 100, 0.08, (235, 235, 225))
    canvas.poly(((-0.34, 0.08), (0.34, 0.08), (0.22, -0.42), (-0.22, -0.42)), (235, 235, 225))
    canvas.oval(0.0, 0.08, 0.34, 0.09, colour)
    canvas.oval(0.0, -0.45, 0.42, 0.06, (200, 205, 200))
    for x in (-0.14, 0.12):
        canvas.line(((x, 0.22), (x + 0.07, 0.32), (x - 0.02, 0.42), (x + 0.05, 0.5)), 0.06, (245, 245, 245))


@_draws("hat")
def _hat(canvas: Canvas, colour: Colour) -> None:
    canvas.oval(0.0, -0.26, 0.5, 0.13, colour)
    canvas.rect(-0.29, -0.26, 0.29, 0.4, colour)
    canvas.rect(-0.29, -0.2, 0.29, -0.04, (225, 40, 50))
    canvas.oval(0.0, 0.4, 0.29, 0.06, shade(colour, 1.7))


@_draws("dog")
def _dog(canvas: Canvas, colour: Colour) -> None:
    canvas.line(((-0.32, -0.02), (-0.48, 0.22)), 0.1, colour)
    for x in (-0.26, -0.12, 0.1, 0.22):
        canvas.rect(x - 0.05, -0.5, x + 0.05, -0.1, shade(colour, 0.8))
    canvas.oval(-0.04, -0.1, 0.34, 0.18, colour)
    canvas.disc(0.26, 0.18, 0.2, colour)
    canvas.oval(0.42, 0.12, 0.12, 0.09, shade(colour, 1.2))
    canvas.disc(0.5, 0.15, 0.05, INK)
    canvas.oval(0.14, 0.18, 0.08, 0.17, shade(colour, 0.5))
    canvas.disc(0.3, 0.25, 0.04, INK)
    canvas.line(((0.12, 0.0), (0.3, -0.03)), 0.07, (220, 40, 40))


@_draws("bear")
def _bear(canvas: Canvas, colour: Colour) -> None:
    for x in (-0.2, 0.2):
        canvas.disc(x, 0.42, 0.1, colour)
        canvas.oval(1.55 * x, -0.12, 0.1, 0.17, colour)
        canvas.disc(x, -0.4, 0.13, colour)
        canvas.disc(x, -0.42, 0.07, (225, 190, 150))
    canvas.oval(0.0, -0.16, 0.26, 0.28, colour)
    canvas.oval(0.0, -0.16, 0.15, 0.18, (225, 190, 150))
    canvas.disc(0.0, 0.24, 0.25, colour)
    canvas.oval(0.0, 0.16, 0.12, 0.1, (225, 190, 150))
    for x, y in ((-0.1, 0.3), (0.1, 0.3), (0.0, 0.2)):
        canvas.disc(x, y, 0.04, INK)


@_draws("cup")
def _cup(canvas: Canvas, colour: Colour) -> None:
    canvas.arc(0.26, -0.05, 0.18, -95, 95, 0.1, shade(colour, 0.75))
    canvas.rect(-0.34, -0.46, 0.26, 0.32, colour)
    canvas.rect(-0.34, -0.16, 0.26, 0.02, WHITE)
    canvas.oval(-0.04, 0.32, 0.3, 0.09, shade(colour, 0.6))


@_draws("vase")
def _vase(canvas: Canvas, colour: Colour) -> None:
    for x, y, petal in ((-0.18, 0.38, (240, 70, 80)), (0.0, 0.44, (255, 220, 50)), (0.18, 0.38, (240, 130, 210))):
        canvas.line(((0.0, 0.1), (x, y)), 0.05, LEAF)
        canvas.disc(x, y, 0.1, petal)
    canvas.oval(0.0, -0.22, 0.3, 0.27, colour)
    canvas.rect(-0.12, -0.1, 0.12, 0.16, colour)
    canvas.oval(0.0, 0.16, 0.18, 0.05, shade(colour, 0.7))
    canvas.line(((-0.26, -0.2), (-0.1, -0.12), (0.1, -0.26), (0.26, -0.18)), 0.07, WHITE)


@_draws("phone")
def _phone(canvas: Canvas, colour: Colour) -> None:
    canvas.rect(-0.29, -0.5, 0.29, 0.5, colour)
    canvas.rect(-0.22, -0.34, 0.22, 0.4, (90, 230, 250))
    for x, y, tint in ((-0.1, 0.22, (250, 70, 70)), (0.1, 0.22, (70, 200, 80)), (-0.1, 0.0, (255, 210, 40))):
        canvas.rect(x - 0.07, y - 0.07, x + 0.07, y + 0.07, tint)
    canvas.disc(0.0, -0.42, 0.05, WHITE)


@_draws("soup")
def _soup(canvas: Canvas, colour: Colour) -> None:
    canvas.pie(0.0, 0.04, 0.46, 180, 360, (70, 80, 160))
    canvas.rect(-0.2, -0.48, 0.2, -0.38, (70, 80, 160))
    canvas.oval(0.0, 0.05, 0.46, 0.13, (110, 120, 200))
    canvas.oval(0.0, 0.06, 0.4, 0.1, colour)
    canvas.line(((0.2, 0.06), (0.44, 0.46)), 0.07, STEEL)
    canvas.disc(-0.15, 0.07, 0.05, LEAF)


@_draws("window")
def _window(canvas: Canvas, colour: Colour) -> None:
    canvas.rect(-0.44, -0.5, 0.44, 0.5, (235, 240, 245))
    canvas.rect(-0.36, -0.42, 0.36, 0.42, colour)
    canvas.poly(((-0.36, 0.1), (-0.06, 0.42), (0.14, 0.42), (-0.36, -0.14)), WHITE)
    canvas.rect(-0.04, -0.42, 0.04, 0.42, (120, 75, 45))
    canvas.rect(-0.36, -0.04, 0.36, 0.04, (120, 75, 45))
    canvas.line(((-0.44, -0.5), (0.44, -0.5), (0.44, 0.5), (-0.44, 0.5), (-0.44, -0.5)), 0.08, (120, 75, 45))


@_draws("lamp")
def _lamp(canvas: Canvas, colour: Colour) -> None:
    canvas.oval(0.0, -0.44, 0.26, 0.07, (70, 70, 80))
    canvas.rect(-0.05, -0.44, 0.05, 0.05, (70, 70, 80))
    canvas.poly(((-0.22, 0.48), (0.22, 0.48), (0.44, 0.0), (-0.44, 0.0)), colour)
    canvas.poly(((-0.44, 0.0), (0.44, 0.0), (0.41, 0.08), (-0.41, 0.08)), (240, 150, 40))


@_draws("balloon")
def _balloon(canvas: Canvas, colour: Colour) -> None:
    canvas.line(((0.0, -0.2), (0.05, -0.34), (-0.04, -0.5)), 0.04, INK)
    canvas.oval(0.0, 0.14, 0.3, 0.36, colour)
    canvas.poly(((0.0, -0.18), (0.08, -0.28), (-0.08, -0.28)), colour)
    canvas.oval(-0.12, 0.28, 0.06, 0.1, (255, 190, 190))


@_draws("car")
def _car(canvas: Canvas, colour: Colour) -> None:
    canvas.poly(((-0.34, 0.0), (-0.22, 0.26), (0.16, 0.26), (0.3, 0.0)), colour)
    canvas.poly(((-0.24, 0.02), (-0.16, 0.2), (0.12, 0.2), (0.2, 0.02)), (170, 220, 245))
    canvas.rect(-0.5, -0.26, 0.5, 0.03, colour)
    for x in (-0.28, 0.28):
        canvas.disc(x, -0.26, 0.14, INK)
        canvas.disc(x, -0.26, 0.06, STEEL)
