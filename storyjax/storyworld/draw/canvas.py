"""A canvas that draws smooth images in units of its own, whatever their size in pixels, and the extents of parts.

Everything is a polygon, so that any part of an image may be turned and scaled. Coordinates: x to the right, y up.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

Number = int | float
Point = tuple[Number, Number]
Colour = tuple[int, int, int]

_CIRCLE = tuple((math.cos(2 * math.pi * i / 20), math.sin(2 * math.pi * i / 20)) for i in range(20))


class Canvas:
    """Draws on a transparent or filled image of `size` (width, height) pixels.

    One unit is `unit` pixels; `origin` is where (0, 0) lies, in pixels from the left and from the top. While `part` is
    set, what is drawn counts towards the extent of that part.
    """

    def __init__(
        self, size: tuple[int, int], unit: Number, origin: Point, fill: Colour | None = None, supersample: int = 4
    ):
        self.size = size
        self._zoom = supersample
        colour = (0, 0, 0, 0) if fill is None else (*fill, 255)
        # Not "RGBA": averaging that while shrinking would undo the premultiplication that `picture` promises.
        self._image = Image.new("RGBX", (size[0] * supersample, size[1] * supersample), colour)
        self._draw = ImageDraw.Draw(self._image)
        scale = unit * supersample
        # x' = a x + b y + c;  y' = d x + e y + f
        self._matrix = (scale, 0.0, origin[0] * supersample, 0.0, -scale, origin[1] * supersample)
        self.part: str | None = None
        self.extents: dict[str, list[float]] = {}

    @contextmanager
    def at(self, x: Number, y: Number, scale: Number = 1.0, turn: Number = 0.0, mirror: bool = False) -> Iterator[None]:
        """Draws inside in a frame moved to (x, y), scaled, turned (degrees, anticlockwise) and perhaps mirrored."""
        kept = self._matrix
        a, b, c, d, e, f = kept
        cos, sin = math.cos(math.radians(turn)) * scale, math.sin(math.radians(turn)) * scale
        flip = -1.0 if mirror else 1.0
        self._matrix = (
            (a * cos + b * sin) * flip,
            -a * sin + b * cos,
            a * x + b * y + c,
            (d * cos + e * sin) * flip,
            -d * sin + e * cos,
            d * x + e * y + f,
        )
        yield
        self._matrix = kept

    @contextmanager
    def drawing(self, part: str) -> Iterator[None]:
        """Counts what is drawn inside towards a part, whose extent is kept."""
        kept, self.part = self.part, part
        yield
        self.part = kept

    def poly(self, points: Sequence[Point], colour: Colour) -> None:
        """Draws a filled polygon."""
        a, b, c, d, e, f = self._matrix
        self._fill([(a * x + b * y + c, d * x + e * y + f) for x, y in points], colour)

    def _fill(self, pixels: list[Point], colour: Colour) -> None:
        self._draw.polygon(pixels, fill=(*colour, 255))
        if self.part is not None:
            xs, ys = zip(*pixels, strict=True)
            low_x, low_y, high_x, high_y = min(xs), min(ys), max(xs), max(ys)
            box = self.extents.get(self.part)
            if box is not None:
                low_x, low_y = min(low_x, box[0]), min(low_y, box[1])
                high_x, high_y = max(high_x, box[2]), max(high_y, box[3])
            self.extents[self.part] = [low_x, low_y, high_x, high_y]

    def oval(self, x: Number, y: Number, rx: Number, ry: Number, colour: Colour) -> None:
        """Draws a filled ellipse about (x, y) with the radii `rx` and `ry`."""
        self.poly([(x + rx * cos, y + ry * sin) for cos, sin in _CIRCLE], colour)

    def disc(self, x: Number, y: Number, r: Number, colour: Colour) -> None:
        """Draws a filled circle."""
        self.oval(x, y, r, r, colour)

    def rect(self, x0: Number, y0: Number, x1: Number, y1: Number, colour: Colour) -> None:
        """Draws a filled rectangle between two corners."""
        self.poly(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour)

    def pie(self, x: Number, y: Number, r: Number, start: Number, stop: Number, colour: Colour) -> None:
        """Draws the segment of a disc between two angles (degrees, anticlockwise from the right)."""
        self.poly(_arc(x, y, r, start, stop, 12), colour)

    def arc(self, x: Number, y: Number, r: Number, start: Number, stop: Number, width: Number, colour: Colour) -> None:
        """Draws a circular arc of that width."""
        outer, inner = _arc(x, y, r + width / 2, start, stop, 10), _arc(x, y, r - width / 2, start, stop, 10)
        self.poly(outer + inner[::-1], colour)

    def line(self, points: Sequence[Point], width: Number, colour: Colour) -> None:
        """Draws a stroke through the points with round ends and joints."""
        half = width / 2
        for (x0, y0), (x1, y1) in pairwise(points):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            nx, ny = -(y1 - y0) / length * half, (x1 - x0) / length * half
            self.poly(((x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)), colour)
        for x, y in points:
            self.poly([(x + half * cos, y + half * sin) for cos, sin in _CIRCLE[::2]], colour)

    def star(
        self, x: Number, y: Number, outer: Number, inner: Number, points: int, colour: Colour, turn: Number = 90.0
    ) -> None:
        """Draws a filled star of as many points, the first in direction `turn` (degrees)."""
        corners = []
        for i in range(2 * points):
            angle, r = math.radians(turn + 180.0 * i / points), (outer, inner)[i % 2]
            corners.append((x + r * math.cos(angle), y + r * math.sin(angle)))
        self.poly(corners, colour)

    def picture(self) -> np.ndarray:
        """Returns what was drawn: uint8 (height, width, 4), colours premultiplied by the last channel, the opacity."""
        small = self._image.reduce(self._zoom) if self._zoom > 1 else self._image
        return np.asarray(small)

    def extent(self, part: str) -> tuple[float, float, float, float] | None:
        """Returns the box around a part in pixels: left, top, right, bottom."""
        box = self.extents.get(part)
        return None if box is None else tuple(v / self._zoom for v in box)  # type: ignore[return-value]


def _arc(x: Number, y: Number, r: Number, start: Number, stop: Number, steps: int) -> list[Point]:
    angles = [math.radians(start + (stop - start) * i / steps) for i in range(steps + 1)]
    return [(x + r * math.cos(angle), y + r * math.sin(angle)) for angle in angles]
