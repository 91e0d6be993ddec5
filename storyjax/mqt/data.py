"""What MQT trains on: pictures with boxes, pairs of adjacent frames, and pairs simulated from one picture (§2.3.2).

All give fixed shapes: pictures are brought to `size` (height, width), boxes are centre x, centre y, width and height as
shares of the picture, cut to it, and padded to `objects` rows of zeros whose `present` is False. Of more objects than
that the largest stay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.frames import FrameSource
from storyjax.data.images import decode_image
from storyjax.data.pipeline import RandomAccess

Window = tuple[float, float, float, float]
WHOLE: Window = (0.0, 0.0, 1.0, 1.0)
_TRIES = 20  # windows to draw before a simulated pair is left as it is


@dataclass(frozen=True)
class View:
    """How records become arrays.

    Attributes:
        size: height and width of the pictures, in pixels.
        objects: rows of boxes.
        flip: the chance that a picture, or both of a pair, are mirrored.
        jitter: how far brightness and contrast may differ, as a share; of both pictures of a pair alike.
        move: how far the edges of a simulated view may lie from the picture's, as a share of it (§2.3.2: 5 %).
        keep_all: whether no object may be lost between simulated views (§2.3.2: for COCO).
        perturb: how far a perturbed box is off, in shares of its width and height (standard deviation; §2.6.1).
        least_visible: objects of which less shows are not trained on.
    """

    size: tuple[int, int] = (96, 160)
    objects: int = 12
    flip: float = 0.5
    jitter: float = 0.15
    move: float = 0.05
    keep_all: bool = True
    perturb: float = 0.1
    least_visible: float = 0.3


@dataclass(frozen=True)
class Objects:
    """The objects of a picture: corner boxes (left, top, right, bottom) as shares of it, numbers and kinds."""

    corners: Float32[np.ndarray, "m 4"]
    ids: Int32[np.ndarray, " m"]
    kinds: Int32[np.ndarray, " m"]

    def __getitem__(self, chosen: np.ndarray) -> "Objects":
        return Objects(self.corners[chosen], self.ids[chosen], self.kinds[chosen])

    def seen_in(self, window: Window) -> "Objects":
        """The same in a view that shows only a window (left, top, right, bottom), the boxes cut to it."""
        left, top, right, bottom = window
        scale = np.array([right - left, bottom - top] * 2, np.float32)
        moved = (self.corners - np.array([left, top] * 2, np.float32)) / scale
        return Objects(np.clip(moved, 0, 1), self.ids, self.kinds)

    @property
    def areas(self) -> Float32[np.ndarray, " m"]:
        return np.prod(np.maximum(self.corners[:, 2:] - self.corners[:, :2], 0), axis=1)

    def mirrored(self) -> "Objects":
        corners = self.corners[:, [2, 1, 0, 3]] * np.float32((-1, 1, -1, 1)) + np.float32((1, 0, 1, 0))
        return Objects(corners, self.ids, self.kinds)


class _Loader:
    def __init__(self, view: View):
        self.view = view

    def _picture(self, record: dict[str, Any]) -> tuple[UInt8[np.ndarray, "y x 3"], Objects]:
        """A record's picture as it is, and its objects."""
        name = record.get("name") or f"{record.get('sequence')} frame {record.get('frame')}"
        if not record["image"]:
            raise StoryjaxError(f"{name} has no picture")
        pixels = decode_image(record["image"], str(name))
        height, width = pixels.shape[:2]
        wanted = ~record["crowd"] if "crowd" in record else record["considered"]
        if "visibility" in record:
            wanted = wanted & (record["visibility"] >= self.view.least_visible)
        boxes = np.asarray(record["boxes"], np.float32)
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) / np.float32((width, height) * 2)
        ids = record.get("ids", np.arange(len(boxes), dtype=np.int32))
        objects = Objects(np.clip(corners, 0, 1).astype(np.float32), ids, record["kinds"])
        return pixels, objects[wanted & (objects.areas > 0)]

    def _look(self, rng: np.random.Generator) -> Callable[..., tuple[np.ndarray, Objects]]:
        """A way of looking, for all pictures of an example alike: mirrored or not, brighter or darker; `turned` is
        mirrored where the others are not."""
        mirror = rng.uniform() < self.view.flip
        gain, lift = 1 + self.view.jitter * rng.uniform(-1, 1, 2)

        def look(
            pixels: np.ndarray, objects: Objects, window: Window = WHOLE, turned: bool = False
        ) -> tuple[np.ndarray, Objects]:
            shown, objects = cut_out(pixels, window, self.view.size), objects.seen_in(window)
            if mirror != turned:
                shown, objects = shown[:, ::-1], objects.mirrored()
            if self.view.jitter:
                shown = np.clip((shown.astype(np.float32) - 128) * gain + 128 * lift, 0, 255).astype(np.uint8)
            return np.ascontiguousarray(shown), objects

        return look

    def _rows(self, objects: Objects, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(boxes (n, 4), present (n,)) with each object in the row of its number in `ids`."""
        boxes, present = np.zeros((self.view.objects, 4), np.float32), np.zeros(self.view.objects, bool)
        for row, number in enumerate(ids):
            found = np.flatnonzero((objects.ids == number) & (objects.areas > 0))
            if len(found):
                left, top, right, bottom = objects.corners[found[0]]
                boxes[row] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
                present[row] = True
        return boxes, present

    def _pair(self, shown: list[tuple[np.ndarray, Objects]], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The arrays of two pictures: row i is the same object in both."""
        (image0, objects0), (image1, objects1) = shown
        ids, kinds = _numbers([objects0, objects1], self.view.objects, rng)
        boxes0, present0 = self._rows(objects0, ids)
        boxes1, present1 = self._rows(objects1, ids)
        return {
            "images0": image0,
            "images1": image1,
            "boxes0": boxes0,
            "boxes1": boxes1,
            "present0": present0,
            "present1": present1,
            "kind": np.pad(kinds, (0, self.view.objects - len(kinds)), constant_values=-1),
        }


def cut_out(pixels: UInt8[np.ndarray, "y x 3"], window: Window, size: tuple[int, int]) -> UInt8[np.ndarray, "v u 3"]:
    """A window of a picture (left, top, right, bottom as shares of it), brought to `size` (height, width)."""
    height, width = pixels.shape[:2]
    if window == WHOLE and (height, width) == size:
        return pixels
    left, top, right, bottom = window
    box = (left * width, top * height, right * width, bottom * height)
    shrunk = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR, box=box)
    return np.asarray(shrunk)


