"""Offline enhancements of tracks that are there (thesis §2.6.4, Table 2.11), on rows alone.

The thesis tracks a video twice, from its beginning and from its end, and trusts what both say:

- back-to-front confirmation (B2F track): a track is true where one of the other pass overlaps it by more than half of
  the total area;
- back-to-front confirmation by appearance (B2F id): tracks of both passes are matched by what they look like
  (Hungarian, threshold 0.4), and the overlap is asked for again. Tracks of one pass that match the same track of the
  other are one object that was lost between, so they are given one number;
- trajectory filling (TF): gaps of a track are filled by straight lines, as far as they are short.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from storyjax.data.mot_text import Rows, concatenate, rows
from storyjax.metrics.tracking import box_iou

OVERLAP = 0.5
APPEARANCE = 0.4
LONGEST_GAP = 20
_FEW = 3  # frames that two tracks must share before overlap means anything

Vectors = Mapping[int, Float[np.ndarray, " d"]]
"""The mean appearance of each track, by its number."""


def overlaps(forward: Rows, backward: Rows) -> dict[tuple[int, int], float]:
    """How far tracks of two passes overlap, by their numbers: intersection over union, summed over frames.

    Only the frames from where both have begun to where one has ended count: a pass finds a track later than the other
    does, on its own side.
    """
    boxes_a, boxes_b = _by_track(forward), _by_track(backward)
    found = {}
    for a, mine in boxes_a.items():
        for b, theirs in boxes_b.items():
            low, high = max(min(mine), min(theirs)), min(max(mine), max(theirs))
            frames = [f for f in {*mine, *theirs} if low <= f <= high]
            both = [f for f in frames if f in mine and f in theirs]
            if len(both) < min(_FEW, len(mine), len(theirs)):
                continue
            one, other = np.array([mine[f] for f in both]), np.array([theirs[f] for f in both])
            iou = box_iou(one, other).diagonal()
            areas = one[:, 2] * one[:, 3] + other[:, 2] * other[:, 3]
            shared = iou * areas / (1 + iou)
            alone = sum(np.prod((mine if f in mine else theirs)[f][2:]) for f in frames if f not in both)
            found[a, b] = float(shared.sum() / max(1e-9, (areas - shared).sum() + alone))
    return found


def confirm_by_overlap(forward: Rows, backward: Rows, least: float = OVERLAP) -> Rows:
    """B2F track: the tracks of the forward pass that one of the backward pass confirms."""
    confirmed = {a for (a, _), share in overlaps(forward, backward).items() if share > least}
    return forward[np.isin(forward.id, sorted(confirmed))]


def confirm_by_appearance(
    forward: Rows,
    backward: Rows,
    looks: Vectors,
    looks_backward: Vectors,
    threshold: float = APPEARANCE,
    least: float = OVERLAP,
) -> Rows:
    """B2F id: tracks are matched by appearance (cosine distance at most `threshold`), in both directions, and then by
    overlap; what is one object in the other pass becomes one track.

    Returns the forward pass: tracks that either kind of match confirms, those that are one renumbered to the first.
    """
    by_place = {pair for pair, share in overlaps(forward, backward).items() if share > least}
    by_look = _alike(looks, looks_backward, threshold)
    confirmed = {a for a, _ in by_place | by_look}
    kept = forward[np.isin(forward.id, sorted(confirmed))]
    # The other pass's track that a track lies on, and all that lie on the same one, are one object.
    names: dict[int, int] = {int(n): int(n) for n in np.unique(kept.id)}
    frames = {number: set(kept.frame[kept.id == number].tolist()) for number in names}
    groups: dict[int, list[int]] = {}
    for a, b in sorted(by_place):
        groups.setdefault(b, []).append(a)
    for members in groups.values():
        first, *others = sorted(members, key=lambda number: min(frames[number]))
        for other in others:
            similar = _similarity(looks.get(first), looks.get(other))
            if not frames[first] & frames[other] and 1 - similar <= threshold:
                names[other] = names[first]
                frames[first] |= frames[other]
    return Rows(**{**kept.__dict__, "id": np.array([names[int(n)] for n in kept.id], np.int32)})


def _alike(a: Vectors, b: Vectors, threshold: float) -> set[tuple[int, int]]:
    """The best one-to-one matching by cosine distance, without what is farther than the threshold."""
    if not a or not b:
        return set()
    mine, theirs = list(a), list(b)
    distance = np.array([[1 - _similarity(a[i], b[j]) for j in theirs] for i in mine])
    first, second = linear_sum_assignment(distance)
    return {(mine[i], theirs[j]) for i, j in zip(first, second, strict=True) if distance[i, j] <= threshold}


def _similarity(a: np.ndarray | None, b: np.ndarray | None) -> float:
    if a is None or b is None:
        return -1.0
    return float(np.dot(a, b) / max(1e-12, float(np.linalg.norm(a) * np.linalg.norm(b))))


def fill_gaps(found: Rows, longest: int = LONGEST_GAP) -> Rows:
    """TF: frames that a track is missing from, at most `longest` in a row, get the boxes of a straight line."""
    parts = [found]
    for number in np.unique(found.id):
        mine = found[found.id == number]
        mine = mine[np.argsort(mine.frame)]
        for at in np.flatnonzero(np.diff(mine.frame) > 1):
            before, after = int(mine.frame[at]), int(mine.frame[at + 1])
            if after - before - 1 > longest:
                continue
            missing = np.arange(before + 1, after)
            share = ((missing - before) / (after - before))[:, None]
            boxes = (1 - share) * mine.xywh_px[at] + share * mine.xywh_px[at + 1]
            score = np.full(len(missing), min(mine.score[at], mine.score[at + 1]))
            ids = np.full(len(missing), number)
            parts.append(rows(missing, ids, boxes, score, np.full(len(missing), mine.kind[at])))
    filled = concatenate(parts)
    return filled[np.lexsort((filled.id, filled.frame))]


def reversed_in_time(found: Rows, length: int) -> Rows:
    """Rows of a sequence played backwards: frame 1 becomes `length`."""
    return Rows(**{**found.__dict__, "frame": (length + 1 - found.frame).astype(np.int32)})


def _by_track(found: Rows) -> dict[int, dict[int, np.ndarray]]:
    tracks: dict[int, dict[int, np.ndarray]] = {}
    for frame, number, box in zip(found.frame, found.id, found.xywh_px, strict=True):
        tracks.setdefault(int(number), {})[int(frame)] = box
    return tracks
