"""What the places of StoryWorld look like: two large colours and a landmark that shows beside and above the people.

Drawn in units of the image's width; (0, 0) is the lower left corner of the image, and there is a margin around it.
"""

from collections.abc import Callable

from storyjax.storyworld.draw.canvas import Canvas, Colour
from storyjax.storyworld.draw.things import INK, STEEL, WHITE, shade
from storyjax.storyworld.story.cast import Place

MARGIN = 0.1  # of the image's width, on every side, so that a moving camera finds something there
HORIZON = 0.3
ROAD = 0.24

_LANDMARKS: dict[str, Callable[[Canvas], None]] = {}


def draw_place(canvas: Canvas, place: Place, road: bool) -> None:
    """Draws a place's background; `road` adds a street along its lower edge."""
    low, high = -MARGIN, 1 + MARGIN
    canvas.rect(low, low, high, high, place.sky)
    canvas.rect(low, low, high, HORIZON, place.ground)
    _LANDMARKS[place.landmark](canvas)
    if road:
        canvas.rect(low, low, high, ROAD, (72, 74, 82))
        canvas.rect(low, ROAD - 0.02, high, ROAD, (215, 215, 215))
        for i in range(6):
            canvas.rect(low + 0.2 * i, 0.06, low + 0.2 * i + 0.11, 0.09, (240, 240, 240))


def _landmark(name: str) -> Callable[[Callable[[Canvas], None]], Callable[[Canvas], None]]:
    def register(function: Callable[[Canvas], None]) -> Callable[[Canvas], None]:
        _LANDMARKS[name] = function
        return function

    return register


def _cloud(canvas: Canvas, x: float, y: float, size: float) -> None:
    for dx, dy, r in ((-0.7, 0.0, 0.5), (0.0, 0.2, 0.7), (0.7, 0.0, 0.5)):
        canvas.disc(x + dx * size, y + dy * size, r * size, WHITE)


@_landmark("stove")
def _stove(canvas: Canvas) -> None:
    tile: Colour = (236, 214, 165)
    for i in range(13):
        canvas.line(((-0.1 + 0.1 * i, HORIZON), (-0.1 + 0.1 * i, 1.1)), 0.012, tile)
    for j in range(9):
        canvas.line(((-0.1, HORIZON + 0.1 * j), (1.1, HORIZON + 0.1 * j)), 0.012, tile)
    canvas.rect(-0.1, 0.88, 1.1, 1.1, (200, 120, 70))  # cupboards
    for x in (0.1, 0.35, 0.6, 0.85):
        canvas.rect(x - 0.1, 0.91, x + 0.1, 1.08, (225, 150, 95))
        canvas.disc(x + 0.07, 0.94, 0.015, INK)
    canvas.rect(-0.06, 0.16, 0.28, 0.5, (235, 238, 242))  # the stove
    canvas.rect(-0.02, 0.2, 0.24, 0.38, (50, 50, 60))
    canvas.rect(0.02, 0.24, 0.2, 0.34, (255, 140, 40))
    for x in (0.02, 0.11, 0.2):
        canvas.disc(x, 0.44, 0.022, (200, 40, 40))
    canvas.rect(0.0, 0.5, 0.2, 0.6, (120, 125, 135))
    canvas.rect(0.74, 0.14, 1.02, 0.8, (190, 215, 225))  # the fridge
    canvas.rect(0.74, 0.5, 1.02, 0.52, (110, 135, 145))
    canvas.rect(0.77, 0.56, 0.79, 0.7, (110, 135, 145))


@_landmark("tree")
def _tree(canvas: Canvas) -> None:
    _cloud(canvas, 0.5, 0.92, 0.1)
    for x in (0.02, 0.98):
        canvas.rect(x - 0.05, 0.24, x + 0.05, 0.6, (120, 80, 50))
        for dx, dy, r in ((-0.12, 0.62, 0.14), (0.12, 0.62, 0.14), (0.0, 0.78, 0.17)):
            canvas.disc(x + dx, dy, r, (45, 150, 60))
    canvas.oval(0.5, 0.18, 0.3, 0.06, (225, 205, 150))  # a sandy path
    canvas.rect(0.34, 0.36, 0.66, 0.4, (165, 95, 50))  # a bench
    canvas.rect(0.34, 0.44, 0.66, 0.48, (165, 95, 50))
    for x in (0.38, 0.6):
        canvas.rect(x, 0.26, x + 0.025, 0.48, INK)