def _numbers(
    views: list[Objects], most: int, rng: np.random.Generator
) -> tuple[Int32[np.ndarray, " m"], Int32[np.ndarray, " m"]]:
    """The numbers and kinds of the objects that any of the views shows: the largest, at most so many, in any order."""
    areas: dict[int, tuple[float, int]] = {}
    for view in views:
        for number, area, kind in zip(view.ids, view.areas, view.kinds, strict=True):
            if area > 0:
                areas[int(number)] = max(areas.get(int(number), (0.0, 0)), (float(area), int(kind)))
    largest = sorted(areas, key=lambda number: areas[number][0], reverse=True)[:most]
    chosen = [largest[i] for i in rng.permutation(len(largest))]
    return np.array(chosen, np.int32), np.array([areas[number][1] for number in chosen], np.int32)


@dataclass(frozen=True)
class FramePair:
    """A frame of a sequence, and how many frames of the same sequence follow it, as far as a pair may reach.

    Attributes:
        reach: frames to the other one, at most.
        far: the same of a far pair; 0 where there are none.
    """

    source: RandomAccess
    index: int
    reach: int
    far: int = 0


class PairSource:
    """All frames that another follows in their sequence: the records of `PairLoader`."""

    def __init__(self, source: FrameSource, max_gap: int, far_gap: int = 0):
        """Args: max_gap, far_gap: how many frames apart the two of a pair may be, at most, and those of a far one."""
        self.source = source
        self._places = np.array(
            [
                (sequence.start + frame, min(max_gap, left), min(far_gap, left))
                for sequence in source.sequences
                for frame in range(sequence.length - 1)
                for left in [sequence.length - 1 - frame]
            ],
            np.int64,
        ).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> FramePair:
        return FramePair(self.source, *(int(v) for v in self._places[index]))


