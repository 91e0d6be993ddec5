"""Tracks as the files that challenges take (`--mode=predict`), a sequence at a time; splits need no ground truth.

MOT17, MOT20 (motchallenge.net/instructions): a text file for each sequence, of its name, a line for each box: frame,
id, left, top, width, height, score, -1, -1, -1, counted from 1. MOT17 has each sequence three times, by the public
detector: in protocols that take public detections each file has its own detector's, else all three are the same.
GMOT-40: the same text.

TAO (github.com/TAO-Dataset/tao, docs/evaluation.md): one JSON list of {"image_id", "category_id", "bbox" (left, top,
width, height), "score", "track_id", "video_id"} in annotated frames, with track numbers that no two videos share.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.coco import read_json
from storyjax.data.builders.frames import FrameSource, Origin
from storyjax.data.builders.mot import DETECTORS
from storyjax.data.mot_text import as_columns, concatenate, format_line
from storyjax.mqt.config import MqtData
from storyjax.mqt.datasets import Sources
from storyjax.mqt.eval_tracking import MakeTracker, OnlineTracker, as_rows, from_first_boxes, track
from storyjax.mqt.sequences import VideoSequence
from storyjax.train.experiment import HostPrediction, Params, Rows


def tracking_prediction(sources: Sources, dataset: str, split: str, protocol: str, make: MakeTracker) -> HostPrediction:
    """Returns the files of a split of sequences.

    Args:
        sources: of the config.
        dataset, split: of these.
        protocol: the tracker's.
        make: returns the tracker with these parameters.
    """
    videos = functools.cache(lambda: sources.sequences(dataset, split))
    name = f"{dataset}_{split}"
    if dataset != "tao":
        jobs = functools.cache(lambda: [job for video in videos() for job in _mot_jobs(video, sources.data, protocol)])
        return HostPrediction(
            name, lambda: len(jobs()), lambda params: _mot_job(make(params), jobs()), _text_files(name)
        )

    def predict(params: Params) -> Callable[[int], Rows]:
        tracker = make(params)
        return lambda unit: _tao_rows(tracker, videos()[unit], sources.data, protocol)

    files = functools.partial(_tao_files, sources, split, name, videos)
    return HostPrediction(name, lambda: len(videos()), predict, files)


def _mot_jobs(video: VideoSequence, data: MqtData, protocol: str) -> list[tuple[VideoSequence, str | None, list[str]]]:
    """What is to be tracked for the files of a sequence: (sequence, whose boxes are given, names of the files)."""
    detector = data.detector_of(protocol)
    mot17 = [name for name in DETECTORS if name in video.detections]
    if not mot17:
        return [(video, detector, [video.name])]
    given = [] if detector is None else detector.split("+")
    if not set(given) & set(DETECTORS):
        return [(video, detector, [f"{video.name}-{name}" for name in mot17])]
    jobs: list[tuple[VideoSequence, str | None, list[str]]] = []
    for name in mot17:
        replaced = "+".join(dict.fromkeys(name if one in DETECTORS else one for one in given))
        jobs.append((video, replaced, [f"{video.name}-{name}"]))
    return jobs


def _mot_job(
    tracker: OnlineTracker, jobs: Sequence[tuple[VideoSequence, str | None, list[str]]]
) -> Callable[[int], Rows]:
    """Returns what tracks a unit: the rows of all its files; a file without tracks has a row of its name alone."""

    def predict(unit: int) -> Rows:
        video, detector, names = jobs[unit]
        found = list(as_columns(track(tracker, video, video.given(detector))))
        return [(name, *row) for name in names for row in ((), *found)]

    return predict


def _text_files(folder: str) -> Callable[[Rows], Mapping[str, str]]:
    def files(rows: Rows) -> dict[str, str]:
        lines: dict[str, list[str]] = {}
        for name, *row in rows:
            kept = lines.setdefault(f"{folder}/{name}.txt", [])
            if row:
                frame, number, *box, score = row
                kept.append(format_line(frame, number, box, score))
        return {name: "".join(kept) for name, kept in lines.items()}

    return files


def _tao_rows(tracker: OnlineTracker, video: VideoSequence, data: MqtData, protocol: str) -> Rows:
    """The rows of a video in annotated frames: its name, frame, id, box, score, and the kind of the track or -1."""
    detector = data.detector_of(protocol)
    if protocol == "user":
        targets = video.ground_truth[video.ground_truth.targets]
        if not len(targets):
            raise StoryjaxError(f"{video.name} has no boxes to start tracks on: 'init first' needs an annotated split")
        frames = from_first_boxes(tracker, video, targets, others=video.given(detector))
        found = concatenate(as_rows(number, tracked) for number, _, tracked in frames)
    else:
        found = track(tracker, video, video.given(detector))
    # Only tracks that were started on annotated boxes have their numbers, and thus a category.
    kinds = video.categories if protocol == "user" else {}
    return [(video.name, *row, kinds.get(row[1], -1)) for row in as_columns(video.judged(found))]


def _tao_files(
    sources: Sources, split: str, name: str, videos: Callable[[], list[VideoSequence]], rows: Rows
) -> dict[str, str]:
    source: FrameSource = sources.split("tao", split)
    origins = {info.name: info.origin for info in source.sequences}
    images: dict[tuple[str, int], int] = {}
    for video in videos():
        numbered = zip(
            video.annotated or range(1, video.length + 1), _origin(origins, video.name).image_ids, strict=True
        )
        images |= {(video.name, frame): image for frame, image in numbered}
    numbers: dict[tuple[str, int], int] = {}
    only = None if sources.data.only is None else _category(sources, split, sources.data.only)
    results: list[dict[str, Any]] = []
    for name_, frame, number, *box, score, kind in rows:
        category = only if only is not None else None if kind < 0 else source.category_ids[kind]
        if category is None:
            raise StoryjaxError(
                "TAO's results name a category for each track, and MQT knows none: predict with the protocol 'user',"
                " whose tracks have those of the boxes that they start on, or set config.data.only"
            )
        track_id = numbers.setdefault((name_, number), len(numbers) + 1)
        about = {"image_id": images[name_, frame], "category_id": category, "bbox": [round(value, 2) for value in box]}
        results.append(
            {**about, "score": round(score, 4), "track_id": track_id, "video_id": _origin(origins, name_).video_id}
        )
    return {f"{name}.json": json.dumps(results)}


def _origin(origins: Mapping[str, Origin | None], name: str) -> Origin:
    origin = origins[name]
    assert origin is not None  # every sequence of TAO has one
    return origin


def _category(sources: Sources, split: str, name: str) -> int:
    """TAO's number of the category of that name."""
    path = Path(sources.data.folder("tao")) / "annotations" / f"{split}.json"
    for category in read_json(path, ("categories",))["categories"]:
        if category["name"] == name:
            return int(category["id"])
    raise StoryjaxError(f"{path} has no category '{name}'")
