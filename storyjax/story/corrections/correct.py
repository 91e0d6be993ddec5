"""What a person corrects in a story: names, who a track or a sentence is of, and who it is not.

Each correction is done at once, stored in the table `corrections` under a target that survives re-runs (targets.py),
and made again by `apply_corrections` whenever a film was named anew. The last one can be undone. Actions, with what
`value` holds:

    rename  target: {"who": reference}       {"who": reference under the new name}
    merge   target: {"who": reference}       {"who": reference to whom both are now}
    assign  target: of a track or sentence   {"who": reference}; a span {"from", "to"} in the target is split off
    reject  target: of a track or sentence   {"who": reference to whom it never is}

Besides, `value` holds under "undo" what was there before. What a person assigned has the source "user" and the
confidence 1; what was rejected is free to be found to be of somebody else.
"""

import datetime
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.gallery import Gallery
from storyjax.gallery.names import name_key, normalise_name
from storyjax.story.appearances import store_appearances
from storyjax.story.corrections.change_log import Changes, undo_changes
from storyjax.story.corrections.targets import FilmRows, Target, line_target, new_reference, reference, track_target
from storyjax.story.corrections.teaching import Teacher
from storyjax.story.rows import PERSON, Correction, Entity, Film, Track, Utterance
from storyjax.story.store import Story

RENAME, MERGE, ASSIGN, REJECT = "rename", "merge", "assign", "reject"
_SHORTEST_PIECE_S = 0.2  # less of a track is not split off


