"""Offline enhancements of tracks (thesis §2.6.4, Table 2.11), on rows alone.

The thesis tracks a video twice, from its beginning and from its end, and keeps what both passes confirm:

- back-to-front confirmation (B2F track): a track is confirmed if one of the other pass overlaps it by more than half of
  the total area;
- back-to-front confirmation by appearance (B2F id): tracks of both passes are matched by appearance (Hungarian,
  threshold 0.4), and what is one object then must overlap again. Tracks of one pass that match the same track of the
  other are parts of an object that was lost in between, so they get one number;
- trajectory filling (TF): short gaps of a track are filled by linear interpolation.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from storyjax.data.mot_text import Rows, concatenate, rows
from storyjax.metrics.tracking import box_iou

MIN_OVERLAP = 0.5
MAX_DISTANCE = 0.4
MAX_GAP = 20
_MIN_SHARED_FRAMES = 3  # of two tracks, for their overlap to be significant

Vectors = Mapping[int, Float[np.ndarray, " d"]]
"""An appearance of each track, by its number; of any length, since cosines compare them."""


def track_overlaps(forward: Rows, backward: Rows) -> dict[tuple[int, int], float]:
    """Returns the overlap of tracks of two passes, by their numbers: intersection over union, summed over frames.

    Only frames count after both have begun and before one has ended, since each pass detects an object with a delay.
    """
    boxes_a, boxes_b = _by_track(forward), _by_track(backward)
    found = {}
    for a, own in boxes_a.items():
        for b, others in boxes_b.items():
            low, high = max(min(own), min(others)), min(max(own), max(others))
            frames = [f for f in {*own, *others} if low <= f <= high]
            both = [f for f in frames if f in own and f in others]
            if len(both) < min(_MIN_SHARED_FRAMES, len(own), len(others)):
                continue
            one, other = np.array([own[f] for f in both]), np.array([others[f] for f in both])
            iou = box_iou(one, other).diagonal()
            areas = one[:, 2] * one[:, 3] + other[:, 2] * other[:, 3]
            shared = iou * areas / (1 + iou)
            alone = sum(np.prod((own if f in own else others)[f][2:]) for f in frames if f not in both)
            found[a, b] = float(shared.sum() / max(1e-9, (areas - shared).sum() + alone))
    return found


def confirm_by_overlap(forward: Rows, backward: Rows, min_overlap: float = MIN_OVERLAP) -> Rows:
    """Returns the tracks of the forward pass that one of the backward pass confirms (B2F track)."""
    confirmed = {a for (a, _), overlap in track_overlaps(forward, backward).items() if overlap > min_overlap}
    return forward[np.isin(forward.id, sorted(confirmed))]


def confirm_by_appearance(
    forward: Rows,
    backward: Rows,
    appearances: Vectors,
    appearances_backward: Vectors,
    threshold: float = MAX_DISTANCE,
    min_overlap: float = MIN_OVERLAP,
) -> Rows:
    """Returns the tracks of the forward pass that the backward pass confirms, by overlap at once (B2F track) or again.

    Tracks of both passes that look the same are taken for one object, and it must overlap then (B2F id): appearance
    alone confirms nothing. The tracks of one object that are confirmed so get the number of the first of them.

    Args:
        forward, backward: the tracks of both passes.
        appearances, appearances_backward: of these tracks.
        threshold: largest cosine distance of a match by appearance.
        min_overlap: smallest overlap of two tracks of one object.
    """
    names = {a: a for (a, _), overlap in track_overlaps(forward, backward).items() if overlap > min_overlap}
    objects = _same_objects(forward, backward, appearances, appearances_backward, threshold)
    joined = backward.id.copy()
    for _, others in objects:
        joined[np.isin(backward.id, others)] = others[0]
    again = track_overlaps(forward, Rows(**{**backward.__dict__, "id": joined}))
    for own, others in objects:
        confirmed = [a for a in own if again.get((a, others[0]), 0.0) > min_overlap]
        if confirmed:
            first = min(confirmed, key=lambda a: int(forward.frame[forward.id == a].min()))
            names |= dict.fromkeys(confirmed, first)
    kept = forward[np.isin(forward.id, sorted(names))]
    return Rows(**{**kept.__dict__, "id": np.array([names[int(n)] for n in kept.id], np.int32)})


def _same_objects(
    forward: Rows, backward: Rows, a: Vectors, b: Vectors, threshold: float
) -> list[tuple[list[int], list[int]]]:
    """Returns the tracks (of the forward pass, of the backward pass) of each object that appearance finds in both.

    After the one-to-one matching, tracks that are left over are matched anew, and vice versa: each joins an object of
    which its own pass has no other track in the same frame, so that it is a part of it that was lost in between.
    """
    objects = [([i], [j]) for i, j in sorted(_match_by_appearance(a, b, threshold))]
    for side, (found, own, other) in enumerate(((forward, a, b), (backward, b, a))):
        frames = {int(n): set(found.frame[found.id == n].tolist()) for n in np.unique(found.id)}
        while True:
            taken = {n for each in objects for n in each[side]}
            left = {n: own[n] for n in own if n not in taken}
            before = len(taken)
            for n, partner in sorted(_match_by_appearance(left, other, threshold)):
                home = next((each for each in objects if partner in each[1 - side]), None)
                if home is not None and not any(frames.get(n, set()) & frames.get(m, set()) for m in home[side]):
                    home[side].append(n)
            if before == sum(len(each[side]) for each in objects):
                break
    return objects


def _match_by_appearance(a: Vectors, b: Vectors, threshold: float) -> set[tuple[int, int]]:
    """Returns the best one-to-one matching by cosine distance, without pairs beyond the threshold."""
    if not a or not b:
        return set()
    own, others = list(a), list(b)
    distance = np.array([[1 - _similarity(a[i], b[j]) for j in others] for i in own])
    first, second = linear_sum_assignment(distance)
    return {(own[i], others[j]) for i, j in zip(first, second, strict=True) if distance[i, j] <= threshold}


def _similarity(a: np.ndarray | None, b: np.ndarray | None) -> float:
    if a is None or b is None:
        return -1.0
    return float(np.dot(a, b) / max(1e-12, float(np.linalg.norm(a) * np.linalg.norm(b))))


def fill_gaps(found: Rows, max_gap: int = MAX_GAP) -> Rows:
    """Returns the tracks with gaps of at most `max_gap` frames filled by linear interpolation (TF)."""
    parts = [found]
    for number in np.unique(found.id):
        own = found[found.id == number]
        own = own[np.argsort(own.frame)]
        for at in np.flatnonzero(np.diff(own.frame) > 1):
            before, after = int(own.frame[at]), int(own.frame[at + 1])
            if after - before - 1 > max_gap:
                continue
            missing = np.arange(before + 1, after)
            weight = ((missing - before) / (after - before))[:, None]
            boxes = (1 - weight) * own.xywh_px[at] + weight * own.xywh_px[at + 1]
            score = np.full(len(missing), min(own.score[at], own.score[at + 1]))
            ids = np.full(len(missing), number)
            parts.append(rows(missing, ids, boxes, score, np.full(len(missing), own.kind[at])))
    filled = concatenate(parts)
    return filled[np.lexsort((filled.id, filled.frame))]


def reverse_frames(found: Rows, length: int) -> Rows:
    """Returns the rows for the reversed sequence: frame 1 becomes `length`."""
    return Rows(**{**found.__dict__, "frame": (length + 1 - found.frame).astype(np.int32)})


def _by_track(found: Rows) -> dict[int, dict[int, np.ndarray]]:
    tracks: dict[int, dict[int, np.ndarray]] = {}
    for frame, number, box in zip(found.frame, found.id, found.xywh_px, strict=True):
        tracks.setdefault(int(number), {})[int(frame)] = box
    return tracks
