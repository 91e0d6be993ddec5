"""Measuring a tracker over sequences (thesis §2.4.1): the private setting, kinds never seen, and overlap alone.

A tracker is whatever has `start`, `step` and `detect` as `predict.Tracker` has them. Results are `NAME/mota`,
`NAME/idf1`, `NAME/hota` and so on of the sequences held out, `NAME/unseen_...` of those of kinds that training never
shows, `NAME/crossing_...` of held-out sequences where targets cross or hide each other, and `NAME/iou_baseline_...`
of a tracker that gets the same detections and knows overlap alone (baseline.py).
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, UInt8

from storyjax.data.mot_text import Rows, by_frame, concatenate, no_rows, rows
from storyjax.metrics.tracking import box_iou, track_map, tracking_scores
from storyjax.mqt import offline
from storyjax.mqt.iou_tracker import IouTracker
from storyjax.mqt.sequences import Report
from storyjax.mqt.sequences import Sequence as Film
from storyjax.train.experiment import HostEvaluator, Params

Picture = UInt8[np.ndarray, "y x 3"]
# What of tracking_scores goes into a run's results.
REPORTED = ("mota", "idf1", "hota", "mt", "ml", "id_switches")
CROSSED = 0.3  # the IoU of two targets from which they count as crossing
# How the baseline may wait for a lost track, and how long it may watch a new one: the best of these is reported, so
# that it is not beaten for want of tuning.
_PATIENCE, _BIRTHS = (0, 3, 8), (1, 2)


@runtime_checkable
class Tracked(Protocol):
    """A box of a track: number, left, top, width and height in pixels, and how sure the tracker is."""

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float


@runtime_checkable
class Tracks(Protocol):
    """An online tracker."""

    def start(self, width: int, height: int) -> None: ...

    def step(
        self, image: Picture | None, detections: Float32[np.ndarray, "m 4"] | None = None
    ) -> Sequence[Tracked]: ...

    def detect(self, image: Picture) -> tuple[Float32[np.ndarray, "m 4"], Float[np.ndarray, " m"]]: ...


def _silent(line: str) -> None:
    del line


def follow(
    tracker: Tracks, film: Film, detections: Rows | None = None, report: Report = _silent
) -> Iterator[tuple[int, Picture | None, Sequence[Tracked]]]:
    """(frame number, picture or None, tracks) one after another; of a frame without a picture no detections are used.

    With `detections` the tracker is given the boxes of each frame, none where there are none.
    """
    tracker.start(film.width, film.height)
    given = None if detections is None else by_frame(detections)
    for number, image in film.frames(report):
        boxes = None
        if given is not None and image is not None:
            boxes = given[number].xywh_px if number in given else np.zeros((0, 4), np.float32)
        yield number, image, tracker.step(image, boxes)


def as_rows(number: int, tracked: Iterable[Tracked]) -> Rows:
    """The tracks of a frame as rows."""
    tracked = list(tracked)
    boxes = np.array([one.xywh_px for one in tracked], np.float32).reshape(-1, 4)
    return rows([number] * len(tracked), [one.id for one in tracked], boxes, [one.score for one in tracked])


def track(tracker: Tracks, film: Film, detections: Rows | None = None) -> Rows:
    """All tracks of a sequence."""
    return concatenate(as_rows(number, found) for number, _, found in follow(tracker, film, detections))


def track_by_overlap(tracker: Tracks, film: Film) -> dict[tuple[int, int], Rows]:
    """What the baseline makes of the tracker's own detections, by its patience and births."""
    settings = [(patience, births) for patience in _PATIENCE for births in _BIRTHS]
    baselines = {each: IouTracker(patience=each[0], births=each[1]) for each in settings}
    parts: dict[tuple[int, int], list[Rows]] = {each: [] for each in settings}
    tracker.start(film.width, film.height)
    for number, image in film.frames():
        boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        if image is not None:
            boxes, scores = tracker.detect(image)
        for each, baseline in baselines.items():
            parts[each].append(as_rows(number, baseline.step(boxes, scores)))
    return {each: concatenate(part) for each, part in parts.items()}


