"""this-is-my: named instances in segments of videos (Yeh et al. 2023; thesis §5.4.1).

The official layout, read from `manual_dir`:

    this-is-my-dataset/segments.csv               columns SEGMENT_COLUMNS; others are ignored
    this-is-my-dataset/this-is-my_test-set.json   {anchor segment: [the other segments that show its object]}
    this-is-my-dataset/this-is-my_eval-captions.csv   columns CAPTION_COLUMNS; "*" stands for the object
    train_segment/ID.mp4 eval_segment/ID.mp4      the segments
    boxes.json                                    optional and ours: {segment: [[left, top, right, bottom], ...]}

An instance is an anchor row with a name and a category (`query`); its training segments are the anchor and those
of its segments that are cut from an anchor's video, all others are for evaluation (as the authors' own reader splits
them). The captioned ones among these are the test split: thirty segments, each the answer of one caption.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.prepared import PreparedSource, files_fingerprint, one_split, prepare_once
from storyjax.data.builders.tables import read_rows

SEGMENT_COLUMNS = ("segment_id", "is_anchor", "instance_name", "video_id", "query")
CAPTION_COLUMNS = ("segs", "ids", "item", "class", "caption")
SPLITS = ("train", "eval", "test")
_FOLDER = "this-is-my-dataset"
_INSTRUCTIONS = (
    "get the repository danielchyeh/this-is-my from GitHub, run its download_video.py for train and eval, and put"
    " this-is-my-dataset, train_segment and eval_segment in that folder"
)


@dataclass(frozen=True)
class Segment:
    """A segment that shows an instance. `caption` is empty unless it is the answer of one."""

    segment_id: str
    split: str
    path: Path
    instance: int
    name: str
    category: str
    caption: str = ""


def read_segments(manual_dir: str | Path) -> list[Segment]:
    """All segments of named instances whose files are there, in the order of the tables.

    Raises:
        StoryjaxError: there is no such data set, or its files are not what they should be.
    """
    root = Path(manual_dir)
    table, test_set, told = annotation_files(root)
    for needed in (table, test_set, told, root / "train_segment", root / "eval_segment"):
        if not needed.exists():
            raise StoryjaxError(f"this-is-my is not in {root} ({needed.name} is missing): {_INSTRUCTIONS}")
    rows = {row["segment_id"]: row for _, row in read_rows(table, SEGMENT_COLUMNS, whole=True)}
    given = ((row["segs"], row["caption"].strip()) for _, row in read_rows(told, CAPTION_COLUMNS, whole=True))
    captions = {segment: caption for segment, caption in given if caption}
    shown_in = _read_test_set(test_set)
    anchors = [key for key, row in rows.items() if row["is_anchor"].strip().lower() == "true" and key in shown_in]
    if not anchors:
        raise StoryjaxError(f"{table} names no anchor that {test_set.name} lists: get both files of one version")
    train_videos = {rows[anchor]["video_id"] for anchor in anchors}
    found = []
    for number, anchor in enumerate(anchors):
        name, category = rows[anchor]["instance_name"].strip(), rows[anchor]["query"].strip()
        for segment in [anchor, *shown_in[anchor]]:
            if segment not in rows:
                raise StoryjaxError(f"{test_set.name} lists segment {segment}, which {table} lacks: get both anew")
            caption = captions.get(segment, "")
            split = "train" if rows[segment]["video_id"] in train_videos else "test" if caption else "eval"
            path = root / f"{'train' if split == 'train' else 'eval'}_segment" / f"{segment}.mp4"
            found.append(Segment(segment, split, path, number, name, category, caption))
    return found


def annotation_files(root: Path) -> tuple[Path, Path, Path]:
    names = ("segments.csv", "this-is-my_test-set.json", "this-is-my_eval-captions.csv")
    return root / _FOLDER / names[0], root / _FOLDER / names[1], root / _FOLDER / names[2]


def _read_test_set(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{path} cannot be read as JSON ({error}): get it again") from error
    if not (isinstance(found, dict) and all(isinstance(v, list) for v in found.values())):
        raise StoryjaxError(f"{path} must be an object from an anchor segment to a list of segments: get it again")
    return found


class ThisIsMy(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder; `prepare` below is the usual way to it. Segments whose file is missing are left out."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "One record a segment."}
    code_path = None  # TFDS would look beside this file for checksums of downloads; there are none
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def __init__(self, **kwargs: Any):
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "segment_id": tfds.features.Text(),
                    "video": tfds.features.Scalar(np.object_),  # the mp4 as it is
                    "instance": tfds.features.Scalar(np.int32),
                    "name": tfds.features.Text(),
                    "category": tfds.features.Text(),
                    "caption": tfds.features.Text(),
                    "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
                }
            ),
            homepage="https://github.com/danielchyeh/this-is-my",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        root = Path(dl_manager.manual_dir)
        segments, boxes = read_segments(root), read_boxes(root / "boxes.json")
        return {split: self._generate_examples([s for s in segments if s.split == split], boxes) for split in SPLITS}

    def _generate_examples(
        self, segments: list[Segment], boxes: dict[str, list[list[float]]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, segment in enumerate(s for s in segments if s.path.is_file()):
            yield (
                index,
                {
                    "segment_id": segment.segment_id,
                    "video": segment.path.read_bytes(),
                    "instance": segment.instance,
                    "name": segment.name,
                    "category": segment.category,
                    "caption": segment.caption,
                    "boxes": np.array(boxes.get(segment.segment_id, ()), np.float32).reshape(-1, 4),
                },
            )

    @classmethod
    def prepare(cls, root: str | Path, cache_dir: str | Path, split: str, **options: Any) -> PreparedSource:
        """Returns a split as a source of records; see `prepare` for the options and errors."""
        return one_split(prepare(root, cache_dir, **options), split, "this-is-my")


def read_boxes(path: Path) -> dict[str, list[list[float]]]:
    """{key: [[left, top, right, bottom], ...]}, shares of the picture; empty where there is no such file.

    Raises:
        StoryjaxError: the file is there and is something else.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        wrong = [k for k, rows in found.items() if np.asarray(rows, np.float32).reshape(-1, 4).shape[0] != len(rows)]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StoryjaxError(f"{path} cannot be read as boxes by name ({error}); mend or remove it") from error
    if wrong:
        raise StoryjaxError(f"{path}: '{wrong[0]}' must have a list of boxes of four numbers; mend or remove it")
    return found