class Corrector:
    """Makes corrections in a story, and teaches the gallery what they say.

    Args:
        story: open for writing.
        gallery: None: what is corrected stays in the story alone.
    """

    def __init__(self, story: Story, gallery: Gallery | None = None):
        self.story = story
        self.teacher = Teacher(story, gallery)

    def rename(self, entity: int, name: str) -> str:
        """Gives somebody or something another name, in the story and in the gallery; returns what was done.

        Raises:
            StoryjaxError: there is no such entity, or the name is taken or none.
        """
        row = self._entity(entity)
        name = normalise_name(name)
        self._check_free(name, row)
        target = {"who": reference(self.story, row)}
        changes = Changes(self.story)
        gallery = self.teacher.rename(row, name, changes)
        who = new_reference(name, row.kind, row.category, gallery)
        self._do(RENAME, target, {"who": who}, changes)
        return f"{row.name} is {name} now"

    def merge(self, entity: int, into: int) -> str:
        """Makes two people, or things, one, under the name of the second (of the first, where it alone has one).

        Raises:
            StoryjaxError: there is no such entity, both are the same, or of two kinds.
        """
        first, second = self._entity(entity), self._entity(into)
        if first.id == second.id:
            raise StoryjaxError(f"{first.name} is one already: choose somebody else")
        if first.kind != second.kind:
            raise StoryjaxError(f"{first.name} is a {first.kind}, {second.name} a {second.kind}: they cannot be one")
        if first.named and not second.named:
            first, second = second, first
        target = {"who": reference(self.story, first)}
        value = {"who": reference(self.story, second)}
        changes = Changes(self.story)
        self.teacher.merge(first, second, changes)
        self._do(MERGE, target, value, changes)
        return f"{first.name} and {second.name} are one now"

    def assign_track(
        self, track: int, who: int | str | None, start: float | None = None, end: float | None = None
    ) -> str:
        """Says who or what a track is of, or the span of it from `start` to `end`; None: of somebody new.

        Raises:
            StoryjaxError: there is no such track or entity, or nothing of the track is in the span.
        """
        row, film = self._track(track)
        target = track_target(self.story, film, row)
        if start is not None or end is not None:
            first, last = max(row.start_s, start or 0.0), min(row.end_s, row.end_s if end is None else end)
            if last - first < _SHORTEST_PIECE_S:
                raise StoryjaxError(
                    f"the track is there from {row.start_s:.1f} to {row.end_s:.1f} s: give a part of it"
                )
            target |= {"from": first, "to": last}
        kind = row.kind if row.kind == PERSON else "thing"
        return self._assign(target, who, kind, row.category)

    def assign_line(self, line: int, who: int | str | None, whole_voice: bool = False) -> str:
        """Says who says a sentence, or all sentences of its film with the same label ("Speaker 2") that nobody is known
        to say; None: somebody new.

        Raises:
            StoryjaxError: there is no such sentence or entity.
        """
        row, film = self._line(line)
        target = line_target(film, row)
        if whole_voice:
            alike = [
                line_target(film, one)
                for one in self.story.utterances(film.id)
                if one.speaker is None and one.label == row.label
            ]
            target = {"film": film.digest, "parts": alike or [target]}
        return self._assign(target, who, PERSON, None)

    def _assign(self, target: dict[str, Any], who: int | str | None, kind: str, category: str | None) -> str:
        changes = Changes(self.story)
        if isinstance(who, int):
            entity = self._entity(who)
            ref = reference(self.story, entity)
        else:
            name = None if who is None else normalise_name(who)
            known = [one for one in self.story.entities() if name and name_key(one.name) == name_key(name)]
            if known:
                ref = reference(self.story, known[0])
            elif name is None:
                ref = new_reference("", kind, category, None)
            else:
                ref = new_reference(name, kind, category, self.teacher.create(name, kind, category, changes))
        if ref["kind"] != kind:
            raise StoryjaxError(f"{ref['name']} is a {ref['kind']}, this is a {kind}: choose another")
        self._do(ASSIGN, target, {"who": ref}, changes)
        return f"this is {ref['name']} now" if ref["name"] else "this is somebody else now"

    def reject_track(self, track: int) -> str:
        """Says that a track is not of whom it is said to be. Raises StoryjaxError: no such track, or of nobody."""
        row, film = self._track(track)
        return self._reject(track_target(self.story, film, row), row.entity)

    def reject_line(self, line: int) -> str:
        """Says that a sentence is not by whom it is said to be. Raises StoryjaxError: no such one, or by nobody."""
        row, film = self._line(line)
        return self._reject(line_target(film, row), row.speaker)

    def _reject(self, target: dict[str, Any], entity: int | None) -> str:
        if entity is None:
            raise StoryjaxError("nobody is named here: there is nothing to take back")
        row = self._entity(entity)
        ref = reference(self.story, row)
        if "parts" in ref:  # the group without this one
            ref["parts"] = [part for part in ref["parts"] if part != target]
        self._do(REJECT, target, {"who": ref}, Changes(self.story))
        return f"this is not {row.name}"

    def undo(self) -> str:
        """Takes the last correction back, in the story and in the gallery; returns what was done.

        Raises:
            StoryjaxError: there is none.
        """
        corrections = self.story.corrections()
        if not corrections:
            raise StoryjaxError("there is no correction to undo")
        last = corrections[-1]
        before = last.value.get("undo", {})
        films = set(before.get("films", ()))
        fresh = self.teacher.undo(before.get("gallery", []))
        with self.story.transaction() as db:
            whole = undo_changes(self.story, db, before)
            for old, new in fresh.items():
                db.execute("UPDATE entities SET gallery = ? WHERE gallery = ?", (new, old))
            db.execute("DELETE FROM corrections WHERE id = ?", (last.id,))
            for film in self.story.films():
                if film.id in films:
                    store_appearances(self.story, db, film)
        return f"undone: {last.action}" + ("" if whole else "; run 'storyjax story' again to name its films anew")

    def _do(self, action: str, target: Target, value: dict[str, Any], changes: Changes) -> None:
        """Stores a correction and makes it, as a whole or not at all; the gallery's part is taken back with it."""
        try:
            with self.story.transaction() as db:
                films = self._films_of(action, target)
                for film in films:
                    _Replay(self.story, db, film, changes).make(action, target, value)
                for film in films:
                    store_appearances(self.story, db, film)
                self.teacher.teach(value, changes)
                now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                row = Correction(
                    0, now, action, target, {**value, "undo": {**changes.undo(), "films": [film.id for film in films]}}
                )
                self.story.add(db, row)
        except BaseException:
            self.teacher.undo(changes.gallery)
            raise

    def _films_of(self, action: str, target: Target) -> list[Film]:
        """The films in which a correction changes something."""
        if action in (ASSIGN, REJECT):
            return [film for film in self.story.films() if film.digest == target["film"]]
        who = target["who"]
        digests = {part["film"] for part in who.get("parts", ())}
        with self.story.reading() as db:
            of = "(SELECT id FROM entities WHERE gallery = :gallery)"
            rows = db.execute(
                f"SELECT film FROM tracks WHERE entity IN {of} UNION SELECT film FROM utterances WHERE speaker IN {of}",
                {"gallery": who["gallery"]},
            )
            numbers = {row[0] for row in rows}
        return [film for film in self.story.films() if film.digest in digests or film.id in numbers]

    def _check_free(self, name: str, row: Entity) -> None:
        for one in self.story.entities():
            if one.id != row.id and name_key(one.name) == name_key(name):
                raise StoryjaxError(f"there is a {one.name} already: merge the two, or give a word more")

    def _entity(self, entity: int) -> Entity:
        found = self.story.rows(Entity, "WHERE id = ?", [entity])
        if not found:
            raise StoryjaxError(
                f"the story has no entity number {entity}: it was changed meanwhile; load the page again"
            )
        return found[0]

    def _track(self, track: int) -> tuple[Track, Film]:
        found = self.story.rows(Track, "WHERE id = ?", [track])
        if not found:
            raise StoryjaxError(f"the story has no track number {track}: it was changed meanwhile; load the page again")
        return found[0], self.story.rows(Film, "WHERE id = ?", [found[0].film])[0]

    def _line(self, line: int) -> tuple[Utterance, Film]:
        found = self.story.rows(Utterance, "WHERE id = ?", [line])
        if not found:
            raise StoryjaxError(
                f"the story has no sentence number {line}: it was changed meanwhile; load the page again"
            )
        return found[0], self.story.rows(Film, "WHERE id = ?", [found[0].film])[0]


