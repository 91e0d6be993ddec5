"""What a correction is about, in words that survive a re-run: numbers and ids of rows change, films do not.

A *target* is a JSON object. Of a track: the film's digest, its time, and some of its boxes; of a sentence: the digest,
its time and its text; of several: the digest, and the target of each. A *reference* says who somebody is: by the
gallery's id, or, of a group that nobody has named, by targets of what the group was made of. Times are seconds, boxes
left, top, width and height as fractions of the image.

    {"film": "9f…", "track": {"start": 12.0, "end": 18.0, "boxes": [[12.5, 0.1, 0.2, 0.2, 0.6], …]}}
    {"film": "9f…", "line": {"start": 2.0, "end": 4.0, "text": "Good morning."}}
    {"film": "9f…", "parts": [targets]}
    {"name": "Ana", "kind": "person", "category": null, "gallery": "…", "parts": [targets]}
"""

import difflib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from storyjax.story.rows import Entity, Film, Track, Utterance
from storyjax.story.store import Story

_BOXES = 5  # of a track, spread over its time
_LEAST_IOU = 0.5
_SLACK_S = 0.3  # so far outside a track's time its first or last box still counts
_LEAST_SHARED = 0.5  # of the shorter of two spans
_LEAST_LIKE = 0.6  # of two sentences' letters, where their times do not decide

Target = Mapping[str, Any]


def track_target(story: Story, film: Film, track: Track) -> dict[str, Any]:
    """Returns the target of a track."""
    boxes = story.boxes(track.id)
    chosen = boxes[np.unique(np.linspace(0, len(boxes) - 1, _BOXES).round().astype(int))] if len(boxes) else boxes
    rows = [[round(float(value), 4) for value in box[:5]] for box in chosen]
    return {"film": film.digest, "track": {"start": track.start_s, "end": track.end_s, "boxes": rows}}


def line_target(film: Film, line: Utterance) -> dict[str, Any]:
    """Returns the target of a sentence."""
    return {"film": film.digest, "line": {"start": line.start_s, "end": line.end_s, "text": line.text}}


def reference(story: Story, entity: Entity) -> dict[str, Any]:
    """Returns the reference to an entity."""
    facts = {"name": entity.name, "kind": entity.kind, "category": entity.category, "gallery": entity.gallery}
    return facts if entity.named else {**facts, "parts": parts_of(story, entity.id)}


def parts_of(story: Story, entity: int) -> list[dict[str, Any]]:
    """Returns targets of all tracks and sentences of an entity, in all films."""
    films = {film.id: film for film in story.films()}
    tracks = story.rows(Track, "WHERE entity = ? ORDER BY film, start_s, id", [entity])
    found = [track_target(story, films[one.film], one) for one in tracks]
    return found + [line_target(films[one.film], one) for one in story.utterances(speaker=entity)]


def new_reference(name: str, kind: str, category: str | None, gallery: str | None) -> dict[str, Any]:
    """Returns the reference to somebody whom the story does not have yet."""
    facts = {"name": name, "kind": kind, "category": category, "gallery": gallery}
    return facts if gallery else {**facts, "new": uuid.uuid4().hex}


class FilmRows:
    """The tracks and sentences of a film as they are now, to find targets among."""

    def __init__(self, story: Story, film: Film):
        self.story = story
        self.film = film
        self.tracks = story.tracks(film.id)
        self.lines = story.utterances(film.id)
        self._boxes: dict[int, Float32[np.ndarray, "n 6"]] = {}

    def find(self, target: Target) -> tuple[list[Track], list[Utterance]]:
        """Returns what a target is about: tracks (more than one where it is broken up now) and sentences."""
        if target.get("film") != self.film.digest:
            return [], []
        if "parts" in target:
            found = [self.find(part) for part in target["parts"]]
            return [track for some, _ in found for track in some], [line for _, some in found for line in some]
        if "track" in target:
            return self._find_tracks(target["track"]), []
        line = self._find_line(target["line"])
        return [], [line] if line else []

    def _find_tracks(self, wanted: Mapping[str, Any]) -> list[Track]:
        scored = []
        for track in self.tracks:
            if track.start_s > wanted["end"] + _SLACK_S or track.end_s < wanted["start"] - _SLACK_S:
                continue
            iou = self._likeness(track, wanted["boxes"])
            if iou >= _LEAST_IOU and _shared(track, wanted) >= _LEAST_SHARED:
                scored.append((iou, track))
        chosen: list[Track] = []
        for _, track in sorted(scored, key=lambda one: (-one[0], one[1].start_s)):
            if all(min(track.end_s, one.end_s) - max(track.start_s, one.start_s) < _SLACK_S for one in chosen):
                chosen.append(track)  # two at one time are two people
        return chosen

    def _likeness(self, track: Track, boxes: Sequence[Sequence[float]]) -> float:
        """The mean overlap (IoU) of the boxes that lie in a track's time; 0 where none does."""
        if track.id not in self._boxes:
            self._boxes[track.id] = self.story.boxes(track.id)
        own = self._boxes[track.id]
        if not len(own):
            return 0.0
        there = [box for box in boxes if own[0, 0] - _SLACK_S <= box[0] <= own[-1, 0] + _SLACK_S]
        if not there:
            return 0.0
        times = np.array([box[0] for box in there])
        mine = np.stack([np.interp(times, own[:, 0], own[:, side]) for side in range(1, 5)], 1)
        return float(np.mean(_ious(mine, np.array(there)[:, 1:5])))

    def _find_line(self, wanted: Mapping[str, Any]) -> Utterance | None:
        best, found = 0.0, None
        for line in self.lines:
            shared = min(line.end_s, wanted["end"]) - max(line.start_s, wanted["start"])
            if shared <= 0:
                continue
            whole = max(line.end_s, wanted["end"]) - min(line.start_s, wanted["start"])
            like = difflib.SequenceMatcher(None, line.text, wanted["text"], autojunk=False).ratio()
            if shared / whole < _LEAST_SHARED and like < _LEAST_LIKE:
                continue
            if shared / whole + like > best:
                best, found = shared / whole + like, line
        return found


def _ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pairwise overlap of n boxes with n others; left, top, width, height."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    inner = np.prod(np.clip(high - low, 0, None), 1)
    return inner / np.maximum(np.prod(first[:, 2:], 1) + np.prod(second[:, 2:], 1) - inner, 1e-12)


def _shared(track: Track, wanted: Mapping[str, Any]) -> float:
    """Which part of the shorter of the two is in both."""
    shared = min(track.end_s, wanted["end"]) - max(track.start_s, wanted["start"])
    shorter = min(track.end_s - track.start_s, wanted["end"] - wanted["start"])
    return 1.0 if shorter <= _SLACK_S else shared / shorter
