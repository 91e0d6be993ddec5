"""Data sets of media with labels: one record an image or clip, its bytes as they are, and its labels."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from storyjax.data.builders.base import Listing, OfficialBuilder
from storyjax.data.builders.prepared import PreparedSource, unusable_file
from storyjax.data.builders.tables import read_rows


@dataclass(frozen=True)
class MediaItem:
    """A media file and its labels; a label is a text or a list of texts, as its data set says.

    `name` is the path in the folder of the official files.
    """

    path: Path
    labels: dict[str, Any]
    name: str


@dataclass
class MediaListing(Listing):
    """The usable items of a split whose official files are below `root`.

    `lost_labels`: how many lines of annotations were lost with their media, besides what `broken` names one by one.
    """

    root: Path = Path()
    items: list[MediaItem] = field(default_factory=list)
    lost_labels: int = 0

    def counts(self) -> tuple[int, int]:
        """Returns how many of the things counted cannot be used, and how many there are with them."""
        lost = len(self.broken) + self.lost_labels
        return lost, len(self.items) + lost

    def by_split(self, split: str) -> dict[str, list[Any]]:
        """Returns the usable items of each split."""
        return {split: self.items}

    def add(self, path: Path, where: str, **labels: Any) -> bool:
        """Takes up a media file and returns True, or notes why it cannot be used."""
        if why := unusable_file(path):
            self.broken.append(f"{where}: {why}")
            return False
        name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        self.items.append(MediaItem(path, labels, str(name)))
        return True


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields what `read_rows` does, with values stripped and "" where a line has ended."""
    for line, row in read_rows(path, columns):
        yield line, {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}


class MediaSource(PreparedSource):
    """A prepared split. Item i is {"media": bytes, "path": str} and the labels, texts or lists of texts.

    `labels` has the labels of every record, without its media.
    """

    def convert(self, record: dict[str, Any], index: int) -> dict[str, Any]:
        """Returns item `index` from the prepared record."""
        return {"media": record["media"], "path": record["path"], **self.labels[index]}


class MediaBuilder(OfficialBuilder):
    """The builder of media with labels.

    Attributes:
        TEXTS, LISTS: the labels that are one text, and those that are several.
        read: (root, split) -> MediaListing.
    """

    COUNTED = "items"
    SOURCE = MediaSource
    TEXTS: ClassVar[tuple[str, ...]]
    LISTS: ClassVar[tuple[str, ...]] = ()

    def features(self) -> dict[str, Any]:
        """Returns the TFDS features of a record, by name."""
        texts = {name: tfds.features.Text() for name in self.TEXTS}
        lists = {name: tfds.features.Sequence(tfds.features.Text()) for name in self.LISTS}
        media = tfds.features.Scalar(np.object_)  # the file as it is
        return {"media": media, "path": tfds.features.Text(), **texts, **lists}

    @classmethod
    def records(cls, items: Sequence[MediaItem]) -> Iterator[dict[str, Any]]:
        """Yields the records of a split's items, media read now."""
        for item in items:
            yield {"media": item.path.read_bytes(), "path": item.name, **item.labels}

    @classmethod
    def state(cls, item: MediaItem) -> bytes:
        """Returns bytes that change with the item's annotations."""
        return json.dumps(item.labels, sort_keys=True).encode()

    @classmethod
    def labels(cls, items: Sequence[MediaItem]) -> Iterable[Mapping[str, Any]]:
        """Returns what is known of each record without its media."""
        return (item.labels for item in items)
