"""A tracker that knows overlap and nothing else: what MQT is measured against, given the very same detections."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from storyjax.metrics.tracking import box_iou, matched


@dataclass(frozen=True)
class Box:
    """A box of a track in a frame."""

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float


@dataclass
class _Kept:
    id: int
    box: np.ndarray
    seen: int
    missed: int = 0


class IouTracker:
    """Carries numbers from frame to frame by the best one-to-one overlap, as SORT does without its filter.

    Args:
        least_iou: from which a detection goes on with a track.
        least_score: detections below it are not looked at.
        patience: frames that a track waits, where it was, for a detection.
        births: frames in a row that a track must be seen in before it is told of; 1 tells of it at once.
    """

    def __init__(self, least_iou: float = 0.3, least_score: float = 0.0, patience: int = 5, births: int = 1):
        self.least_iou, self.least_score = least_iou, least_score
        self.patience, self.births = patience, births
        self._kept: list[_Kept] = []
        self._last = 0

    def step(
        self, detections: Float32[np.ndarray, "m 4"], scores: Float32[np.ndarray, " m"] | None = None
    ) -> list[Box]:
        """The tracks seen in the next frame, from its detections (left, top, width, height in pixels)."""
        sure = np.ones(len(detections), np.float32) if scores is None else np.asarray(scores, np.float32)
        chosen = sure >= self.least_score
        boxes, sure = detections[chosen], sure[chosen]
        before = np.array([kept.box for kept in self._kept], np.float32).reshape(-1, 4)
        pairs = {j: i for i, j in matched(box_iou(before, boxes), self.least_iou)}
        told, going = [], []
        for index, box in enumerate(boxes):
            if index in pairs:
                kept = self._kept[pairs[index]]
                kept.box, kept.missed, kept.seen = box, 0, kept.seen + 1
            else:
                self._last += 1
                kept = _Kept(self._last, box, 1)
            going.append(kept)
            if kept.seen >= self.births:
                told.append(Box(kept.id, tuple(float(v) for v in box), float(sure[index])))  # type: ignore[arg-type]
        continued = set(pairs.values())
        for index, kept in enumerate(self._kept):
            kept.missed += index not in continued
            if index not in continued and kept.missed <= self.patience:
                going.append(kept)
        self._kept = going
        return told
