"""Preparing a TFDS data set once, under a name that changes with the files it was made from.

A preparation may be killed and called again, and called by many processes at once: it appears whole, and once.
"""

import contextlib
import errno
import fcntl
import io
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from storyjax.core.bucket_copies import upload_folder
from storyjax.core.bucket_lock import bucket_lock
from storyjax.core.buckets import BucketPath, is_bucket
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.labels import Labels, write_labels

_LOG = logging.getLogger(__name__)
MOST_BYTES = 2**31 - 2**20  # a record must stay under protobuf's 2 GiB
COMPLETE = "complete.json"  # in a bucket, what is uploaded last
MEDIA = ("video", "image", "media")  # features that stay bytes; others that are bytes are texts


def file_size(path: Path) -> int:
    """Returns the bytes of a file. Raises OSError where there is none, also for a name that no file can have."""
    try:
        return path.stat().st_size
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error


def unusable_file(path: Path) -> str:
    """Returns why a file cannot become a record, or "". Whether it can be decoded is found out when it is."""
    try:
        size = file_size(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if not path.is_file():
        return f"{path} is not a file"
    if size == 0:
        return f"{path} is empty"
    if size > MOST_BYTES:
        return f"{path} has {size / 2**30:.1f} GiB, more than a record can hold (2 GiB); cut it"
    return ""


def prepare_once(
    make_builder: Callable[[Path], tfds.core.GeneratorBasedBuilder],
    root: Path,
    cache: Path,
    fingerprint: str,
    part: str = "",
    beside: Mapping[str, Any] | None = None,
    labels: Mapping[str, Iterable[Any]] | None = None,
) -> Path:
    """Returns the folder of the prepared data set: made now by `make_builder(data_dir)`, or found.

    It is `cache`/`fingerprint` or, where only a `part` of the data set is prepared, `cache`/`part`-`fingerprint`; parts
    can be prepared at the same time.

    Args:
        make_builder: gives the builder of a folder, as TFDS calls data_dir.
        root: the folder of the official files.
        cache: where prepared folders of this data set go.
        fingerprint: changes with the official files.
        part: the split, where each is prepared by itself.
        beside: what is written as JSON, by file name, beside the records.
        labels: of the records of each split, beside them too (labels.py).

    Raises:
        StoryjaxError: `cache` cannot be written.
    """
    folder = cache / (f"{part}-{fingerprint}" if part else fingerprint)
    if is_prepared(folder):
        return folder
    hidden = f".{part}." if part else "."
    unfinished = cache / f"{hidden}unfinished"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{hidden}lock"):
            if not is_prepared(folder):
                _LOG.info("preparing %s from %s", folder, root)
                for older in sorted(cache.glob(f"{part}-*" if part else "[!.]*")):
                    _LOG.info("%s was prepared from other files; delete it if they are gone", older)
                if isinstance(folder, BucketPath):
                    _prepare_for_bucket(make_builder, root, folder, beside or {}, labels or {})
                else:
                    _prepare(make_builder, root, unfinished, beside or {}, labels or {})
                    unfinished.rename(folder)
    except OSError as error:
        raise StoryjaxError(
            f"cannot prepare data in {cache}: {_reason(error)}; make room or choose another cache_dir"
        ) from error
    return folder


def is_prepared(folder: Path) -> bool:
    """Returns whether a folder is there as a whole: in a bucket, where it is uploaded file by file, with its mark."""
    return (folder / COMPLETE).exists() if isinstance(folder, BucketPath) else folder.exists()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)) if is_bucket(error.filename or "") else str(error)


def _prepare_for_bucket(
    make_builder: Callable[[Path], tfds.core.GeneratorBasedBuilder],
    root: Path,
    folder: BucketPath,
    beside: Mapping[str, Any],
    labels: Mapping[str, Iterable[Any]],
) -> None:
    """Prepares on this machine, and uploads the records."""
    folder.remove_tree()  # of an upload that was killed: we hold the lock
    with tempfile.TemporaryDirectory(prefix="storyjax-") as scratch:
        local = Path(scratch, folder.name)
        _prepare(make_builder, root, local, beside, labels)
        (local / COMPLETE).write_text(json.dumps({"root": str(root)}), "utf-8")
        upload_folder(local, folder, last=[COMPLETE])


