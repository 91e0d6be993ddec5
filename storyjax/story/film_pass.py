"""One pass over the images of a film: shots, tracks, stills, faces, and vectors. It is decoded once.

Every image is compared with the one before it for cuts; `fps` images a second are tracked; one a second gets a vector
for search. What is known of a shot is stored when it ends, so that memory does not grow with the film, and that a pass
which is stopped goes on with the shot in which it was.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from storyjax.data.video import LazyFrame
from storyjax.story.describers import Describers
from storyjax.story.rows import OBJECT, PERSON, Film, Shot, Track, Vector
from storyjax.story.store import Story, add_boxes
from storyjax.story.trackers import FACE, FilmTracker
from storyjax.story.views import Followed, View, reduced, still

_SEARCH_S = 1.0  # between the images that get a vector for search
_SEARCH_PIXELS = 512  # longer side of those until they are embedded
_SHORTEST_BOXES = 2  # a track has at least
_LOST_S = 10.0  # a track without a box for so long is over
_SLACK_S = 1e-3
_SIZE = "size"  # key of `meta`: of the images that were followed


@dataclass
class _OpenShot:
    number: int
    id: int
    start_s: float
    images: int = 0
    frames: list[tuple[float, UInt8[np.ndarray, "y x 3"]]] = field(default_factory=list)
    tracks: dict[int, Followed] = field(default_factory=dict)
    still: int | None = None


class FilmPass:
    """Stores what the images of a film show.

    Args:
        story, db: inside a transaction, which is committed at the end of each shot. Where the story has shots of the
            film, those are done, and the pass goes on behind them.
        film: whose rows they are.
        tracker: what follows people and things.
        describers: of faces and images.
        fps: images looked at in a second.
    """

    def __init__(
        self, story: Story, db: sqlite3.Connection, film: Film, tracker: FilmTracker, describers: Describers, fps: float
    ):
        self.story, self.db, self.film = story, db, film
        self.tracker, self.describers, self.fps = tracker, describers, fps
        self._shot: _OpenShot | None = None
        self.damaged = 0
        self._shots, self._tracks = len(done := story.shots(film.id)), len(story.tracks(film.id))
        self._done_s = max((shot.end_s for shot in done), default=0.0)
        size = story.meta().get(_SIZE)
        self._size: tuple[int, int] | None = None if size is None else tuple(json.loads(size))
        self._next_s = self._next_search_s = 0.0
        self._end_s = 0.0

    def run(self, frames: Iterable[tuple[LazyFrame, bool]], progress: Callable[[float], None]) -> None:
        """Reads frames, each with whether a shot begins with it; `progress` gets the seconds done."""
        for frame, begins in frames:
            self.damaged += frame.damaged
            if frame.start_s < self._done_s - _SLACK_S:
                continue
            if begins:
                self._end_shot(frame.start_s)
                self._begin_shot(frame.start_s)
            self._end_s = frame.start_s + 1 / (self.film.fps or 25.0)
            if frame.damaged:
                continue
            if begins or frame.start_s >= self._next_s - _SLACK_S:
                self._look(frame)
                progress(frame.start_s)
        self._end_shot(max(self._end_s, self.film.duration_s if not self.damaged else 0.0))

    def _begin_shot(self, start_s: float) -> None:
        shot = self.story.add(self.db, Shot(0, self.film.id, self._shots, start_s, start_s))
        self._shot = _OpenShot(self._shots, shot, start_s)
        self._shots += 1
        self._next_s = self._next_search_s = start_s

    def _look(self, frame: LazyFrame) -> None:
        shot, time_s = self._shot, frame.start_s
        assert shot is not None
        if self._size is None:
            self._size = frame.size
            self.db.execute("INSERT INTO meta VALUES (?, ?)", (_SIZE, json.dumps(frame.size)))
        image = frame.image(self._size)
        if shot.images == 0:
            self.tracker.start(*self._size)
        self._next_s = max(self._next_s + 1 / self.fps, time_s + 0.5 / self.fps)
        if time_s >= self._next_search_s - _SLACK_S:
            shot.frames.append((time_s, reduced(image, _SEARCH_PIXELS).copy()))
            self._next_search_s = time_s + _SEARCH_S
            if len(shot.frames) >= 32:
                self._store_frames(shot)
        for seen in self.tracker.step(image):
            shot.tracks.setdefault(seen.id, Followed(self.describers.head_scales)).add(time_s, image, seen)
        shot.images += 1
        if shot.images % 50 == 0:
            self._store_tracks(shot, [n for n, one in shot.tracks.items() if time_s - one.boxes[-1][0] > _LOST_S])

    def _store_frames(self, shot: _OpenShot) -> None:
        if not shot.frames:
            return
        if shot.still is None:
            middle = shot.frames[len(shot.frames) // 2][1]
            shot.still = self._still(still(middle))
        vectors = self.describers.embed_images([image for _, image in shot.frames])
        for (time_s, _), vector in zip(shot.frames, vectors, strict=True):
            self._vector("frame", shot.id, time_s, self.describers.image_fingerprint, vector)
        shot.frames.clear()

    def _end_shot(self, end_s: float) -> None:
        shot = self._shot
        if shot is None:
            return
        self._store_frames(shot)
        self._store_tracks(shot, list(shot.tracks), end_s)
        self.db.execute("UPDATE shots SET end_s = ?, still = ? WHERE id = ?", (end_s, shot.still, shot.id))
        self._shot = None
        self.db.execute("COMMIT")
        self.db.execute("BEGIN IMMEDIATE")

    def _store_tracks(self, shot: _OpenShot, ids: list[int], end_s: float | None = None) -> None:
        ended = [shot.tracks.pop(one) for one in ids]
        ended = [one for one in ended if len(one.boxes) >= _SHORTEST_BOXES]
        views = [one.best_views() for one in ended]
        rows = [self._store_track(shot, one, seen, end_s) for one, seen in zip(ended, views, strict=True)]
        people = [i for i, one in enumerate(ended) if one.kind != OBJECT]
        for cut in (False, True):
            chosen = [(i, view) for i in people if (ended[i].category == FACE) == cut for view in views[i]]
            faces = self.describers.describe_faces([view.heads for _, view in chosen], cut)
            for (i, view), vector in zip(chosen, faces, strict=True):
                if vector is not None:
                    self._vector("face", rows[i], view.time_s, self.describers.face_fingerprint, vector)
        things = [(i, view) for i, one in enumerate(ended) if one.kind != PERSON for view in views[i]]
        for (i, view), vector in zip(things, self.describers.embed_images([v.body for _, v in things]), strict=True):
            self._vector("image", rows[i], view.time_s, self.describers.image_fingerprint, vector)

    def _store_track(self, shot: _OpenShot, one: Followed, views: list[View], end_s: float | None) -> int:
        picture = max(views, key=lambda view: view.pixels)
        until = one.boxes[-1][0] + 1 / self.fps
        row = Track(
            *(0, self.film.id, self._tracks, shot.id, one.kind or OBJECT, one.category, one.boxes[0][0]),
            until if end_s is None else min(until, end_s),
            None,
            None,
            still=self._still(still(picture.body)),
            evidence={"boxes": len(one.boxes), "kind": one.kind},
            model=self.tracker.name,
        )
        self._tracks += 1
        track = self.story.add(self.db, row)
        add_boxes(self.db, track, one.boxes)
        return track

    def _still(self, jpeg: bytes) -> int:
        return int(
            self.db.execute("INSERT INTO stills (film, jpeg) VALUES (?, ?)", (self.film.id, jpeg)).lastrowid or 0
        )

    def _vector(self, role: str, owner: int, time_s: float, model: str, vector: np.ndarray) -> None:
        self.story.add(self.db, Vector(0, self.film.id, role, owner, time_s, model, np.asarray(vector, np.float32)))
