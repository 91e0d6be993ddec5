"""A second start: what was prepared from a folder of official files is found again without reading annotations.

Looking at the names, sizes and dates of all files of a data set is quicker than parsing annotations such as COCO's.
A start leaves a note beside the prepared records: what the folder of the official files looked like, and which prepared
folders were made of it. A later start that finds the same files, the same options and the same readers takes these
folders; any other reads the official files and finds out what changed.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storyjax.core.buckets import BucketPath
from storyjax.core.files import write_atomically
from storyjax.data.builders.prepared import is_prepared

LOOKED_AT = 500_000  # files of one folder whose sizes and dates are looked at, which takes 5 µs each


def start_key(name: str, root: Path, skipped: Path, options: Mapping[str, Any]) -> str:
    """Returns a text that changes with any file of `root`, the options, and the code that reads the files.

    Args:
        name: of the data set and the split.
        root: the folder of the official files; its place, and the names, sizes and dates of all files in it count; of a
            folder with more than LOOKED_AT files their names, and its own date.
        skipped: a folder whose files do not count: what is prepared may lie in `root`.
        options: of the reader.
    """
    digest = hashlib.sha256(f"{name} {root.absolute()} {sorted(options.items())!r} {_readers()}".encode())
    if isinstance(root, BucketPath):
        _add_objects(digest, root, skipped)
    else:
        _add_files(digest, root, skipped.absolute(), set())
    return digest.hexdigest()[:24]


def _add_objects(digest: Any, root: BucketPath, skipped: Path) -> None:
    """Adds the objects below a folder of a bucket."""
    try:
        names = root.walk_objects()
    except OSError as error:
        digest.update(f"{root}: {error.errno}\n".encode())
        return
    for name, info in names.items():
        if not (root / name).is_relative_to(skipped):
            digest.update(f"{root / name} {info['size']} {info.get('mtime')}\n".encode("utf-8", "surrogateescape"))


def _add_files(digest: Any, folder: Path, skipped: Path, met: set[tuple[int, int]]) -> None:
    """Adds the files of a folder, and of those below it that were not `met`: links may lead in circles.

    Each folder's files are added up as they come, whatever their order, so that no list of them is made.
    """
    below: list[str] = []
    whole, names, number = 0, 0, 0
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.is_dir():
                    below.append(entry.name)
                    continue
                number += 1
                names += _sum(entry.name)
                if number > LOOKED_AT:
                    continue
                try:
                    info = entry.stat()  # through links, as readers open them
                    whole += _sum(f"{entry.name} {info.st_size} {info.st_mtime_ns}")
                except OSError as error:
                    whole += _sum(f"{entry.name}: {error.errno}")
    except OSError as error:
        digest.update(f"{folder}: {error.errno}\n".encode("utf-8", "surrogateescape"))
        return
    if number > LOOKED_AT:
        whole = names + folder.stat().st_mtime_ns
    digest.update(f"{folder} {number} {whole}\n".encode("utf-8", "surrogateescape"))
    for name in sorted(below):
        path = folder / name
        info = path.stat()
        if (place := (info.st_dev, info.st_ino)) not in met and path.absolute() != skipped:
            met.add(place)
            _add_files(digest, path, skipped, met)


def _sum(line: str) -> int:
    return int.from_bytes(hashlib.blake2b(line.encode("utf-8", "surrogateescape"), digest_size=16).digest())


@functools.cache
def code_digest(*folders: Path) -> str:
    """Returns a text that changes with any module in the folders, for what is kept of what they computed."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _readers() -> str:
    """A text that changes with the code of the readers, whose mends must reach data that were prepared before."""
    here = Path(__file__).parent
    return code_digest(here, here.parent)


def reader_code() -> str:
    """Returns a text that changes with the code of the readers."""
    return _readers()


def load_start(cache: Path, key: str) -> dict[str, Any] | None:
    """Returns the note of that key whose prepared folders are all still there, or None.

    It is {"folders": {split: name of the folder in `cache`}, "broken": (first lines, their number), "counts": (lost,
    total)}.
    """
    try:
        note = json.loads((cache / f".start-{key}.json").read_text("utf-8"))
        there = all(is_prepared(cache / folder) for folder in note["folders"].values())
        return note if there and note["folders"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def save_start(cache: Path, key: str, note: Mapping[str, Any]) -> None:
    """Writes the note of a start. Where it can't be written, the next start reads the official files again."""
    with contextlib.suppress(OSError):
        write_atomically(cache / f".start-{key}.json", json.dumps(note))
