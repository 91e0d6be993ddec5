"""Data sets of personalisation: images or videos of instances ("my dog Chia") that are learnt from or searched.

A record says which instance its image or video shows: the instance's number, its name, the category it is of, the
caption that looks for it ("*" for the instance; empty where there is none), and boxes, where they are known.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32

from storyjax.data.builders.base import Listing, OfficialBuilder


@dataclass(frozen=True)
class Instance:
    """A media file that shows an instance.

    Attributes:
        key: what the data set calls the file.
        instance: the instance's number, from 0.
        name, category: of the instance.
        caption: the query that it answers, "*" for the instance; empty where there is none.
        boxes: left, top, right, bottom as fractions of the image; of a video, evenly spaced over it.
    """

    key: str
    path: Path
    instance: int
    name: str
    category: str
    caption: str = ""
    boxes: Sequence[Sequence[float]] = ()


@dataclass
class InstanceListing(Listing):
    """The usable items of each split."""

    items: dict[str, list[Instance]] = field(default_factory=dict)

    def counts(self) -> tuple[int, int]:
        """Returns how many of the things counted cannot be used, and how many there are with them."""
        return len(self.broken), len(self.broken) + sum(map(len, self.items.values()))

    def by_split(self, split: str) -> dict[str, list[Any]]:
        """Returns the usable items of each split."""
        del split
        return self.items


class InstanceBuilder(OfficialBuilder):
    """The builder of images or videos of instances.

    Attributes:
        KEY, MEDIUM: what a record calls the file's name and its bytes.
        read: (root, **options) -> InstanceListing.

    Item i of a source is {KEY: str, MEDIUM: bytes, "instance": int, "name", "category", "caption", "boxes": (m, 4)}.
    """

    JOINT = True
    KEY: ClassVar[str]
    MEDIUM: ClassVar[str]

    def features(self) -> dict[str, Any]:
        """Returns the TFDS features of a record, by name."""
        return {
            self.KEY: tfds.features.Text(),
            self.MEDIUM: tfds.features.Scalar(np.object_),  # the file as it is
            "instance": tfds.features.Scalar(np.int32),
            "name": tfds.features.Text(),
            "category": tfds.features.Text(),
            "caption": tfds.features.Text(),
            "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
        }

    @classmethod
    def boxes(cls, item: Instance) -> Float32[np.ndarray, "m 4"]:
        """Returns the boxes of the instance: left, top, right, bottom as fractions of the image."""
        return np.array(item.boxes, np.float32).reshape(-1, 4)

    @classmethod
    def records(cls, items: Sequence[Instance]) -> Iterator[dict[str, Any]]:
        """Yields the records of a split's items, media read now."""
        for item in items:
            yield {
                cls.KEY: item.key,
                cls.MEDIUM: item.path.read_bytes(),
                "instance": item.instance,
                "name": item.name,
                "category": item.category,
                "caption": item.caption,
                "boxes": cls.boxes(item),
            }

    @classmethod
    def state(cls, item: Instance) -> bytes:
        """Returns bytes that change with the item's annotations."""
        return json.dumps({**asdict(item), "path": None}).encode()
