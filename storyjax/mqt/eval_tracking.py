"""Evaluators of trackers over sequences (thesis §2.4.1).

A tracker is whatever has `start`, `step` and `detect` as `predict.Tracker` has them. Results are `NAME/mota`,
`NAME/idf1`, `NAME/hota` and so on of the evaluated sequences, `NAME/unseen_...` of those with kinds that training never
shows, `NAME/crossing_...` of the evaluated sequences in which targets cross or occlude each other, and
`NAME/iou_baseline_...` of a tracker by overlap alone with the same detections (iou_tracker.py).
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
from storyjax.mqt.sequences import Report, VideoSequence, silent
from storyjax.train.experiment import HostEvaluator, Params

Image = UInt8[np.ndarray, "y x 3"]
# The metrics of tracking_scores that become results of a run.
REPORTED = ("mota", "idf1", "hota", "mt", "ml", "id_switches")
CROSSING_IOU = 0.3  # two targets with a larger overlap count as crossing
# A sequence is reversed in parts of at most so many frames and bytes.
_MOST_REVERSED, _REVERSED_BYTES = 64, 2**28
# The settings of the baseline, the best of which is reported, so that it does not lose for want of tuning.
_BASELINE_MAX_AGE, _BASELINE_MIN_HITS = (0, 3, 8), (1, 2)


@runtime_checkable
class TrackedBox(Protocol):
    """The box of a track in a frame."""

    @property
    def id(self) -> int:
        """The track's number."""
        ...

    @property
    def xywh_px(self) -> tuple[float, float, float, float]:
        """Left, top, width and height in pixels."""
        ...

    @property
    def score(self) -> float:
        """The probability that the object is there."""
        ...


@runtime_checkable
class OnlineTracker(Protocol):
    """A tracker that takes one frame after another."""

    def start(self, width: int, height: int) -> None:
        """Starts a sequence of frames of this size in pixels."""
        ...

    def step(self, image: Image | None, detections: Float32[np.ndarray, "m 4"] | None = None) -> Sequence[Any]:
        """Returns the tracks in the next frame, each a TrackedBox; see predict.Tracker.step.

        A tracker that is started on boxes also takes `others`, boxes that start nothing.
        """
        ...

    def detect(self, image: Image) -> tuple[Float32[np.ndarray, "m 4"], Float[np.ndarray, " m"]]:
        """Returns the boxes (left, top, width, height in pixels) of single-frame detections, and their scores."""
        ...


MakeTracker = Callable[[Params], OnlineTracker]
FramesTracked = Iterator[tuple[int, Image | None, Sequence[Any]]]


def follow(
    tracker: OnlineTracker, video: VideoSequence, detections: Rows | None = None, report: Report = silent
) -> FramesTracked:
    """Yields (frame number, image or None, tracked boxes) in order.

    With `detections` the tracker is given the boxes of each frame, an empty array where a frame has none; a frame
    without an image gets no detections.
    """
    tracker.start(video.width, video.height)
    given = None if detections is None else by_frame(detections)
    for number, image in video.frames(report):
        boxes = None
        if given is not None and image is not None:
            boxes = given[number].xywh_px if number in given else np.zeros((0, 4), np.float32)
        yield number, image, tracker.step(image, boxes)


def as_rows(number: int, tracked: Iterable[TrackedBox]) -> Rows:
    """Returns the tracked boxes of frame `number` as rows."""
    tracked = list(tracked)
    boxes = np.array([one.xywh_px for one in tracked], np.float32).reshape(-1, 4)
    return rows([number] * len(tracked), [one.id for one in tracked], boxes, [one.score for one in tracked])


def track(tracker: OnlineTracker, video: VideoSequence, detections: Rows | None = None) -> Rows:
    """Returns all tracks of a sequence."""
    return concatenate(as_rows(number, found) for number, _, found in follow(tracker, video, detections))


def track_by_overlap(tracker: OnlineTracker, video: VideoSequence) -> dict[tuple[int, int], Rows]:
    """Returns the baseline's tracks from the tracker's own detections, by its (max_age, min_hits)."""
    settings = [(max_age, min_hits) for max_age in _BASELINE_MAX_AGE for min_hits in _BASELINE_MIN_HITS]
    baselines = {each: IouTracker(max_age=each[0], min_hits=each[1]) for each in settings}
    parts: dict[tuple[int, int], list[Rows]] = {each: [] for each in settings}
    tracker.start(video.width, video.height)
    for number, image in video.frames():
        boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        if image is not None:
            boxes, scores = tracker.detect(image)
        for each, baseline in baselines.items():
            parts[each].append(as_rows(number, baseline.step(boxes, scores)))
    return {each: concatenate(part) for each, part in parts.items()}


