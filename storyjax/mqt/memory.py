"""The memory of a track, and the similarity of an output to it (thesis §2.3.3 "Memory", Table 2.6).

Plain NumPy: with a dozen tracks nothing here is worth compiling. Memory is bounded, however long a track lives: `first`
+ `last` appearances and a limited number of hypotheses.
"""

import collections
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

from storyjax.core.arrays import unit_norm

Distance = Literal["min", "avg"]


class Memory:
    """Appearances of the first and the last frames in which a track was active.

    Args:
        first, last: the number of each; F+L5 of Table 2.6a is 1 and 5.
        distance: to the nearest of them ("min"), or to their average ("avg").
    """

    def __init__(self, first: int, last: int, distance: Distance):
        self._capacity, self.distance = first, distance
        self._first: list[np.ndarray] = []
        self._last: collections.deque[np.ndarray] = collections.deque(maxlen=last)

    def add(self, appearance: Float[np.ndarray, " e"]) -> None:
        """Adds an appearance; beyond the capacity the oldest ones are dropped, except for the first."""
        if len(self._first) < self._capacity:
            self._first.append(unit_norm(appearance))
        elif self._last.maxlen:
            self._last.append(unit_norm(appearance))

    def __len__(self) -> int:
        return len(self._first) + len(self._last)

    def similarity(self, appearances: Float[np.ndarray, "m e"]) -> Float[np.ndarray, " m"]:
        """Returns each one's cosine similarity to the memory: the largest, or that to the average."""
        kept = np.stack([*self._first, *self._last])
        if self.distance == "avg":
            kept = unit_norm(kept.mean(axis=0, keepdims=True))
        return (unit_norm(appearances) @ kept.T).max(axis=1)


@dataclass
class Hypothesis:
    """A place where a track may be.

    Attributes:
        box: (cx, cy, w, h) normalised.
        appearance, state: the content of its next queries.
        length: consecutive frames that it has been followed.
        similarity: to the memory of its track, when last observed.
    """

    box: Float32[np.ndarray, "4"]
    appearance: Float32[np.ndarray, " e"]
    state: Float32[np.ndarray, " d"]
    length: int = 1
    similarity: float = 1.0


@dataclass
class Track:
    """The track of one object.

    Attributes:
        id: from 1.
        memory: of its appearances.
        hypotheses: the best first; at least one.
        score: the objectness of its output in the last frame in which it was active.
        hits: frames in which it was active.
        missed: frames since the last of those.
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
        """The first hypothesis."""
        return self.hypotheses[0]


@dataclass(frozen=True)
class Candidates:
    """Outputs of the decoder that may be objects.

    Attributes:
        boxes: (cx, cy, w, h) normalised.
        appearances, states: see model.DecoderOutput.
        objectness: probabilities.
    """

    boxes: Float32[np.ndarray, "m 4"]
    appearances: Float32[np.ndarray, "m e"]
    states: Float32[np.ndarray, "m d"]
    objectness: Float32[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: np.ndarray) -> "Candidates":
        return Candidates(self.boxes[chosen], self.appearances[chosen], self.states[chosen], self.objectness[chosen])

    def hypothesis(self, index: int, length: int, similarity: float) -> Hypothesis:
        """Returns a hypothesis at the candidate of this index; `length` and `similarity` are as in Hypothesis."""
        return Hypothesis(self.boxes[index], self.appearances[index], self.states[index], length, similarity)


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Returns the candidates of all parts, one after another."""
    return Candidates(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Candidates.__dataclass_fields__)
    )


def pairwise_iou(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Returns the IoU of each of n boxes (cx, cy, w, h) with each of m; 0 for boxes without area."""
    low = np.maximum((a[:, :2] - a[:, 2:] / 2)[:, None], (b[:, :2] - b[:, 2:] / 2)[None])
    high = np.minimum((a[:, :2] + a[:, 2:] / 2)[:, None], (b[:, :2] + b[:, 2:] / 2)[None])
    inner = np.maximum(high - low, 0).prod(axis=2)
    union = a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - inner
    return inner / np.maximum(union, 1e-12)


def nms(candidates: Candidates, threshold: float) -> Candidates:
    """Returns the candidates after non-maximum suppression at an IoU of `threshold`, by falling objectness."""
    iou = pairwise_iou(candidates.boxes, candidates.boxes)
    return candidates[unsuppressed(iou, candidates.objectness, threshold)]


def unsuppressed(iou: Float[np.ndarray, "m m"], scores: Float[np.ndarray, " m"], threshold: float) -> np.ndarray:
    """Returns the rows that non-maximum suppression leaves, by falling score: those that overlap none of a higher score
    by more than `threshold`."""
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if not kept or iou[row, kept].max() <= threshold:
            kept.append(int(row))
    return np.array(kept, int)
