"""Data sets of tracking: one record a frame, those of a sequence one after another.

A frame is a record of its own because training takes two that are near each other and nothing between them, and
tracking takes one after another and keeps none: either reads just the images that it needs. Item i:

    image: the bytes of the image's file, empty where it is missing
    sequence, frame: its sequence's name, and its number there, from 1
    fps, width, height, length: of the sequence; pixels and frames
    boxes (m, 4): left, top, width, height in pixels, 0-based; ids (m,); kinds (m,): class, -1 unknown
    considered (m,): whether a tracker is judged by it; ignored (m,): whether it may be found without being judged
    visibility (m,)
    detections (d, 5): boxes as above with their score; detector (d,): index into the source's `detectors`
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from storyjax.data.builders.base import Listing, OfficialBuilder
from storyjax.data.builders.prepared import PreparedSource
from storyjax.data.mot_text import LabelledKinds, Rows, by_frame, no_rows


@dataclass(frozen=True)
class Origin:
    """Where the frames of a sequence lie whose records are its annotated frames alone, and what they are called there.

    Attributes:
        folder: of all frames, below the data set's root.
        names: the file of each annotated frame, in order.
        video_id, image_ids: the data set's numbers of the video and of each annotated frame.
    """

    folder: str
    names: tuple[str, ...]
    video_id: int
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class SequenceFiles:
    """A sequence as its files say: the image of each frame from 1 on (None: missing), and rows by frame number.

    With `every_kind` a tracker is judged by all rows, whatever their class; else the classes of `benchmark`, a name of
    DISTRACTORS, decide. `labelled`: where not every kind is annotated, what is known of the others.
    """

    name: str
    split: str
    fps: float
    width: int
    height: int
    images: tuple[Path | None, ...]
    truth: Rows
    detections: dict[str, Rows] = field(default_factory=dict)
    every_kind: bool = False
    origin: Origin | None = None
    benchmark: str = "MOT17"
    labelled: LabelledKinds | None = None


@dataclass
class SequenceListing(Listing):
    """The sequences of all splits.

    `category_ids` are the data set's numbers of the kinds, where it numbers them; `lost_rows` is how many frames and
    rows were lost besides what `broken` names one by one.
    """

    sequences: list[SequenceFiles] = field(default_factory=list)
    category_ids: tuple[int, ...] = ()
    lost_rows: int = 0

    def counts(self) -> tuple[int, int]:
        """Returns how many of the things counted cannot be used, and how many there are with them."""
        usable = sum(len(sequence.images) + len(sequence.truth) for sequence in self.sequences)
        lost = len(self.broken) + self.lost_rows
        return lost, usable + lost

    def by_split(self, split: str) -> dict[str, list[Any]]:
        """Returns the usable items of each split."""
        del split
        found: dict[str, list[Any]] = {}
        names = self.detectors
        for sequence in self.sequences:
            if sequence.images:
                detections = {name: sequence.detections.get(name, no_rows()) for name in names}
                found.setdefault(sequence.split, []).append(replace(sequence, detections=detections))
        return found

    @property
    def detectors(self) -> tuple[str, ...]:
        """The names of the public detectors whose boxes any sequence has."""
        return tuple(dict.fromkeys(name for sequence in self.sequences for name in sequence.detections))


@dataclass(frozen=True)
class SequenceInfo:
    """Where a sequence's frames lie in the source: records `start` to `start + length`; and what it is `labelled`.

    `origin` says where all frames lie, where the records are the annotated ones alone.
    """

    name: str
    start: int
    length: int
    fps: float
    width: int
    height: int
    origin: Origin | None = None
    labelled: LabelledKinds | None = None


class FrameSource(PreparedSource):
    """A prepared split, by frame; see the module for what item i is."""

    @cached_property
    def sequences(self) -> list[SequenceInfo]:
        """Where each sequence lies."""
        return [_as_info(each) for each in self.summary["sequences"].get(self.split, [])]

    @property
    def detectors(self) -> tuple[str, ...]:
        """The names of the public detectors."""
        return tuple(self.summary["detectors"])

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The data set's number of each kind; empty where it has none."""
        return tuple(self.summary.get("category_ids", ()))

    def __len__(self) -> int:
        return sum(sequence.length for sequence in self.sequences)