def crosses(truth: Rows) -> bool:
    """Whether targets overlap somewhere by more than `CROSSED`."""
    for there in by_frame(truth[truth.targets]).values():
        overlap = box_iou(there.xywh_px, there.xywh_px)
        if (np.triu(overlap, 1) > CROSSED).any():
            return True
    return False


def _scores(prefix: str, films: Sequence[Film], found: Sequence[Rows]) -> dict[str, float]:
    scores = tracking_scores([film.ground_truth for film in films], found)
    return {f"{prefix}{name}": scores[name] for name in REPORTED}


def tracking_evaluator(
    name: str,
    make_tracker: Callable[[Params], Tracks],
    held_out: Callable[[], Sequence[Film]],
    unseen: Callable[[], Sequence[Film]] | None = None,
    detector: str | None = None,
    baseline: bool = True,
) -> HostEvaluator:
    """The measurements that the module describes, as an evaluator of the loop.

    Args:
        name: of the data set in the results: "mot17".
        make_tracker: from parameters to a tracker; it is used for one sequence after another.
        held_out, unseen: give the sequences; called when they are first needed.
        detector: whose public detections the tracker is given, or None: it detects by itself.
        baseline: whether overlap alone is measured too.
    """

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        tracker, films = make_tracker(params), held_out()
        found, overlap = [], []
        for film in films:
            found.append(track(tracker, film, film.detections[detector] if detector else None))
            after_part()
            if baseline:
                overlap.append(track_by_overlap(tracker, film))
                after_part()
        results = _scores(f"{name}/", films, found)
        crossing = [i for i, film in enumerate(films) if crosses(film.ground_truth)]
        chosen = [films[i] for i in crossing]
        if crossing:
            results |= _scores(f"{name}/crossing_", chosen, [found[i] for i in crossing])
        if baseline:
            results |= best_baseline(f"{name}/iou_baseline_", films, overlap)
            if crossing:
                results |= best_baseline(f"{name}/iou_baseline_crossing_", chosen, [overlap[i] for i in crossing])
        if unseen is not None:
            films, found = unseen(), []
            for film in films:
                found.append(track(tracker, film, film.detections[detector] if detector else None))
                after_part()
            results |= _scores(f"{name}/unseen_", films, found)
        return results

    return HostEvaluator(name, run)


def best_baseline(
    prefix: str, films: Sequence[Film], overlap: Sequence[dict[tuple[int, int], Rows]]
) -> dict[str, float]:
    """The scores of the setting of the baseline that has the best IDF1."""
    tried = [_scores(prefix, films, [each[setting] for each in overlap]) for setting in overlap[0]]
    return max(tried, key=lambda scores: scores[f"{prefix}idf1"])


def user_initialised_evaluator(
    name: str, make_tracker: Callable[[Params], Tracks], films: Callable[[], Sequence[Film]]
) -> HostEvaluator:
    """TAO's "init first" (§2.6.2): each object is given where it first appears and tracked from there; Track mAP.

    A found track has the number and kind of the object that it was started on (the class oracle of the thesis).
    """

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        tracker, truth, found = make_tracker(params), [], []
        for film in films():
            there = film.ground_truth[film.ground_truth.targets]
            kinds = np.array([film.categories.get(int(number), 0) for number in there.id], np.int32)
            truth.append(dataclasses.replace(there, kind=kinds))
            seen = concatenate(as_rows(number, each) for number, _, each in from_first_boxes(tracker, film, there))
            kinds = np.array([film.categories.get(int(number), 0) for number in seen.id], np.int32)
            found.append(dataclasses.replace(seen, kind=kinds))
            after_part()
        scores = tracking_scores([dataclasses.replace(each, kind=np.ones_like(each.kind)) for each in truth], found)
        return {f"{name}/track_map": track_map(truth, found)} | {f"{name}/{k}": scores[k] for k in ("mota", "idf1")}

    return HostEvaluator(name, run)


@dataclasses.dataclass(frozen=True)
class Named:
    """A box of a track that a user has named."""

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float


def first_boxes(truth: Rows) -> Rows:
    """Of each track the row of its first frame."""
    order = np.lexsort((truth.frame, truth.id))
    _, first = np.unique(truth.id[order], return_index=True)
    return truth[order[first]]


