"""Preparing a TFDS data set once, under a name that changes with the files it was made from.

A preparation may be killed and called again, and called by many processes at once: it appears whole, and once.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError

_LOG = logging.getLogger(__name__)


def file_size(path: Path) -> int:
    """Bytes of a file. An OSError where there is none, also of a name that no file can have."""
    try:
        return path.stat().st_size
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error


def files_fingerprint(version: str, files: Iterable[Path], root: Path, read: Iterable[Path] = ()) -> str:
    """Changes with the name, size or date of any of `files`, and with the content of any of `read`."""
    digest = hashlib.sha256(version.encode())
    for path in read:
        digest.update(path.read_bytes())
    for path in files:
        found = path.stat()
        digest.update(f"{path.relative_to(root)} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def prepare_once(
    make_builder: Callable[[Path], tfds.core.GeneratorBasedBuilder],
    manual_dir: Path,
    root: Path,
    fingerprint: str,
    part: str = "",
    beside: Mapping[str, Any] | None = None,
) -> Path:
    """The folder of the prepared data set: made now by `make_builder(data_dir)`, or found.

    It is `root`/`fingerprint` or, where only a `part` of the data set is prepared, `root`/`part`-`fingerprint`; parts
    can be prepared at the same time. `beside` is written as JSON, by file name, beside the records.

    Raises StoryjaxError where `root` cannot be written.
    """
    folder = root / (f"{part}-{fingerprint}" if part else fingerprint)
    if folder.exists():
        return folder
    hidden = f".{part}." if part else "."
    unfinished = root / f"{hidden}unfinished"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{hidden}lock"):
            if not folder.exists():
                _LOG.info("preparing %s from %s", folder, manual_dir)
                for older in sorted(root.glob(f"{part}-*" if part else "[!.]*")):
                    _LOG.info("%s was prepared from other files; delete it if they are gone", older)
                _prepare(make_builder, manual_dir, unfinished, beside or {})
                unfinished.rename(folder)
    except OSError as error:
        raise StoryjaxError(f"cannot prepare data in {root}: {error}; make room or choose another data_dir") from error
    return folder


def _prepare(
    make_builder: Callable[[Path], tfds.core.GeneratorBasedBuilder],
    manual_dir: Path,
    unfinished: Path,
    beside: Mapping[str, Any],
) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)  # of a preparation that was killed: we hold the lock
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces the unfinished folder as the place of the data
        make_builder(unfinished).download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
        )
    for name, content in beside.items():
        (unfinished / name).write_text(json.dumps(content, indent=1), "utf-8")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system lets go of the lock when its holder is killed."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class PreparedSource:
    """A split of a prepared data set, by record, safe to read from many threads, and picklable."""

    def __init__(self, folder: Path, name: str, version: str, split: str):
        """Args: folder: as `prepare_once` gave it; name, version: of the builder."""
        self.place, self.split = folder / name / version, split
        self._records: Any = None

    def _open(self) -> Any:
        if self._records is None:
            try:
                self._records = tfds.builder_from_directory(self.place).as_data_source(self.split)
            except Exception as error:  # TFDS raises errors of many kinds for a damaged folder
                raise StoryjaxError(
                    f"{self.place} cannot be read ({str(error).splitlines()[0]}): delete it to prepare it again"
                ) from error
        return self._records

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": None}  # open files stay in their process

    def __len__(self) -> int:
        return len(self._open())

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[int(index)]
        try:
            return decoded(self._open()[index])
        except (ValueError, RuntimeError) as error:
            raise StoryjaxError(
                f"record {index} of {self.place} cannot be read ({error}): delete the folder to prepare it again"
            ) from error


# Features that hold media, which stay bytes.
MEDIA = ("video", "image")


def decoded(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its texts as strings."""
    return {
        key: value.decode() if isinstance(value, bytes) and key not in MEDIA else value for key, value in record.items()
    }


def one_split(splits: Mapping[str, Any], split: str, title: str) -> Any:
    """Returns one of the prepared splits of a data set; StoryjaxError, naming those there are, where it is not one."""
    return splits[choose(split, splits, f"the split of {title}")]
