"""this-is-my: named instances in segments of videos (Yeh et al. 2023; thesis §5.4.1).

The official layout, read from `root`:

    this-is-my-dataset/segments.csv               columns SEGMENT_COLUMNS; others are ignored
    this-is-my-dataset/this-is-my_test-set.json   {anchor segment: [the other segments that show its object]}
    this-is-my-dataset/this-is-my_eval-captions.csv   columns CAPTION_COLUMNS; "*" stands for the object; a segment
                                                  may show several instances, and a caption is of `segs` and `item`
    train_segment/ID.mp4 eval_segment/ID.mp4      the segments
    boxes.json                                    optional and ours: {segment: [[left, top, right, bottom], ...]}

An instance is an anchor row with a name and a category (`query`); its training segments are the anchor and those
of its segments that are cut from an anchor's video; all others are for evaluation (as the authors' own reader splits
them). The captioned ones among these are the test split: thirty segments, each the answer of one caption.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.instances import Instance, InstanceBuilder, InstanceListing
from storyjax.data.builders.prepared import unusable_file
from storyjax.data.builders.tables import all_finite, read_rows

SEGMENT_COLUMNS = ("segment_id", "is_anchor", "instance_name", "video_id", "query")
CAPTION_COLUMNS = ("segs", "ids", "item", "class", "caption")
SPLITS = ("train", "eval", "test")
_FOLDER = "this-is-my-dataset"
_MOST = 1e6  # the largest number in a box that is a fraction of an image, or of nearly one
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


def read_segments(root: Path, broken: list[str] | None = None) -> list[Segment]:
    """Returns all segments of named instances, in the order of the tables; one that shows two is there for each.

    Args:
        root: the folder of the official files.
        broken: where captions that are no segment's are named.

    Raises:
        StoryjaxError: there is no such data set, or its files are not what they should be.
    """
    table, test_set, caption_table = annotation_files(root)
    for needed in (table, test_set, caption_table, root / "train_segment", root / "eval_segment"):
        if not needed.exists():
            raise StoryjaxError(f"this-is-my is not in {root} ({needed.name} is missing): {_INSTRUCTIONS}")
    rows = {row["segment_id"]: row for _, row in read_rows(table, SEGMENT_COLUMNS, whole=True)}
    captions = _read_captions(caption_table, broken)
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
                raise StoryjaxError(
                    f"{test_set.name} lists segment {segment!r:.40}, which {table} lacks: get both anew"
                )
            caption = captions.pop((segment, name), "")
            split = "train" if rows[segment]["video_id"] in train_videos else "test" if caption else "eval"
            path = root / f"{'train' if split == 'train' else 'eval'}_segment" / f"{segment}.mp4"
            if caption and split == "train":
                if broken is not None:
                    broken.append(f"{caption_table.name}: segment {segment} is of a video that is learnt from")
                caption = ""
            found.append(Segment(segment, split, path, number, name, category, caption))
    if broken is not None:
        broken += [f"{caption_table.name}: no segment {key} shows '{name}'" for key, name in captions]
        for anchor in shown_in.keys() - set(anchors):
            fault = "is no anchor" if anchor in rows else "is not there"
            lost = [anchor, *shown_in[anchor]]
            broken += [f"{test_set.name}: segment {one} of {anchor}, which {fault} in {table.name}" for one in lost]
    return found


def _read_captions(table: Path, broken: list[str] | None) -> dict[tuple[str, str], str]:
    """The caption of a segment and the instance that it asks for: a segment may show several instances."""
    captions: dict[tuple[str, str], str] = {}
    for line, row in read_rows(table, CAPTION_COLUMNS, whole=True):
        key, caption = (row["segs"].strip(), row["item"].strip()), row["caption"].strip()
        if caption and key in captions and broken is not None:
            broken.append(f"{table.name} line {line}: segment {key[0]} has another caption for '{key[1]}'")
        elif caption:
            captions[key] = caption
        elif broken is not None:
            broken.append(f"{table.name} line {line}: the caption of segment {key[0]} is empty")
    return captions


def annotation_files(root: Path) -> tuple[Path, Path, Path]:
    """Returns the tables of segments, of the test set and of captions."""
    names = ("segments.csv", "this-is-my_test-set.json", "this-is-my_eval-captions.csv")
    return root / _FOLDER / names[0], root / _FOLDER / names[1], root / _FOLDER / names[2]


def _read_test_set(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoryjaxError(f"{path} cannot be read as JSON ({error}): get it again") from error
    lists = list(found.values()) if isinstance(found, dict) else [None]
    if not all(isinstance(shown, list) and all(isinstance(name, str) for name in shown) for shown in lists):
        raise StoryjaxError(f"{path} must be an object from an anchor segment to a list of segments: get it again")
    return found


class ThisIsMy(InstanceBuilder):
    """this-is-my; one record a segment. Segments whose file is missing are left out: they are on YouTube, and some are
    gone."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS
    TITLE, SPLITS, COUNTED = "this-is-my", SPLITS, "segments"
    KEY, MEDIUM = "segment_id", "video"

    @staticmethod
    def read(root: Path) -> InstanceListing:
        """Returns the segments of all splits whose files are there; see `OfficialBuilder`."""
        boxes = read_boxes(root / "boxes.json")
        listing = InstanceListing(items={split: [] for split in SPLITS})
        for segment in read_segments(root, listing.broken):
            if why := unusable_file(segment.path):
                listing.broken.append(f"segment {segment.segment_id}: {why}")
                continue
            listing.items[segment.split].append(
                Instance(
                    segment.segment_id,
                    segment.path,
                    segment.instance,
                    segment.name,
                    segment.category,
                    segment.caption,
                    boxes.get(segment.segment_id, ()),
                )
            )
        return listing


def read_boxes(path: Path) -> dict[str, list[list[float]]]:
    """Returns {key: [[left, top, right, bottom], ...]}, fractions of the image; empty where there is no such file.

    Raises:
        StoryjaxError: the file is there and is something else.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        wrong = [key for key, rows in found.items() if not all(len(row) == 4 and all_finite(row) for row in rows)]
        wrong += [key for key, rows in found.items() if np.abs(np.array(rows, np.float64)).max(initial=0) > _MOST]
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise StoryjaxError(f"{path} cannot be read as boxes by name ({error}); fix or remove it") from error
    if wrong:
        raise StoryjaxError(f"{path}: {wrong[0]!r:.40} must have a list of boxes of four numbers; fix or remove it")
    return found
