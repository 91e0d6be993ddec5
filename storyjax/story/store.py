"""Reading and writing story.sqlite. Every SQLite error becomes a StoryjaxError that names the story.

Writers use `transaction`, so that a killed process leaves a stage done or not done. Many may read while one writes.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32

from storyjax.core.database import Database
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.story.rows import Appearance, Caption, Correction, Entity, Film, Shot, Track, Utterance, Vector
from storyjax.story.schema import FILE, TABLES, VERSION, statements

T = TypeVar("T")
_TABLE_OF = {
    Film: "films",
    Entity: "entities",
    Shot: "shots",
    Track: "tracks",
    Appearance: "appearances",
    Utterance: "utterances",
    Caption: "captions",
    Vector: "vectors",
    Correction: "corrections",
}
_JSON = ("evidence", "target", "value")
_IN_TIME = "ORDER BY film, start_s, id"


class Story(Database):
    """A story: the folder with story.sqlite."""

    what = "story"
    repair = "make it anew in another folder"

    @classmethod
    def create(cls, folder: str | os.PathLike[str]) -> "Story":
        """Returns the story in a folder, or a new, empty one.

        Raises:
            StoryjaxError: the folder holds something else, or cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = [name for name in os.listdir(folder) if not name.startswith(".")]
        except OSError as error:
            raise StoryjaxError(f"cannot make the story's folder {folder} ({error.strerror}): give another") from error
        if others and FILE not in others:
            raise StoryjaxError(f"{folder} holds something else than a story: give a new or empty folder with --out")
        story = cls(folder, _connect(folder, "rwc"))
        with story.transaction() as db:
            if not db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone():
                for statement in statements(TABLES):
                    db.execute(statement)
                db.execute("INSERT INTO meta VALUES ('version', ?)", (str(VERSION),))
        story._check_version()
        return story

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Story":
        """Returns the story in a folder, also from a read-only disk.

        Raises:
            StoryjaxError: there is none, it is damaged, or of another version.
        """
        folder = Path(folder)
        file = folder / FILE
        if not file.is_file():
            raise StoryjaxError(f"no story in {folder}: 'storyjax story VIDEO --out {folder}' makes one")
        writable = os.access(file, os.W_OK) and os.access(folder, os.W_OK)
        story = cls(folder, _connect(folder, "rw" if writable else "ro"))
        story._check_version()
        return story

    def __enter__(self) -> "Story":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_version(self) -> None:
        with self.reading() as db:
            if not db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone():
                raise StoryjaxError(f"the story in {self.folder} was only begun: run 'storyjax story' again")
        found = self.meta().get("version")
        if found != str(VERSION):
            raise StoryjaxError(
                f"the story in {self.folder} has version {found} of the tables, this storyjax writes {VERSION}:"
                " use the storyjax that made it, or make the story anew in another folder"
            )

    def rows(self, kind: type[T], condition: str = "", values: Sequence[Any] = ()) -> list[T]:
        """Returns the rows of a kind (a class of rows.py); `condition` is SQL after the table's name."""
        with self.reading() as db:
            return [
                _row(kind, row)
                for row in db.execute(f"SELECT {_columns(kind)} FROM {_TABLE_OF[kind]} {condition}", values)
            ]

    def add(self, db: sqlite3.Connection, row: Any) -> int:
        """Stores a row inside a transaction and returns its id; id 0 is given a new one."""
        names = [one.name for one in fields(row)]
        given = [_stored(name, getattr(row, name)) for name in names]
        if row.id == 0:
            names, given = names[1:], given[1:]
        marks = ", ".join("?" * len(names))
        quoted = ", ".join(f'"{name}"' for name in names)
        made = db.execute(f"INSERT INTO {_TABLE_OF[type(row)]} ({quoted}) VALUES ({marks})", given)
        assert made.lastrowid is not None  # after an INSERT
        return made.lastrowid

    def films(self) -> list[Film]:
        """Returns all films by name."""
        return self.rows(Film, "ORDER BY name")

    def film(self, name: str) -> Film:
        """Returns the film of that name. Raises StoryjaxError: there is none; the message has the nearest names."""
        films = self.films()
        for film in films:
            if film.name == name:
                return film
        raise StoryjaxError(f"the story in {self.folder} has no film '{name}'.{nearest(name, [f.name for f in films])}")

    def media(self, film: Film) -> Path:
        """Returns the path of a film's file, which need not be there any more."""
        return Path(os.path.normpath(self.folder / film.path))

    def entities(self, kind: str | None = None) -> list[Entity]:
        """Returns all people and things, or those of a kind, by name."""
        return self.rows(Entity, "WHERE kind = ? ORDER BY name" if kind else "ORDER BY name", [kind] if kind else [])

    def shots(self, film: int) -> list[Shot]:
        """Returns a film's shots in order."""
        return self.rows(Shot, "WHERE film = ? ORDER BY number", [film])

    def tracks(self, film: int) -> list[Track]:
        """Returns a film's tracks by the time at which they begin."""
        return self.rows(Track, f"WHERE film = ? {_IN_TIME}", [film])

    def boxes(self, track: int) -> Float32[np.ndarray, "n 6"]:
        """Returns a track's boxes in time: time_s, left, top, width, height, score."""
        with self.reading() as db:
            found = db.execute(
                'SELECT time_s, "left", top, width, height, score FROM boxes WHERE track = ? ORDER BY time_s', (track,)
            ).fetchall()
        return np.array(found, np.float32).reshape(-1, 6)

    def appearances(self, film: int | None = None, entity: int | None = None) -> list[Appearance]:
        """Returns when somebody or something is seen: of a film, of an entity, or of both."""
        return self._of(Appearance, film=film, entity=entity)

    def utterances(self, film: int | None = None, speaker: int | None = None) -> list[Utterance]:
        """Returns what is said in time: in a film, by somebody, or both."""
        return self._of(Utterance, film=film, speaker=speaker)

    def captions(self, film: int) -> list[Caption]:
        """Returns what the shots of a film show, in their order."""
        return self.rows(Caption, "WHERE film = ? ORDER BY shot, id", [film])

    def said(self, words: str, film: int | None = None, limit: int = 50) -> list[Utterance]:
        """Returns the utterances that hold all of some words, the best match first."""
        terms = " ".join(f'"{word}"' for word in words.replace('"', " ").split())
        if not terms:
            return []
        where = "" if film is None else "AND film = ?"
        columns = ", ".join(f"u.{one.name}" for one in fields(Utterance))
        with self.reading() as db:
            found = db.execute(
                f"SELECT {columns} FROM utterances_text t JOIN utterances u ON u.id = t.rowid"
                f" WHERE utterances_text MATCH ? {where} ORDER BY t.rank, u.film, u.start_s LIMIT ?",
                [terms, *([] if film is None else [film]), limit],
            ).fetchall()
        return [_row(Utterance, row) for row in found]

    def vectors(self, role: str, model: str, film: int | None = None) -> list[Vector]:
        """Returns the vectors of a role that a network made, in a film or in all."""
        where = "WHERE role = ? AND model = ?" + ("" if film is None else " AND film = ?")
        return self.rows(Vector, f"{where} ORDER BY film, time_s, id", [role, model, *([] if film is None else [film])])

    def still(self, still: int) -> bytes | None:
        """Returns the JPEG bytes of a picture; None where it was removed."""
        with self.reading() as db:
            found = db.execute("SELECT jpeg FROM stills WHERE id = ?", (still,)).fetchone()
        return None if found is None else found[0]

    def corrections(self) -> list[Correction]:
        """Returns all corrections in the order in which they were made."""
        return self.rows(Correction, "ORDER BY id")

    def _of(self, kind: type[T], **wanted: int | None) -> list[T]:
        given = {name: value for name, value in wanted.items() if value is not None}
        where = "WHERE " + " AND ".join(f"{name} = ?" for name in given) if given else ""
        return self.rows(kind, f"{where} {_IN_TIME}", list(given.values()))