@_landmark("shelves")
def _shelves(canvas: Canvas) -> None:
    colours: tuple[Colour, ...] = (
        (200, 60, 50), (60, 130, 190), (225, 185, 70), (70, 150, 90), (150, 80, 160), (230, 225, 205), (60, 60, 80),
    )  # fmt: skip
    for row in range(4):
        base = 0.34 + 0.19 * row
        canvas.rect(-0.1, base - 0.03, 1.1, base, (75, 48, 32))
        for i in range(24):
            x = -0.1 + 0.05 * i
            height = 0.11 + 0.01 * ((7 * i + 3 * row) % 5)
            canvas.rect(x + 0.004, base, x + 0.046, base + height, colours[(i * 5 + row * 3 + i // 4) % len(colours)])
    canvas.rect(-0.1, -0.1, 1.1, 0.14, (130, 35, 45))  # a carpet
    canvas.rect(-0.1, 0.11, 1.1, 0.13, (220, 180, 90))


@_landmark("flowers")
def _flowers(canvas: Canvas) -> None:
    canvas.rect(-0.1, 0.3, 1.1, 0.5, (30, 105, 50))  # a hedge
    for i in range(12):
        canvas.disc(-0.05 + 0.1 * i, 0.5, 0.06, (30, 105, 50))
    petals: tuple[Colour, ...] = ((255, 70, 110), (255, 220, 60), (250, 250, 250), (190, 90, 230), (255, 140, 50))
    for i in range(12):
        x = -0.06 + 0.1 * i
        for j, y in enumerate((0.06, 0.25, 0.43)):
            canvas.disc(x + 0.05 * (j % 2), y, 0.036, petals[(2 * i + j) % 5])
            canvas.disc(x + 0.05 * (j % 2), y, 0.014, (255, 240, 160))
    canvas.disc(0.85, 0.88, 0.1, (255, 225, 70))
    for x in (0.05, 0.28):  # an arch of roses
        canvas.rect(x - 0.015, 0.3, x + 0.015, 0.8, WHITE)
    canvas.arc(0.165, 0.78, 0.115, 0, 180, 0.05, (255, 90, 130))


@_landmark("pines")
def _pines(canvas: Canvas) -> None:
    for i in range(8):
        x = -0.08 + 0.17 * i
        dark = (34, 84, 58) if i % 2 else (46, 112, 66)
        top = 0.98 if i % 2 else 1.08
        canvas.rect(x - 0.025, 0.2, x + 0.025, 0.5, (80, 52, 36))
        for level in range(3):
            y = 0.34 + 0.21 * level
            half = 0.13 - 0.03 * level
            canvas.poly(((x - half, y), (x + half, y), (x, min(top, y + 0.3))), dark)
    for x in (0.2, 0.82):
        canvas.rect(x - 0.02, 0.1, x + 0.02, 0.17, (240, 230, 210))
        canvas.pie(x, 0.16, 0.06, 0, 180, (210, 50, 40))


@_landmark("cactus")
def _cactus(canvas: Canvas) -> None:
    canvas.disc(0.52, 0.9, 0.1, (255, 245, 170))
    canvas.oval(0.15, 0.3, 0.4, 0.12, (225, 165, 80))
    canvas.oval(0.85, 0.28, 0.4, 0.1, (215, 150, 70))
    for x, tall in ((0.06, 0.78), (0.94, 0.7)):
        green: Colour = (60, 140, 75)
        canvas.line(((x, 0.2), (x, tall)), 0.1, green)
        canvas.line(((x, 0.42), (x - 0.11, 0.44), (x - 0.11, 0.58)), 0.06, green)
        canvas.line(((x, 0.5), (x + 0.11, 0.52), (x + 0.11, 0.66)), 0.06, green)
    canvas.oval(0.5, 0.06, 0.1, 0.025, (190, 135, 70))


@_landmark("door")
def _door(canvas: Canvas) -> None:
    canvas.rect(0.1, 0.26, 0.9, 0.9, (95, 110, 135))  # the rolling door
    for j in range(7):
        y = 0.3 + 0.085 * j
        canvas.rect(0.12, y, 0.88, y + 0.06, (205, 212, 222) if j % 2 else (180, 190, 205))
    for i in range(12):  # a warning stripe
        x = -0.1 + 0.1 * i
        canvas.poly(((x, 0.92), (x + 0.05, 0.92), (x + 0.1, 1.0), (x + 0.05, 1.0)), (245, 200, 30))
        canvas.poly(((x + 0.05, 0.92), (x + 0.1, 0.92), (x + 0.15, 1.0), (x + 0.1, 1.0)), INK)
    for y in (0.16, 0.3, 0.44):  # tyres
        canvas.oval(0.98, y, 0.1, 0.075, INK)
        canvas.oval(0.98, y, 0.05, 0.035, STEEL)
    canvas.rect(-0.06, 0.16, 0.08, 0.4, (200, 45, 40))  # a tool chest
    for y in (0.22, 0.3):
        canvas.rect(-0.03, y, 0.05, y + 0.02, STEEL)


@_landmark("mast")
def _mast(canvas: Canvas) -> None:
    for j, y in enumerate((0.34, 0.4, 0.46)):
        canvas.rect(-0.1, y - 0.04, 1.1, y + 0.02, shade((60, 125, 190), 0.9 + 0.12 * j))
        for i in range(6):
            canvas.line(((0.2 * i - 0.08 + 0.08 * j, y), (0.2 * i + 0.01 + 0.08 * j, y)), 0.012, (200, 230, 250))
    for x, colour in ((0.1, (250, 250, 250)), (0.9, (235, 90, 70))):
        canvas.poly(((x - 0.16, 0.5), (x + 0.16, 0.5), (x + 0.1, 0.4), (x - 0.1, 0.4)), (120, 60, 40))
        canvas.rect(x - 0.012, 0.5, x + 0.012, 0.98, (90, 60, 40))
        canvas.poly(((x + 0.02, 0.95), (x + 0.02, 0.55), (x + 0.17, 0.55)), colour)
        canvas.poly(((x - 0.02, 0.88), (x - 0.02, 0.55), (x - 0.13, 0.55)), shade(colour, 0.85))
    canvas.rect(-0.1, -0.1, 1.1, 0.22, (165, 125, 85))  # the planks of the quay
    for i in range(9):
        canvas.line(((-0.1 + 0.15 * i, -0.1), (-0.04 + 0.14 * i, 0.22)), 0.012, (115, 82, 52))
    canvas.rect(-0.1, 0.2, 1.1, 0.23, (115, 82, 52))
