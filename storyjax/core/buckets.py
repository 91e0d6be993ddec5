"""Buckets where a path is: gs://BUCKET/FOLDER, and whatever else fsspec knows by a scheme (s3://, az://).

`place` makes a path of what a person names. A local one is a pathlib.Path as ever. One in a bucket is a `BucketPath`: a
pathlib.Path whose files are objects, so that whatever reads and writes by a path's methods does so there too. An object
is written whole, in one upload, and appears whole or not at all. What goes wrong with the store is an OSError with the
words to show in its `strerror`, as of a disk.
"""

import contextlib
import errno
import functools
import glob
import io
import logging
import os
import pathlib
import re
import shutil
import stat
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from storyjax.core.errors import StoryjaxError, first_line

# What a checkpoint's folder has last of all in a bucket, where nothing can be renamed (Orbax writes it).
COMMITTED = "commit_success.txt"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")
_EXTRAS = {"gs": "pip install 'storyjax[gcs]'", "s3": "pip install s3fs", "az": "pip install adlfs"}
_SHOWN = 160  # characters of what the store says
_LIBRARIES = ("gcsfs", "aiohttp", "google", "requests", "s3fs", "botocore", "adlfs", "azure")
_BUSY = (408, 429, 500, 502, 503, 504)
_MODES = stat.S_IRUSR | stat.S_IWUSR
# How the storage libraries name in their text what has happened. Google reports a full quota as 403.
_TEXTS = (
    (re.compile(r"quota|RESOURCE_EXHAUSTED", re.I), errno.EDQUOT, "the store's quota is used up"),
    (
        re.compile(r"forbidden|permission.?denied|access denied|unauthori[sz]ed|HTTP response code: 40[13]", re.I),
        errno.EACCES,
        "the store refuses access; look at the account's rights, or log in: gcloud auth application-default login",
    ),
    (re.compile(r"HTTP response code: 404|NOT_FOUND|bucket does not exist", re.I), errno.ENOENT, "it is not there"),
    (
        re.compile(r"HTTP response code: (5\d\d|429)|UNAVAILABLE|DEADLINE_EXCEEDED|timed? ?out", re.I),
        errno.EIO,
        "the store does not answer",
    ),
)

Result = TypeVar("Result")


