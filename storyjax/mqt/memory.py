"""What a tracker keeps of a track, and how alike something is to it (thesis §2.3.3 "Memory", Table 2.6).

Plain NumPy: there are a dozen tracks, and nothing here is worth a compiler. What is kept is bounded: `first` + `last`
appearances and at most so many hypotheses, however long a track lives.
"""

import collections
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

Distance = Literal["min", "avg"]


def unit(vectors: Float[np.ndarray, "*m e"]) -> Float[np.ndarray, "*m e"]:
    """Vectors of unit length; zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


class Memory:
    """Appearances of the first and the last frames in which a track was active.

    Args:
        first, last: how many of each; F+L5 of Table 2.6a is 1 and 5.
        distance: to the nearest of them, or to their average.
    """

    def __init__(self, first: int, last: int, distance: Distance):
        self._room, self.distance = first, distance
        self._first: list[np.ndarray] = []
        self._last: collections.deque[np.ndarray] = collections.deque(maxlen=last)

    def add(self, appearance: Float[np.ndarray, "e"]) -> None:
        """Remembers an appearance; beyond its room the oldest but the first are forgotten."""
        if len(self._first) < self._room:
            self._first.append(unit(appearance))
        elif self._last.maxlen:
            self._last.append(unit(appearance))

    def __len__(self) -> int:
        return len(self._first) + len(self._last)

    def similarity(self, appearances: Float[np.ndarray, "m e"]) -> Float[np.ndarray, "m"]:
        """Cosines of each with what is remembered: the largest, or that of the average."""
        kept = np.stack([*self._first, *self._last])
        if self.distance == "avg":
            kept = unit(kept.mean(axis=0, keepdims=True))
        return (unit(appearances) @ kept.T).max(axis=1)


@dataclass
class Hypothesis:
    """Where a track may be.

    Attributes:
        box: (cx, cy, w, h) normalised.
        appearance, state: what its next queries are made of.
        length: frames in a row that it has been followed.
        similarity: to the memory of its track, when last seen.
    """

    box: Float32[np.ndarray, "4"]
    appearance: Float32[np.ndarray, "e"]
    state: Float32[np.ndarray, "d"]
    length: int = 1
    similarity: float = 1.0


@dataclass
class Track:
    """One object.

    Attributes:
        id: from 1.
        hypotheses: the best first; at least one.
        hits: frames in which it was active.
        missed: frames since it was.
        active: whether it is in the current frame.
    """

    id: int
    memory: Memory
    hypotheses: list[Hypothesis]
    score: float
    hits: int = 1
    missed: int = 0
    active: bool = True

    @property
    def best(self) -> Hypothesis:
        return self.hypotheses[0]


@dataclass(frozen=True)
class Candidates:
    """Outputs of the decoder that may be objects: normalised boxes, appearances, states, probabilities of presence."""

    boxes: Float32[np.ndarray, "m 4"]
    appearances: Float32[np.ndarray, "m e"]
    states: Float32[np.ndarray, "m d"]
    presence: Float32[np.ndarray, "m"]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: np.ndarray) -> "Candidates":
        return Candidates(self.boxes[chosen], self.appearances[chosen], self.states[chosen], self.presence[chosen])

    def hypothesis(self, index: int, length: int, similarity: float) -> Hypothesis:
        return Hypothesis(self.boxes[index], self.appearances[index], self.states[index], length, similarity)


def overlaps(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """IoU of each of n boxes (cx, cy, w, h) with each of m; of boxes without area nought."""
    low = np.maximum((a[:, :2] - a[:, 2:] / 2)[:, None], (b[:, :2] - b[:, 2:] / 2)[None])
    high = np.minimum((a[:, :2] + a[:, 2:] / 2)[:, None], (b[:, :2] + b[:, 2:] / 2)[None])
    inner = np.maximum(high - low, 0).prod(axis=2)
    union = a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - inner
    return inner / np.maximum(union, 1e-12)


def suppressed(candidates: Candidates, threshold: float) -> Candidates:
    """Without those that overlap a more probable one by more than the threshold; the most probable first."""
    order = np.argsort(-candidates.presence, kind="stable")
    overlap, kept = overlaps(candidates.boxes, candidates.boxes), []
    for index in order:
        if not kept or overlap[index, kept].max() <= threshold:
            kept.append(index)
    return candidates[np.array(kept, int)]
