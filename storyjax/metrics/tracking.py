"""Metrics of tracking, by TrackEval, the toolkit of MOTChallenge and TAO (thesis §2.4.1).

MOTA, IDF1, HOTA, mostly tracked (MT), mostly lost (ML) and identity switches as MOTChallenge counts them, and TAO's
Track mAP, where two tracks overlap by their 3D IoU: intersection over union summed over all frames.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.optimize import linear_sum_assignment

from storyjax.core.errors import StoryjaxError
from storyjax.data.mot_text import LabelledKinds, Rows, by_frame, no_rows

MATCHED = 0.5  # the IoU from which a box counts as found


def box_iou(a: Float[np.ndarray, "m 4"], b: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "m n"]:
    """Returns intersection over union of boxes (left, top, width, height), in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    whole = np.prod(a[:, 2:], axis=1)[:, None] + np.prod(b[:, 2:], axis=1)[None, :] - shared
    return np.where(whole > 0, shared / np.maximum(whole, 1e-12), 0.0)


def matched(iou: Float[np.ndarray, "m n"], least: float = MATCHED) -> list[tuple[int, int]]:
    """Returns the pairs of a best one-to-one matching whose IoU is at least `least`."""
    kept = np.where(iou >= least - np.finfo(np.float64).eps, iou, 0.0)
    first, second = linear_sum_assignment(-kept)
    return [(int(i), int(j)) for i, j in zip(first, second, strict=True) if kept[i, j] > 0]


def tracking_scores(truth: Sequence[Rows], found: Sequence[Rows], benchmark: str = "MOT17") -> dict[str, float]:
    """Returns MOTChallenge's metrics over all sequences together.

    Args:
        truth: of each sequence, with rows that are not considered, of other classes and distractors: found boxes are
            matched with all of them, and those on a distractor do not count, as MOTChallenge has it.
        found: the tracks of each.
        benchmark: says which classes are distractors, a name of DISTRACTORS.

    Returns:
        mota, motp, idf1, hota, deta, assa, recall and precision as fractions; mt, ml, id_switches, misses and
        false_alarms as counts.

    Raises:
        StoryjaxError: a number occurs twice in a frame, or TrackEval is not installed.
    """
    metrics = _trackeval()
    tools = {"clear": metrics.CLEAR(_QUIET), "identity": metrics.Identity(_QUIET), "hota": metrics.HOTA()}
    pairs = [_prepare(*pair, benchmark) for pair in zip(truth, found, strict=True)]
    whole: dict[str, dict[str, Any]] = {}
    for name, tool in tools.items():
        whole[name] = tool.combine_sequences({str(i): tool.eval_sequence(data) for i, data in enumerate(pairs)})
    clear, hota = whole["clear"], whole["hota"]
    return {
        "mota": float(clear["MOTA"]),
        "motp": float(clear["MOTP"]),
        "idf1": float(whole["identity"]["IDF1"]),
        "hota": float(np.mean(hota["HOTA"])),
        "deta": float(np.mean(hota["DetA"])),
        "assa": float(np.mean(hota["AssA"])),
        "recall": float(clear["CLR_Re"]),
        "precision": float(clear["CLR_Pr"]),
        "mt": float(clear["MT"]),
        "ml": float(clear["ML"]),
        "id_switches": float(clear["IDSW"]),
        "misses": float(clear["CLR_FN"]),
        "false_alarms": float(clear["CLR_FP"]),
    }


