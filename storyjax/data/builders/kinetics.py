"""Kinetics-400 (Kay et al. 2017) and Countix, its clips with counted repetitions (Dwibedi et al. 2020); thesis §3.6.3.

The official layouts, read from `root`:

    annotations/train.csv val.csv test.csv      label,youtube_id,time_start,time_end,split
    train/ID_000012_000022.mp4                  the clips by YouTube id and seconds; also train/LABEL/ID_...mp4

    countix_train.csv countix_val.csv countix_test.csv
        video_id[,class],kinetics_start,kinetics_end,repetition_start,repetition_end,count
    train/ID_000012_000022.mp4                  Kinetics' clips

Countix gives times in seconds of the whole YouTube video; records give them in seconds of the clip.
"""

from pathlib import Path
from typing import ClassVar

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.media import read_table
from storyjax.data.builders.segments import SegmentBuilder, SegmentListing, find_video, segment
from storyjax.data.builders.tables import all_finite, finite

_KINETICS = (
    "get annotations and clips of Kinetics-400 from https://github.com/cvdfoundation/kinetics-dataset (train.csv,"
    " val.csv, test.csv into annotations/, clips into train/, val/, test/) and put them in that folder"
)
_MOST_COUNTED = 2**31 - 1  # a record counts in int32
_COUNTIX = (
    "get countix_train.csv, countix_val.csv and countix_test.csv (https://sites.google.com/view/repnet) and Kinetics'"
    " clips (https://github.com/cvdfoundation/kinetics-dataset, into train/, val/, test/) and put them in that folder"
)


def _clip_name(video: str, start: float, end: float) -> str:
    return f"{video}_{round(start):06d}_{round(end):06d}"


class Kinetics400(SegmentBuilder):
    """Kinetics-400; one record a clip with its label."""

    TITLE = "Kinetics-400"
    SPLITS = ("train", "val", "test")
    COLUMNS: ClassVar = {"label": "text"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = _KINETICS

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        table = root / "annotations" / f"{split}.csv"
        if not table.exists():
            raise StoryjaxError(f"Kinetics-400 is not in {root} (annotations/{split}.csv is missing): {_KINETICS}")
        found = SegmentListing()
        for line, row in read_table(table, ("label", "youtube_id", "time_start", "time_end")):
            found.rows += 1
            label, video = row["label"].strip('"'), row["youtube_id"]
            start, end = finite(row["time_start"]), finite(row["time_end"])
            if not label or not video or start is None or end is None:
                found.leave_out(f"{table.name} line {line}: its label or id is missing, or a time is no finite number")
                continue
            name = _clip_name(video, start, end)
            folders = [root / split, root / split / label, root / split / label.replace(" ", "_")]
            if annotated := found.video(name, *find_video(folders, name), rows=1):
                annotated.add(label=label)
        return found


class Countix(SegmentBuilder):
    """Countix; one record a segment of repetitions with their count. The class is "" where the table has none."""

    TITLE = "Countix"
    SPLITS = ("train", "val", "test")
    COLUMNS: ClassVar = {"count": "int", "label": "text"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = _COUNTIX

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        table = root / f"countix_{split}.csv"
        if not table.exists():
            raise StoryjaxError(f"Countix is not in {root} ({table.name} is missing): {_COUNTIX}")
        columns = ("video_id", "kinetics_start", "kinetics_end", "repetition_start", "repetition_end", "count")
        found = SegmentListing()
        for line, row in read_table(table, columns):
            found.rows += 1
            where = f"{table.name} line {line} (video {row['video_id']})"
            numbers = all_finite(row[name] for name in columns[1:])
            if numbers is None:
                found.leave_out(f"{where}: a time or the count is no finite number")
                continue
            first, last, start, end, count = numbers
            start, end, why = segment(start - first, end - first, last - first)
            if why or not 1 <= count <= _MOST_COUNTED or count != int(count) or end <= start:
                repeated = f"{row['count']} repetitions in {end - start:.1f} s"
                found.leave_out(f"{where}: {why or repeated}")
                continue
            name = _clip_name(row["video_id"], first, last)
            media, why = find_video([root / split], name)
            key = f"{name}@{start:.2f}"
            if annotated := found.video(key, media, why, rows=1, start=start, end=end):
                annotated.add(count=int(count), label=row.get("class", ""))
        return found
