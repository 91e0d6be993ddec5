"""What is kept of a track while it is followed: its boxes, and views of it spread over its time in bounded memory."""

import itertools
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from storyjax.search.clips import jpeg
from storyjax.story.trackers import FACE, Seen

VIEWS = 8  # of a track, from which it is named
_HEAD_PIXELS, _BODY_PIXELS, _STILL_PIXELS = 256, 224, 320  # longer sides at most
_MARGIN = 0.1  # of a box's sides, around it
_LOOSE = 0.3  # of the box of a face, around it
_ABOVE = 0.1  # of the side of a square around a head: it begins so much above the box


@dataclass(frozen=True)
class View:
    """A view of a track at `time_s`: its size in pixels, squares around its head, and all of it."""

    time_s: float
    pixels: float
    heads: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    body: UInt8[np.ndarray, "_ _ 3"]


@dataclass
class Followed:
    """A track as far as it was followed; boxes are time_s, left, top, width, height as fractions, score.

    `scales` are the sides of the squares around its head, in shorter sides of its box.
    """

    scales: tuple[float, ...] = (1.2,)
    boxes: list[tuple[float, float, float, float, float, float]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    views: list[View] = field(default_factory=list)
    _every: int = 1

    def add(self, time_s: float, image: UInt8[np.ndarray, "y x 3"], seen: Seen) -> None:
        """Adds where it is in an image."""
        height, width = image.shape[:2]
        left, top, wide, high = seen.xywh_px
        box = (left / width, top / height, wide / width, high / height)
        if len(self.boxes) % self._every == 0:
            self.views.append(_view(time_s, image, seen, self.scales))
            if len(self.views) >= 2 * VIEWS:  # every second one stays, and half as many come
                del self.views[1::2]
                self._every *= 2
        self.boxes.append((time_s, *box, seen.score))
        self.kinds[seen.kind] += 1
        if seen.category is not None:
            self.categories[seen.category] += 1

    @property
    def kind(self) -> str:
        """What it was most often taken for."""
        return self.kinds.most_common(1)[0][0]

    @property
    def category(self) -> str | None:
        """The class that it most often had."""
        return self.categories.most_common(1)[0][0] if self.categories else None

    def best_views(self) -> list[View]:
        """Returns at most VIEWS views: of each part of its time the largest."""
        count = min(VIEWS, len(self.views))
        edges = [round(i * len(self.views) / count) for i in range(count + 1)]
        return [max(self.views[a:b], key=lambda view: view.pixels) for a, b in itertools.pairwise(edges)]


def _view(time_s: float, image: UInt8[np.ndarray, "y x 3"], seen: Seen, scales: tuple[float, ...]) -> View:
    left, top, wide, high = seen.xywh_px
    heads: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    if seen.category == FACE:
        side = max(wide, high) * (1 + _LOOSE)
        heads = (_square(image, left + wide / 2 - side / 2, top + high / 2 - side / 2, side),)
    else:
        sides = [scale * min(wide, high) for scale in scales]
        heads = tuple(_square(image, left + wide / 2 - side / 2, top - _ABOVE * side, side) for side in sides)
    around = (left - _MARGIN * wide, top - _MARGIN * high, wide * (1 + 2 * _MARGIN), high * (1 + 2 * _MARGIN))
    body = _part(image, *around, _BODY_PIXELS)
    return View(time_s, wide * high, heads, body)


def _square(image: UInt8[np.ndarray, "y x 3"], left: float, top: float, side: float) -> UInt8[np.ndarray, "_ _ 3"]:
    """A square of an image; one that would leave it is moved into it, and no larger than it."""
    height, width = image.shape[:2]
    side = min(side, width, height)
    return _part(image, np.clip(left, 0, width - side), np.clip(top, 0, height - side), side, side, _HEAD_PIXELS)


def _part(
    image: UInt8[np.ndarray, "y x 3"], left: float, top: float, width: float, height: float, most: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    """A rectangle of an image, as far as it is in it and a pixel at least, of at most `most` pixels a side."""
    high, wide = image.shape[:2]
    x0, y0 = (int(np.clip(round(v), 0, side - 1)) for v, side in ((left, wide), (top, high)))
    x1 = int(np.clip(round(left + width), x0 + 1, wide))
    y1 = int(np.clip(round(top + height), y0 + 1, high))
    return reduced(image[y0:y1, x0:x1], most).copy()


def reduced(image: UInt8[np.ndarray, "_ _ 3"], most: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns an image whose longer side has at most `most` pixels."""
    height, width = image.shape[:2]
    if max(height, width) <= most:
        return image
    scale = most / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BOX))


def still(image: UInt8[np.ndarray, "_ _ 3"]) -> bytes:
    """Returns the JPEG of a small copy."""
    return jpeg(reduced(image, _STILL_PIXELS))
