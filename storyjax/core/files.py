"""Files that appear whole or not at all: they are written beside their place and then renamed into it."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

# What a process that was killed may leave behind, for whoever cleans a folder up.
UNFINISHED = ".*.partial"


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Yields a path beside `path` to write to; it replaces `path` when the context ends without an exception.

    A reader, or a process killed at any moment, sees the old file or the new one, never half of one. After an exception
    nothing is left of the new one. The folder must be there.

    Args:
        path: the file's place.
        durable: whether the bytes are on the disk, not only on their way to it, before the file appears.

    Raises:
        OSError: the file cannot be renamed or flushed.
    """
    path = Path(path)
    # In the same folder, for a rename is atomic only within one file system; cut, for names have a longest length.
    unfinished = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.partial")
    try:
        yield unfinished
        if durable:
            with open(unfinished, "rb") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
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
    """
    with atomic_path(path, durable=durable) as unfinished:
        if callable(content):
            content(unfinished)
        else:
            unfinished.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