def _prepare(
    make_builder: Callable[[Path], tfds.core.GeneratorBasedBuilder],
    root: Path,
    unfinished: Path,
    beside: Mapping[str, Any],
    labels: Mapping[str, Iterable[Any]],
) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)  # of a preparation that was killed: we hold the lock
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces the unfinished folder as the place of the data
        make_builder(unfinished).download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=str(root))
        )
    for name, content in beside.items():
        text = json.dumps(content, indent=1 if isinstance(content, dict) else None)
        (unfinished / name).write_text(text, "utf-8")
    for split, found in labels.items():
        write_labels(unfinished, split, found)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system lets go of the lock when its holder is killed, and a bucket a little later."""
    if isinstance(path, BucketPath):
        with bucket_lock(path, "", wait=True):
            yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class PreparedSource:
    """A split of a prepared data set, by record, safe to read from many threads, and picklable.

    Attributes:
        folder: as `prepare_once` gave it.
        place: the folder of TFDS's files in it.
        split: the split's name.
    """

    DECODERS: ClassVar[Mapping[str, Any] | None] = None  # of TFDS, for features that are not read as they lie there

    def __init__(self, folder: Path, builder: type[tfds.core.GeneratorBasedBuilder], split: str):
        self.folder, self.split = folder, split
        self.place = folder / builder.name / str(builder.VERSION)
        self._data: Any = None

    def _open(self) -> Any:
        """The records, opened when they are first needed."""
        if self._data is None:
            try:
                builder = tfds.builder_from_directory(str(self.place))
                self._data = builder.as_data_source(self.split, decoders=self.DECODERS)
            except Exception as error:  # TFDS raises errors of many kinds for a damaged or a tfrecord folder
                raise StoryjaxError(
                    f"{self.place} cannot be read ({str(error).splitlines()[0]}): delete the folder to prepare it"
                    " again, as array records"
                ) from error
        return self._data

    def _beside(self, name: str) -> Any:
        """What a JSON file beside the records holds."""
        try:
            return json.loads((self.folder / name).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StoryjaxError(f"{self.folder} is no prepared data set ({error}): prepare it again") from error

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What summary.json says: "broken", and what the kind of data set adds."""
        return self._beside("summary.json")

    @property
    def broken(self) -> tuple[str, ...]:
        """A line for each thing that was left out, of all splits that were prepared together."""
        return tuple(self.summary["broken"])

    @cached_property
    def labels(self) -> Sequence[Any]:
        """What is known of each record without its media; empty where a kind of data set keeps nothing."""
        older = f"labels-{self.split}.json"  # as versions to 0.2 wrote them
        return self._beside(older) if (self.folder / older).exists() else Labels(self.folder, self.split)

    def __getstate__(self) -> dict[str, Any]:
        dropped = {"summary": None, "labels": None}  # read again where they are needed
        state = {key: value for key, value in self.__dict__.items() if key not in dropped}
        return {**state, "_data": None}  # open files stay in their process

    def __len__(self) -> int:
        return len(self._open())

    def __getitem__(self, index: int) -> Any:
        index = range(len(self))[int(index)]
        try:
            return self.convert(decoded(self._open()[index]), index)
        except (ValueError, RuntimeError) as error:
            raise StoryjaxError(
                f"record {index} of {self.place} cannot be read ({error}): delete the folder to prepare it again"
            ) from error

    def convert(self, record: dict[str, Any], index: int) -> dict[str, Any]:
        """Returns item `index` as it is given to loaders, from the prepared record with its texts as strings."""
        del index
        return record


def decoded(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the record with its texts as strings; MEDIA stay bytes."""
    return {
        key: value.decode() if isinstance(value, bytes) and key not in MEDIA else value for key, value in record.items()
    }
