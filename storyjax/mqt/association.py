"""From the decoder's outputs in a frame to tracks (thesis §2.3.1, §2.3.3, §2.6.2): no network here, and no pictures.

1. A track is active where the appearance of its own output is like its memory by more than τ_conf and says that
   something is there. Of two active tracks in one place the likelier stays.
2. Detections bring back lost tracks that they are like by more than τ_conf, where no active track is. One that overlaps
   what an active track's queries gave, and is more like the track, takes its place.
3. Detections that no track explains start tracks, of which is told once they have been active in `births` frames.

A track that is not active for `patience` frames is forgotten. With several hypotheses (Table 2.6b) every track goes on
with its likeliest outputs, each of which gives queries of its own, and is where the one followed longest is; where pos
and id agree within τ_agree, one is enough.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from storyjax.core.errors import StoryjaxError
from storyjax.mqt.memory import Candidates, Distance, Hypothesis, Memory, Track, overlaps, suppressed

Protocol = Literal["private", "public", "private_public", "user"]


@dataclass(frozen=True)
class TrackerConfig:
    """How is tracked.

    Attributes:
      protocol: what starts tracks (§2.6.2): det queries, given detections, or both; "private+" is "public", and
        "private+ & public" is "private_public", with the detections of a better detector. "user": exactly what is given
        (TAO's "init first").
      confirm: τ_conf, a similarity (Table 2.7).
      agree: τ_agree, a distance (Table 2.7).
      confirm_by: what confirms a track: its appearance, or the class head's surest class over `class_score`.
      memory_first, memory_last, distance: appearances kept of a track, and how they are compared (Table 2.6a).
      hypotheses: at most so many for a track (Table 2.6b).
      multi_query: whether pos and id that agree make one hypothesis enough.
      presence: probability that something is there, from which an output of a track counts.
      start, start_given: the same for det queries and given detections that start tracks.
      births: frames in which a track must have been active to be told of.
      overlap: IoU from which two outputs are one object.
      patience: frames for which a lost track is remembered.
      capacity: tracks at a time; where there are more, the longest lost is forgotten.
      given: detections of a frame, at most; of more the first are taken.
    """

    protocol: Protocol = "private"
    confirm: float = 0.75
    agree: float = 0.1
    confirm_by: Literal["appearance", "class"] = "appearance"
    class_score: float = 0.5
    memory_first: int = 1
    memory_last: int = 5
    distance: Distance = "min"
    hypotheses: int = 1
    multi_query: bool = True
    presence: float = 0.5
    start: float = 0.5
    start_given: float = 0.3
    births: int = 1
    overlap: float = 0.6
    patience: int = 30
    capacity: int = 60
    given: int = 100

    def __post_init__(self) -> None:
        least = {"hypotheses": 1, "births": 1, "capacity": 1, "given": 1, "patience": 0, "memory_first": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise StoryjaxError(
                    f"config.model.tracker.{name} is {getattr(self, name)}; it must be {value} or more."
                )
        if self.memory_first + self.memory_last < 1:
            raise StoryjaxError("config.model.tracker: memory_first + memory_last must be 1 or more.")

    @property
    def rows(self) -> int:
        """Hypotheses of all tracks, at most."""
        return self.capacity * self.hypotheses


class Association:
    """The tracks of one sequence."""

    def __init__(self, config: TrackerConfig):
        self.config = config
        self.tracks: list[Track] = []
        self._last_id = 0

    def hypotheses(self) -> list[Hypothesis]:
        """Those of all tracks, one track after another: what `update` needs outputs of, in this order."""
        return [hypothesis for track in self.tracks for hypothesis in track.hypotheses]

    def update(
        self,
        own: Candidates,
        disagreement: Float[np.ndarray, "m"],
        det: Candidates,
        given: Candidates,
        confirmed: Bool[np.ndarray, "m"] | None = None,
    ) -> list[Track]:
        """The tracks that are active in a frame.

        Args:
          own: aggregated outputs of each of `hypotheses`.
          disagreement: cosine distance between pos and id of each.
          det, given: of det queries and of given detections.
          confirmed: of each hypothesis, whether the class head confirms it; None where appearance does.
        """
        cfg = self.config
        detections = self._detections(det, given)
        confident = []
        start = 0
        for track in self.tracks:
            rows = np.arange(start, start + len(track.hypotheses))
            start += len(rows)
            found = own[rows]
            passes = None if confirmed is None else confirmed[rows]
            confident.append(bool(disagreement[rows[0]] < cfg.agree))
            self._follow(track, found, passes, confident[-1])
        self._settle()
        self._recover(detections)
        self._replace(detections)
        for track, sure in zip(self.tracks, confident, strict=True):
            if cfg.hypotheses > 1 and not (cfg.multi_query and sure):
                self._branch(track, detections)
        self._start(detections, given)
        self._forget()
        return [track for track in self.tracks if track.active and track.hits >= cfg.births]

    def _detections(self, det: Candidates, given: Candidates) -> Candidates:
        """What tracks may be found at besides their own outputs, once each."""
        cfg = self.config
        there = []
        if cfg.protocol in ("private", "private_public"):
            there.append(det[det.presence >= cfg.start])
        if cfg.protocol != "private":
            least = 0.0 if cfg.protocol == "user" else cfg.start_given
            there.append(given[given.presence >= least])
        both = Candidates(
            *(np.concatenate([getattr(part, name) for part in there]) for name in Candidates.__dataclass_fields__)
        )
        # A user may ask for two things in one place.
        return both if cfg.protocol == "user" else suppressed(both, cfg.overlap)

    def _follow(self, track: Track, found: Candidates, confirmed: np.ndarray | None, confident: bool) -> None:
        """Step 1 for one track: which of its own outputs go on with it."""
        cfg = self.config
        similarity = track.memory.similarity(found.appearances)
        passes = similarity > cfg.confirm if confirmed is None else confirmed
        passes = passes & (found.presence >= cfg.presence)
        kept = [
            found.hypothesis(int(i), track.hypotheses[i].length + 1, float(similarity[i]))
            for i in np.flatnonzero(passes)
        ]
        track.active = bool(kept)
        if not kept:
            # Its best hypothesis waits where it was: that is where it is looked for.
            track.hypotheses = [track.best]
            track.best.length = 0
            return
        kept.sort(key=lambda each: (each.length, each.similarity), reverse=True)
        if cfg.multi_query and confident:
            kept = kept[:1]
        track.hypotheses = _apart(kept, cfg.overlap)[: cfg.hypotheses]
        track.score = float(found.presence[passes].max())

    def _settle(self) -> None:
        """Of two active tracks in one place the one that is likelier there keeps it."""
        active = [track for track in self.tracks if track.active]
        active.sort(key=lambda track: (track.best.similarity, track.hits), reverse=True)
        kept: list[Track] = []
        for track in active:
            if kept:
                there = np.stack([other.best.box for other in kept])
                if overlaps(track.best.box[None], there).max() > self.config.overlap:
                    track.active = False
                    continue
            kept.append(track)

    def _boxes(self) -> np.ndarray:
        boxes = [track.best.box for track in self.tracks if track.active]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def _free(self, detections: Candidates) -> np.ndarray:
        """Places of the detections where no active track is."""
        overlap = overlaps(detections.boxes, self._boxes())
        return np.flatnonzero(overlap.max(axis=1, initial=0.0) <= self.config.overlap)

    def _recover(self, detections: Candidates) -> None:
        """Step 2 for lost tracks: the assignment of detections to them that is likest in all."""
        lost = [track for track in self.tracks if not track.active]
        free = self._free(detections)
        if not lost or not len(free):
            return
        likeness = np.stack([track.memory.similarity(detections.appearances[free]) for track in lost])
        for row, column in zip(*linear_sum_assignment(-likeness), strict=True):
            if likeness[row, column] > self.config.confirm:
                self._take(lost[row], detections, int(free[column]), float(likeness[row, column]), length=1)

    def _replace(self, detections: Candidates) -> None:
        """Step 2 for active tracks: a detection of the same thing that is more like it."""
        if not len(detections):
            return
        for track in self.tracks:
            if not track.active:
                continue
            near = np.flatnonzero(overlaps(track.best.box[None], detections.boxes)[0] > self.config.overlap)
            if not len(near):
                continue
            likeness = track.memory.similarity(detections.appearances[near])
            best = int(likeness.argmax())
            if likeness[best] > track.best.similarity:
                length = track.best.length
                self._take(track, detections, int(near[best]), float(likeness[best]), length, keep=True)

    def _take(
        self, track: Track, detections: Candidates, index: int, similarity: float, length: int, keep: bool = False
    ) -> None:
        others = track.hypotheses[1:] if keep else []
        track.hypotheses = [detections.hypothesis(index, length, similarity), *others]
        track.active, track.score = True, float(detections.presence[index])

    def _branch(self, track: Track, detections: Candidates) -> None:
        """Further hypotheses for a track that is not sure of itself: detections like it, anywhere."""
        if not track.active or not len(detections):
            return
        likeness = track.memory.similarity(detections.appearances)
        for index in np.argsort(-likeness, kind="stable"):
            if likeness[index] <= self.config.confirm:
                break
            track.hypotheses.append(detections.hypothesis(int(index), 1, float(likeness[index])))
        track.hypotheses = _apart(track.hypotheses, self.config.overlap)[: self.config.hypotheses]

    def _start(self, detections: Candidates, given: Candidates) -> None:
        """Step 3."""
        places = np.arange(len(given)) if self.config.protocol == "user" else self._free(detections)
        source = given if self.config.protocol == "user" else detections
        for index in places:
            self._last_id += 1
            memory = Memory(self.config.memory_first, self.config.memory_last, self.config.distance)
            first = source.hypothesis(int(index), 1, 1.0)
            self.tracks.append(Track(self._last_id, memory, [first], float(source.presence[index]), hits=0))

    def _forget(self) -> None:
        """Counts, remembers, and lets go of what was lost too long or is too much."""
        for track in self.tracks:
            if track.active:
                track.memory.add(track.best.appearance)
                track.hits, track.missed = track.hits + 1, 0
            else:
                track.missed += 1
        cfg = self.config
        # What was never told of is not waited for.
        kept = [t for t in self.tracks if t.missed <= cfg.patience and (t.active or t.hits >= cfg.births)]
        if len(kept) > cfg.capacity:
            longest = sorted(kept, key=lambda track: (track.missed, -track.hits))[: cfg.capacity]
            kept = [track for track in kept if any(track is other for other in longest)]
        self.tracks = kept


def _apart(hypotheses: list[Hypothesis], overlap: float) -> list[Hypothesis]:
    """Without those in the place of an earlier one."""
    kept: list[Hypothesis] = []
    for each in hypotheses:
        if not kept or overlaps(each.box[None], np.stack([other.box for other in kept])).max() <= overlap:
            kept.append(each)
    return kept