class PairLoader(_Loader):
    """Two frames of a sequence, up to `max_gap` apart (PairSource), either of which may come first.

    A `far_share` of them is up to `far_gap` apart: near pairs alone can be matched by place, and an appearance that is
    half a place knows nobody again who has been away. In a `turned_share` one of the two is mirrored and the other is
    not, so that who was left of somebody is now right: not even that tells two look-alikes apart.
    """

    def __init__(self, view: View, far_share: float = 0.0, turned_share: float = 0.0):
        super().__init__(view)
        self.far_share, self.turned_share = far_share, turned_share

    def __call__(self, record: FramePair, rng: np.random.Generator) -> dict[str, np.ndarray]:
        far = self.far_share > 0 and rng.uniform() < self.far_share
        gap = int(rng.integers(1, max(record.far if far else record.reach, 1) + 1))
        look = self._look(rng)
        frames = [record.source[record.index], record.source[record.index + gap]]
        if rng.uniform() < 0.5:
            frames.reverse()
        turned = self.turned_share > 0 and bool(rng.uniform() < self.turned_share)
        first, second = (self._picture(frame) for frame in frames)
        return self._pair([look(*first), look(*second, turned=turned)], rng)


class SimulatedPairLoader(_Loader):
    """Two views of one picture: each view's edges lie up to `move` inside the picture's, so that what they show is
    shifted and stretched against each other."""

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
        pixels, objects = self._picture(record)
        look = self._look(rng)
        windows = [self._window(objects, rng) for _ in range(2)]
        return self._pair([look(pixels, objects, window) for window in windows], rng)

    def _window(self, objects: Objects, rng: np.random.Generator) -> Window:
        for _ in range(_TRIES):
            left, top, right, bottom = rng.uniform(0, self.view.move, 4)
            window = (float(left), float(top), float(1 - right), float(1 - bottom))
            if not self.view.keep_all or (objects.seen_in(window).areas > 0).all():
                return window
        return WHOLE


class DetectionLoader(_Loader):
    """A picture, its boxes, and these boxes perturbed: queries for `pos` when detection is trained (§2.6.1)."""

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
        image, objects = self._look(rng)(*self._picture(record))
        ids, kinds = _numbers([objects], self.view.objects, rng)
        boxes, present = self._rows(objects, ids)
        return {
            "images0": image,
            "boxes0": boxes,
            "present0": present,
            "kind": np.pad(kinds, (0, self.view.objects - len(kinds)), constant_values=-1),
            "prior": np.where(present[:, None], perturbed(boxes, self.view.perturb, rng), 0).astype(np.float32),
            "prior_mask": present,
        }


def perturbed(boxes: Float32[np.ndarray, "n 4"], share: float, rng: np.random.Generator) -> Float32[np.ndarray, "n 4"]:
    """Boxes (centre x, centre y, width, height) moved and stretched by about `share` of their size, in the picture."""
    noise = rng.normal(0, share, boxes.shape)
    centres = boxes[:, :2] + noise[:, :2] * boxes[:, 2:]
    sizes = boxes[:, 2:] * np.exp(noise[:, 2:])
    return np.concatenate([np.clip(centres, 0, 1), np.clip(sizes, 1e-3, 1)], 1).astype(np.float32)
