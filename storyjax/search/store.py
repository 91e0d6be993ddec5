"""The index: embeddings of images, clips and frames with their times and thumbnails, in one SQLite file.

Every change is a transaction, so that an indexing run killed at any moment leaves each file either untouched or indexed
up to some clip from which the next run continues: nothing is lost or stored twice. The FAISS files beside it
(`storyjax/search/vectors.py`) are made from this one and can be deleted.
"""

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from storyjax.core.database import Database
from storyjax.core.errors import StoryjaxError

FILE = "index.sqlite"
FORMAT = "1"
# Kinds of vectors. People are searched for in clips, things in frames (§4.7.2, §5.4), both in images; faces, which
# another encoder describes, are those of the images and frames (§4.7.6).
IMAGE, CLIP, FRAME, FACE = "image", "clip", "frame", "face"
DONE, PARTIAL, BROKEN = "done", "partial", "broken"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT, clips INTEGER NOT NULL DEFAULT 0);
CREATE TABLE stills (
    id INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE,
    jpeg BLOB NOT NULL);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE,
    kind TEXT NOT NULL, clip INTEGER NOT NULL, start_s REAL, end_s REAL, still INTEGER NOT NULL, vector BLOB NOT NULL);
CREATE INDEX stills_of_file ON stills(file);
CREATE INDEX vectors_of_file ON vectors(file);
CREATE INDEX vectors_of_kind ON vectors(kind, id);
"""


@dataclass(frozen=True)
class Row:
    """One embedding.

    Attributes:
        kind: IMAGE, CLIP, FRAME or FACE.
        clip: the clip's number in its file, from 0.
        start_s, end_s: in seconds; None for an image.
        vector: of unit length.
        still: a thumbnail, JPEG.
    """

    kind: str
    clip: int
    start_s: float | None
    end_s: float | None
    vector: Float32[np.ndarray, " d"]
    still: bytes


@dataclass(frozen=True)
class KnownFile:
    """A file as it was when it was indexed; `path` is relative to the indexed folder, as bytes of the file system.

    Attributes:
        state: DONE, PARTIAL or BROKEN.
        reason: of a broken one.
        clips: how many are indexed.
    """

    id: int
    path: bytes
    size: int
    mtime_ns: int
    state: str
    reason: str | None
    clips: int


class Store(Database):
    """An index's rows. Every SQLite error becomes a StoryjaxError that names the index."""

    what = "index"
    repair = "remove {folder} and index again"

    @classmethod
    def create(cls, folder: str | os.PathLike[str], meta: dict[str, str]) -> "Store":
        """Returns the index in `folder`, or a new, empty one with `meta`.

        Raises:
            StoryjaxError: the folder holds something else, or cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = [name for name in os.listdir(folder) if not name.startswith(".")]
            if others and FILE not in others:
                raise StoryjaxError(f"{folder} holds something else than an index: give a new or empty folder")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise StoryjaxError(f"cannot make the index folder {folder} ({why}): give another") from error
        store = cls(folder, _connect(folder, "rwc"))
        with store.transaction() as db:
            if not db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone():
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                rows = {**meta, "format": FORMAT, "generation": "0"}
                db.executemany("INSERT INTO meta VALUES (?, ?)", rows.items())
        store._check_format()
        return store

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Store":
        """Returns an existing index, also on a read-only disk.

        Raises:
            StoryjaxError: there is none, or it is damaged.
        """
        folder = Path(folder)
        make = "'storyjax find index FOLDER --out DIR' makes one"
        try:
            exists = (folder / FILE).is_file()
            writable = os.access(folder / FILE, os.W_OK) and os.access(folder, os.W_OK)
        except ValueError as error:  # no folder can have this name
            raise StoryjaxError(f"no index in {str(folder)!r}: {make}") from error
        if not exists:
            raise StoryjaxError(f"no index in {folder}: {make}")
        store = cls(folder, _connect(folder, "rw" if writable else "ro"))
        with store.reading() as db:
            begun = db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone()
        if not begun:
            raise StoryjaxError(f"the index in {folder} was only begun: run 'storyjax find index' again")
        store._check_format()
        return store

    def _check_format(self) -> None:
        if self.meta().get("format") != FORMAT:
            raise StoryjaxError(
                f"the index in {self.folder} was made by another version of storyjax: remove it and index again"
            )

    def files(self) -> dict[bytes, KnownFile]:
        """Returns all files by path, sorted."""
        with self.reading() as db:
            rows = db.execute("SELECT id, path, size, mtime_ns, state, reason, clips FROM files ORDER BY path")
            return {row[1]: KnownFile(*row) for row in rows}

    def begin_file(self, path: bytes, size: int, mtime_ns: int) -> KnownFile:
        """Returns a new row for a file that is indexed from its start; its earlier rows are removed."""
        with self.transaction() as db:
            self._forget(db, path)
            made = db.execute(
                "INSERT INTO files (path, size, mtime_ns, state) VALUES (?, ?, ?, ?)", (path, size, mtime_ns, PARTIAL)
            )
            return KnownFile(_row_id(made), path, size, mtime_ns, PARTIAL, None, 0)

    def add(self, file: KnownFile, rows: Sequence[Row], clips: int, done: bool) -> None:
        """Adds the rows of the next `clips` clips of a file (of an image: its one row and no clips)."""
        with self.transaction() as db:
            stills: dict[bytes, int] = {}
            for row in rows:
                if row.still not in stills:  # a clip's thumbnail is its centre frame, which is stored as a frame too
                    made = db.execute("INSERT INTO stills (file, jpeg) VALUES (?, ?)", (file.id, row.still))
                    stills[row.still] = _row_id(made)
                data = row.vector.astype("<f4").tobytes()
                values = (file.id, row.kind, row.clip, row.start_s, row.end_s, stills[row.still], data)
                db.execute(
                    "INSERT INTO vectors (file, kind, clip, start_s, end_s, still, vector)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
            state = DONE if done else PARTIAL
            db.execute("UPDATE files SET state = ?, clips = clips + ? WHERE id = ?", (state, clips, file.id))
            self._changed(db)

    def mark_broken(self, file: KnownFile, reason: str) -> None:
        """Removes the rows of a file that cannot be read, and keeps the reason until the file changes."""
        with self.transaction() as db:
            for table in ("vectors", "stills"):
                db.execute(f"DELETE FROM {table} WHERE file = ?", (file.id,))
            db.execute("UPDATE files SET state = ?, reason = ?, clips = 0 WHERE id = ?", (BROKEN, reason, file.id))
            self._changed(db)

    def forget(self, paths: Sequence[bytes]) -> None:
        """Removes files with all their rows."""
        with self.transaction() as db:
            for path in paths:
                self._forget(db, path)

    def remove_images(self, ids: Sequence[int]) -> int:
        """Removes the thumbnails of vectors, with all vectors that have one of them, so that no byte of them is left.

        Returns:
            The number of thumbnails.
        """
        with self.transaction() as db:
            stills = {still for *_, still in self.describe(ids).values()}
            for still in stills:
                db.execute("DELETE FROM vectors WHERE still = ?", (still,))
                db.execute("DELETE FROM stills WHERE id = ?", (still,))
            self._changed(db)
        with self.reading() as db:
            db.execute("VACUUM")  # SQLite leaves what was deleted in free pages
        return len(stills)

    def _forget(self, db: sqlite3.Connection, path: bytes) -> None:
        if db.execute("DELETE FROM files WHERE path = ?", (path,)).rowcount:
            self._changed(db)

    @staticmethod
    def _changed(db: sqlite3.Connection) -> None:
        db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")

    def generation(self) -> int:
        """Returns a number that grows whenever vectors are added or removed."""
        return int(self.meta()["generation"])

    def count(self, kind: str | None = None) -> int:
        """Returns the number of vectors, of one kind or of all."""
        with self.reading() as db:
            condition, values = ("WHERE kind = ?", (kind,)) if kind else ("", ())
            return db.execute(f"SELECT count(*) FROM vectors {condition}", values).fetchone()[0]

    def ids(self, kind: str) -> Int64[np.ndarray, " n"]:
        """Returns the ids of all vectors of a kind, ascending. An id is never used again."""
        with self.reading() as db:
            rows = db.execute("SELECT id FROM vectors WHERE kind = ? ORDER BY id", (kind,))
            return np.fromiter((row[0] for row in rows), np.int64)

    def vectors(self, ids: Int64[np.ndarray, " n"]) -> tuple[Int64[np.ndarray, " m"], Float32[np.ndarray, "m d"]]:
        """Returns the `ids` that still exist, in the given order, and their vectors."""
        found: dict[int, bytes] = {}
        with self.reading() as db:
            for start in range(0, len(ids), 500):
                some = [int(i) for i in ids[start : start + 500]]
                marks = ",".join("?" * len(some))
                found.update(db.execute(f"SELECT id, vector FROM vectors WHERE id IN ({marks})", some))
        kept = [int(i) for i in ids if int(i) in found]
        rows = [np.frombuffer(found[i], "<f4") for i in kept]
        return np.array(kept, np.int64), np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def describe(self, ids: Sequence[int]) -> dict[int, tuple[bytes, str, int, float | None, float | None, int]]:
        """Returns, for each existing id, path, kind, clip, start and end (seconds), and the id of its thumbnail."""
        found: dict[int, tuple] = {}
        with self.reading() as db:
            for start in range(0, len(ids), 500):
                some = [int(i) for i in ids[start : start + 500]]
                rows = db.execute(
                    "SELECT v.id, f.path, v.kind, v.clip, v.start_s, v.end_s, v.still FROM vectors v"
                    f" JOIN files f ON f.id = v.file WHERE v.id IN ({','.join('?' * len(some))})",
                    some,
                )
                found.update((row[0], row[1:]) for row in rows)
        return found

    def dim(self, kind: str) -> int:
        """Returns the width of the vectors of a kind."""
        return int(self.meta()["face_dim" if kind == FACE else "dim"])

    def still(self, still: int) -> bytes:
        """Returns the JPEG bytes of a thumbnail."""
        with self.reading() as db:
            return db.execute("SELECT jpeg FROM stills WHERE id = ?", (still,)).fetchone()[0]


def _row_id(cursor: sqlite3.Cursor) -> int:
    row = cursor.lastrowid
    assert row is not None  # after an INSERT
    return row


def _connect(folder: Path, mode: str) -> sqlite3.Connection:
    # For a new file: a page of SQLite's default 4 KiB would hold one vector of 512, half empty.
    return Store.connect(folder, FILE, mode, ["PRAGMA page_size = 16384"])
