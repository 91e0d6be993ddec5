"""What a correction changes in story.sqlite, row by row, so that it can be undone."""

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from storyjax.story.rows import AUTO, USER, Entity, Track, Utterance
from storyjax.story.store import Story


class Changes:
    """Changes rows and remembers what they were.

    Attributes:
        given, spoken: the tracks and sentences that were given to an entity, by id, with whose they were.
        taken, unspoken: those that were taken from one.
        before: the entities as they were, by id.
        gallery: what was done in the gallery (teaching.py), oldest first.
    """

    def __init__(self, story: Story):
        self.story = story
        self.gallery: list[list[Any]] = []
        self.given: dict[int, int | None] = {}
        self.spoken: dict[int, int | None] = {}
        self.taken: dict[int, int | None] = {}
        self.unspoken: dict[int, int | None] = {}
        self.before = {one.id: one for one in story.entities()}
        self._runs = _runs(story)
        self._tracks: dict[int, list[Any]] = {}
        self._lines: dict[int, list[Any]] = {}
        self._splits: list[list[Any]] = []
        self._entities: dict[int, list[Any]] = {}
        self._made: list[int] = []

    def set_track(self, db: sqlite3.Connection, track: Track, entity: int | None, by_user: bool) -> None:
        """Gives a track to an entity, or takes it from one (None)."""
        self._tracks.setdefault(track.id, [track.entity, track.confidence, track.source, track.kind])
        (self.taken if entity is None else self.given)[track.id] = track.entity
        kind = self.story.rows(Entity, "WHERE id = ?", [entity])[0].kind if entity is not None else track.kind
        db.execute(
            "UPDATE tracks SET entity = ?, confidence = ?, source = ?, kind = ? WHERE id = ?",
            (entity, 1.0 if by_user else None, USER if by_user else AUTO, kind, track.id),
        )

    def set_line(self, db: sqlite3.Connection, line: Utterance, speaker: int | None, label: str, by_user: bool) -> None:
        """Gives a sentence to a speaker, or takes it from one (None)."""
        self._lines.setdefault(line.id, [line.speaker, line.label, line.confidence, line.source])
        (self.unspoken if speaker is None else self.spoken)[line.id] = line.speaker
        db.execute(
            "UPDATE utterances SET speaker = ?, label = ?, confidence = ?, source = ? WHERE id = ?",
            (speaker, label, 1.0 if by_user else None, USER if by_user else AUTO, line.id),
        )

    def set_entity(self, db: sqlite3.Connection, entity: int, name: str, gallery: str | None) -> None:
        """Gives an entity another name, also in the subtitles, and the gallery's id."""
        (row,) = self.story.rows(Entity, "WHERE id = ?", [entity])
        self._entities.setdefault(entity, [row.name, row.gallery])
        _name(db, entity, name, gallery)

    def add_entity(self, db: sqlite3.Connection, entity: Entity) -> int:
        """Adds an entity and returns its id."""
        made = self.story.add(db, entity)
        self._made.append(made)
        return made

    def split(self, db: sqlite3.Connection, track: Track, time_s: float) -> int:
        """Makes what follows a time a track of its own, with its boxes and vectors, and returns its id."""
        number = db.execute("SELECT max(number) + 1 FROM tracks WHERE film = ?", (track.film,)).fetchone()[0]
        made = self.story.add(db, replace(track, id=0, number=number, start_s=time_s))
        db.execute("UPDATE tracks SET end_s = ? WHERE id = ?", (time_s, track.id))
        db.execute("UPDATE boxes SET track = ? WHERE track = ? AND time_s >= ?", (made, track.id, time_s))
        _move_vectors(db, track.id, made, time_s)
        self._splits.append([made, track.id, track.end_s])
        return made

    def undo(self) -> dict[str, Any]:
        """Returns what `undo_changes` needs, as JSON; made after all changes."""
        now = {one.id for one in self.story.entities()}
        removed = [one for one in self.before.values() if one.id not in now]
        return {
            "runs": self._runs,
            "tracks": [[key, *value] for key, value in self._tracks.items()],
            "lines": [[key, *value] for key, value in self._lines.items()],
            "splits": self._splits,
            "entities": [[key, *value] for key, value in self._entities.items()],
            "made": [one for one in self._made if one in now],
            "removed": [[one.id, one.kind, one.name, one.category, one.gallery] for one in removed],
            "gallery": self.gallery,
        }


def undo_changes(story: Story, db: sqlite3.Connection, undo: Mapping[str, Any]) -> bool:
    """Puts rows back as they were, inside a transaction.

    Returns:
        Whether it could. Where films were analysed anew since, nothing is put back; their names are then found anew by
        the next run, without the correction.
    """
    if undo.get("runs") != _runs(story):
        db.execute("UPDATE tracks SET source = ? WHERE source = ?", (AUTO, USER))
        db.execute("UPDATE utterances SET source = ? WHERE source = ?", (AUTO, USER))
        db.execute("DELETE FROM stages WHERE name IN ('names', 'appearances')")
        return False
    db.execute("PRAGMA defer_foreign_keys = ON")
    db.executemany("DELETE FROM entities WHERE id = ?", [(one,) for one in undo["made"]])
    for entity, name, gallery in undo["entities"]:
        _name(db, entity, name, gallery)
    db.executemany("INSERT OR IGNORE INTO entities VALUES (?, ?, ?, ?, ?)", undo["removed"])
    for made, track, end_s in reversed(undo["splits"]):
        db.execute("UPDATE boxes SET track = ? WHERE track = ?", (track, made))
        _move_vectors(db, made, track, 0.0)
        db.execute("DELETE FROM tracks WHERE id = ?", (made,))
        db.execute("UPDATE tracks SET end_s = ? WHERE id = ?", (end_s, track))
    for track, entity, confidence, source, kind in undo["tracks"]:
        db.execute(
            "UPDATE tracks SET entity = ?, confidence = ?, source = ?, kind = ? WHERE id = ?",
            (entity, confidence, source, kind, track),
        )
    for line, speaker, label, confidence, source in undo["lines"]:
        db.execute(
            "UPDATE utterances SET speaker = ?, label = ?, confidence = ?, source = ? WHERE id = ?",
            (speaker, label, confidence, source, line),
        )
    # Whoever was forgotten since does not come back.
    db.execute("UPDATE tracks SET entity = NULL WHERE entity NOT IN (SELECT id FROM entities)")
    db.execute("UPDATE utterances SET speaker = NULL WHERE speaker NOT IN (SELECT id FROM entities)")
    return True


def _name(db: sqlite3.Connection, entity: int, name: str, gallery: str | None) -> None:
    db.execute("UPDATE entities SET name = ?, gallery = ? WHERE id = ?", (name, gallery, entity))
    db.execute("UPDATE utterances SET label = ? WHERE speaker = ?", (name, entity))


def _move_vectors(db: sqlite3.Connection, old: int, new: int, time_s: float) -> None:
    db.execute(
        "UPDATE vectors SET owner = ? WHERE owner = ? AND role IN ('face', 'image') AND time_s >= ?", (new, old, time_s)
    )


def _runs(story: Story) -> str:
    """What changes when a film is analysed anew."""
    with story.reading() as db:
        rows = db.execute("SELECT film, name, key, done_at FROM stages ORDER BY film, name").fetchall()
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
