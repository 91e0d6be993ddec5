"""A folder whose data are one SQLite file: reading, whole transactions, and errors in one line."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from storyjax.core.errors import StoryjaxError


class Database:
    """An open file. Every SQLite error becomes a StoryjaxError that names its folder.

    Attributes:
        what: the word for it in messages.
        repair: what to do with a damaged one; `{folder}` stands for its folder.
    """

    what: ClassVar[str]
    repair: ClassVar[str]

    def __init__(self, folder: Path, connection: sqlite3.Connection):
        self.folder = folder
        self.db = connection

    @classmethod
    def connect(
        cls, folder: Path, file: str, mode: str, pragmas: Sequence[str], threads: bool = False
    ) -> sqlite3.Connection:
        """Returns a connection without implicit transactions, with foreign keys.

        Args:
            folder, file: where the database is.
            mode: of SQLite's URI: "ro", "rw" or "rwc".
            pragmas: statements that are run first.
            threads: whether other threads than this one may use it, one at a time.

        Raises:
            StoryjaxError: it cannot be opened.
        """
        try:
            uri = f"{(folder.resolve() / file).as_uri()}?mode={mode}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=not threads)
            for pragma in ("PRAGMA foreign_keys = ON", *pragmas):
                connection.execute(pragma)
            return connection
        except sqlite3.Error as error:
            raise cls._told(folder, error) from error

    def close(self) -> None:
        """Closes the file."""
        self.db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection; SQLite errors inside become StoryjaxErrors."""
        try:
            yield self.db
        except sqlite3.DatabaseError as error:
            raise self._told(self.folder, error) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection; everything written inside is stored, or after any exception nothing."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def meta(self) -> dict[str, str]:
        """Returns the key-value pairs of the table `meta`."""
        with self.reading() as db:
            return dict(db.execute("SELECT key, value FROM meta"))

    def set_meta(self, key: str, value: str) -> None:
        """Stores a key-value pair in the table `meta`."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @classmethod
    def _told(cls, folder: Path, error: sqlite3.Error) -> StoryjaxError:
        if isinstance(error, sqlite3.OperationalError):  # the disk is full, read-only or locked
            return StoryjaxError(f"cannot use the {cls.what} in {folder} ({error}): check its disk and permissions")
        return StoryjaxError(f"the {cls.what} in {folder} is damaged ({error}): {cls.repair.format(folder=folder)}")
