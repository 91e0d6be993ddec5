"""Copies between a bucket and this machine: weights are fetched once, and folders made here are uploaded whole."""

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import atomic_path
from storyjax.core.runtime import cache_folder

_THREADS = 8  # each mostly waits for the store


@functools.cache
def _copies() -> Path:
    """Where copies are kept: beside the compiled programs, or, where that cache is off, while this process runs."""
    programs = cache_folder()
    if programs is not None:
        folder = programs.with_name("objects")
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    scratch = Path(tempfile.mkdtemp(prefix="storyjax-objects-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return scratch


def fetched(path: str | os.PathLike[str]) -> Path:
    """Returns a local file with the content of `path`: itself, or a copy of the object, which is downloaded once.

    The copy's name goes by the object's place, size and generation (or date): one that was written anew is downloaded
    anew.

    Raises:
        StoryjaxError: the object cannot be read, or this machine has no room for it.
    """
    path = place(path)
    if not isinstance(path, BucketPath):
        return path
    try:
        return _fetch(path, path.info())
    except OSError as error:
        raise StoryjaxError(f"cannot fetch {path}: {error.strerror or error}") from error


def _fetch(path: BucketPath, info: dict[str, Any]) -> Path:
    version = info.get("generation") or info.get("mtime") or info.get("ETag") or info.get("LastModified")
    mark = hashlib.sha256(f"{path} {info['size']} {version}".encode()).hexdigest()[:24]
    copy = _copies() / mark / path.name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(copy) as unfinished:
            path.download(unfinished)
            if unfinished.stat().st_size != info["size"]:
                raise OSError(0, f"it changed while it was fetched, or came cut short: {info['size']} bytes were meant")
    return copy


def fetched_folder(folder: BucketPath, wanted: Callable[[str], bool] = lambda name: True) -> Path:
    """Returns a local folder with the objects directly in `folder` whose names are `wanted`, fetched as by `fetched`.

    Raises:
        StoryjaxError: as of `fetched`; or there is no such folder.
    """
    try:
        entries = folder.ask(lambda store, key: store.ls(key, detail=True))
        files = [each for each in entries if each["type"] == "file" and each["size"]]
        names = {Path(each["name"]).name: each for each in files if wanted(Path(each["name"]).name)}
        with ThreadPoolExecutor(_THREADS) as pool:
            copies = list(pool.map(lambda name: _fetch(folder / name, names[name]), names))
    except OSError as error:
        raise StoryjaxError(f"cannot fetch {folder}: {error.strerror or error}") from error
    mark = hashlib.sha256("\n".join([str(folder), *sorted(map(str, copies))]).encode()).hexdigest()[:24]
    view = _copies() / mark / folder.name
    view.mkdir(parents=True, exist_ok=True)
    for copy in copies:
        with contextlib.suppress(FileExistsError):
            (view / copy.name).symlink_to(copy)
    return view


def copy_objects(source: BucketPath, target: BucketPath, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Copies, inside the store, what is `wanted` of the objects below a folder, by their paths relative to it.

    Raises:
        OSError: they cannot be copied.
    """

    def copy(name: str) -> None:
        source.ask(lambda store, key: store.cp_file(f"{key}/{name}", f"{target.key}/{name}"))

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(copy, filter(wanted, source.walk_objects())))


def upload_folder(local: Path, folder: BucketPath, last: Iterable[str] = ()) -> None:
    """Uploads all files below a local folder, those that are named `last` after all others, in their order.

    Raises:
        OSError: the store does not take one of them.
    """
    last = list(last)
    names = [path.relative_to(local).as_posix() for path in sorted(local.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda name: (folder / name).upload(local / name), [n for n in names if n not in last]))
    for name in last:
        (folder / name).upload(local / name)
