"""NExT-QA: multiple-choice questions about causes, times and descriptions of everyday videos (thesis §3.3.1).

The official layout, read from `root`:

    train.csv val.csv test.csv      one line a question, with the columns COLUMNS; others are ignored
    map_vid_vidorID.json            {video: "folder/vidorid"}
    NExTVideo/folder/vidorid.mp4    the videos, from VidOR

`answer` is the 0-based number of the right option; `type` is CW CH (causal), TN TC TP (temporal) or DL DC DO DB
(descriptive). A prepared record is one video with all its questions: videos are decoded once for many questions.
"""

from pathlib import Path
from typing import Any, ClassVar

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.prepared import unusable_file
from storyjax.data.builders.segments import Media, SegmentBuilder, SegmentListing, read_json
from storyjax.data.builders.tables import read_rows

COLUMNS = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type", "a0", "a1", "a2", "a3", "a4")
SPLITS = ("train", "val", "test")
OPTIONS = 5

_INSTRUCTIONS = (
    "get the annotations (folder dataset/nextqa of https://github.com/doc-doc/NExT-QA: train.csv, val.csv, test.csv and"
    " map_vid_vidorID.json) and the videos (NExTVideo, linked there, from VidOR) and put them in that folder"
)


class NextQA(SegmentBuilder):
    """NExT-QA; one record a video with its questions, videos and questions in the order of the table."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS
    TITLE, SPLITS, COUNTED = "NExT-QA", SPLITS, "questions"
    COLUMNS: ClassVar = {"question": "text", "options": "text", "answer": "int", "type": "text", "qid": "text"}
    WIDTH: ClassVar = {"options": OPTIONS}

    @classmethod
    def splits_there(cls, root: Path) -> tuple[str, ...]:
        """Returns the splits whose tables are there."""
        return tuple(split for split in SPLITS if (root / f"{split}.csv").exists()) or SPLITS[:1]

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the videos of a split and their questions; see `OfficialBuilder`."""
        table, map_file, folder = root / f"{split}.csv", root / "map_vid_vidorID.json", root / "NExTVideo"
        for needed in (table, map_file, folder):
            if not needed.exists():
                raise StoryjaxError(f"NExT-QA is not in {root} ({needed.name} is missing): {_INSTRUCTIONS}")
        places = {
            str(video): str(place) for video, place in read_json(map_file, dict, "NExT-QA", _INSTRUCTIONS).items()
        }
        listing = SegmentListing()
        unusable: set[str] = set()
        seen: set[tuple[str, str | None]] = set()
        for line, row in read_rows(table, COLUMNS):
            listing.rows += 1
            video_id = row["video"] or ""
            if video_id not in listing.videos and video_id not in unusable:
                path = folder / f"{places.get(video_id, video_id)}.mp4"
                if why := unusable_file(path):
                    unlisted = "" if video_id in places else f" (and {map_file.name} does not list it)"
                    unusable.add(video_id)
                    listing.leave_out(f"video {video_id}: {why}{unlisted}", rows=0)
                else:
                    listing.video(video_id, Media(path), "", rows=0)
            why = _wrong(row) or ("its qid is there twice" if (video_id, row["qid"]) in seen else "")
            seen.add((video_id, row["qid"]))
            if video_id in unusable:
                listing.lost += 1
            elif why:
                listing.leave_out(f"{table.name} line {line} (video {video_id}): {why}")
            else:
                listing.videos[video_id].add(**_question(row))
        if not listing.rows:
            raise StoryjaxError(f"{table} holds no questions: download it again")
        return listing


def _wrong(row: dict[str, Any]) -> str:
    """What is wrong with a question, or nothing."""
    short = [name for name in COLUMNS if row[name] is None]
    if short:
        return f"the line ends before {short[0]}"
    answer = row["answer"].strip()
    if answer not in map(str, range(OPTIONS)):
        return f"answer '{answer:.40}' is not one of 0 to {OPTIONS - 1}"
    empty = [name for name in ("question", "type", "qid") if not row[name].strip()]
    return f"{empty[0]} is empty" if empty else ""


def _question(row: dict[str, str]) -> dict[str, Any]:
    """The columns of one question."""
    texts = {name: row[name].strip() for name in ("question", "type", "qid")}
    options = [row[f"a{option}"].strip() for option in range(OPTIONS)]
    return {**texts, "options": options, "answer": int(row["answer"])}
