"""The association of the decoder's outputs in a frame with tracks (thesis §2.3.1, §2.3.3, §2.6.2), without a network.

1. A track is active if the appearance of its own output has a similarity of more than τ_conf to its memory, and an
   objectness over the threshold. Of two active tracks at one place the more similar one stays active.
2. Detections recover lost tracks to whose memory they have a similarity of more than τ_conf, where no active track is.
   A detection that overlaps the output of an active track, and is more similar to its memory, replaces the output.
3. Detections that no track explains start tracks, which are reported once they have been active in `min_hits` frames.

A track that is not active for more than `max_age` frames is removed. With several hypotheses (Table 2.6b) a track goes
on with its most similar outputs, each of which makes queries of its own, and its position is that of the hypothesis
followed longest; where pos and id agree within τ_agree, one hypothesis is enough.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from storyjax.core.errors import StoryjaxError
from storyjax.mqt.memory import Candidates, Distance, Hypothesis, Memory, Track, nms, pairwise_iou

Protocol = Literal["private", "public", "private_public", "user"]


@dataclass(frozen=True)
class TrackerConfig:
    """The options of a tracker.

    Attributes:
        protocol: what starts tracks (§2.6.2): det queries ("private"; `MqtConfig.detect` says what happens in ablations
            without them), given detections ("public"), or both
            ("private_public"); the thesis's "private+" and "private+ & public" are the latter two with the detections
            of a better detector. "user": exactly the boxes given (TAO's "init first").
        match_threshold: τ_conf, the similarity to its memory above which an output continues a track (Table 2.7).
        agreement_threshold: τ_agree, the distance of pos and id below which they agree (Table 2.7).
        match_by: what decides that an output continues a track: its similarity, or the probability of its most probable
            class being over `class_threshold`.
        class_threshold: see `match_by`.
        memory_first, memory_last, distance: appearances kept of a track, and how they are compared (Table 2.6a).
        hypotheses: maximum per track (Table 2.6b).
        multi_query: whether one hypothesis is enough where pos and id agree.
        objectness_threshold: smallest objectness of an output that continues a track.
        birth_threshold, given_birth_threshold: smallest objectness of det queries and of given detections that recover
            or start tracks.
        min_hits: frames in which a track must have been active before it is reported.
        nms_iou: IoU above which two outputs are of one object.
        max_age: frames for which a lost track is kept.
        max_tracks: tracks at a time; beyond that the one lost longest is removed.
        max_detections: given detections of a frame; beyond that the last ones are dropped.
    """

    protocol: Protocol = "private"
    match_threshold: float = 0.75
    agreement_threshold: float = 0.1
    match_by: Literal["appearance", "class"] = "appearance"
    class_threshold: float = 0.5
    memory_first: int = 1
    memory_last: int = 5
    distance: Distance = "min"
    hypotheses: int = 1
    multi_query: bool = True
    objectness_threshold: float = 0.5
    birth_threshold: float = 0.5
    given_birth_threshold: float = 0.3
    min_hits: int = 1
    nms_iou: float = 0.6
    max_age: int = 30
    max_tracks: int = 60
    max_detections: int = 100

    def __post_init__(self) -> None:
        """Raises StoryjaxError for values that are too small."""
        smallest = {"hypotheses": 1, "min_hits": 1, "max_tracks": 1, "max_detections": 1, "max_age": 0}
        for name, value in (smallest | {"memory_first": 0}).items():
            if getattr(self, name) < value:
                raise StoryjaxError(
                    f"config.model.tracker.{name} is {getattr(self, name)}; it must be {value} or more."
                )
        if self.memory_first + self.memory_last < 1:
            raise StoryjaxError("config.model.tracker: memory_first + memory_last must be 1 or more.")

    @property
    def rows(self) -> int:
        """The maximum number of hypotheses of all tracks."""
        return self.max_tracks * self.hypotheses


class Association:
    """The tracks of one sequence.

    Attributes:
        tracks: those that are kept, active or lost.
    """

    def __init__(self, config: TrackerConfig):
        self.config = config
        self.tracks: list[Track] = []
        self._last_id = 0

    def hypotheses(self) -> list[Hypothesis]:
        """Returns those of all tracks, one track after another: `update` takes their outputs in this order."""
        return [hypothesis for track in self.tracks for hypothesis in track.hypotheses]

    def update(
        self,
        own: Candidates,
        disagreement: Float[np.ndarray, "m"],
        det: Candidates,
        given: Candidates,
        confirmed: Bool[np.ndarray, "m"] | None = None,
    ) -> list[Track]:
        """Returns the tracks that are active in the next frame, and updates all of them.

        Args:
            own: the aggregated output of each of `hypotheses`.
            disagreement: the cosine distance between pos and id of each.
            det, given: the outputs of det queries and of given detections.
            confirmed: whether the class head confirms each hypothesis; None: the similarity decides.
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
            confident.append(bool(disagreement[rows[0]] < cfg.agreement_threshold))
            self._follow(track, found, passes, confident[-1])
        self._settle()
        self._recover(detections)
        self._replace(detections)
        for track, agrees in zip(self.tracks, confident, strict=True):
            if cfg.hypotheses > 1 and not (cfg.multi_query and agrees):
                self._branch(track, detections)
        self._start(detections, given)
        self._forget()
        return [track for track in self.tracks if track.active and track.hits >= cfg.min_hits]

    def _detections(self, det: Candidates, given: Candidates) -> Candidates:
        """Returns the detections that may recover, replace or start tracks, without duplicates."""
        cfg = self.config
        parts = []
        if cfg.protocol in ("private", "private_public"):
            parts.append(det[det.objectness >= cfg.birth_threshold])
        if cfg.protocol != "private":
            threshold = 0.0 if cfg.protocol == "user" else cfg.given_birth_threshold
            parts.append(given[given.objectness >= threshold])
        both = Candidates(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in Candidates.__dataclass_fields__)
        )
        # A user may name two objects at one place.
        return both if cfg.protocol == "user" else nms(both, cfg.nms_iou)

    def _follow(self, track: Track, found: Candidates, confirmed: np.ndarray | None, confident: bool) -> None:
        """Step 1 for one track: chooses the outputs that continue it."""
        cfg = self.config
        similarity = track.memory.similarity(found.appearances)
        passes = similarity > cfg.match_threshold if confirmed is None else confirmed
        passes = passes & (found.objectness >= cfg.objectness_threshold)
        kept = [
            found.hypothesis(int(i), track.hypotheses[i].length + 1, float(similarity[i]))
            for i in np.flatnonzero(passes)
        ]
        track.active = bool(kept)
        if not kept:
            # Its best hypothesis stays where it was: its queries search there.
            track.hypotheses = [track.best]
            track.best.length = 0
            return
        kept.sort(key=lambda each: (each.length, each.similarity), reverse=True)
        if cfg.multi_query and confident:
            kept = kept[:1]
        track.hypotheses = _distinct(kept, cfg.nms_iou)[: cfg.hypotheses]
        track.score = float(found.objectness[passes].max())

    def _settle(self) -> None:
        """Step 1: of two active tracks at one place the one that is more similar there stays active."""
        active = [track for track in self.tracks if track.active]
        active.sort(key=lambda track: (track.best.similarity, track.hits), reverse=True)
        kept: list[Track] = []
        for track in active:
            if kept:
                boxes = np.stack([other.best.box for other in kept])
                if pairwise_iou(track.best.box[None], boxes).max() > self.config.nms_iou:
                    track.active = False
                    continue
            kept.append(track)

    def _boxes(self) -> np.ndarray:
        boxes = [track.best.box for track in self.tracks if track.active]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def _free(self, detections: Candidates) -> np.ndarray:
        """Returns the indices of the detections that overlap no active track."""
        iou = pairwise_iou(detections.boxes, self._boxes())
        return np.flatnonzero(iou.max(axis=1, initial=0.0) <= self.config.nms_iou)

    def _recover(self, detections: Candidates) -> None:
        """Step 2 for lost tracks: assigns detections to them by the largest total similarity."""
        lost = [track for track in self.tracks if not track.active]
        free = self._free(detections)
        if not lost or not len(free):
            return
        similarity = np.stack([track.memory.similarity(detections.appearances[free]) for track in lost])
        for row, column in zip(*linear_sum_assignment(-similarity), strict=True):
            if similarity[row, column] > self.config.match_threshold:
                self._take(lost[row], detections, int(free[column]), float(similarity[row, column]), length=1)

    def _replace(self, detections: Candidates) -> None:
        """Step 2 for active tracks: a detection at the same place that is more similar replaces the output."""
        if not len(detections):
            return
        for track in self.tracks:
            if not track.active:
                continue
            iou = pairwise_iou(track.best.box[None], detections.boxes)[0]
            near = np.flatnonzero(iou > self.config.nms_iou)
            if not len(near):
                continue
            similarity = track.memory.similarity(detections.appearances[near])
            best = int(similarity.argmax())
            if similarity[best] > track.best.similarity:
                length = track.best.length
                self._take(track, detections, int(near[best]), float(similarity[best]), length, keep=True)

    def _take(
        self, track: Track, detections: Candidates, index: int, similarity: float, length: int, keep: bool = False
    ) -> None:
        others = track.hypotheses[1:] if keep else []
        track.hypotheses = [detections.hypothesis(index, length, similarity), *others]
        track.active, track.score = True, float(detections.objectness[index])

    def _branch(self, track: Track, detections: Candidates) -> None:
        """Adds hypotheses to a track whose queries disagree: similar detections, anywhere."""
        if not track.active or not len(detections):
            return
        similarity = track.memory.similarity(detections.appearances)
        for index in np.argsort(-similarity, kind="stable"):
            if similarity[index] <= self.config.match_threshold:
                break
            track.hypotheses.append(detections.hypothesis(int(index), 1, float(similarity[index])))
        track.hypotheses = _distinct(track.hypotheses, self.config.nms_iou)[: self.config.hypotheses]

    def _start(self, detections: Candidates, given: Candidates) -> None:
        """Step 3: starts tracks."""
        places = np.arange(len(given)) if self.config.protocol == "user" else self._free(detections)
        source = given if self.config.protocol == "user" else detections
        for index in places:
            self._last_id += 1
            memory = Memory(self.config.memory_first, self.config.memory_last, self.config.distance)
            first = source.hypothesis(int(index), 1, 1.0)
            self.tracks.append(Track(self._last_id, memory, [first], float(source.objectness[index]), hits=0))

    def _forget(self) -> None:
        """Updates memories and counts, and removes tracks that were lost too long or are too many."""
        for track in self.tracks:
            if track.active:
                track.memory.add(track.best.appearance)
                track.hits, track.missed = track.hits + 1, 0
            else:
                track.missed += 1
        cfg = self.config
        # A track that was never reported is not kept while it is lost.
        kept = [t for t in self.tracks if t.missed <= cfg.max_age and (t.active or t.hits >= cfg.min_hits)]
        if len(kept) > cfg.max_tracks:
            longest = sorted(kept, key=lambda track: (track.missed, -track.hits))[: cfg.max_tracks]
            kept = [track for track in kept if any(track is other for other in longest)]
        self.tracks = kept


def _distinct(hypotheses: list[Hypothesis], nms_iou: float) -> list[Hypothesis]:
    """Returns the hypotheses without those that overlap an earlier one."""
    kept: list[Hypothesis] = []
    for each in hypotheses:
        if not kept or pairwise_iou(each.box[None], np.stack([other.box for other in kept])).max() <= nms_iou:
            kept.append(each)
    return kept
