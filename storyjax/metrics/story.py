"""Metrics of the story of a film: who is seen when, which name each track has, and who says what.

The truth of an episode is JSON, as `storyjax data series` writes it to truth/EPISODE.json (times in seconds; boxes are
left, top, right and bottom as fractions of the image, and hold throughout their shot):

    {"lines": [{"start": 2.6, "end": 4.7, "speaker": "Mia", "listed": true, "visible": true, "text": "..."}],
     "laughs": [[4.6, 6.2]],
     "shots": [{"start": 2.4, "end": 5.1, "place": "park",
                "people": [{"name": "Mia", "listed": true, "box": [0.3, 0.1, 0.7, 1.0]}],
                "things": [{"name": "Chia", "category": "dog", "owner": "Ana", "box": [0.7, 0.7, 0.9, 0.95]}]}]}

Whom the cast list does not know (`listed` is false) nobody can name: their tracks and lines should have no name. Time
is measured, not counted in steps, so that the scores do not depend on a rate of frames.
"""

import collections
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from storyjax.core.errors import StoryjaxError

MATCHED = 0.5  # the IoU from which a box of a track is on somebody
Truth = Mapping[str, Any]
Kind = Literal["people", "things"]


@dataclass(frozen=True)
class Span:
    """From `start` to `end` (seconds) somebody or something is seen, or speaks; `name` is None where it is unknown."""

    start: float
    end: float
    name: str | None


@dataclass(frozen=True)
class NamedTrack:
    """A track and the name that it was given.

    Attributes:
        name: None where it has none.
        times: of its boxes, in seconds.
        boxes: left, top, right and bottom as fractions of the image.
    """

    name: str | None
    times: Float[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]


def read_truth(path: str | Path) -> dict[str, Any]:
    """Returns the truth of an episode.

    Raises:
        StoryjaxError: the file cannot be read, or does not say who is in which shot.
    """
    try:
        truth = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"can't read the truth of {path} ({str(error).splitlines()[0]}): write it anew") from error
    if not isinstance(truth, dict) or not {"lines", "shots"} <= truth.keys():
        raise StoryjaxError(
            f"{path} does not say who is in which shot: write the series anew with `storyjax data series`"
        )
    return truth


def true_appearances(truth: Truth, kind: Kind = "people") -> list[Span]:
    """Returns when each listed person, or each thing, is seen: one span for each shot."""
    return [
        Span(shot["start"], shot["end"], one["name"])
        for shot in truth["shots"]
        for one in shot[kind]
        if one.get("listed", True)
    ]


def true_speech(truth: Truth, listed: bool = True) -> list[Span]:
    """Returns when each listed speaker speaks, or each that is not listed."""
    return [Span(line["start"], line["end"], line["speaker"]) for line in truth["lines"] if line["listed"] == listed]


def lane_scores(truth: Iterable[Span], found: Iterable[Span]) -> dict[str, float]:
    """Returns how well lanes of names over time agree: precision, recall and f1 of (name, second).

    Spans of one name that overlap count once; those without a name count nowhere. `pooled` measures several episodes.

    Args:
        truth, found: of one episode.
    """
    return _scores(*_seconds(truth, found))


def pooled(episodes: Iterable[tuple[Iterable[Span], Iterable[Span]]]) -> dict[str, float]:
    """Returns `lane_scores` over several episodes, (truth, found) each: their seconds are added."""
    return _scores(*np.sum([_seconds(*episode) for episode in episodes] or [(0.0, 0.0, 0.0)], axis=0))


def _scores(shared: float, there: float, found: float) -> dict[str, float]:
    precision, recall = (float(shared / of) if of > 0 else 0.0 for of in (found, there))
    total = there + found
    return {"precision": precision, "recall": recall, "f1": float(2 * shared / total) if total > 0 else 0.0}


def _seconds(truth: Iterable[Span], found: Iterable[Span]) -> tuple[float, float, float]:
    """The seconds that agree, those of the truth and those found, over all names."""
    first, second = _by_name(truth), _by_name(found)
    shared = sum(_shared(first[name], second[name]) for name in first.keys() & second.keys())
    there, seen = (sum(float(np.diff(spans, axis=1).sum()) for spans in each.values()) for each in (first, second))
    return shared, there, seen


