"""What the builders of detection data share: one record a picture, with its boxes. Item i:

image: the bytes of the picture's file; name: of the file; image_id: the data set's number, or a running one
width, height: pixels
boxes (m, 4): left, top, width, height in pixels, 0-based; kinds (m,): index into the source's `categories`
crowd (m,): whether a box stands for many or is unsure: neither to be found nor to count against a detector
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float32, Int32

from storyjax.data.builders.broken import report_broken
from storyjax.data.builders.prepared import PreparedSource, prepare_once


@dataclass(frozen=True)
class Picture:
    """A picture's file and its boxes."""

    path: Path
    split: str
    image_id: int
    width: int
    height: int
    boxes: Float32[np.ndarray, "m 4"]
    kinds: Int32[np.ndarray, " m"]
    crowd: Bool[np.ndarray, " m"]


@dataclass
class PicturesRead:
    """What a data set's files say, the names of its kinds, and a line for each thing that had to be left out."""

    categories: tuple[str, ...]
    pictures: list[Picture] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class PicturesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The TFDS builder of pictures with boxes; subclasses say what they are called.

    Attributes:
        TITLE: for messages.
        SPLITS: all that there may be.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # TFDS would look beside this file for checksums of downloads; there are none
    TITLE: ClassVar[str]
    SPLITS: ClassVar[tuple[str, ...]]

    def __init__(self, *, found: PicturesRead, **kwargs: Any):
        self.found = found
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        tensor = tfds.features.Tensor
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Scalar(np.object_),  # the file as it is
                    "name": tfds.features.Text(),
                    "image_id": tfds.features.Scalar(np.int64),
                    "width": tfds.features.Scalar(np.int32),
                    "height": tfds.features.Scalar(np.int32),
                    "boxes": tensor(shape=(None, 4), dtype=np.float32),
                    "kinds": tensor(shape=(None,), dtype=np.int32),
                    "crowd": tensor(shape=(None,), dtype=np.bool_),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        present = {picture.split for picture in self.found.pictures}
        return {split: self._generate_examples(split) for split in self.SPLITS if split in present}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, picture in enumerate(p for p in self.found.pictures if p.split == split):
            yield (
                key,
                {
                    "image": picture.path.read_bytes(),
                    "name": picture.path.name,
                    "image_id": picture.image_id,
                    "width": picture.width,
                    "height": picture.height,
                    "boxes": picture.boxes,
                    "kinds": picture.kinds,
                    "crowd": picture.crowd,
                },
            )


class PictureSource(PreparedSource):
    """A split of prepared pictures; see the module for what item i is.

    Attributes:
        categories: the names of the kinds.
        broken: a line for each thing left out, of all splits.
    """

    def __init__(self, folder: Path, builder: type[PicturesBuilder], split: str):
        name = tfds.core.naming.camelcase_to_snakecase(builder.__name__)
        super().__init__(folder, name, str(builder.VERSION), split)
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
        self.categories: tuple[str, ...] = tuple(summary["categories"])
        self.broken: tuple[str, ...] = tuple(summary["broken"])


def prepare_pictures(
    builder: type[PicturesBuilder],
    found: PicturesRead,
    manual_dir: str | Path,
    data_dir: str | Path,
    *,
    max_broken_fraction: float = 0.05,
) -> dict[str, PictureSource]:
    """The splits as records under `data_dir`: made now, or found there if the files are the same. See `prepare_once`.

    Raises:
        StoryjaxError: nothing usable is there, too much of it is unusable, or `data_dir` cannot be written.
    """
    total = len(found.pictures) + sum(len(p.boxes) for p in found.pictures) + len(found.broken)
    title, what = builder.TITLE, "pictures and boxes"
    report_broken(found.broken, total, bool(found.pictures), max_broken_fraction, title, manual_dir, what)
    root = Path(manual_dir)
    digest = hashlib.sha256(f"{builder.__name__} {builder.VERSION} {found.categories}".encode())
    for picture in found.pictures:
        stat = picture.path.stat()
        digest.update(f"{picture.split} {picture.path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        digest.update(picture.boxes.tobytes() + picture.kinds.tobytes() + picture.crowd.tobytes())

    folder = prepare_once(
        lambda data: builder(found=found, data_dir=data),
        root,
        Path(data_dir) / builder.__name__.lower(),
        digest.hexdigest()[:12],
        beside={"summary.json": {"categories": found.categories, "broken": found.broken}},
    )
    present = {picture.split for picture in found.pictures}
    return {split: PictureSource(folder, builder, split) for split in builder.SPLITS if split in present}


def usable_box(box: Any) -> bool:
    """Whether it is four numbers, left, top, width and height, with an area."""
    try:
        values = [float(v) for v in box]
    except (TypeError, ValueError):
        return False
    return len(values) == 4 and bool(np.isfinite(values).all()) and values[2] > 0 and values[3] > 0


def picture(
    path: Path,
    split: str,
    image_id: int,
    size: tuple[int, int],
    boxes: list[tuple[list[Any], int, bool]],
) -> Picture:
    """A picture of `size` (width, height) from its boxes (left, top, width, height), their kinds and whether crowds."""
    return Picture(
        path,
        split,
        image_id,
        *size,
        np.array([box for box, _, _ in boxes], np.float32).reshape(-1, 4),
        np.array([kind for _, kind, _ in boxes], np.int32),
        np.array([crowd for _, _, crowd in boxes], bool),
    )
