"""Names of the tracks of one video, from the gallery: what `storyjax track --names` writes beside its file of tracks.

    {"format": 1, "video": "street.mp4", "tracks": [
        {"id": 3, "name": "Ana", "entry": "5f0c...", "kind": "person", "confidence": 0.98, "runner_up": "Ben",
         "by": "face", "views": 8, "first_s": 0.0, "last_s": 9.8}, ...]}

has every track that was seen well enough, with name and entry null where it is like nobody known. A track is judged by
up to eight views spread over its whole time. Nobody is twice in one image: of two such tracks the surer keeps the name.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.notes import tell
from storyjax.gallery.gallery import Gallery
from storyjax.gallery.matching import Match, match
from storyjax.gallery.reading import stale_line
from storyjax.gallery.record import FACE, IMAGE, PERSON, THING
from storyjax.mqt.eval_tracking import TrackedBox
from storyjax.story.describers import Describers
from storyjax.story.rows import OBJECT
from storyjax.story.trackers import Seen
from storyjax.story.views import Followed

FORMAT = 1
_LOOKS_PER_S = 5.0  # a track is looked at
_LOST_S = 10.0  # a track without a box for so long is over
_TOGETHER = 2  # looks at which two tracks are both there: they are two


@dataclass(frozen=True)
class NamedTrack:
    """A track and who or what it is.

    Attributes:
        id: of the track.
        name, entry: of the gallery; None: it is like nobody known.
        kind: "person" or "thing", as the gallery has it; None for nobody known.
        confidence: probability of that answer, 0 to 1.
        runner_up: the name of whom it is like next.
        by: "face" or "image"; None where there was nothing to compare.
        views: how many it was judged by.
        first_s, last_s: when it was first and last looked at.
    """

    id: int
    name: str | None
    entry: str | None
    kind: str | None
    confidence: float
    runner_up: str | None
    by: str | None
    views: int
    first_s: float
    last_s: float


class TrackNames:
    """Follows the tracks of a video, and says who they are; memory does not grow with the video.

    Args:
        gallery: of those who are known.
        describers: of faces and images.
        fps: frames per second of the video.
    """

    def __init__(self, gallery: Gallery, describers: Describers, fps: float):
        self._describers, self._stride = describers, max(1, round(fps / _LOOKS_PER_S))
        entries = gallery.entries()
        self._names = {entry.id: entry.name for entry in entries}
        self._kinds = {entry.id: entry.kind for entry in entries}
        self.faces: dict[str, Float32[np.ndarray, "_ e"]] = {}
        self.images: dict[str, Float32[np.ndarray, "_ d"]] = {}
        if PERSON in self._kinds.values():
            self.faces = gallery.vectors(FACE, describers.face_fingerprint, PERSON)
        if THING in self._kinds.values():
            self.images = gallery.vectors(IMAGE, describers.image_fingerprint, THING)
        for kind, role in ((PERSON, FACE), (THING, IMAGE)):
            if kind in self._kinds.values():
                made_by = describers.face_fingerprint if role == FACE else describers.image_fingerprint
                if stale := [one for one in gallery.stale(role, made_by) if one.kind == kind]:
                    tell(stale_line(stale, role))
        self._open: dict[int, Followed] = {}
        self._done: list[tuple[NamedTrack, frozenset[float]]] = []

    def see(
        self, number: int, time_s: float, image: UInt8[np.ndarray, "y x 3"] | None, tracked: Sequence[TrackedBox]
    ) -> None:
        """Takes a frame with its tracks; `number` counts from 1."""
        if image is None or (number - 1) % self._stride:
            return
        for one in tracked:
            label = getattr(one, "label", None)
            kind = "" if label is None else PERSON if label == PERSON else OBJECT
            seen = Seen(one.id, one.xywh_px, one.score, kind, label)
            self._open.setdefault(one.id, Followed(self._describers.head_scales)).add(time_s, image, seen)
        over = [id for id, one in self._open.items() if time_s - one.boxes[-1][0] > _LOST_S]
        self._finish(over)

    def finish(self) -> list[NamedTrack]:
        """Returns all tracks that were seen, by number."""
        self._finish(list(self._open))
        kept: list[tuple[NamedTrack, frozenset[float]]] = []
        for track, times in sorted(self._done, key=lambda one: (-one[0].confidence, one[0].id)):
            same = [seen for other, seen in kept if track.entry is not None and other.entry == track.entry]
            if any(len(times & seen) >= _TOGETHER for seen in same):
                track = replace(track, name=None, entry=None, kind=None, runner_up=track.name)
            kept.append((track, times))
        return sorted((track for track, _ in kept), key=lambda one: one.id)

    def _finish(self, ids: Sequence[int]) -> None:
        for id in ids:
            followed = self._open.pop(id)
            times = frozenset(box[0] for box in followed.boxes)
            by, found, views = self._judge(followed)
            known = found.id
            self._done.append(
                (
                    NamedTrack(
                        id,
                        None if known is None else self._names[known],
                        known,
                        None if known is None else self._kinds[known],
                        round(found.confidence, 4),
                        None if found.runner_up is None else self._names[found.runner_up],
                        by,
                        views,
                        round(min(times), 3),
                        round(max(times), 3),
                    ),
                    times,
                )
            )

    def _judge(self, followed: Followed) -> tuple[str | None, Match, int]:
        """By what a track was judged, who it is, and the number of views; where its kind is unknown, by the surer."""
        views = followed.best_views()
        found: list[tuple[str, Match]] = []
        if followed.kind != OBJECT and self.faces:
            each = self._describers.describe_faces([view.heads for view in views])
            if faces := [vector for vector in each if vector is not None]:
                found.append((FACE, match(np.stack(faces), self.faces, self._describers.face_threshold)))
        if followed.kind != PERSON and self.images:
            vectors = self._describers.embed_images([view.body for view in views])
            found.append((IMAGE, match(vectors, self.images, self._describers.image_threshold)))
        if not found:
            return None, Match(None, 1.0, None), len(views)
        by, best = max(found, key=lambda one: (one[1].id is not None, one[1].confidence))
        return by, best, len(views)


def names_json(video: str, tracks: Sequence[NamedTrack]) -> dict[str, Any]:
    """Returns what a file of names has, as this module says."""
    return {"format": FORMAT, "video": video, "tracks": [asdict(track) for track in tracks]}