def add_boxes(db: sqlite3.Connection, track: int, boxes: Iterable[Sequence[float]]) -> None:
    """Stores a track's boxes inside a transaction: time_s, left, top, width, height, score of each."""
    db.executemany("INSERT INTO boxes VALUES (?, ?, ?, ?, ?, ?, ?)", ((track, *map(float, box)) for box in boxes))


def _columns(kind: type[Any]) -> str:
    return ", ".join(f'"{one.name}"' for one in fields(kind))


def _row(kind: type[T], values: Sequence[Any]) -> T:
    given = {one.name: value for one, value in zip(fields(kind), values, strict=True)}  # type: ignore[arg-type]
    for name in _JSON:
        if name in given:
            given[name] = json.loads(given[name])
    for name in ("has_video", "has_audio"):
        if name in given:
            given[name] = bool(given[name])
    if "vector" in given:
        given["vector"] = np.frombuffer(given["vector"], "<f4")
    return kind(**given)


def _stored(name: str, value: Any) -> Any:
    if name in _JSON:
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, np.ndarray):
        return np.asarray(value, "<f4").tobytes()
    return int(value) if isinstance(value, bool) else value


def _connect(folder: Path, mode: str) -> sqlite3.Connection:
    # What is forgotten must not stay in free pages.
    return Story.connect(folder, FILE, mode, [] if mode == "ro" else ["PRAGMA secure_delete = ON"], threads=True)