def is_bucket(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is in a bucket: whether it begins with SCHEME://."""
    return isinstance(path, BucketPath) or _SCHEME.match(os.fspath(path)) is not None


def place(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path that a person has named: a BucketPath if it begins with a scheme, else a pathlib.Path."""
    if isinstance(path, pathlib.Path):
        return path
    return BucketPath(os.fspath(path)) if is_bucket(path) else pathlib.Path(path)


class BucketPath(pathlib.PosixPath):
    """A path in a bucket. There are no folders: one is there while an object is under it, and making one does nothing.

    Methods raise OSError as those of a local path do, its `strerror` in the store's words; StoryjaxError where the
    package that reaches the store is not installed.
    """

    def __str__(self) -> str:
        first, *rest = self.parts or ("",)
        return f"{first}//{'/'.join(rest)}" if first.endswith(":") else super().__str__()  # else a relative one

    @property
    def key(self) -> str:
        """The path as fsspec takes it: BUCKET/FOLDER/NAME."""
        return "/".join(self.parts[1:])

    def ask(self, action: Callable[[Any, str], Result]) -> Result:
        """Returns `action(fsspec's file system, self.key)`. What the store refuses is an OSError; a busy store is asked
        again for about a minute."""
        store = file_system(self.parts[0][:-1])
        for last in (False, True):
            try:
                return action(store, self.key)
            except StoryjaxError:
                raise
            except Exception as error:
                number, reason = store_error(error) or (errno.EIO, first_line(error, _SHOWN))
                if last or not _is_busy(error):
                    raise OSError(number, reason, str(self)) from error
        raise AssertionError

    def info(self) -> dict[str, Any]:
        """What the store says of the object: "size" in bytes, "mtime", and "generation" where it has them."""
        for folder, (found, folders) in list(_LISTED.items()):
            if self.is_relative_to(folder):
                if self.key in folders:
                    return {"type": "directory", "size": 0}
                if self.key not in found:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
                return found[self.key]
        return self.ask(lambda store, key: store.info(key))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As of a file: its size and date."""
        del follow_symlinks
        info = self.info()
        folder = info["type"] == "directory"
        when = info.get("mtime") or info.get("LastModified")
        ns = 0 if when is None else round(when.timestamp() * 1e6) * 1000
        kind = stat.S_IFDIR if folder else stat.S_IFREG
        fields = (kind | _MODES, 0, 0, 1, 0, 0, info["size"] or 0, ns // 10**9, ns // 10**9, ns // 10**9)
        return os.stat_result(fields, {"st_mtime_ns": ns, "st_mtime": ns / 1e9})

    def lstat(self) -> os.stat_result:
        """As `stat`: there are no links."""
        return self.stat()

    def _mode(self) -> int:
        try:
            return self.stat().st_mode
        except FileNotFoundError:
            return 0

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object, or a folder with any."""
        del follow_symlinks
        return self._mode() != 0

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there are objects under it."""
        del follow_symlinks
        return stat.S_ISDIR(self._mode())

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is an object."""
        del follow_symlinks
        return stat.S_ISREG(self._mode())

    def is_symlink(self) -> bool:
        """There are no links."""
        return False

    def is_absolute(self) -> bool:
        """Always, but for what `relative_to` returns."""
        return bool(self.parts) and self.parts[0].endswith(":")

    def absolute(self) -> "BucketPath":
        """Returns the path itself."""
        return self

    def resolve(self, strict: bool = False) -> "BucketPath":
        """Returns the path itself."""
        del strict
        return self

    def expanduser(self) -> "BucketPath":
        """Returns the path itself."""
        return self

    def _named(self, keys: list[str]) -> Iterator["BucketPath"]:
        return (BucketPath(f"{self.parts[0]}//{key}") for key in keys if key.rstrip("/") != self.key)

    def iterdir(self) -> Generator["BucketPath", None, None]:
        """Yields what is directly in the folder."""
        yield from self._named(self.ask(lambda store, key: store.ls(key, detail=False)))

    def glob(self, pattern: str, **options: Any) -> Generator["BucketPath", None, None]:
        """Yields what matches, in the order of names."""
        del options
        yield from self._named(sorted(self.ask(lambda store, key: store.glob(f"{glob.escape(key)}/{pattern}"))))

    def rglob(self, pattern: str, **options: Any) -> Generator["BucketPath", None, None]:
        """Yields what matches below the folder, in the order of names."""
        yield from self.glob(f"**/{pattern}", **options)

    def walk_objects(self) -> dict[str, dict[str, Any]]:
        """Returns what `info` says of every object below the folder, by its path relative to it, in order."""
        found = _LISTED[self][0] if self in _LISTED else self.ask(lambda store, key: store.find(key, detail=True))
        return {name[len(self.key) + 1 :]: found[name] for name in sorted(found) if name != self.key}

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """Opens the object. What is written appears when the file is closed."""
        del buffering
        if set(mode) - set("rwbt") or ("r" in mode and "w" in mode):
            raise OSError(errno.ENOTSUP, f"objects cannot be opened in mode '{mode}'", str(self))
        if "w" in mode:
            raw: io.BytesIO = _Upload(self)
        elif "b" in mode:
            return self.ask(lambda store, key: store.open(key, "rb"))
        else:
            raw = io.BytesIO(self.read_bytes())
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        """Returns the object's content."""
        return self.ask(lambda store, key: store.cat_file(key))

    def write_bytes(self, data: Any) -> int:
        """Writes the object, whole, and returns its size."""
        data = bytes(data)
        self.ask(lambda store, key: store.pipe_file(key, data))
        return len(data)

    def write_new(self, data: bytes) -> None:
        """Writes the object only if there is none, which of many only one can do. Raises FileExistsError else."""
        self.ask(lambda store, key: store.pipe_file(key, data, mode="create"))

    def upload(self, file: str | os.PathLike[str]) -> None:
        """Writes the object from a local file, whole."""
        self.ask(lambda store, key: store.put_file(os.fspath(file), key))

    def download(self, file: str | os.PathLike[str]) -> None:
        """Writes a local file from the object."""
        self.ask(lambda store, key: store.get_file(key, os.fspath(file)))

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Writes an empty object."""
        del mode
        self.write_bytes(b"") if exist_ok else self.write_new(b"")

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Does nothing, for there are no folders. Raises FileExistsError if there are objects and not `exist_ok`."""
        del mode, parents
        if not exist_ok and self.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))

    def rmdir(self) -> None:
        """Does nothing, for there are no folders."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Deletes the object."""
        try:
            self.ask(lambda store, key: store.rm_file(key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rename(self, target: str | os.PathLike[str]) -> "BucketPath":
        """Copies the object, or all below the folder, and deletes the old: not at once, but a checkpoint is whole in
        one place or the other at any moment."""
        new = BucketPath(os.fspath(target))
        names = sorted(self.walk_objects(), key=lambda name: name.endswith(COMMITTED)) or [""]
        for name in names:
            self.ask(lambda store, key, name=name: store.cp_file(_join(key, name), _join(new.key, name)))  # type: ignore[misc]
        for name in reversed(names):
            self.ask(lambda store, key, name=name: store.rm_file(_join(key, name)))  # type: ignore[misc]
        return new

    replace = rename

    def remove_tree(self) -> None:
        """Deletes all below the folder; nothing, if there is nothing."""
        names = sorted(self.walk_objects(), key=lambda name: not name.endswith(COMMITTED))
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.ask(lambda store, key, name=name: store.rm_file(_join(key, name)))  # type: ignore[misc]


# What `listed` knows: by folder, what `info` says by the objects' keys, and the keys of all folders.
_LISTED: dict[BucketPath, tuple[dict[str, dict[str, Any]], set[str]]] = {}


@contextlib.contextmanager
def listed(folder: pathlib.Path) -> Iterator[None]:
    """While entered, whether a file below `folder` is there, its size and its date are those of a listing of it now:
    the store is not asked of each by itself. Of a local folder the files themselves are asked."""
    if not isinstance(folder, BucketPath) or folder in _LISTED:
        yield
        return
    objects = {f"{folder.key}/{name}": info for name, info in folder.walk_objects().items()}
    folders = {parent for key in objects for parent in _above(key)}
    _LISTED[folder] = (objects, folders)
    try:
        yield
    finally:
        del _LISTED[folder]


def _above(key: str) -> Iterator[str]:
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key


def _join(key: str, name: str) -> str:
    return f"{key}/{name}" if name else key


class _Upload(io.BytesIO):
    """Bytes that become an object when they are closed, unless an exception closes them."""

    def __init__(self, path: BucketPath) -> None:
        super().__init__()
        self._path = path

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            super().close()
        super().__exit__(kind, *rest)

    def close(self) -> None:
        if not self.closed:
            self._path.write_bytes(self.getvalue())
        super().close()


def remove_tree(folder: pathlib.Path) -> None:
    """Removes a folder and all in it, as far as it can be; it need not be there."""
    if isinstance(folder, BucketPath):
        with contextlib.suppress(OSError):
            folder.remove_tree()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Turns what goes wrong with a store into a StoryjaxError; errors of local files stay what they are."""
    try:
        yield
    except OSError as error:
        if error.filename is None or not is_bucket(str(error.filename)):
            raise
        raise StoryjaxError(f"{error.filename} cannot be used: {error.strerror}") from error


def file_system(scheme: str) -> Any:
    """Returns fsspec's file system of a scheme.

    Raises:
        StoryjaxError: fsspec knows none, or the package for it is not installed.
    """
    _prepare_fsspec()
    import fsspec

    try:
        return fsspec.filesystem(scheme)
    except (ImportError, ValueError) as error:
        how = _EXTRAS.get(scheme, "install fsspec's package for it")
        raise StoryjaxError(f"{scheme}:// paths need a package that is not installed: {how}") from error


@functools.cache
def _prepare_fsspec() -> None:
    """Settings that must come before the first use: listings are asked for anew each time, since other processes write
    into the same bucket, and nothing logs tracebacks of errors that are raised."""
    import fsspec.config

    # gcsfs would ask another service of every bucket whether it is a zonal one.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    for scheme in ("gs", "gcs", "s3", "az"):
        fsspec.config.conf.setdefault(scheme, {}).setdefault("use_listings_cache", False)
    for name in ("gcsfs", "s3fs"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False


def _is_busy(error: BaseException) -> bool:
    code = str(getattr(error, "code", ""))
    return code.isdecimal() and int(code) in _BUSY


def store_error(error: BaseException) -> tuple[int, str] | None:
    """Returns (errno, what to say) of an exception of fsspec, gcsfs or TensorStore; None: it is of something else."""
    module = type(error).__module__.partition(".")[0]
    if isinstance(error, OSError) and error.errno is not None and error.strerror and module != "aiohttp":
        return error.errno, error.strerror
    if isinstance(error, FileNotFoundError):
        return errno.ENOENT, "there is no such bucket or object"
    for kind, number in ((FileExistsError, errno.EEXIST), (IsADirectoryError, errno.EISDIR)):
        if isinstance(error, kind):
            return number, os.strerror(number)
    text = str(error)
    # Of other libraries, such as TensorStore, only what names a place in a store: many say UNAVAILABLE of other things.
    if not (isinstance(error, OSError | TimeoutError) or module in _LIBRARIES or _SCHEME.search(text)):
        return None
    for pattern, number, reason in _TEXTS:
        if pattern.search(text):
            return number, f"{reason} ({first_line(RuntimeError(text), _SHOWN)})"
    code = str(getattr(error, "code", "") or "")
    if code.isdecimal():
        number = errno.EACCES if int(code) in (401, 403) else errno.EIO
        return number, f"the store answers {code}: {first_line(RuntimeError(text or code), _SHOWN)}"
    if isinstance(error, OSError | TimeoutError) or module in _LIBRARIES:
        return (
            errno.EIO,
            f"the store cannot be reached ({type(error).__name__} {first_line(RuntimeError(text), _SHOWN)})",
        )
    return None
