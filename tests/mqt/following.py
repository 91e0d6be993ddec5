"""Stand-ins for trackers and sequences, for tests that need no model."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from storyjax.data.mot_text import Rows, by_frame, concatenate, no_rows, rows
from storyjax.mqt.iou_tracker import IouTracker
from storyjax.mqt.sequences import VideoSequence


@dataclass(frozen=True)
class Box:
    id: int
    xywh_px: tuple[float, float, float, float]
    score: float
    appearance: np.ndarray | None = None


class OverlapTracker:
    """Follows the boxes that it is given; without any it sees one bright square in a dark image.

    Its inputs are kept in `seen`: (whether there was an image, the number of boxes given or None).
    """

    def __init__(self) -> None:
        self.seen: list[tuple[bool, int | None]] = []

    def start(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.seen = []
        self._tracker = IouTracker(min_iou=0.05)

    def step(self, image: np.ndarray | None, detections: np.ndarray | None = None) -> list[Box]:
        self.seen.append((image is not None, None if detections is None else len(detections)))
        if image is None:
            return []
        boxes = self.detect(image)[0] if detections is None else detections
        return [Box(one.id, one.xywh_px, one.score) for one in self._tracker.step(boxes)]

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bright = image.max(-1) > 128
        if not bright.any():
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        rows_, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        size = (columns[-1] - columns[0] + 1, rows_[-1] - rows_[0] + 1)
        return np.array([[columns[0], rows_[0], *size]], np.float32), np.ones(1, np.float32)


class UserTracker(OverlapTracker):
    """Starts a track on each box that it is given, and finds it in the same place ever after."""

    def start(self, width: int, height: int) -> None:
        super().start(width, height)
        self._boxes: dict[int, np.ndarray] = {}

    def step(self, image: np.ndarray | None, detections: np.ndarray | None = None) -> list[Box]:
        self.seen.append((image is not None, None if detections is None else len(detections)))
        for box in [] if detections is None else detections:
            self._boxes[100 + len(self._boxes)] = box
        return [Box(n, tuple(float(v) for v in box), 1.0) for n, box in self._boxes.items()]


def square(number: int, width: int = 32, height: int = 24) -> np.ndarray:
    """A dark image with a bright square of 6 pixels that goes right and wraps round, and a mark of its number."""
    image = np.full((height, width, 3), 20, np.uint8)
    left = number % (width - 6)
    image[8:14, left : left + 6] = 220
    return image


def squares(length: int, missing: tuple[int, ...] = (), name: str = "squares") -> VideoSequence:
    """A sequence of such images, with its truth and the detections of "good", which are the truth."""

    def read(report) -> Iterator[tuple[int, np.ndarray | None]]:
        for number in range(1, length + 1):
            if number in missing:
                report(f"{name}: frame {number} is left out")
            yield number, None if number in missing else square(number)

    boxes = [[number % 26, 8, 6, 6] for number in range(1, length + 1)]
    truth = rows(range(1, length + 1), [1] * length, boxes, kind=[1] * length)
    return VideoSequence(name, 10.0, 32, 24, length, read, truth, {"good": truth})


def two_that_cross(seed: int = 0, length: int = 40) -> tuple[VideoSequence, Rows]:
    """Two boxes that meet in the middle, step round each other and turn back: overlap takes one for the other."""
    parts = []
    for frame in range(1, length + 1):
        gap = abs(frame - length / 2) * 2.0
        step = 1 if frame < length / 2 else -1
        boxes = [[100 - gap, 40 + step, 20, 20], [100 + gap, 40 - step, 20, 20]]
        parts.append(rows([frame] * 2, [1, 2], boxes, kind=[1, 1]))
    truth = concatenate(parts)
    blank = np.zeros((100, 200, 3), np.uint8)

    def read(report) -> Iterator[tuple[int, np.ndarray | None]]:
        for number in range(1, length + 1):
            yield number, blank

    return VideoSequence(f"crossing{seed}", 10.0, 200, 100, length, read, truth, {"good": truth}), truth


class TruthTracker:
    """Knows the truth of one sequence, or what was done to it; detects the very boxes."""

    def __init__(self, found: Rows):
        self._found = by_frame(found)

    def start(self, width: int, height: int) -> None:
        self._number = 0

    def _next(self) -> Rows:
        self._number += 1
        return self._found.get(self._number, no_rows())

    def step(self, image: np.ndarray | None, detections: np.ndarray | None = None) -> list[Box]:
        here = self._next()
        appearances = np.eye(8)
        return [
            Box(int(n), tuple(float(v) for v in box), 0.9, appearances[int(n) % 8])
            for n, box in zip(here.id, here.xywh_px, strict=True)
        ]

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        here = self._next()
        return here.xywh_px, np.ones(len(here), np.float32)