def crosses(truth: Rows) -> bool:
    """Returns whether targets overlap in some frame by more than CROSSING_IOU."""
    for frame in by_frame(truth[truth.targets]).values():
        overlap = box_iou(frame.xywh_px, frame.xywh_px)
        if (np.triu(overlap, 1) > CROSSING_IOU).any():
            return True
    return False


def _scores(prefix: str, videos: Sequence[VideoSequence], found: Sequence[Rows]) -> dict[str, float]:
    judged = [video.judged(rows_) for video, rows_ in zip(videos, found, strict=True)]
    scores = tracking_scores([video.ground_truth for video in videos], judged)
    return {f"{prefix}{name}": scores[name] for name in REPORTED}


def tracking_evaluator(
    name: str,
    make_tracker: MakeTracker,
    held_out: Callable[[], Sequence[VideoSequence]],
    unseen: Callable[[], Sequence[VideoSequence]] | None = None,
    detector: str | None = None,
    with_baseline: bool = True,
) -> HostEvaluator:
    """Returns the evaluator that the module describes.

    Args:
        name: of the data set in the results: "mot17".
        make_tracker: returns a tracker with these parameters; it is used for one sequence after another.
        held_out, unseen: return the sequences; called when they are first needed.
        detector: whose boxes the tracker is given (`VideoSequence.given`); None: none.
        with_baseline: whether the tracker by overlap alone is evaluated too.
    """

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        tracker, videos = make_tracker(params), held_out()
        found, overlap = [], []
        for video in videos:
            found.append(track(tracker, video, video.given(detector)))
            after_part()
            if with_baseline:
                overlap.append(track_by_overlap(tracker, video))
                after_part()
        results = _scores(f"{name}/", videos, found)
        crossing = [i for i, video in enumerate(videos) if crosses(video.ground_truth)]
        chosen = [videos[i] for i in crossing]
        if crossing:
            results |= _scores(f"{name}/crossing_", chosen, [found[i] for i in crossing])
        if with_baseline:
            results |= best_baseline(f"{name}/iou_baseline_", videos, overlap)
            if crossing:
                results |= best_baseline(f"{name}/iou_baseline_crossing_", chosen, [overlap[i] for i in crossing])
        if unseen is not None:
            videos, found = unseen(), []
            for video in videos:
                found.append(track(tracker, video, video.given(detector)))
                after_part()
            results |= _scores(f"{name}/unseen_", videos, found)
        return results

    return HostEvaluator(name, run)


def best_baseline(
    prefix: str, videos: Sequence[VideoSequence], overlap: Sequence[dict[tuple[int, int], Rows]]
) -> dict[str, float]:
    """Returns the scores of the baseline's setting with the best IDF1."""
    tried = [_scores(prefix, videos, [each[setting] for each in overlap]) for setting in overlap[0]]
    return max(tried, key=lambda scores: scores[f"{prefix}idf1"])


def user_initialised_evaluator(
    name: str,
    make_tracker: MakeTracker,
    videos: Callable[[], Sequence[VideoSequence]],
    detector: str | None = None,
) -> HostEvaluator:
    """Returns the evaluator of TAO's "init first" (§2.6.2): each object is tracked from its first box on; Track mAP.

    A track has the number and category of the object that it was started on (the class oracle of the thesis).

    Args:
        name, make_tracker, videos: as `tracking_evaluator`'s.
        detector: whose boxes may bring a lost track back ("ours + Mask R-CNN" of Table 2.4); None: only our own.
    """

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        tracker, truth, found, labelled = make_tracker(params), [], [], []
        for video in videos():
            labelled.append(video.labelled)
            targets = video.ground_truth[video.ground_truth.targets]
            truth.append(with_categories(targets, video))
            frames = from_first_boxes(tracker, video, targets, others=video.given(detector))
            tracks = concatenate(as_rows(number, tracked) for number, _, tracked in frames)
            found.append(with_categories(video.judged(tracks), video))
            after_part()
        scores = tracking_scores([dataclasses.replace(each, kind=np.ones_like(each.kind)) for each in truth], found)
        return {f"{name}/track_map": track_map(truth, found, labelled=labelled)} | {
            f"{name}/{k}": scores[k] for k in ("mota", "idf1")
        }

    return HostEvaluator(name, run)


def with_categories(tracks: Rows, video: VideoSequence) -> Rows:
    """Returns the rows with the category of the track of their number as their kind; 0 where it is unknown."""
    return dataclasses.replace(tracks, kind=np.array([video.categories.get(int(i), 0) for i in tracks.id], np.int32))


@dataclasses.dataclass(frozen=True)
class NamedBox:
    """The box of a track that has the number of the box it was started on.

    Attributes:
        id, xywh_px, score: as those of a TrackedBox.
    """

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float


def first_boxes(truth: Rows) -> Rows:
    """Returns the row of the first frame of each track."""
    order = np.lexsort((truth.frame, truth.id))
    _, first = np.unique(truth.id[order], return_index=True)
    return truth[order[first]]