def _by_name(spans: Iterable[Span]) -> dict[str, Float[np.ndarray, "n 2"]]:
    """The spans of each name, joined where they overlap or touch."""
    named: dict[str, list[list[float]]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        if span.name is None or span.end <= span.start:
            continue
        joined = named.setdefault(span.name, [])
        if joined and span.start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], span.end)
        else:
            joined.append([span.start, span.end])
    return {name: np.array(joined, np.float64) for name, joined in named.items()}


def _shared(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "m 2"]) -> float:
    """The seconds that are in both; the spans of each do not overlap one another."""
    low = np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 1], b[None, :, 1])
    return float(np.maximum(high - low, 0).sum())


def speech_scores(truth: Truth, found: Sequence[Span]) -> dict[str, float]:
    """Returns how much of what is said has the right name.

    Args:
        truth: of an episode.
        found: the lines with the names of their speakers; None: unknown.

    Returns:
        right: the fraction of the seconds in which listed speakers speak that has their name; precision: the fraction
        of all seconds with a name that is right; others_named: the fraction of the seconds in which others alone speak
        that has any name.
    """
    listed = true_speech(truth)
    scores = lane_scores(listed, found)
    others = _by_name(Span(s.start, s.end, "other") for s in true_speech(truth, listed=False)).get("other")
    if others is None:
        return {"right": scores["recall"], "precision": scores["precision"], "others_named": 0.0}
    # What listed speakers say at the same time is named rightly.
    alone = _without(others, _by_name(Span(s.start, s.end, "any") for s in listed).get("any"))
    named = _by_name(Span(s.start, s.end, "any") for s in found if s.name is not None).get("any")
    seconds = float(np.diff(alone, axis=1).sum())
    false = 0.0 if named is None or seconds == 0 else _shared(alone, named) / seconds
    return {"right": scores["recall"], "precision": scores["precision"], "others_named": false}


def _without(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "m 2"] | None) -> Float[np.ndarray, "k 2"]:
    """The spans of `a` without what is in `b`."""
    rest = [(float(start), float(end)) for start, end in a]
    for low, high in () if b is None else b.tolist():
        cut = [((start, min(end, low)), (max(start, high), end)) for start, end in rest]
        rest = [part for pair in cut for part in pair if part[1] > part[0]]
    return np.array(rest, np.float64).reshape(-1, 2)


def track_names(truth: Truth, tracks: Sequence[NamedTrack], kind: Kind = "people") -> dict[str, float]:
    """Returns how many tracks have the right name.

    A track is on whom more than half of its boxes are (IoU of MATCHED or more, of several the largest); a track on
    nobody is false.

    Args:
        truth: of an episode.
        tracks: those found.
        kind: whose boxes they are compared with.

    Returns:
        right: the fraction of tracks on somebody whose name is theirs, or that have none if the cast list does not know
        them; tracks: how many those are; unnamed: the fraction of them that have no name and should; false: how many
        tracks are on nobody; false_named: how many of those have a name.
    """
    on = [(track, owner) for track in tracks for owner in [_owner(truth, track, kind)]]
    true = [(track.name, *owner) for track, owner in on if owner is not None]
    false = [track for track, owner in on if owner is None]
    right = sum(name == (owner if listed else None) for name, owner, listed in true)
    unnamed = sum(listed and name is None for name, _, listed in true)
    return {
        "right": right / max(len(true), 1),
        "tracks": float(len(true)),
        "unnamed": unnamed / max(len(true), 1),
        "false": float(len(false)),
        "false_named": float(sum(track.name is not None for track in false)),
    }


def _owner(truth: Truth, track: NamedTrack, kind: Kind) -> tuple[str, bool] | None:
    """Whom a track is on, and whether the cast list knows them; None: nobody."""
    votes: collections.Counter[tuple[str, bool]] = collections.Counter()
    for seconds, box in zip(track.times, track.boxes, strict=True):
        shown = [one for shot in truth["shots"] if shot["start"] <= seconds < shot["end"] for one in shot[kind]]
        if not shown:
            continue
        overlaps = _iou(box, np.array([one["box"] for one in shown], np.float64))
        best = int(overlaps.argmax())
        if overlaps[best] >= MATCHED:
            votes[shown[best]["name"], shown[best].get("listed", True)] += 1
    for owner, count in votes.most_common(1):
        if 2 * count > len(track.times):
            return owner
    return None


def _iou(box: Float[np.ndarray, "4"], others: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Intersection over union of a box with each of the others (left, top, right, bottom)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return shared / np.maximum(areas - shared, 1e-12)
