"""What the builders of media with labels share: one record a picture or clip, its bytes as they are, and its labels.

A data set is a reader of its official files (`Reading`) and the names of its labels; the TFDS builder, the preparation
that happens once, and the source to read from are the same for all.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.data.builders.broken import report_broken
from storyjax.data.builders.prepared import file_size, prepare_once
from storyjax.data.builders.tables import read_rows

_MOST_BYTES = 2**31 - 2**20  # a record must stay under protobuf's 2 GiB


@dataclass(frozen=True)
class Item:
    """A media file and its labels; a label is a text or a list of texts, as its data set says."""

    path: Path
    labels: dict[str, Any]


@dataclass
class Reading:
    """What a data set's files say: usable items, and a line for each thing left out."""

    items: list[Item] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, path: Path, where: str, **labels: Any) -> None:
        """Takes a media file up, or notes why it cannot be used. Whether it can be decoded is found out when it is."""
        try:
            size = file_size(path)
        except OSError as error:
            self.broken.append(f"{where}: {path} cannot be read: {error.strerror}")
            return
        if not path.is_file() or size == 0:
            self.broken.append(f"{where}: {path} is empty or not a file")
        elif size > _MOST_BYTES:
            self.broken.append(f"{where}: {path} has {size / 2**30:.1f} GiB, more than a record can hold (2 GiB)")
        else:
            self.items.append(Item(path, labels))


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """As `read_rows`, with values stripped and nothing where a line has ended."""
    for line, row in read_rows(path, columns):
        yield line, {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}


@dataclass(frozen=True)
class Summary:
    """What was prepared."""

    split: str
    fingerprint: str
    count: int
    broken: tuple[str, ...]


class MediaBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The TFDS builder of a data set; subclasses say what it is called, what labels there are and how it is read.

    Attributes:
        TITLE: for messages.
        SPLITS: all that there may be.
        TEXTS, LISTS: the labels that are one text, and those that are several.
        read: (manual_dir, split) -> Reading. Raises StoryjaxError where the data set is not there.
    """

    VERSION = tfds.core.Version("1.0.0")
    # TFDS would look beside this file for checksums of downloads, by a package it does not require; there are none.
    code_path = None
    TITLE: ClassVar[str]
    SPLITS: ClassVar[tuple[str, ...]]
    TEXTS: ClassVar[tuple[str, ...]]
    LISTS: ClassVar[tuple[str, ...]] = ()
    read: ClassVar[Callable[[Path, str], Reading]]

    def __init__(self, *, only: tuple[str, ...] | None = None, **kwargs: Any):
        self.only = only or self.SPLITS
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        texts = {name: tfds.features.Text() for name in self.TEXTS}
        lists = {name: tfds.features.Sequence(tfds.features.Text()) for name in self.LISTS}
        media = tfds.features.Scalar(np.object_)  # the file as it is
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict({"media": media, "path": tfds.features.Text(), **texts, **lists}),
            disable_shuffling=True,  # training shuffles, and evaluation keeps the order of the files
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        manual_dir = Path(dl_manager.manual_dir)
        return {split: self._generate_examples(manual_dir, split) for split in self.only}

    def _generate_examples(self, manual_dir: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, item in enumerate(type(self).read(manual_dir, split).items):
            path = str(item.path.relative_to(manual_dir))
            yield index, {"media": item.path.read_bytes(), "path": path, **item.labels}

    @classmethod
    def prepare(cls, root: str | Path, cache_dir: str | Path, split: str, **options: Any) -> "MediaSource":
        """Returns a split as a source of records; see `prepare` for the options and errors."""
        return prepare(cls, root, cache_dir, split, **options)


class MediaSource:
    """A prepared split, by record: {"media": bytes, "path": str} and the labels, texts or lists of texts.

    Safe to read from many threads, and picklable.
    """

    def __init__(self, folder: str | Path):
        """Args: folder: as `prepare` made it. Raises StoryjaxError where it is not."""
        self.folder = Path(folder)
        try:
            summary = json.loads((self.folder / "summary.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StoryjaxError(f"{self.folder} is no prepared split ({error}): prepare it again") from error
        self.summary = Summary(**{key: tuple(v) if isinstance(v, list) else v for key, v in summary.items()})

    @cached_property
    def _records(self) -> Any:
        (built,) = (path.parent for path in self.folder.glob("*/*/dataset_info.json"))
        return tfds.builder_from_directory(built).as_data_source(self.summary.split)

    @cached_property
    def labels(self) -> list[dict[str, Any]]:
        """The labels of every record, without its media."""
        return json.loads((self.folder / "labels.json").read_text("utf-8"))

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "summary": self.summary}  # open files stay in their process

    def __len__(self) -> int:
        return self.summary.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        try:
            record = self._records[index]
        except (ValueError, RuntimeError) as error:
            raise StoryjaxError(
                f"record {index} of {self.folder} cannot be read ({error}): delete the folder to prepare it again"
            ) from error
        return {"media": record["media"], "path": record["path"].decode(), **self.labels[index]}


def prepare(
    builder: type[MediaBuilder],
    manual_dir: str | Path,
    data_dir: str | Path,
    split: str,
    *,
    max_broken_fraction: float = 0.05,
) -> MediaSource:
    """The split as records under `data_dir`: made now, or found there if the files in `manual_dir` are the same.

    May be killed and called again, and called by many processes at once: a preparation appears whole, and once.

    Raises:
        StoryjaxError: the data set is not there (what to get and where to put it), too much of it cannot be used, or
            `data_dir` cannot be written.
    """
    manual_dir, root = Path(manual_dir), Path(data_dir) / builder.__name__.lower()
    if split not in builder.SPLITS:
        known = builder.SPLITS
        raise StoryjaxError(f"{builder.TITLE} has no split '{split}', only {', '.join(known)}.{nearest(split, known)}")
    reading = builder.read(manual_dir, split)
    total = len(reading.items) + len(reading.broken)
    title = f"{builder.TITLE} {split}"
    report_broken(reading.broken, total, bool(reading.items), max_broken_fraction, title, manual_dir, "items")
    fingerprint = _fingerprint(builder, manual_dir, split, reading)
    summary = Summary(split, fingerprint, len(reading.items), tuple(reading.broken))
    beside = {"labels.json": [item.labels for item in reading.items], "summary.json": asdict(summary)}
    folder = prepare_once(
        lambda data: builder(data_dir=data, only=(split,)), manual_dir, root, fingerprint, part=split, beside=beside
    )
    return MediaSource(folder)


def _fingerprint(builder: type[MediaBuilder], manual_dir: Path, split: str, reading: Reading) -> str:
    """Changes with any label, and with the name, size or date of any file."""
    digest = hashlib.sha256(f"{builder.__name__} {builder.VERSION} {split}".encode())
    for item in reading.items:
        found = item.path.stat()
        labels = json.dumps(item.labels, sort_keys=True)
        line = f"{item.path.relative_to(manual_dir)} {found.st_size} {found.st_mtime_ns} {labels}\n"
        digest.update(line.encode())
    digest.update("\n".join(reading.broken).encode())
    return digest.hexdigest()[:12]