def from_first_boxes(
    tracker: Tracks, film: Film, given: Rows, report: Report = _silent
) -> Iterator[tuple[int, Picture | None, Sequence[Named]]]:
    """Tracks what is given, each from the first of its boxes on; tracks have the numbers that are given.

    What is given in a frame that has no picture starts in the next that has one.
    """
    names: dict[int, int] = {}
    starts, waiting = by_frame(first_boxes(given)), no_rows()
    tracker.start(film.width, film.height)
    for number, image in film.frames(report):
        waiting = concatenate([waiting, starts.pop(number, no_rows())])
        if image is None:
            tracked = tracker.step(None)
        else:
            tracked = tracker.step(image, waiting.xywh_px)
            names |= _named(waiting, [one for one in tracked if one.id not in names])
            waiting = no_rows()
        # What nobody asked for is not told.
        named = [Named(names[one.id], one.xywh_px, one.score) for one in tracked if one.id in names]
        yield number, image, named


def _named(given: Rows, tracked: Sequence[Tracked]) -> dict[int, int]:
    """The numbers given for tracks that were started on these boxes: the nearest each, by overlap."""
    boxes = np.array([one.xywh_px for one in tracked], np.float32).reshape(-1, 4)
    overlap, names = box_iou(boxes, given.xywh_px), {}
    while overlap.size and overlap.max() > 0:
        i, j = np.unravel_index(int(overlap.argmax()), overlap.shape)
        names[tracked[int(i)].id] = int(given.id[int(j)])
        overlap[i], overlap[:, j] = 0, 0
    return names


def offline_evaluator(
    name: str,
    make_tracker: Callable[[Params], Tracks],
    held_out: Callable[[], Sequence[Film]],
    detector: str | None = None,
) -> HostEvaluator:
    """Table 2.11: `NAME/online/...`, `NAME/b2f_track/...`, `b2f_id`, `b2f_id_tf` (all three) and `tf` alone."""

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        tracker, films = make_tracker(params), held_out()
        ways: dict[str, list[Rows]] = {}
        for film in films:
            given = film.detections[detector] if detector else None
            forward, looks = with_appearance(tracker, film, given)
            after_part()
            back = backwards(film)
            given = None if given is None else offline.reversed_in_time(given, film.length)
            backward, looks_back = with_appearance(tracker, back, given)
            backward = offline.reversed_in_time(backward, film.length)
            after_part()
            for way, rows_ in enhanced(forward, backward, looks, looks_back).items():
                ways.setdefault(way, []).append(rows_)
        results: dict[str, float] = {}
        for way, found in ways.items():
            results |= _scores(f"{name}/{way}/", films, found)
        return results

    return HostEvaluator(name, run)


def enhanced(forward: Rows, backward: Rows, looks: offline.Vectors, looks_back: offline.Vectors) -> dict[str, Rows]:
    """The rows of Table 2.11 from two passes and what their tracks look like."""
    by_look = offline.confirm_by_appearance(forward, backward, looks, looks_back)
    return {
        "online": forward,
        "b2f_track": offline.confirm_by_overlap(forward, backward),
        "b2f_id": by_look,
        "b2f_id_tf": offline.fill_gaps(by_look),
        "tf": offline.fill_gaps(forward),
    }


def with_appearance(tracker: Tracks, film: Film, detections: Rows | None) -> tuple[Rows, offline.Vectors]:
    """All tracks of a sequence, and the mean appearance of each (trackers that have none: no vectors)."""
    parts, sums = [], {}
    for number, _, found in follow(tracker, film, detections):
        parts.append(as_rows(number, found))
        for one in found:
            appearance: Any = getattr(one, "appearance", None)
            if appearance is not None:
                vector = np.asarray(appearance, np.float64)
                sums[one.id] = sums.get(one.id, 0.0) + vector / max(1e-12, float(np.linalg.norm(vector)))
    return concatenate(parts), sums


def backwards(film: Film) -> Film:
    """The same sequence from its end to its beginning; its frames are held in memory while it is read."""

    def read(report: Report) -> Iterator[tuple[int, Picture | None]]:
        kept = list(film.frames(report))
        for number, (_, image) in enumerate(reversed(kept), 1):
            yield number, image

    return dataclasses.replace(film, read=read)
