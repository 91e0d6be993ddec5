"""YT-Temporal-1B: web videos with the times of their spoken sentences (Zellers et al. 2022; thesis §3.2.2).

Read from `root`:

    yttemporal1b_ids_train.csv, yttemporal1b_ids_val.csv    one YouTube id a line (a header "video_id" is skipped)
    asr/*.jsonl                 one line a video: {"video_id", "start": [s], "end": [s], "text": ["sentence", ...]},
                                and "duration": s, the video's length, if it is known
    videos/ID.mp4               (or .webm, .mkv ...), or
    shards/*.tar                tar files with ID.mp4 in them

The ids are the published ones; sentences come from YouTube's own recognition or another's, and no layout of them was
published, so the plain one above is read. With a `duration` sentences past the video's end are left out; without it
that end is found out when the video is decoded. Of a corpus so large many videos cannot be had any more: videos,
sentences and lines that are missing or broken are counted and named, and half of all may be missing unless
`max_broken_fraction` says otherwise.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.segments import (
    AnnotatedVideo,
    SegmentBuilder,
    SegmentListing,
    find_video,
    segment,
    tar_members,
)

_INSTRUCTIONS = (
    "get yttemporal1b_ids_train.csv and yttemporal1b_ids_val.csv of https://github.com/rowanz/merlot_reserve, download"
    " the videos (into videos/ or tar files in shards/) and their timed sentences (into asr/*.jsonl, one object a video"
    " with video_id, start, end and text) and put them in that folder"
)


class YtTemporal(SegmentBuilder):
    """YT-Temporal-1B; one record a video with its sentences."""

    TITLE = "YT-Temporal-1B"
    SPLITS = ("train", "val")
    COLUMNS: ClassVar = {"sentence": "text", "start": "float", "end": "float"}
    INSIDE = False
    MAX_BROKEN_FRACTION = 0.5
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        table = root / f"yttemporal1b_ids_{split}.csv"
        asr = sorted((root / "asr").glob("*.jsonl"))
        if not table.exists() or not asr:
            missing = table.name if not table.exists() else "asr/*.jsonl"
            raise StoryjaxError(f"YT-Temporal-1B is not in {root} ({missing} is missing): {_INSTRUCTIONS}")
        try:
            lines = table.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StoryjaxError(f"{table} cannot be read as text ({error}): download it again") from error
        ids = [line.strip().split(",")[0].strip('"') for line in lines if line.strip()]
        wanted = dict.fromkeys(name for name in ids if name != "video_id")
        shards = tar_members(sorted((root / "shards").glob("*.tar")))
        found = SegmentListing()
        for where, line in _lines(found, asr):
            video = str(line.get("video_id"))
            if video not in wanted:
                continue
            del wanted[video]
            media, why = (shards[video], "") if video in shards else find_video([root / "videos"], video)
            lengths = [
                len(part) if isinstance(part := line.get(name), list) else -1 for name in ("text", "start", "end")
            ]
            alike = len(set(lengths)) == 1 and lengths[0] >= 0
            rows = lengths[0] if alike or lengths[0] > 0 else 1
            found.rows += rows
            if not alike:
                found.leave_out(f"{where} (video {video}): start, end and text are not lists of one length", rows)
            elif annotated := found.video(video, media, why, rows):
                _add(found, annotated, where, line)
        for video in wanted:
            found.rows += 1
            found.leave_out(f"video {video}: no line of asr/*.jsonl has its sentences")
        return found


def _add(found: SegmentListing, annotated: AnnotatedVideo, where: str, line: dict[str, Any]) -> None:
    for number, (start, end, text) in enumerate(zip(line["start"], line["end"], line["text"], strict=True)):
        start, end, why = segment(start, end, line.get("duration"))
        sentence = " ".join(str(text or "").split())
        if why or not sentence:
            found.leave_out(f"{where} sentence {number}: {why or 'it is empty'}")
        else:
            annotated.add(sentence=sentence, start=start, end=end)


def _lines(found: SegmentListing, files: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of all lines; a line that holds none is refused. Bytes, as lines of text end at U+2028 too."""
    for path in files:
        try:
            with path.open("rb") as file:
                for number, raw in enumerate(file, 1):
                    where = f"{path.name} line {number}"
                    try:
                        line = json.loads(raw.decode("utf-8-sig")) if raw.strip() else None
                    except (ValueError, RecursionError) as error:
                        found.refuse(f"{where} cannot be read as JSON ({error})")
                        continue
                    if isinstance(line, dict):
                        yield where, line
                    elif raw.strip():
                        found.refuse(f"{where} is {line!r:.40}, not an object")
        except OSError as error:
            raise StoryjaxError(f"{path} cannot be read ({error}): download it again") from error