class FramesBuilder(OfficialBuilder):
    """The builder of sequences.

    Attributes:
        read: (root, **options) -> SequenceListing.
    """

    JOINT, COUNTED = True, "frames and rows"
    SOURCE = FrameSource

    def features(self) -> dict[str, Any]:
        """Returns the TFDS features of a record, by name."""
        tensor = tfds.features.Tensor
        return {
            "image": tfds.features.Scalar(np.object_),  # the file as it is
            "sequence": tfds.features.Text(),
            "frame": tfds.features.Scalar(np.int32),
            "fps": tfds.features.Scalar(np.float32),
            "width": tfds.features.Scalar(np.int32),
            "height": tfds.features.Scalar(np.int32),
            "length": tfds.features.Scalar(np.int32),
            "boxes": tensor(shape=(None, 4), dtype=np.float32),
            "ids": tensor(shape=(None,), dtype=np.int32),
            "kinds": tensor(shape=(None,), dtype=np.int32),
            "considered": tensor(shape=(None,), dtype=np.bool_),
            "ignored": tensor(shape=(None,), dtype=np.bool_),
            "visibility": tensor(shape=(None,), dtype=np.float32),
            "detections": tensor(shape=(None, 5), dtype=np.float32),
            "detector": tensor(shape=(None,), dtype=np.int32),
        }

    @classmethod
    def records(cls, items: Sequence[SequenceFiles]) -> Iterator[dict[str, Any]]:
        """Yields the records of a split's items, media read now."""
        for sequence in items:
            truth = by_frame(sequence.truth)
            detections = [by_frame(rows) for rows in sequence.detections.values()]
            for number, path in enumerate(sequence.images, 1):
                yield _record(sequence, number, path, truth.get(number, no_rows()), detections)

    @classmethod
    def state(cls, item: SequenceFiles) -> bytes:
        """Returns bytes that change with the item's annotations."""
        head = f"{item.name} {item.fps} {item.width} {item.height} {[path is None for path in item.images]}"
        head += f" {item.benchmark} {item.labelled}"
        tables = (item.truth, *item.detections.values())
        columns = (getattr(table, column.name) for table in tables for column in fields(Rows))
        return head.encode() + b"".join(column.tobytes() for column in columns)

    @classmethod
    def files(cls, item: SequenceFiles) -> Iterable[Path]:
        """Returns the files that the item's records are made of."""
        return (path for path in item.images if path is not None)

    @classmethod
    def summary(cls, listing: Listing) -> dict[str, Any]:
        """Returns what sources must know before they read a record."""
        assert isinstance(listing, SequenceListing)
        numbers = {"category_ids": listing.category_ids} if listing.category_ids else {}
        return {"sequences": _places(listing), "detectors": listing.detectors, **numbers}


def _record(
    sequence: SequenceFiles, number: int, path: Path | None, truth: Rows, detections: list[dict[int, Rows]]
) -> dict[str, Any]:
    found = [each.get(number, no_rows()) for each in detections]
    boxes = [np.concatenate([each.xywh_px, each.score[:, None]], 1) for each in found]
    return {
        "image": b"" if path is None else path.read_bytes(),
        "sequence": sequence.name,
        "frame": number,
        "fps": sequence.fps,
        "width": sequence.width,
        "height": sequence.height,
        "length": len(sequence.images),
        "boxes": truth.xywh_px,
        "ids": truth.id,
        "kinds": truth.kind,
        "considered": truth.score > 0 if sequence.every_kind else truth.targets,
        "ignored": truth.distracting(sequence.benchmark) & (not sequence.every_kind),
        "visibility": truth.visibility,
        "detections": np.concatenate([np.zeros((0, 5), np.float32), *boxes]),
        "detector": np.repeat(np.arange(len(found), dtype=np.int32), [len(each) for each in found]),
    }


def _places(found: SequenceListing) -> dict[str, list[dict[str, Any]]]:
    """Where the sequences of each split lie: what a source must know before it reads a record."""
    places: dict[str, list[dict[str, Any]]] = {}
    for sequence in found.sequences:
        earlier = places.setdefault(sequence.split, [])
        start = earlier[-1]["start"] + earlier[-1]["length"] if earlier else 0
        length = len(sequence.images)
        size = sequence.width, sequence.height
        info = SequenceInfo(sequence.name, start, length, sequence.fps, *size, sequence.origin, sequence.labelled)
        # What a data set has not has no key, so that what was prepared before is found again.
        earlier.append({key: value for key, value in asdict(info).items() if value is not None})
    return places


def _as_info(saved: dict[str, Any]) -> SequenceInfo:
    """What `_places` gave, from JSON."""
    origin, labelled = saved.get("origin"), saved.get("labelled")
    if origin is not None:
        origin = Origin(**{**origin, **{name: tuple(origin[name]) for name in ("names", "image_ids")}})
    if labelled is not None:
        labelled = LabelledKinds(**{name: tuple(kinds) for name, kinds in labelled.items()})
    return SequenceInfo(**{**saved, "origin": origin, "labelled": labelled})