def prepare(
    manual_dir: str | Path, data_dir: str | Path, *, max_broken_fraction: float = 0.05
) -> dict[str, PreparedSource]:
    """All splits as records under `data_dir`: made now, or found there if the files in `manual_dir` are the same.

    Item i is {"segment_id", "video": mp4 bytes, "instance": int, "name", "category", "caption", "boxes": (n, 4)}.

    Raises:
        StoryjaxError: the data set is not there (what to get and where to put it), too many segments have no file (the
            videos are on YouTube, and some are gone), or `data_dir` cannot be written.
    """
    root = Path(manual_dir)
    segments = read_segments(root)
    missing = [s for s in segments if not s.path.is_file()]
    if len(missing) > max_broken_fraction * len(segments):
        raise StoryjaxError(
            f"{len(missing)} of {len(segments)} segments of this-is-my have no file, more than the allowed"
            f" {max_broken_fraction:.1%}; the first: {missing[0].path}; {_INSTRUCTIONS}"
        )
    read = [path for path in (*annotation_files(root), root / "boxes.json") if path.exists()]
    files = [s.path for s in segments if s.path.is_file()]
    fingerprint = files_fingerprint(str(ThisIsMy.VERSION), files, root, read)
    folder = prepare_once(lambda data: ThisIsMy(data_dir=data), root, Path(data_dir) / "thisismy", fingerprint)
    return {split: PreparedSource(folder, "this_is_my", str(ThisIsMy.VERSION), split) for split in SPLITS}
