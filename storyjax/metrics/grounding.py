"""Finding moments in time: average mAP and recall of Ego4D's moment queries, R@k of its language queries.

Moment queries (thesis Table 3.5): detections of all videos compete in one ranking for each class. A detection is right
if it overlaps an instance that none before it has taken, by a temporal IoU of at least the threshold; AP is the area
under the interpolated precision–recall curve (as ActivityNet measures it), mAP its mean over classes, average mAP the
mean of that over tIoU 0.1 to 0.5. R@1x: where a video has k instances of a class, those that its first k detections of
it overlap by more than the threshold; their fraction of the instances of all classes together, not a mean over classes.

Language queries (Table 3.11): R@k at tIoU m is the fraction of queries with one of the first k answers overlapping the
truth by more than m; MR@k is the mean over m = 0.3 and 0.5.

That AP takes an overlap of exactly the threshold and both recalls do not is so in the challenges' own code (GitHub,
EGO4D/episodic-memory: eval_detection.py and get_retrieval_performance.py in MQ/Evaluation/ego4d, of NLQ
VSLNet/utils/evaluate_ego4d_nlq.py). So is the order of equals: AP takes the last of equal scores first, and of
instances that a detection overlaps equally the last (a stable sort read backwards); the recalls take the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

AVERAGE_TIOU = (0.1, 0.2, 0.3, 0.4, 0.5)
QUERY_TIOU = (0.3, 0.5)

Span = tuple[float, float]


@dataclass(frozen=True)
class Detection:
    """A moment that was found, seconds from the start of the video."""

    start: float
    end: float
    score: float


def temporal_iou(spans: Float[np.ndarray, "n 2"], others: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "n m"]:
    """Returns intersection over union of each span with each other one; (start, end), 0 where both are empty."""
    start = np.maximum(spans[:, None, 0], others[None, :, 0])
    end = np.minimum(spans[:, None, 1], others[None, :, 1])
    inside = np.maximum(end - start, 0.0)
    lengths = np.maximum(spans[:, 1] - spans[:, 0], 0.0), np.maximum(others[:, 1] - others[:, 0], 0.0)
    union = lengths[0][:, None] + lengths[1][None, :] - inside
    return np.where(union > 0, inside / np.where(union > 0, union, 1.0), 0.0)


def _array(spans: Sequence[Span]) -> Float[np.ndarray, "n 2"]:
    return np.asarray(spans, np.float64).reshape(-1, 2)


def _ranked(found: Sequence[Detection]) -> list[Detection]:
    return sorted(found, key=lambda d: -d.score)


def average_precision(
    found: Mapping[str, Sequence[Detection]], truth: Mapping[str, Sequence[Span]], tiou: float
) -> float:
    """Returns AP of one class; both by video. Videos without an instance only have detections that are wrong."""
    total = sum(map(len, truth.values()))
    if not total:
        raise ValueError("a class without instances has no average precision")
    every = [(d.score, video, d) for video, ds in found.items() for d in ds][::-1]
    ranked = sorted(every, key=lambda item: -item[0])  # the last of equals first
    taken = {video: np.zeros(len(spans), bool) for video, spans in truth.items()}
    right = np.zeros(len(ranked))
    for place, (_, video, detection) in enumerate(ranked):
        spans = truth.get(video, ())
        if not len(spans):
            continue
        overlap = temporal_iou(_array([(detection.start, detection.end)]), _array(spans))[0]
        for index in np.argsort(overlap, kind="stable")[::-1]:  # the last of equals first
            if overlap[index] < tiou:
                break
            if not taken[video][index]:
                taken[video][index], right[place] = True, 1.0
                break
    hits = np.cumsum(right)
    precision = np.concatenate([[0.0], hits / np.arange(1, len(ranked) + 1), [0.0]])
    recall = np.concatenate([[0.0], hits / total, [1.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # interpolated: the best that is still to come
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def recall_at(
    found: Mapping[str, Mapping[str, Sequence[Detection]]],
    truth: Mapping[str, Mapping[str, Sequence[Span]]],
    tiou: float,
    times: int = 1,
) -> float:
    """R@(times)x, of class -> video -> detections or instances: of the instances of all classes, those overlapped by
    one of the first times · k detections of their class in their video, which has k instances of it."""
    hit = total = 0
    for name, videos in truth.items():
        for video, spans in videos.items():
            total += len(spans)
            first = _ranked(found.get(name, {}).get(video, ()))[: times * len(spans)]
            if first and len(spans):
                overlap = temporal_iou(_array([(d.start, d.end) for d in first]), _array(spans))
                hit += int((overlap.max(axis=0) > tiou).sum())
    if not total:
        raise ValueError("without instances there is no recall")
    return hit / total


def tiles(duration: float, length: float) -> list[Detection]:
    """Returns a baseline that sees no video: pieces of `length` seconds, each as likely as the others."""
    count = max(1, round(duration / max(length, 1e-6)))
    return [Detection(duration * i / count, duration * (i + 1) / count, 1.0) for i in range(count)]


def constant_answers(truth: Sequence[Span], most: int = 5) -> list[Span]:
    """Returns the best answers that are the same for every query: `most` of the true spans themselves, each the one
    that raises the recall at QUERY_TIOU most beyond those before it. Chosen on what is measured, so nothing constant
    does better first; a baseline that sees no video."""
    spans = _array(truth)
    overlap = temporal_iou(spans, spans)
    hits = np.stack([overlap > m for m in QUERY_TIOU])  # (thresholds, candidate, query)
    met = np.zeros(hits[:, 0].shape, bool)
    chosen: list[Span] = []
    for _ in range(min(most, len(spans))):
        best = int(np.argmax((hits | met[:, None]).sum(axis=(0, 2))))
        met |= hits[:, best]
        chosen.append((float(spans[best, 0]), float(spans[best, 1])))
    return chosen


def moment_queries(
    found: Mapping[str, Mapping[str, Sequence[Detection]]], truth: Mapping[str, Mapping[str, Sequence[Span]]]
) -> dict[str, float]:
    """Returns {"avg_map", "recall_1x_0.5", "map_0.1" ...}; both are class -> video -> detections or instances.

    Classes without any instance are left out, as they have no AP.

    A detection in a video without its class is wrong, but TCR's evaluators make none: they query a video only for the
    labels that it has (tcr.tasks.queried), as the challenge's retrieval does. The challenge's detection looks for
    every class in every video, so our mAP is higher than that would be.
    """
    classes = [name for name, videos in truth.items() if any(map(len, videos.values()))]
    if not classes:
        raise ValueError("no class has an instance")
    maps = {
        tiou: float(np.mean([average_precision(found.get(name, {}), truth[name], tiou) for name in classes]))
        for tiou in AVERAGE_TIOU
    }
    return {
        "avg_map": float(np.mean(list(maps.values()))),
        "recall_1x_0.5": recall_at(found, truth, 0.5),
        **{f"map_{tiou:g}": value for tiou, value in maps.items()},
    }


def query_recall(answers: Sequence[Sequence[Span]], truth: Sequence[Span]) -> dict[str, float]:
    """Returns {"mr@1", "mr@5", "r@1_0.3" ...}; `answers` are each query's spans, the best first."""
    if len(answers) != len(truth) or not truth:
        raise ValueError(f"{len(answers)} answers to {len(truth)} queries: there must be as many, and at least one")
    best = {
        k: np.array(
            [
                temporal_iou(_array(spans[:k]), _array([span])).max(initial=0.0)
                for spans, span in zip(answers, truth, strict=True)
            ]
        )
        for k in (1, 5)
    }
    each = {f"r@{k}_{m:g}": float((best[k] > m).mean()) for k in best for m in QUERY_TIOU}
    return {**{f"mr@{k}": float(np.mean([each[f"r@{k}_{m:g}"] for m in QUERY_TIOU])) for k in best}, **each}
