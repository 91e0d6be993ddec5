"""A tracker by overlap alone, the baseline of MQT: it gets the same detections."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from storyjax.metrics.tracking import box_iou, matched


@dataclass(frozen=True)
class Box:
    """The box of a track in a frame.

    Attributes:
        id: of the track.
        xywh_px: left, top, width and height in pixels.
        score: of the detection.
    """

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float


@dataclass
class _Track:
    id: int
    box: np.ndarray
    hits: int
    missed: int = 0


class IouTracker:
    """Continues tracks by the best one-to-one overlap with the detections, as SORT does, but without a Kalman filter.

    Args:
        min_iou: smallest overlap of a detection with the track that it continues.
        min_score: smallest score of a detection that is used.
        max_age: frames for which a track without a detection is kept, where it was last.
        min_hits: detections that a track must have before it is reported; 1 reports it at once.
    """

    def __init__(self, min_iou: float = 0.3, min_score: float = 0.0, max_age: int = 5, min_hits: int = 1):
        self.min_iou, self.min_score = min_iou, min_score
        self.max_age, self.min_hits = max_age, min_hits
        self._tracks: list[_Track] = []
        self._last_id = 0

    def step(
        self, detections: Float32[np.ndarray, "m 4"], scores: Float32[np.ndarray, " m"] | None = None
    ) -> list[Box]:
        """Returns the boxes of the next frame's tracks.

        Args:
            detections: left, top, width, height in pixels.
            scores: of the detections; None: 1 each.
        """
        scores = np.ones(len(detections), np.float32) if scores is None else np.asarray(scores, np.float32)
        chosen = scores >= self.min_score
        boxes, scores = detections[chosen], scores[chosen]
        before = np.array([track.box for track in self._tracks], np.float32).reshape(-1, 4)
        pairs = {j: i for i, j in matched(box_iou(before, boxes), self.min_iou)}
        reported: list[Box] = []
        tracks: list[_Track] = []
        for index, box in enumerate(boxes):
            if index in pairs:
                track = self._tracks[pairs[index]]
                track.box, track.missed, track.hits = box, 0, track.hits + 1
            else:
                self._last_id += 1
                track = _Track(self._last_id, box, 1)
            tracks.append(track)
            if track.hits >= self.min_hits:
                left, top, width, height = (float(v) for v in box)
                reported.append(Box(track.id, (left, top, width, height), float(scores[index])))
        continued = set(pairs.values())
        for index, track in enumerate(self._tracks):
            track.missed += index not in continued
            if index not in continued and track.missed <= self.max_age:
                tracks.append(track)
        self._tracks = tracks
        return reported
