"""Data sets of detection: one record an image, with its boxes. Item i:

image: the bytes of the image's file; name: of the file; image_id: the data set's number, or a running one
width, height: pixels
boxes (m, 4): left, top, width, height in pixels, 0-based; kinds (m,): index into the source's `categories`
crowd (m,): whether a box stands for many or is unsure: neither to be found nor to count against a detector
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float32, Int32

from storyjax.data.builders.base import Listing, OfficialBuilder
from storyjax.data.builders.prepared import PreparedSource
from storyjax.data.builders.tables import all_finite

MOST_PIXELS = 2**30  # sizes and places beyond it are no images'


@dataclass(frozen=True)
class AnnotatedImage:
    """An image's file and its boxes; see the module for the columns."""

    path: Path
    split: str
    image_id: int
    width: int
    height: int
    boxes: Float32[np.ndarray, "m 4"]
    kinds: Int32[np.ndarray, " m"]
    crowd: Bool[np.ndarray, " m"]


@dataclass
class DetectionListing(Listing):
    """The usable images of all splits, the names of their kinds, and how many boxes were lost with their images."""

    categories: tuple[str, ...] = ()
    images: list[AnnotatedImage] = field(default_factory=list)
    lost_boxes: int = 0

    def counts(self) -> tuple[int, int]:
        """Returns how many of the things counted cannot be used, and how many there are with them."""
        boxes = sum(len(image.boxes) for image in self.images)
        lost = len(self.broken) + self.lost_boxes
        return lost, len(self.images) + boxes + lost

    def by_split(self, split: str) -> dict[str, list[Any]]:
        """Returns the usable items of each split."""
        del split
        found: dict[str, list[Any]] = {}
        for image in self.images:
            found.setdefault(image.split, []).append(image)
        return found


class DetectionSource(PreparedSource):
    """A prepared split; see the module for what item i is."""

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the kinds."""
        return tuple(self.summary["categories"])


class DetectionBuilder(OfficialBuilder):
    """The builder of images with boxes.

    Attributes:
        read: (root) -> DetectionListing.
    """

    JOINT, COUNTED = True, "images and boxes"
    SOURCE = DetectionSource

    def features(self) -> dict[str, Any]:
        """Returns the TFDS features of a record, by name."""
        tensor = tfds.features.Tensor
        return {
            "image": tfds.features.Scalar(np.object_),  # the file as it is
            "name": tfds.features.Text(),
            "image_id": tfds.features.Scalar(np.int64),
            "width": tfds.features.Scalar(np.int32),
            "height": tfds.features.Scalar(np.int32),
            "boxes": tensor(shape=(None, 4), dtype=np.float32),
            "kinds": tensor(shape=(None,), dtype=np.int32),
            "crowd": tensor(shape=(None,), dtype=np.bool_),
        }

    @classmethod
    def records(cls, items: Sequence[AnnotatedImage]) -> Iterator[dict[str, Any]]:
        """Yields the records of a split's items, media read now."""
        for image in items:
            yield {
                "image": image.path.read_bytes(),
                "name": image.path.name,
                "image_id": image.image_id,
                "width": image.width,
                "height": image.height,
                "boxes": image.boxes,
                "kinds": image.kinds,
                "crowd": image.crowd,
            }

    @classmethod
    def state(cls, item: AnnotatedImage) -> bytes:
        """Returns bytes that change with the item's annotations."""
        numbers = f"{item.image_id} {item.width} {item.height}".encode()
        return numbers + item.boxes.tobytes() + item.kinds.tobytes() + item.crowd.tobytes()

    @classmethod
    def summary(cls, listing: Listing) -> dict[str, Any]:
        """Returns what sources must know before they read a record."""
        assert isinstance(listing, DetectionListing)
        return {"categories": listing.categories}


def usable_box(box: Any) -> TypeGuard[list[Any]]:
    """Returns whether it is four numbers, left, top, width and height, with an area."""
    values = all_finite(box) if isinstance(box, list | tuple) and len(box) == 4 else None
    return values is not None and max(map(abs, values)) < MOST_PIXELS and values[2] > 0 and values[3] > 0


def image_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Returns width and height as an image's annotation gives them; None where they are no numbers of pixels."""
    size = all_finite((image.get("width"), image.get("height")))
    if size is None or not 1 <= min(size) <= max(size) < MOST_PIXELS:
        return None
    return int(size[0]), int(size[1])


def annotated_image(
    path: Path,
    split: str,
    image_id: int,
    size: tuple[int, int],
    boxes: list[tuple[list[Any], int, bool]],
) -> AnnotatedImage:
    """Returns an image of `size` (width, height) with boxes given as ([left, top, width, height], kind, crowd)."""
    return AnnotatedImage(
        path,
        split,
        image_id,
        *size,
        np.array([list(map(float, box)) for box, _, _ in boxes], np.float32).reshape(-1, 4),
        np.array([kind for _, kind, _ in boxes], np.int32),
        np.array([crowd for _, _, crowd in boxes], bool),
    )
