"""Files that appear whole or not at all, and never in place of something else: the guard of every writer.

They are written beside their place and then renamed into it; in a bucket, uploaded whole. A link stays a link, and what
it points to is replaced; a device, a pipe or a socket is refused, as is what was read (`check_outputs`).
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from storyjax.core.bucket_lock import bucket_lock
from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError

# What a process that was killed may leave behind, for whoever cleans a folder up.
UNFINISHED = ".*.partial"
# Errors of writing that the system reports without saying of which file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_NO_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
_TRIED_BYTES = 2**16
_LONE = re.compile("[\ud800-\udfff]")  # surrogates: what Python makes of bytes of names that are no UTF-8


class OutputError(StoryjaxError):
    """A place that nothing may, or can, be written to."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Yields a path beside `path` to write to; it replaces `path` when the context ends without an exception.

    A reader, or a process killed at any moment, sees the old file or the new one, never half of one. After an exception
    nothing is left of the new one. The folder must be there. A file that is replaced hands its permissions on; what a
    link points to is replaced, not the link.

    Args:
        path: the file's place.
        durable: whether the bytes are on the disk, not only on their way to it, before the file appears.

    Raises:
        OSError: the file cannot be renamed or flushed. One about a full disk names `path`, whoever raised it inside.
        OutputError: there is a folder, a device, a pipe or a socket at `path`.
    """
    path, old = _destination(path)
    if isinstance(path, BucketPath):
        with tempfile.TemporaryDirectory(prefix="storyjax-") as scratch:
            local = Path(scratch, path.name)
            yield local
            path.upload(local)
        return
    # In the same folder, for a rename is atomic only within one file system; cut, for names have a longest length.
    unfinished = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.partial")
    try:
        yield unfinished
        if durable:
            with open(unfinished, "rb") as file:
                os.fsync(file.fileno())
        if old is not None:
            shutil.copymode(path, unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write_atomically(
    path: str | os.PathLike[str], content: str | bytes | Callable[[Path], object], *, durable: bool = False
) -> None:
    """Writes a file that appears whole or not at all, replacing the one that is there.

    Args:
        path: the file's place; its folder must be there.
        content: text, written as UTF-8 with "\\n" line ends; bytes; or a function that writes to the path it is given.
        durable: as in `atomic_path`.

    Raises:
        OSError: the file cannot be written; what was there before is then untouched.
        OutputError: as of `atomic_path`.
    """
    path = place(path)
    if isinstance(path, BucketPath) and not callable(content):
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return
    with atomic_path(path, durable=durable) as unfinished:
        if callable(content):
            content(unfinished)
        else:
            unfinished.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _destination(path: str | os.PathLike[str]) -> tuple[Path, os.stat_result | None]:
    """Where a file is really written, links followed, and what is there."""
    path = place(path)
    if isinstance(path, BucketPath):
        return path, None
    try:
        there = path.stat()
    except FileNotFoundError:
        there = None  # nothing, or a link to nothing
    if there is not None:
        for is_kind, kind in _NO_FILES:
            if is_kind(there.st_mode):
                raise OutputError(f"{path} is {kind}: give the name of a file")
    return (Path(os.path.realpath(path)) if path.is_symlink() else path), there


def check_outputs(
    outputs: Sequence[tuple[str, str | os.PathLike[str] | None]],
    read: Iterable[str | os.PathLike[str]] = (),
    *,
    make_folders: bool = False,
) -> None:
    """Checks, before any work is done for them, that files can be written and that nothing is lost by it.

    Args:
        outputs: (what each is called in messages, such as "--out", or ""; its place, or None for one not asked for).
        read: the files that are read; those that are not there do not matter.
        make_folders: whether the folders of the outputs are made where they are missing.

    Raises:
        OutputError: an output is one of the files that are read (by whatever name, through links too), or the same as
            another output, or no file, or cannot be written.
    """
    sources: dict[tuple[int, int], str | os.PathLike[str]] | None = None
    places: dict[object, str] = {}
    for flag, output in outputs:
        if output is None:
            continue
        where = f"{flag} {os.fspath(output)}".strip()
        try:
            path, there = _destination(output)
            if make_folders:
                path.parent.mkdir(parents=True, exist_ok=True)
        except OutputError as error:
            raise OutputError(f"{flag} {error}".strip()) from error
        except (OSError, ValueError) as error:  # the second: no file could have this name
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{where!r} cannot be written ({reason}): choose another place") from error
        key = None if there is None else (there.st_dev, there.st_ino)
        if key is not None and sources is None:  # an album's files are looked at only if something is to be replaced
            sources = {number: source for source in read if (number := _identity(source)) is not None}
        if key is not None and sources and key in sources:
            same = f"{os.fspath(sources[key])}, " if os.fspath(sources[key]) != os.fspath(output) else ""
            raise OutputError(f"{where} is {same}a file that is read, which would be lost: give another name")
        if isinstance(path, BucketPath) and any(os.fspath(source) == str(path) for source in read):
            raise OutputError(f"{where} is a file that is read, which would be lost: give another name")
        for one in (key, str(path) if isinstance(path, BucketPath) else os.path.realpath(path)):
            if one is not None and places.setdefault(one, where) != where:
                raise OutputError(f"{where} and {places[one]} are the same file: give each a name of its own")
        _try_to_write(path, where, there)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """The file's number on its device, the same by every name; None where there is none."""
    try:
        there = os.stat(path)
    except (OSError, ValueError):
        return None
    return there.st_dev, there.st_ino


