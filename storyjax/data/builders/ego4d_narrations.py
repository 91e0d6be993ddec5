"""Ego4D's narrations, what EgoSchema's models are fine-tuned on (thesis §3.6.2).

Read from `root`, as `ego4d --datasets annotations full_scale` leaves it:

    annotations/narration.json      {video_uid: {"narration_pass_1": {"narrations": [{"timestamp_sec",
                                    "narration_text"}], "summaries": [{"start_sec", "end_sec", "summary_text"}]}, ...}},
                                    bare (v1) or under "videos" beside a "version"
    full_scale/VIDEO_UID.mp4        (also video_540ss/)
    uid_to_ego4d.json               EgoSchema's: {q_uid: {"video_uid", "starting_sec", "ending_sec"}}; the videos that
                                    its clips are from are set aside

Tags: "#C" is the wearer of the camera and "#O" somebody else, "#summary" (here: the summaries) a longer segment; a
narration tagged "#unsure" is set aside. (§3.6.2 sets its whole video aside; but it is the narration that is uncertain,
and most long videos have one.) What is set aside is counted in summary.json. A narration has one timestamp and is
taken to last to the next one, unsure or not. Videos are hours long, so each record is a window of `WINDOW_S` seconds,
as long as EgoSchema's clips.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.ego4d import check_version
from storyjax.data.builders.segments import Media, SegmentBuilder, SegmentListing, find_video, read_json
from storyjax.data.builders.tables import finite
from storyjax.data.builders.times import MOST_S, segment

WINDOW_S = 180.0
LAST_S = 4.0  # how long the last narration of a video is taken to last
KINDS = ("C", "O", "summary")
_PASSES = ("narration_pass_1", "narration_pass_2")
_UNSURE = re.compile(r"#unsure", re.IGNORECASE)
_INSTRUCTIONS = (
    "get narrations and videos with Ego4D's own program ('ego4d --datasets annotations full_scale --version v2',"
    " licence at https://ego4d-data.org), add uid_to_ego4d.json of https://github.com/egoschema/EgoSchema, and put"
    " all in that folder"
)


class Narration(NamedTuple):
    """A narration or summary of a video. A time is None where it is no number."""

    kind: str
    text: str
    start: float | None
    end: float | None


class Ego4dNarrations(SegmentBuilder):
    """Ego4D's narrations; one record a window of a video with its narrations."""

    TITLE = "Ego4D narrations"
    SPLITS = ("train",)
    COLUMNS: ClassVar = {"sentence": "text", "start": "float", "end": "float", "kind": "text"}
    INSIDE = False
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        path = root / "annotations" / "narration.json"
        table = read_json(path, dict, "Ego4D narrations", _INSTRUCTIONS)
        if "version" in table:
            check_version(path, table)
        heading = {key for key, value in table.items() if key == "version" or isinstance(value, str)}
        videos = table.get("videos", {key: value for key, value in table.items() if key not in heading})
        if not isinstance(videos, dict):
            raise StoryjaxError(f"{path} must be an object from video to its narrations: download it again")
        excluded = _egoschema_videos(root / "uid_to_ego4d.json")
        found = SegmentListing()
        for uid, passes in videos.items():
            if uid in excluded:
                found.set_aside("videos of EgoSchema")
                continue
            every = list(_narrations(found, uid, passes))
            narrations = [one for one in every if not _UNSURE.search(one.text)]
            if len(every) > len(narrations):
                found.set_aside("narrations that are tagged #unsure", len(every) - len(narrations))
            found.rows += len(narrations)
            media, why = find_video([root / "full_scale", root / "video_540ss"], uid)
            if media is None:
                found.leave_out(f"video {uid}: {why}", len(narrations))
                continue
            for number, one in enumerate(narrations):
                _add(found, uid, media, number, one)
        return found


def _egoschema_videos(path: Path) -> set[str]:
    """The videos of Ego4D that EgoSchema's clips are from."""
    clips = read_json(path, dict, "EgoSchema's table of clips", _INSTRUCTIONS)
    videos = {str(clip["video_uid"]) for clip in clips.values() if isinstance(clip, dict) and clip.get("video_uid")}
    if not videos:
        raise StoryjaxError(f"{path} names no video_uid: get it again from https://github.com/egoschema/EgoSchema")
    return videos


def _add(found: SegmentListing, uid: str, media: Media, number: int, one: Narration) -> None:
    text = sentence(one.text)
    if not text or one.kind not in KINDS:
        found.leave_out(f"video {uid} narration {number}: {'it is empty' if not text else 'it has neither #C nor #O'}")
        return
    if one.start is None or one.end is None:
        found.leave_out(f"video {uid} narration {number}: its time is no finite number")
        return
    if one.start > MOST_S:
        found.leave_out(f"video {uid} narration {number}: its time is beyond the end of any video")
        return
    window = max(0, int(one.start // WINDOW_S))
    first = window * WINDOW_S
    start, end, why = segment(one.start - first, min(one.end, first + WINDOW_S) - first, WINDOW_S)
    if why:
        found.leave_out(f"video {uid} from {first:.0f} s, narration {number}: {why}")
        return
    annotated = found.video(f"{uid}@{window}", media, "", 1, start=first, end=first + WINDOW_S)
    if annotated is not None:
        annotated.add(sentence=text, start=start, end=end, kind=one.kind)


def sentence(text: str) -> str:
    """Returns a narration without its tags: "#C C opens the door" is "C opens the door"."""
    return " ".join(re.sub(r"#\w+", " ", text).split())


def _narrations(found: SegmentListing, uid: str, passes: Any) -> Iterator[Narration]:
    """Everything narrated of a video: narrations, each lasting to the next of its pass, and summaries."""
    if not isinstance(passes, dict):
        found.refuse(f"video {uid}: its narrations are {passes!r:.40}, not an object")
        return
    for name, part in passes.items():
        lists = [part.get(key) for key in ("narrations", "summaries")] if isinstance(part, dict) else []
        if name not in _PASSES and (lost := sum(len(rows) for rows in lists if isinstance(rows, list))):
            found.rows += lost
            found.leave_out(f"video {uid}: {name!r:.40} is none of {', '.join(_PASSES)}", lost)
    for name in _PASSES:
        part, where = passes.get(name) or {}, f"video {uid} {name}"
        if not isinstance(part, dict):
            found.refuse(f"{where} is {part!r:.40}, not an object")
            continue
        rows = [(finite(row.get("timestamp_sec")), row) for _, row in found.objects(part, "narrations", where)]
        rows.sort(key=lambda timed: math.inf if timed[0] is None else timed[0])
        for (start, row), (following, _) in zip(rows, [*rows[1:], (None, {})], strict=False):
            text = str(row.get("narration_text") or "")
            end = start + LAST_S if start is not None and following is None else following
            tag = re.search(r"#(\w+)", text)
            kind = tag[1] if tag else ""
            yield Narration({"c": "C", "o": "O", "summary": "summary"}.get(kind.lower(), kind), text, start, end)
        for _, row in found.objects(part, "summaries", where):
            times = finite(row.get("start_sec")), finite(row.get("end_sec"))
            yield Narration("summary", str(row.get("summary_text") or ""), *times)
