"""Prepared data sets, as they are read, and what can become one."""

import errno
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from storyjax.core.buckets import BucketPath
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.labels import Labels

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


def is_prepared(folder: Path) -> bool:
    """Returns whether a folder is there as a whole: in a bucket, where it is uploaded file by file, with its mark."""
    return (folder / COMPLETE).exists() if isinstance(folder, BucketPath) else folder.exists()


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
        """What summary.json says: "broken" (`BrokenCount.note`), and what the kind of data set adds."""
        return self._beside("summary.json")

    @property
    def broken(self) -> tuple[str, ...]:
        """A line for each of the first KEPT things that were left out, of all splits that were prepared together."""
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
