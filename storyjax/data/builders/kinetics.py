"""Kinetics-400 (Kay et al. 2017) and Countix, clips of Kinetics-700 with counted repetitions (Dwibedi et al. 2020).

Both of thesis §3.6.3. Countix's clips are of Kinetics-700 (Carreira et al. 2019): most of them are in no Kinetics-400.

The official layouts, read from `root`:

    annotations/train.csv val.csv test.csv      label,youtube_id,time_start,time_end,split; test.csv has no label
    train/ID_000012_000022.mp4                  the clips by YouTube id and seconds; also train/LABEL/ID_...mp4

    countix_train.csv countix_val.csv countix_test.csv
        video_id[,class],kinetics_start,kinetics_end,repetition_start,repetition_end,count
    train/ID_000012_000022.mp4                  Kinetics-700's clips; also train/CLASS/ID_...mp4

Countix gives times in seconds of the whole YouTube video; records give them in seconds of the clip.
"""

from pathlib import Path
from typing import ClassVar

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.media import read_table
from storyjax.data.builders.segments import VIDEO_SUFFIXES, Media, SegmentBuilder, SegmentListing, find_video
from storyjax.data.builders.tables import all_finite, finite
from storyjax.data.builders.times import segment

_KINETICS = (
    "get annotations and clips of Kinetics-400 from https://github.com/cvdfoundation/kinetics-dataset (train.csv,"
    " val.csv, test.csv into annotations/, clips into train/, val/, test/) and put them in that folder"
)
_MOST_COUNTED = 2**31 - 1  # a record counts in int32
_COUNTIX = (
    "get countix_train.csv, countix_val.csv and countix_test.csv (https://sites.google.com/view/repnet) and the clips"
    " of Kinetics-700 (not of Kinetics-400, which lacks most; https://github.com/cvdfoundation/kinetics-dataset, into"
    " train/, val/, test/) and put them in that folder"
)


def _clip_name(video: str, start: float, end: float) -> str:
    return f"{video}_{round(start):06d}_{round(end):06d}"


class _Clips:
    """The clips of a split, in its folder or one of a folder for each class, which is looked into once."""

    def __init__(self, folder: Path):
        self.folder, self._classes = folder, self._below(folder)

    def find(self, name: str, label: str) -> tuple[Media | None, str]:
        """Returns the file of a clip, or None and why there is none; the label is known in most lists."""
        near = [self.folder, self.folder / label, self.folder / label.replace(" ", "_")] if label else [self.folder]
        media, why = find_video(near, name)
        if media is None and name in self._classes:
            return find_video([self._classes[name]], name)
        return media, why

    @staticmethod
    def _below(folder: Path) -> dict[str, Path]:
        """The folder below this one that each clip is in."""
        if not folder.is_dir():
            return {}
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        return {path.stem: each for each in classes for path in each.iterdir() if path.suffix in VIDEO_SUFFIXES}


class Kinetics400(SegmentBuilder):
    """Kinetics-400; one record a clip with its label, "" where the list of the test set has none."""

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
        found, clips = SegmentListing(), _Clips(root / split)
        columns = ("youtube_id", "time_start", "time_end")  # and a label, but for those that are tested
        for line, row in read_table(table, columns if split == "test" else ("label", *columns)):
            found.rows += 1
            label, video = row.get("label", "").strip('"'), row["youtube_id"]
            start, end = finite(row["time_start"]), finite(row["time_end"])
            if not (label or split == "test") or not video or start is None or end is None:
                found.leave_out(f"{table.name} line {line}: its label or id is missing, or a time is no finite number")
                continue
            name = _clip_name(video, start, end)
            if annotated := found.video(name, *clips.find(name, label), rows=1):
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
        found, clips = SegmentListing(), _Clips(root / split)
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
            media, why = clips.find(name, row.get("class", ""))
            # A clip may have several rows, also from one moment on.
            key = f"{name}@{row['repetition_start']}-{row['repetition_end']}x{row['count']}"
            if key in found.videos:
                found.leave_out(f"{where}: the same row is there twice")
            elif annotated := found.video(key, media, why, rows=1, start=start, end=end):
                annotated.add(count=int(count), label=row.get("class", ""))
        return found