def _try_to_write(path: Path, where: str, there: os.stat_result | None) -> None:
    """Writes a little beside the place, for permissions say less than a try."""
    folder = path.parent
    if isinstance(path, BucketPath):
        try:
            path.with_name(f".{path.name[:40]}{UNFINISHED[2:]}").write_bytes(b"")
            path.with_name(f".{path.name[:40]}{UNFINISHED[2:]}").unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{where} cannot be written ({error.strerror}): choose another place") from error
        return
    if there is not None and not os.access(path, os.W_OK):
        raise OutputError(f"{where} is protected against writing: make it writable, or give another name")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=UNFINISHED[2:]) as file:
            file.write(bytes(_TRIED_BYTES))
            file.flush()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OutputError(f"{where}: there is no folder {folder}: make it first, or choose another place") from error
    except OSError as error:
        raise OutputError(
            f"{where}: {folder} can't be written into ({error.strerror}): choose another place"
        ) from error


def files_of(*places: str | os.PathLike[str] | None) -> list[Path]:
    """Returns the files that places stand for: a file itself, the files directly in a folder; of None, of what is not
    there and of what cannot be looked into, none."""
    found: list[Path] = []
    for named in places:
        if named is None:
            continue
        with contextlib.suppress(OSError, ValueError):
            path = place(named)
            found += [p for p in path.iterdir() if p.is_file()] if path.is_dir() else [path] * path.exists()
    return found


def json_text(value: Any, indent: int | None = None) -> str:
    """Returns JSON that can be written as UTF-8 whatever names are in it: letters as they are, and the bytes of a
    file's name that are no UTF-8 (lone surrogates, in Python) as escapes, from which a reader gets the name back."""
    return _LONE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False, indent=indent))


@contextlib.contextmanager
def exclusive_lock(path: str | os.PathLike[str], refusal: str) -> Iterator[None]:
    """Holds a lock on the file `path`, made if need be, which the system releases when the process ends in any way.

    Disks that know no locks, as some network's do not, are used without. In a bucket the lock is an object
    (bucket_lock.py).

    Args:
        path: of the lock; its folder must be there.
        refusal: the message where another process holds it.

    Raises:
        StoryjaxError: another process holds the lock.
        OSError: the file cannot be made.
    """
    path = place(path)
    if isinstance(path, BucketPath):
        with bucket_lock(path, refusal):
            yield
        return
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoryjaxError(refusal) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
        yield
