"""What corrections of a story do in the gallery: names, and the faces, voices and images of what was corrected.

A track teaches under the source "film:NAME#track N", a sentence under "film:NAME#line N", so that it can be taken back.
"""

import contextlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.data.images import decode_image
from storyjax.gallery.gallery import Entry, Gallery, Taught
from storyjax.gallery.names import name_key
from storyjax.story.corrections.change_log import Changes
from storyjax.story.rows import PERSON, Entity, Film, Track, Utterance, Vector
from storyjax.story.store import Story

_MOST_TAUGHT = 40  # tracks, and sentences, of one correction: the longest


class Teacher:
    """Hands on to the gallery what a story learns from people; without a gallery nothing, but ids are given."""

    def __init__(self, story: Story, gallery: Gallery | None):
        self.story = story
        self.gallery = gallery

    def rename(self, row: Entity, name: str, changes: Changes) -> str:
        """Renames an entity's entry, or makes one, and returns the gallery's id. Raises StoryjaxError: the name is
        taken there."""
        entry = self._entry(row.gallery)
        if entry is not None and self.gallery is not None:
            self.gallery.rename(entry.name, name)
            changes.gallery.append(["renamed", entry.id, entry.name])
        if row.gallery is not None:
            return row.gallery
        return self.create(name, row.kind, row.category, changes)

    def create(self, name: str, kind: str, category: str | None, changes: Changes) -> str:
        """Returns the id of the gallery's entry of a name, which is made where there is none."""
        if self.gallery is None:
            return uuid.uuid4().hex
        for entry in self.gallery.entries():
            if name_key(entry.name) == name_key(name):
                if entry.kind != kind:
                    raise StoryjaxError(f"'{entry.name}' is a {entry.kind} of the gallery: give another name")
                return entry.id
        made = self.gallery.create(name, kind, category or (None if kind == PERSON else "object"))
        changes.gallery.append(["created", made.id])
        return made.id

    def merge(self, first: Entity, second: Entity, changes: Changes) -> None:
        """Merges the entries of two entities, where both have one."""
        one, other = self._entry(first.gallery), self._entry(second.gallery)
        if self.gallery is None or one is None or other is None or one.id == other.id:
            return
        own = {evidence.source for evidence in self.gallery.evidence(other)}
        sources = [e.source for e in self.gallery.evidence(one) if e.source not in own]
        facts = [one.name, one.kind, one.category, first.gallery, sorted(set(sources))]
        self.gallery.merge(one.name, other.name)
        changes.gallery.append(["merged", other.id, *facts])

    def teach(self, value: Mapping[str, Any], changes: Changes) -> None:
        """Teaches what was given to an entity, and takes back what was taken from one."""
        if self.gallery is None:
            return
        now = self._entry(value["who"]["gallery"])
        tracks, lines = {**changes.taken, **changes.given}, {**changes.unspoken, **changes.spoken}
        rows: list[Track | Utterance] = [*self._tracks(tracks), *self._lines(lines)]
        for row in rows:
            before = changes.before.get((tracks if isinstance(row, Track) else lines)[row.id] or 0)
            entry = self._entry(before.gallery if before else None)
            if entry is not None and (
                now is None or entry.id != now.id or row.id in (*changes.taken, *changes.unspoken)
            ):
                self._unlearn(entry, row, changes)
        given = _longest(self._tracks(changes.given)) + _longest(self._lines(changes.spoken))
        if now is not None and given:
            known = {evidence.source for evidence in self.gallery.evidence(now)}
            self._learn(now, [row for row in given if self._source(row) not in known], changes)

    def undo(self, done: Sequence[Sequence[Any]]) -> dict[str, str]:
        """Takes back what was done in the gallery, the last first; what somebody else changed meanwhile stays.

        Returns:
            Ids of entries that were made anew, by those that they had.
        """
        fresh: dict[str, str] = {}
        for what, key, *facts in reversed(done):
            entry = self._entry(key)
            if self.gallery is None or entry is None:
                continue
            with contextlib.suppress(StoryjaxError):
                if what == "renamed":
                    self.gallery.rename(entry.name, facts[0])
                elif what == "created":
                    self.gallery.forget(entry.name)
                elif what == "taught":
                    self.gallery.unlearn(entry, facts[0])
                elif what == "unlearned":
                    rows = self._tracks([facts[1]]) if facts[0] == "track" else self._lines([facts[1]])
                    self._learn(entry, rows, None)
                elif what == "merged":
                    fresh[facts[3]] = self._part(entry, *facts)
        return fresh

    def _part(self, entry: Entry, name: str, kind: str, category: str | None, old: str, sources: Sequence[str]) -> str:
        """Makes an entry of what another was given by a merge, and returns its id."""
        del old
        assert self.gallery is not None
        taught = [
            Taught(one.role, one.fingerprint, rows, one.source, (), one.seconds, one.model)
            for one, rows in self.gallery.rows(entry)
            if one.source in sources
        ]
        made = self.gallery.create(name, kind, category, taught=taught)
        for source in sources:
            self.gallery.unlearn(entry, source)
        return made.id

    def _learn(self, entry: Entry, rows: Iterable[Track | Utterance], changes: Changes | None) -> None:
        assert self.gallery is not None
        taught: list[Taught] = []
        for row in rows:
            source, pictures = self._source(row), self._pictures(row)
            for (role, model), vectors in self._vectors(row).items():
                seconds = [row.end_s - row.start_s] * len(vectors) if role == "voice" else []
                taught.append(Taught(role, model, vectors, source, pictures, seconds))
                pictures = []
            if pictures:
                self.gallery.add_pictures(entry, source, pictures)
            if changes is not None:
                changes.gallery.append(["taught", entry.id, source])
        if taught:
            self.gallery.learn_all(entry, taught)

    def _unlearn(self, entry: Entry, row: Track | Utterance, changes: Changes) -> None:
        assert self.gallery is not None
        with contextlib.suppress(StoryjaxError):  # it had learnt nothing from this
            self.gallery.unlearn(entry, self._source(row))
            changes.gallery.append(["unlearned", entry.id, "track" if isinstance(row, Track) else "line", row.id])

    def _vectors(self, row: Track | Utterance) -> dict[tuple[str, str], np.ndarray]:
        roles = "('face', 'image')" if isinstance(row, Track) else "('voice')"
        found: dict[tuple[str, str], list[np.ndarray]] = {}
        for one in self.story.rows(Vector, f"WHERE owner = ? AND film = ? AND role IN {roles}", [row.id, row.film]):
            role_of_person = isinstance(row, Track) and (one.role == "face") != (row.kind == PERSON)
            if not role_of_person:  # a person's image says what they wear, a thing has no face
                found.setdefault((one.role, one.model), []).append(one.vector)
        return {key: np.stack(rows) for key, rows in found.items()}

    def _pictures(self, row: Track | Utterance) -> list[np.ndarray]:
        jpeg = self.story.still(row.still) if isinstance(row, Track) and row.still is not None else None
        if jpeg is None:
            return []
        with contextlib.suppress(StoryjaxError):
            return [decode_image(jpeg, "a still")]
        return []

    def _source(self, row: Track | Utterance) -> str:
        film = self.story.rows(Film, "WHERE id = ?", [row.film])[0]
        return f"film:{film.name}#{'track' if isinstance(row, Track) else 'line'} {row.number}"

    def _tracks(self, ids: Iterable[int]) -> list[Track]:
        return [row for one in ids for row in self.story.rows(Track, "WHERE id = ?", [one])]

    def _lines(self, ids: Iterable[int]) -> list[Utterance]:
        return [row for one in ids for row in self.story.rows(Utterance, "WHERE id = ?", [one])]

    def _entry(self, key: str | None) -> Entry | None:
        return self.gallery.by_id(key) if self.gallery is not None and key else None


def _longest(rows: Sequence[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: row.start_s - row.end_s)[:_MOST_TAUGHT]