def apply_corrections(story: Story, film: Film) -> int:
    """Makes all corrections again in a film that was named anew, and returns how many there are. Inside a transaction
    it is part of it. Appearances have to be stored afterwards."""
    corrections = story.corrections()
    if not corrections:
        return 0
    if story.db.in_transaction:
        _apply(story, story.db, film, corrections)
    else:
        with story.transaction() as db:
            _apply(story, db, film, corrections)
    return len(corrections)


def _apply(story: Story, db: sqlite3.Connection, film: Film, corrections: Iterable[Correction]) -> None:
    for one in corrections:
        _Replay(story, db, film, Changes(story)).make(one.action, one.target, one.value)


class _Replay:
    """Makes one correction in one film."""

    def __init__(self, story: Story, db: sqlite3.Connection, film: Film, changes: Changes):
        self.story = story
        self.db = db
        self.rows = FilmRows(story, film)
        self.changes = changes

    def make(self, action: str, target: Target, value: Mapping[str, Any]) -> None:
        """Makes a correction as far as it is about this film."""
        if action in (RENAME, MERGE):
            self._move_all(target["who"], value["who"])
            return
        tracks, lines = self.rows.find(target)
        if not (tracks or lines):
            return
        if action == REJECT:
            self._reject(tracks, lines, value["who"])
            return
        if "from" in target:
            pieces = [self._piece(track, target["from"], target["to"]) for track in tracks]
            tracks = [piece for piece in pieces if piece is not None]
        entity = self.entity(value["who"])
        for found in tracks:
            self.changes.set_track(self.db, found, entity, True)
        for line in lines:
            self.changes.set_line(self.db, line, entity, self._name(entity), True)

    def _reject(self, tracks: list[Track], lines: list[Utterance], who: Mapping[str, Any]) -> None:
        entity = self.find_entity(who)
        for track in tracks:
            if track.entity is not None and track.entity == entity:
                self.changes.set_track(self.db, track, None, False)
        for line in lines:
            if line.speaker is not None and line.speaker == entity:
                self.changes.set_line(self.db, line, None, "Unknown", False)

    def _move_all(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Makes all that is of one entity another's. One that is known by the gallery is told by its id, a group by
        its parts."""
        entity = self._known(old)
        if old["gallery"] and old["gallery"] == new["gallery"]:
            if entity is not None:
                self._make_room(new["name"], entity)
                self.changes.set_entity(self.db, entity, new["name"], new["gallery"])
            return
        if old["gallery"]:
            tracks = [track for track in self.rows.tracks if entity is not None and track.entity == entity]
            lines = [line for line in self.rows.lines if entity is not None and line.speaker == entity]
        else:
            found = [self.rows.find(part) for part in old.get("parts", ())]
            tracks = [track for some, _ in found for track in some]
            lines = [line for _, some in found for line in some]
        if not (tracks or lines):
            return
        to = self.entity(new)
        for track in tracks:
            self.changes.set_track(self.db, track, to, True)
        for line in lines:
            self.changes.set_line(self.db, line, to, self._name(to), True)

    def _piece(self, track: Track, start: float, end: float) -> Track | None:
        """Cuts a track where the span begins and ends, and returns what is in it."""
        if min(track.end_s, end) - max(track.start_s, start) < _SHORTEST_PIECE_S / 2:
            return None
        if end < track.end_s - _SHORTEST_PIECE_S:
            self.changes.split(self.db, track, end)
            track = self.story.rows(Track, "WHERE id = ?", [track.id])[0]
        if start > track.start_s + _SHORTEST_PIECE_S:
            return self.story.rows(Track, "WHERE id = ?", [self.changes.split(self.db, track, start)])[0]
        return track

    def entity(self, who: Mapping[str, Any]) -> int:
        """Returns the row of a reference, made where there is none."""
        found = self.find_entity(who)
        if found is not None:
            return found
        name = who["name"] or self._free_name(who["kind"])
        if (known := self._make_room(name)) is not None:
            return known
        made = self.changes.add_entity(self.db, Entity(0, who["kind"], name, who["category"], who["gallery"]))
        if "new" in who:
            self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"new {who['new']}", str(made)))
        return made

    def find_entity(self, who: Mapping[str, Any]) -> int | None:
        """Returns the row of a reference; None where there is none."""
        if who["gallery"]:
            return self._known(who)
        if "new" in who:
            return self._known(who)
        parts = who.get("parts", ())
        digests = {part["film"] for part in parts}
        others = (film for film in self.story.films() if film.digest in digests and film.id != self.rows.film.id)
        for rows in itertools.chain([self.rows], (FilmRows(self.story, film) for film in others)):
            votes: Counter[int] = Counter()
            for tracks, lines in map(rows.find, parts):
                votes.update(track.entity for track in tracks if track.entity is not None)
                votes.update(line.speaker for line in lines if line.speaker is not None)
            if votes:
                return votes.most_common(1)[0][0]
        found = [one.id for one in self.story.entities(who["kind"]) if one.name == who["name"] and not one.named]
        return found[0] if found else None

    def _known(self, who: Mapping[str, Any]) -> int | None:
        if who["gallery"]:
            found = self.story.rows(Entity, "WHERE gallery = ?", [who["gallery"]])
            return found[0].id if found else None
        made = self.story.meta().get(f"new {who['new']}") if "new" in who else None
        found = self.story.rows(Entity, "WHERE id = ?", [int(made)]) if made else []
        return found[0].id if found else None

    def _make_room(self, name: str, but: int = 0) -> int | None:
        """Gives a group that has a name which is needed another; returns who has it by right, None where nobody."""
        for one in self.story.entities():
            if one.id != but and name_key(one.name) == name_key(name):
                if one.named:
                    return one.id
                self.changes.set_entity(self.db, one.id, self._free_name(one.kind), None)
        return None

    def _name(self, entity: int) -> str:
        return self.story.rows(Entity, "WHERE id = ?", [entity])[0].name

    def _free_name(self, kind: str) -> str:
        word = "Person" if kind == PERSON else "Thing"
        taken = {one.name for one in self.story.entities()}
        return next(f"{word} {n}" for n in range(1, len(taken) + 2) if f"{word} {n}" not in taken)
