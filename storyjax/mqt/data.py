"""MQT's training examples: images with boxes, pairs of frames, and pairs simulated from one image (§2.3.2).

All have fixed shapes: images are resized to `size` (height, width), or to fit into it, and padded (images.py); boxes
are (cx, cy, w, h) as fractions of the picture, clipped to it, and padded to `max_objects` rows of zeros whose `present`
is False. Of more objects the largest are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.frames import FrameSource
from storyjax.data.images import decode_image
from storyjax.data.pipeline import RandomAccess
from storyjax.mqt.images import WHOLE, Fit, Window, crop, extent_of, padded

_TRIES = 20  # windows to draw before a simulated view shows the whole image
# Standard deviation of a perturbed box, in fractions of its width and height (§2.6.1).
BOX_NOISE = 0.1


@dataclass(frozen=True)
class View:
    """How records become arrays.

    Attributes:
        size: height and width of the images, in pixels.
        max_objects: rows of boxes.
        flip: probability that an image, or both images of a pair, are mirrored.
        jitter: largest relative change of brightness and contrast; the same for both images of a pair.
        max_shift: largest distance of the edges of a simulated view from the image's, as a fraction of it (§2.3.2:
            5 %).
        keep_all: whether no object may be lost between simulated views (§2.3.2: for COCO).
        min_visibility: smallest visible fraction of an object that is trained on.
        fit: how a picture fits into the images, which are padded; None: it is stretched to their size.
    """

    size: tuple[int, int] = (96, 160)
    max_objects: int = 12
    flip: float = 0.5
    jitter: float = 0.15
    max_shift: float = 0.05
    keep_all: bool = True
    min_visibility: float = 0.3
    fit: Fit | None = None


@dataclass(frozen=True)
class Objects:
    """The objects of an image.

    Attributes:
        corners: boxes (left, top, right, bottom) as fractions of the image.
        ids, kinds: their track numbers and classes.
    """

    corners: Float32[np.ndarray, "m 4"]
    ids: Int32[np.ndarray, " m"]
    kinds: Int32[np.ndarray, " m"]

    def __getitem__(self, chosen: np.ndarray) -> "Objects":
        return Objects(self.corners[chosen], self.ids[chosen], self.kinds[chosen])

    def cropped_to(self, window: Window) -> "Objects":
        """Returns them in a view that shows only a window (left, top, right, bottom), boxes clipped to it."""
        left, top, right, bottom = window
        scale = np.array([right - left, bottom - top] * 2, np.float32)
        moved = (self.corners - np.array([left, top] * 2, np.float32)) / scale
        return Objects(np.clip(moved, 0, 1), self.ids, self.kinds)

    @property
    def areas(self) -> Float32[np.ndarray, " m"]:
        """Areas of the boxes, as fractions of the image."""
        return np.prod(np.maximum(self.corners[:, 2:] - self.corners[:, :2], 0), axis=1)

    def mirrored(self) -> "Objects":
        """Returns them in the mirrored image."""
        corners = self.corners[:, [2, 1, 0, 3]] * np.array((-1, 1, -1, 1), np.float32) + np.array(
            (1, 0, 1, 0), np.float32
        )
        return Objects(corners, self.ids, self.kinds)


class _Loader:
    def __init__(self, view: View):
        self.view = view

    def _image(self, record: dict[str, Any], crowds: bool = False) -> tuple[UInt8[np.ndarray, "y x 3"], Objects]:
        """Returns a record's image unchanged, and the objects that are trained on.

        With `crowds` regions of crowds (of detection data) are among them, with numbers below zero.
        """
        name = record.get("name") or f"{record.get('sequence')} frame {record.get('frame')}"
        if not record["image"]:
            raise StoryjaxError(f"{name} has no image")
        pixels = decode_image(record["image"], str(name))
        height, width = pixels.shape[:2]
        wanted = ~record["crowd"] if "crowd" in record else record["considered"]
        if "visibility" in record:
            wanted = wanted & (record["visibility"] >= self.view.min_visibility)
        boxes = np.asarray(record["boxes"], np.float32)
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) / np.array(
            (width, height) * 2, np.float32
        )
        ids = record.get("ids", np.arange(len(boxes), dtype=np.int32))
        if crowds:
            ids = np.where(record["crowd"], -1 - ids, ids).astype(np.int32)
            wanted = np.ones(len(boxes), bool)
        objects = Objects(np.clip(corners, 0, 1).astype(np.float32), ids, record["kinds"])
        return pixels, objects[wanted & (objects.areas > 0)]

    def _augment(self, rng: np.random.Generator) -> Callable[..., tuple[np.ndarray, Objects]]:
        """Returns an augmentation that is the same for all images of an example: mirroring, brightness and contrast.

        Called with `mirrored`, it mirrors an image where it does not mirror the others.
        """
        flip = rng.uniform() < self.view.flip
        gain, lift = 1 + self.view.jitter * rng.uniform(-1, 1, 2)

        def augment(
            pixels: np.ndarray, objects: Objects, window: Window = WHOLE, mirrored: bool = False
        ) -> tuple[np.ndarray, Objects]:
            view, objects = crop(pixels, window, self._size(pixels, window)), objects.cropped_to(window)
            if flip != mirrored:
                view, objects = view[:, ::-1], objects.mirrored()
            if self.view.jitter:
                view = np.clip((view.astype(np.float32) - 128) * gain + 128 * lift, 0, 255).astype(np.uint8)
            return np.ascontiguousarray(view), objects

        return augment

    def _size(self, pixels: UInt8[np.ndarray, "y x 3"], window: Window) -> tuple[int, int]:
        """Returns the size that a window of an image is resized to."""
        if self.view.fit is None:
            return self.view.size
        left, top, right, bottom = window
        height, width = (bottom - top) * pixels.shape[0], (right - left) * pixels.shape[1]
        return self.view.fit.size(height, width, self.view.size)

    def _arrays(self, number: int, view: UInt8[np.ndarray, "v u 3"]) -> dict[str, np.ndarray]:
        """Returns a batch's arrays of the image `number`, padded where it is smaller than the images are."""
        arrays = {f"images{number}": padded(view, self.view.size)}
        return arrays if self.view.fit is None else arrays | {f"extent{number}": extent_of(view)}

    def _rows(self, objects: Objects, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (boxes (n, 4), present (n,)) with each object in the row of its number in `ids`."""
        boxes, present = np.zeros((self.view.max_objects, 4), np.float32), np.zeros(self.view.max_objects, bool)
        for row, number in enumerate(ids):
            found = np.flatnonzero((objects.ids == number) & (objects.areas > 0))
            if len(found):
                left, top, right, bottom = objects.corners[found[0]]
                boxes[row] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
                present[row] = True
        return boxes, present

    def _crowds(self, objects: Objects, view: int) -> dict[str, np.ndarray]:
        """Returns the arrays of the regions of crowds among the objects of an image; of too many the largest."""
        own = objects[objects.ids < 0]
        boxes, present = self._rows(own, own.ids[np.argsort(-own.areas, kind="stable")][: self.view.max_objects])
        return {f"crowd_boxes{view}": boxes, f"crowd_mask{view}": present}

    def _pair(self, views: list[tuple[np.ndarray, Objects]], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns the arrays of two images; row i is the same object in both."""
        (image0, objects0), (image1, objects1) = views
        ids, kinds = _numbers([objects0, objects1], self.view.max_objects, rng)
        boxes0, present0 = self._rows(objects0, ids)
        boxes1, present1 = self._rows(objects1, ids)
        return {
            **self._arrays(0, image0),
            **self._arrays(1, image1),
            "boxes0": boxes0,
            "boxes1": boxes1,
            "present0": present0,
            "present1": present1,
            "kind": np.pad(kinds, (0, self.view.max_objects - len(kinds)), constant_values=-1),
        }


def _numbers(
    views: list[Objects], most: int, rng: np.random.Generator
) -> tuple[Int32[np.ndarray, " m"], Int32[np.ndarray, " m"]]:
    """Returns the numbers and kinds of the objects in any of the views: the `most` largest, in random order."""
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
    """The frame of a sequence that a pair starts from.

    Attributes:
        source: records of frames.
        index: of the frame there.
        reach: largest distance to the other frame, within the sequence.
        far: the same for a far pair; 0 without far pairs.
    """

    source: RandomAccess
    index: int
    reach: int
    far: int = 0


class PairSource:
    """The records of `PairLoader`: all frames but the last of each sequence."""

    def __init__(self, source: FrameSource, max_gap: int, far_gap: int = 0):
        """Args: max_gap, far_gap: largest distance of the frames of a pair, and of a far pair, in frames."""
        self.source = source
        parts = [np.zeros((0, 3), np.int64)]
        for sequence in source.sequences:
            frames = np.arange(sequence.length - 1)
            left = sequence.length - 1 - frames
            places = (sequence.start + frames, np.minimum(max_gap, left), np.minimum(far_gap, left))
            parts.append(np.stack(places, axis=1))
        self._places = np.concatenate(parts)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> FramePair:
        return FramePair(self.source, *(int(v) for v in self._places[index]))


class PairLoader(_Loader):
    """Two frames of a sequence, up to `max_gap` apart (PairSource), in either order.

    With a probability of `far_prob` they are up to `far_gap` apart: near pairs alone can be matched by position, and an
    appearance that encodes the position does not recognise objects that return elsewhere. With a probability of
    `mirror_prob` one of the two is mirrored and the other is not, so that relative positions do not help either.
    """

    def __init__(self, view: View, far_prob: float = 0.0, mirror_prob: float = 0.0):
        super().__init__(view)
        self.far_prob, self.mirror_prob = far_prob, mirror_prob

    def __call__(self, record: FramePair, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns the arrays of one example of `losses.Losses.tracking`."""
        far = self.far_prob > 0 and rng.uniform() < self.far_prob
        gap = int(rng.integers(1, max(record.far if far else record.reach, 1) + 1))
        augment = self._augment(rng)
        frames = [record.source[record.index], record.source[record.index + gap]]
        if rng.uniform() < 0.5:
            frames.reverse()
        mirrored = self.mirror_prob > 0 and bool(rng.uniform() < self.mirror_prob)
        first, second = (self._image(frame) for frame in frames)
        return self._pair([augment(*first), augment(*second, mirrored=mirrored)], rng)


class SimulatedPairLoader(_Loader):
    """Two views of one image, whose edges lie up to `max_shift` inside the image's.

    They are thereby shifted and stretched against each other.
    """

    crowds = False  # whether examples hold the regions of crowds too

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns the arrays of one example of `losses.Losses.tracking`."""
        pixels, objects = self._image(record, self.crowds)
        augment = self._augment(rng)
        windows = [self._window(objects[objects.ids >= 0], rng) for _ in range(2)]
        views = [augment(pixels, objects, window) for window in windows]
        regions = [self._crowds(shown, view) if self.crowds else {} for view, (_, shown) in enumerate(views)]
        pair = self._pair([(image, shown[shown.ids >= 0]) for image, shown in views], rng)
        return {**pair, **regions[0], **regions[1]}

    def _window(self, objects: Objects, rng: np.random.Generator) -> Window:
        for _ in range(_TRIES):
            left, top, right, bottom = rng.uniform(0, self.view.max_shift, 4)
            window = (float(left), float(top), float(1 - right), float(1 - bottom))
            if not self.view.keep_all or (objects.cropped_to(window).areas > 0).all():
                return window
        return WHOLE


class DetectionLoader(_Loader):
    """An image, its boxes, and these boxes perturbed, of which `pos` queries are made in the first stage (§2.6.1)."""

    crowds = False  # whether examples hold the regions of crowds too

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns the arrays of one example of `losses.Losses.detection`."""
        image, shown = self._augment(rng)(*self._image(record, self.crowds))
        objects = shown[shown.ids >= 0]
        ids, kinds = _numbers([objects], self.view.max_objects, rng)
        boxes, present = self._rows(objects, ids)
        return {
            **self._arrays(0, image),
            "boxes0": boxes,
            "present0": present,
            "kind": np.pad(kinds, (0, self.view.max_objects - len(kinds)), constant_values=-1),
            "given_boxes": np.where(present[:, None], perturbed(boxes, BOX_NOISE, rng), 0).astype(np.float32),
            "given_mask": present,
            **(self._crowds(shown, 0) if self.crowds else {}),
        }


class DetectionEvalLoader(DetectionLoader):
    """The same for evaluation: regions of crowds, of any of which a detection is ignored, are there too."""

    crowds = True


class SimulatedPairEvalLoader(SimulatedPairLoader):
    """The same for evaluation: regions of crowds are there too, in both views."""

    crowds = True


def perturbed(boxes: Float32[np.ndarray, "n 4"], amount: float, rng: np.random.Generator) -> Float32[np.ndarray, "n 4"]:
    """Returns boxes (cx, cy, w, h) shifted and stretched by about `amount` of their size, centres within the image."""
    noise = rng.normal(0, amount, boxes.shape)
    centres = boxes[:, :2] + noise[:, :2] * boxes[:, 2:]
    sizes = boxes[:, 2:] * np.exp(noise[:, 2:])
    return np.concatenate([np.clip(centres, 0, 1), np.clip(sizes, 1e-3, 1)], 1).astype(np.float32)
