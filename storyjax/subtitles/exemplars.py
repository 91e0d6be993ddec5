"""Filtering labelled voices into exemplars, and assigning segments to the nearest character (§6.1.2 step 4, §6.1.3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32

from storyjax.core.arrays import unit_norm

NEIGHBOURS = 5


def keep_pure(
    vectors: Float32[np.ndarray, "n d"], names: Sequence[str], neighbours: int = NEIGHBOURS
) -> Bool[np.ndarray, " n"]:
    """Returns which samples are exemplars: those whose nearest `neighbours` others all carry their name (by cosine).

    A character with fewer samples than that keeps all of them; one with exactly as many has that many less one others.
    """
    n = len(names)
    labels = np.asarray(names, object)
    keep = np.zeros(n, bool)
    if not n:
        return keep
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    counts = {name: int((labels == name).sum()) for name in set(names)}
    for i in range(n):
        count = counts[names[i]]
        if count < neighbours:
            keep[i] = True
            continue
        nearest = np.argsort(-cosines[i], kind="stable")[: min(neighbours, count - 1)]
        keep[i] = bool((labels[nearest] == names[i]).all())
    return keep


def keep_nearest(vectors: Float32[np.ndarray, "n d"], names: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Returns which samples are exemplars: those to which no mean voice is nearer than that of their name's others.

    Where a character has a handful of samples, neighbours are few, and a mean is more reliable than each of them. The
    only sample of a character has no others, and is kept.
    """
    labels = np.asarray(names, object)
    order = list(dict.fromkeys(names))
    sums = {name: vectors[labels == name].sum(axis=0) for name in order}
    keep = np.zeros(len(names), bool)
    for i, name in enumerate(names):
        others = sums[name] - vectors[i]
        means = np.stack([others if other == name else sums[other] for other in order])
        cosines = means @ vectors[i] / np.maximum(np.linalg.norm(means, axis=1), 1e-9)
        keep[i] = (labels == name).sum() == 1 or order[int(cosines.argmax())] == name
    return keep


@dataclass(frozen=True)
class Centroids:
    """The mean voice of each character who has exemplars, of unit length, and the number of exemplars."""

    names: tuple[str, ...]
    vectors: Float32[np.ndarray, "c d"]
    counts: tuple[int, ...]


def make_centroids(vectors: Float32[np.ndarray, "n d"], names: Sequence[str]) -> Centroids:
    """Returns the centroids of labelled exemplars, in the order in which the names appear."""
    order = tuple(dict.fromkeys(names))
    labels = np.asarray(names, object)
    means = [vectors[labels == name].mean(axis=0) for name in order]
    stacked = np.stack(means) if means else np.zeros((0, vectors.shape[1] if vectors.ndim == 2 else 0), np.float32)
    unit = unit_norm(stacked, eps=1e-9)
    return Centroids(order, unit.astype(np.float32), tuple(int((labels == name).sum()) for name in order))


@dataclass(frozen=True)
class Assignment:
    """The character that a segment's voice is assigned to.

    Attributes:
        name: None beyond the threshold.
        nearest, distance: the nearest centroid, None where there is none, and 1 - cosine, from 0 to 2.
        runner_up, runner_up_distance: the next.
    """

    name: str | None
    nearest: str | None
    distance: float
    runner_up: str | None
    runner_up_distance: float


def assign(
    vectors: Float32[np.ndarray, "n d"],
    centroids: Centroids,
    threshold: float,
    present: Iterable[str] | None = None,
) -> list[Assignment]:
    """Returns the nearest centroid of every segment, or nobody beyond the distance `threshold` (§6.1.3).

    Args:
        vectors: the segments' voices, of unit length.
        present: the characters of the episode; None: all.
    """
    allowed = None if present is None else set(present)
    kept = [i for i, name in enumerate(centroids.names) if allowed is None or name in allowed]
    if not kept:
        return [Assignment(None, None, 2.0, None, 2.0) for _ in range(len(vectors))]
    names = [centroids.names[i] for i in kept]
    distances = 1.0 - vectors @ centroids.vectors[kept].T
    given = []
    for row in distances:
        order = np.argsort(row, kind="stable")
        best = int(order[0])
        second = int(order[1]) if len(order) > 1 else None
        given.append(
            Assignment(
                names[best] if row[best] <= threshold else None,
                names[best],
                round(float(row[best]), 4),
                None if second is None else names[second],
                2.0 if second is None else round(float(row[second]), 4),
            )
        )
    return given


def name_short(given: Sequence[Assignment], seconds: Sequence[float], shortest: float) -> list[Assignment]:
    """Returns assignments in which segments of less than `shortest` seconds are named by the nearest voice.

    They say too little of a voice for a threshold. The voice must be that of somebody who is named in a longer segment.
    """
    heard = {one.name for one, length in zip(given, seconds, strict=True) if length >= shortest}
    return [
        replace(one, name=one.nearest) if length < shortest and one.nearest in heard else one
        for one, length in zip(given, seconds, strict=True)
    ]