def track_map(
    truth: Sequence[Rows],
    found: Sequence[Rows],
    threshold: float = MATCHED,
    labelled: Sequence[LabelledKinds | None] | None = None,
) -> float:
    """Returns TAO's Track mAP at a 3D IoU: average precision of tracks in each kind, averaged over the kinds that there
    are.

    A track's kind is that of its first row, its score the mean of its rows'. In the user-initialised setting found
    tracks have the kind of the object that they were started on (§2.6.2: a class oracle).

    Args:
        truth, found: the tracks of each sequence.
        threshold: the least 3D IoU of a track that is right.
        labelled: of each sequence, which kinds are annotated, where not all are (TAO's federated annotations); None:
            all are.
    """
    known: Sequence[LabelledKinds | None] = [None] * len(truth) if labelled is None else labelled
    settings = {"USE_AREA_RANGES": False, "USE_TIME_RANGES": False, "IOU_THRESHOLDS": [threshold], **_QUIET}
    tool = _trackeval().TrackMAP(settings)
    kinds = sorted({int(kind) for rows in truth for kind in rows.kind})
    if not kinds:
        return 0.0
    by_kind = []
    for kind in kinds:
        results = {}
        for number, (there, seen, labels) in enumerate(zip(truth, found, known, strict=True)):
            gt_ids, gt_tracks, _ = _tracks(there, kind)
            judged = labels is None or bool(gt_ids) or kind in labels.negative
            ids, tracks, scores = _tracks(seen if judged else no_rows(), kind)
            # Best first, as the toolkit expects of its data sets.
            order = np.argsort(-scores, kind="stable")
            data = {"gt_track_ids": gt_ids, "gt_tracks": gt_tracks, "iou_type": "bbox"}
            data["not_exhaustively_labeled"] = labels is not None and kind in labels.not_exhaustive
            data |= {"dt_track_ids": [ids[i] for i in order], "dt_tracks": [tracks[i] for i in order]}
            results[str(number)] = tool.eval_sequence({**data, "dt_track_scores": scores[order]})
        by_kind.append(float(tool.combine_sequences(results)["AP_all"][0]))
    return float(np.mean([value for value in by_kind if value > -1]))


_QUIET = {"PRINT_CONFIG": False}


def _trackeval() -> Any:
    try:
        return importlib.import_module("trackeval.metrics")
    except ImportError as error:
        raise StoryjaxError(f"measuring tracks needs TrackEval ({error}): pip install 'storyjax[track]'") from error


def _prepare(truth: Rows, found: Rows, benchmark: str) -> dict[str, Any]:
    """TrackEval's data of a sequence: numbers from 0 and similarities, frame by frame, without what does not count."""
    there, seen = by_frame(truth), by_frame(found)
    frames = range(1, max({0, *there, *seen}) + 1)
    nothing = no_rows()
    kept = [_counted(there.get(frame, nothing), seen.get(frame, nothing), frame, benchmark) for frame in frames]
    gt_numbers = {n: i for i, n in enumerate(sorted({int(n) for gt, _, _ in kept for n in gt.id}))}
    numbers = {n: i for i, n in enumerate(sorted({int(n) for _, rows, _ in kept for n in rows.id}))}
    return {
        "num_timesteps": len(kept),
        "num_gt_ids": len(gt_numbers),
        "num_tracker_ids": len(numbers),
        "num_gt_dets": sum(len(gt) for gt, _, _ in kept),
        "num_tracker_dets": sum(len(rows) for _, rows, _ in kept),
        "gt_ids": [np.array([gt_numbers[int(n)] for n in gt.id], int) for gt, _, _ in kept],
        "tracker_ids": [np.array([numbers[int(n)] for n in rows.id], int) for _, rows, _ in kept],
        "similarity_scores": [similarity for _, _, similarity in kept],
    }


def _counted(there: Rows, seen: Rows, frame: int, benchmark: str) -> tuple[Rows, Rows, Float[np.ndarray, "m n"]]:
    """What counts of a frame: targets, found boxes that no distractor explains, and their IoU.

    Found boxes are matched with all true ones, also those that are not counted: one that is on a car and near a
    distractor is not excused by the distractor.
    """
    for what, rows in (("the truth", there), ("the tracks", seen)):
        twice = _twice(rows)
        if twice is not None:
            raise StoryjaxError(f"{what} have number {twice} twice in frame {frame}: each may be there once")
    distractors = there.distracting(benchmark)
    excused = [j for i, j in matched(box_iou(there.xywh_px, seen.xywh_px)) if distractors[i]]
    seen = seen[np.setdiff1d(np.arange(len(seen)), excused)]
    targets = there[there.targets]
    return targets, seen, box_iou(targets.xywh_px, seen.xywh_px)


def _twice(rows: Rows) -> int | None:
    numbers, counts = np.unique(rows.id, return_counts=True)
    return int(numbers[counts > 1][0]) if (counts > 1).any() else None


def _tracks(rows: Rows, kind: int) -> tuple[list[int], list[dict[int, Float64[np.ndarray, " 4"]]], np.ndarray]:
    """(numbers from 1, boxes by frame, scores) of the tracks of a kind."""
    tracks, scores = [], []
    for number in np.unique(rows.id):
        mine = rows[rows.id == number]
        if int(mine.kind[0]) == kind:
            tracks.append({int(f): box.astype(np.float64) for f, box in zip(mine.frame, mine.xywh_px, strict=True)})
            scores.append(float(mine.score.mean()))
    return list(range(1, len(tracks) + 1)), tracks, np.array(scores, np.float64)