def from_first_boxes(
    tracker: OnlineTracker, video: VideoSequence, given: Rows, report: Report = silent, others: Rows | None = None
) -> FramesTracked:
    """Yields (frame number, image or None, tracked boxes): each given track from its first box on, under its number.

    A box given for a frame without an image starts in the next frame that has one. `others` are boxes of a detector,
    which start nothing.
    """
    names: dict[int, int] = {}
    beside = None if others is None else by_frame(others)
    starts, waiting = by_frame(first_boxes(given)), no_rows()
    tracker.start(video.width, video.height)
    for number, image in video.frames(report):
        waiting = concatenate([waiting, starts.pop(number, no_rows())])
        if image is None:
            tracked = tracker.step(None)
        else:
            more = () if beside is None else (beside.get(number, no_rows()).xywh_px,)
            tracked = tracker.step(image, waiting.xywh_px, *more)
            names |= _named(waiting, [one for one in tracked if one.id not in names])
            waiting = no_rows()
        # Tracks that were not given are not reported.
        named = [NamedBox(names[one.id], one.xywh_px, one.score) for one in tracked if one.id in names]
        yield number, image, named


def _named(given: Rows, tracked: Sequence[TrackedBox]) -> dict[int, int]:
    """Returns the given number of each track that was started on these boxes, matched by overlap."""
    boxes = np.array([one.xywh_px for one in tracked], np.float32).reshape(-1, 4)
    overlap, names = box_iou(boxes, given.xywh_px), {}
    while overlap.size and overlap.max() > 0:
        i, j = np.unravel_index(int(overlap.argmax()), overlap.shape)
        names[tracked[int(i)].id] = int(given.id[int(j)])
        overlap[i], overlap[:, j] = 0, 0
    return names


def offline_evaluator(
    name: str,
    make_tracker: MakeTracker,
    held_out: Callable[[], Sequence[VideoSequence]],
    detector: str | None = None,
) -> HostEvaluator:
    """Returns the evaluator of Table 2.11.

    Results are `NAME/online/...`, `NAME/b2f_track/...`, `b2f_id`, `b2f_id_tf` (all three) and `tf` alone.
    """

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        tracker, videos = make_tracker(params), held_out()
        ways: dict[str, list[Rows]] = {}
        for video in videos:
            given = video.given(detector)
            forward, appearances = with_appearance(tracker, video, given)
            after_part()
            back = reverse(video)
            given = None if given is None else offline.reverse_frames(given, video.length)
            backward, appearances_backward = with_appearance(tracker, back, given)
            backward = offline.reverse_frames(backward, video.length)
            after_part()
            for way, rows_ in enhance(forward, backward, appearances, appearances_backward).items():
                ways.setdefault(way, []).append(rows_)
        results: dict[str, float] = {}
        for way, found in ways.items():
            results |= _scores(f"{name}/{way}/", videos, found)
        return results

    return HostEvaluator(name, run)


def enhance(
    forward: Rows, backward: Rows, appearances: offline.Vectors, appearances_backward: offline.Vectors
) -> dict[str, Rows]:
    """Returns the rows of Table 2.11, by name, from two passes and the appearances of their tracks."""
    by_appearance = offline.confirm_by_appearance(forward, backward, appearances, appearances_backward)
    return {
        "online": forward,
        "b2f_track": offline.confirm_by_overlap(forward, backward),
        "b2f_id": by_appearance,
        "b2f_id_tf": offline.fill_gaps(by_appearance),
        "tf": offline.fill_gaps(forward),
    }


def with_appearance(
    tracker: OnlineTracker, video: VideoSequence, detections: Rows | None
) -> tuple[Rows, offline.Vectors]:
    """Returns all tracks of a sequence, and the summed appearance of each; no vectors from trackers without them."""
    parts: list[Rows] = []
    sums: dict[int, Any] = {}
    for number, _, found in follow(tracker, video, detections):
        parts.append(as_rows(number, found))
        for one in found:
            appearance: Any = getattr(one, "appearance", None)
            if appearance is not None:
                vector = np.asarray(appearance, np.float64)
                sums[one.id] = sums.get(one.id, 0.0) + vector / max(1e-12, float(np.linalg.norm(vector)))
    return concatenate(parts), sums


def reverse(video: VideoSequence) -> VideoSequence:
    """Returns the sequence from its end to its beginning.

    It is read in parts of some frames, the last part first, so that no more than one part is ever in memory.
    """
    part = max(1, min(_MOST_REVERSED, _REVERSED_BYTES // max(1, 3 * video.width * video.height)))

    def read(report: Report) -> Iterator[tuple[int, Image | None]]:
        length = video.length or sum(1 for _ in video.frames())
        number = 0
        for last in range(length, 0, -part):
            kept = [image for _, image in video.frames_between(max(1, last - part + 1), last, report)]
            while kept:
                number += 1
                yield number, kept.pop()

    return dataclasses.replace(video, read=read, window=None)
