"""Tracks from the detections of single frames: by overlap, and for objects that were out of sight by appearance.

This is what a detector alone can do, without queries that follow an object (thesis §2.2 on tracking by detection).
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from storyjax.core.arrays import unit_norm
from storyjax.metrics.tracking import box_iou, matched


@dataclass(frozen=True)
class LinkOptions:
    """How detections become tracks.

    Attributes:
        min_score: smallest probability of a detection that may start a track.
        low_score: smallest one of a detection that may continue a track where it was last.
        min_iou: smallest overlap with the track that a detection continues; `low_iou` that of one below `min_score`.
        max_lost: frames for which a track without a detection is kept.
        reach: how far an object out of sight can have moved, in diagonals of its box for each frame.
        min_hits: detections that a track must have before it is reported.
    """

    min_score: float = 0.5
    low_score: float = 0.2
    min_iou: float = 0.3
    low_iou: float = 0.5
    max_lost: int = 30
    reach: float = 0.2
    min_hits: int = 2


@dataclass(frozen=True)
class Found:
    """The detections of a frame.

    Attributes:
        xywh_px: (m, 4), left, top, width and height in pixels.
        scores: (m,), probabilities.
        labels: (m,), indices of classes.
        embeddings: (m, d), compared by cosine.
    """

    xywh_px: Float32[np.ndarray, "m 4"]
    scores: Float32[np.ndarray, " m"]
    labels: Int[np.ndarray, " m"]
    embeddings: Float32[np.ndarray, "m d"]

    def __getitem__(self, rows: np.ndarray) -> "Found":
        return Found(self.xywh_px[rows], self.scores[rows], self.labels[rows], self.embeddings[rows])

    def __len__(self) -> int:
        return len(self.scores)


@dataclass
class Link:
    """A track.

    Attributes:
        id: its number, from 1.
        xywh_px, score, embedding: of its last detection.
        votes: the sum of its detections' probabilities by label.
        hits, missed: detections that it has had, and frames since the last one.
    """

    id: int
    xywh_px: Float32[np.ndarray, " 4"]
    score: float
    embedding: Float32[np.ndarray, " d"]
    votes: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    hits: int = 0
    missed: int = 0

    @property
    def label(self) -> int:
        """Returns the class that its detections were most probably of."""
        return max(self.votes, key=lambda label: (self.votes[label], -label))

    def take(self, found: Found, row: int) -> None:
        """Continues with a detection."""
        self.xywh_px, self.score = found.xywh_px[row], float(found.scores[row])
        self.embedding = found.embeddings[row]
        self.votes[int(found.labels[row])] += float(found.scores[row])
        self.hits, self.missed = self.hits + 1, 0


class Linker:
    """Links the detections of one frame after another.

    1. Detections continue the tracks that they overlap best, among equals those that they resemble more.
    2. Weak detections continue tracks that are left, where they were last: objects that are partly hidden.
    3. A track that has none takes a detection of its class, within reach, if each is the other's most similar: the
       detection resembles no track more, visible ones included.
    4. Detections that are left start tracks.
    """

    def __init__(self, options: LinkOptions):
        self.options = options
        self._links: list[Link] = []
        self._last_id = 0

    def update(self, found: Found) -> list[Link]:
        """Returns the tracks that have a detection in the next frame and were confirmed; by number."""
        options = self.options
        strong = found[found.scores >= options.min_score]
        weak = found[(found.scores < options.min_score) & (found.scores >= options.low_score)]
        for link in self._links:
            link.missed += 1
        tracks = list(self._links)
        tracks, left = self._by_overlap(tracks, strong, options.min_iou)
        recent = [link for link in tracks if link.missed == 1]
        self._by_overlap(recent, weak, options.low_iou)
        tracks = [link for link in tracks if link.missed]
        left = self._by_appearance(tracks, strong, left)
        for row in left:
            self._last_id += 1
            link = Link(self._last_id, strong.xywh_px[row], 0.0, strong.embeddings[row])
            link.take(strong, row)
            self._links.append(link)
        self._links = [link for link in self._links if link.missed <= options.max_lost]
        return [link for link in self._links if not link.missed and link.hits >= options.min_hits]

    def _by_overlap(self, links: list[Link], found: Found, least: float) -> tuple[list[Link], list[int]]:
        """Continues tracks; returns those that are left, and the detections that are left."""
        if not links or not len(found):
            return links, list(range(len(found)))
        overlap = box_iou(np.stack([link.xywh_px for link in links]), found.xywh_px)
        # Likeness decides between boxes that overlap about equally.
        value = np.where(overlap >= least, overlap + 0.5 * (1.0 + self._likeness(links, found)), 0.0)
        pairs = matched(value, least)
        for i, j in pairs:
            links[i].take(found, j)
        taken = {j for _, j in pairs}
        return [link for link in links if link.missed], [j for j in range(len(found)) if j not in taken]

    def _by_appearance(self, lost: list[Link], found: Found, left: list[int]) -> list[int]:
        """Continues tracks that were out of sight; returns the detections that are left."""
        if not lost or not left:
            return left
        others = [link for link in self._links if not link.missed]
        likeness = np.where(self._reachable(lost, found), self._likeness(lost, found), -np.inf)[:, left]
        same = np.array([link.label for link in others], int)[:, None] == found.labels[None, left]
        visible = np.where(same, self._likeness(others, found)[:, left], -np.inf).max(axis=0, initial=-np.inf)
        taken = set()
        for i, link in enumerate(lost):
            j = int(likeness[i].argmax())
            if np.isfinite(likeness[i, j]) and likeness[:, j].argmax() == i and likeness[i, j] > visible[j]:
                link.take(found, left[j])
                taken.add(left[j])
        return [row for row in left if row not in taken]

    def _reachable(self, links: list[Link], found: Found) -> Bool[np.ndarray, "k m"]:
        """Returns which detections are of a track's class and no farther than it can have moved."""
        boxes = np.stack([link.xywh_px for link in links])
        centre, other = (box[:, :2] + box[:, 2:] / 2 for box in (boxes, found.xywh_px))
        distance = np.linalg.norm(centre[:, None] - other[None], axis=-1)
        missed = np.array([link.missed for link in links])
        farthest = np.linalg.norm(boxes[:, 2:], axis=-1) * (1.0 + self.options.reach * missed)
        same = np.array([link.label for link in links])[:, None] == found.labels[None]
        return same & (distance <= farthest[:, None])

    @staticmethod
    def _likeness(links: list[Link], found: Found) -> Float[np.ndarray, "k m"]:
        if not links:
            return np.zeros((0, len(found)), np.float32)
        return unit_norm(np.stack([link.embedding for link in links])) @ unit_norm(found.embeddings).T
