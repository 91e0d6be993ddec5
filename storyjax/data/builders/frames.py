"""What the builders of tracking data share: one record a frame, those of a sequence one after another.

A frame is a record of its own because training takes two that are near each other and nothing between them, and
tracking takes one after another and keeps none: either reads just the pictures that it needs. Item i:

    image: the bytes of the picture's file, empty where it is missing
    sequence, frame: its sequence's name, and its number there, from 1
    fps, width, height, length: of the sequence; pixels and frames
    boxes (m, 4): left, top, width, height in pixels, 0-based; ids (m,); kinds (m,): class, -1 unknown
    considered (m,): whether a tracker is judged by it; ignored (m,): whether it may be found without being judged
    visibility (m,)
    detections (d, 5): boxes as above with their score; detector (d,): index into the source's `detectors`
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from storyjax.data.builders.broken import report_broken
from storyjax.data.builders.prepared import PreparedSource, prepare_once
from storyjax.data.mot_text import Rows, by_frame, no_rows


@dataclass(frozen=True)
class SequenceFiles:
    """A sequence as its files say: the picture of each frame from 1 on (None: missing), and rows by frame number.

    With `every_kind` a tracker is judged by all rows, whatever their class; else MOT17's classes decide.
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


@dataclass
class SequencesRead:
    """What a data set's files say, and a line for each thing that had to be left out."""

    sequences: list[SequenceFiles] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SequenceInfo:
    """Where a sequence's frames lie in the source: records `start` to `start + length`."""

    name: str
    start: int
    length: int
    fps: float
    width: int
    height: int


class FramesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The TFDS builder of sequences; its subclasses say what they are called and read the files.

    Attributes:
        TITLE: for messages.
        SPLITS: all that there may be; `read` names the split of each sequence.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # TFDS would look beside this file for checksums of downloads; there are none
    TITLE: ClassVar[str]
    SPLITS: ClassVar[tuple[str, ...]]

    def __init__(self, *, found: SequencesRead, detectors: tuple[str, ...], **kwargs: Any):
        self.found, self.detectors = found, detectors
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        tensor = tfds.features.Tensor
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
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
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        present = {sequence.split for sequence in self.found.sequences}
        return {split: self._generate_examples(split) for split in self.SPLITS if split in present}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        key = 0
        for sequence in (s for s in self.found.sequences if s.split == split):
            truth = by_frame(sequence.truth)
            detections = [by_frame(sequence.detections.get(name, no_rows())) for name in self.detectors]
            for number, path in enumerate(sequence.images, 1):
                yield key, _record(sequence, number, path, truth.get(number, no_rows()), detections)
                key += 1


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
        "ignored": truth.distractors & (not sequence.every_kind),
        "visibility": truth.visibility,
        "detections": np.concatenate([np.zeros((0, 5), np.float32), *boxes]),
        "detector": np.repeat(np.arange(len(found), dtype=np.int32), [len(each) for each in found]),
    }


class FrameSource(PreparedSource):
    """A split of prepared sequences, by frame; see the module for what item i is.

    Attributes:
        sequences: where each lies.
        detectors: names of the public detectors.
        broken: a line for each thing left out, of all splits.
    """

    def __init__(self, folder: Path, builder: type[FramesBuilder], split: str):
        super().__init__(folder, _snake(builder.__name__), str(builder.VERSION), split)
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
        self.sequences = [SequenceInfo(**each) for each in summary["sequences"].get(split, [])]
        self.detectors: tuple[str, ...] = tuple(summary["detectors"])
        self.broken: tuple[str, ...] = tuple(summary["broken"])

    def __len__(self) -> int:
        return sum(sequence.length for sequence in self.sequences)


def prepare_frames(
    builder: type[FramesBuilder],
    found: SequencesRead,
    manual_dir: str | Path,
    data_dir: str | Path,
    *,
    max_broken_fraction: float = 0.05,
) -> dict[str, FrameSource]:
    """The splits as records under `data_dir`: made now, or found there if the files are the same. See `prepare_once`.

    Raises:
        StoryjaxError: nothing usable is there, too many frames are missing, or `data_dir` cannot be written.
    """
    frames = sum(len(sequence.images) for sequence in found.sequences)
    total = frames + sum(len(sequence.truth) for sequence in found.sequences) + len(found.broken)
    title, what = builder.TITLE, "frames and rows"
    report_broken(found.broken, total, frames > 0, max_broken_fraction, title, manual_dir, what)
    detectors = tuple(dict.fromkeys(name for sequence in found.sequences for name in sequence.detections))
    folder = prepare_once(
        lambda data: builder(found=found, detectors=detectors, data_dir=data),
        Path(manual_dir),
        Path(data_dir) / builder.__name__.lower(),
        _fingerprint(builder, found, Path(manual_dir)),
        beside={"summary.json": {"sequences": _places(found), "detectors": detectors, "broken": found.broken}},
    )
    present = {sequence.split for sequence in found.sequences}
    return {split: FrameSource(folder, builder, split) for split in builder.SPLITS if split in present}


def _places(found: SequencesRead) -> dict[str, list[dict[str, Any]]]:
    """Of each split, where its sequences lie: what a source must know before it reads a record."""
    places: dict[str, list[dict[str, Any]]] = {}
    for sequence in found.sequences:
        earlier = places.setdefault(sequence.split, [])
        start = earlier[-1]["start"] + earlier[-1]["length"] if earlier else 0
        length = len(sequence.images)
        info = SequenceInfo(sequence.name, start, length, sequence.fps, sequence.width, sequence.height)
        earlier.append(asdict(info))
    return places


def _fingerprint(builder: type[FramesBuilder], found: SequencesRead, root: Path) -> str:
    """Changes with any row, and with the name, size or date of any picture."""
    digest = hashlib.sha256(f"{builder.__name__} {builder.VERSION}".encode())
    for sequence in found.sequences:
        digest.update(f"{sequence.split} {sequence.name} {sequence.fps} {sequence.width} {sequence.height}".encode())
        for rows in (sequence.truth, *sequence.detections.values()):
            for column in (rows.frame, rows.id, rows.xywh_px, rows.score, rows.kind, rows.visibility):
                digest.update(column.tobytes())
        for path in sequence.images:
            if path is None:
                digest.update(b"missing\n")
            else:
                stat = path.stat()
                digest.update(f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    digest.update("\n".join(found.broken).encode())
    return digest.hexdigest()[:12]


def _snake(name: str) -> str:
    """The folder that TFDS gives a builder."""
    return tfds.core.naming.camelcase_to_snakecase(name)
