"""Ego4D's narrations, what EgoSchema's models are fine-tuned on (thesis §3.6.2).

Read from `manual_dir`, as `ego4d --datasets annotations full_scale` leaves it:

    annotations/narration.json      {video_uid: {"narration_pass_1": {"narrations": [{"timestamp_sec",
                                    "narration_text"}], "summaries": [{"start_sec", "end_sec", "summary_text"}]}, ...}},
                                    bare (v1) or under "videos" beside a "version"
    full_scale/VIDEO_UID.mp4        (also video_540ss/)
    egoschema_videos.json           [video_uid, ...]: the films that EgoSchema's clips are from, which are left out

Tags: "#C" is the wearer of the camera and "#O" somebody else, "#summary" (here: the summaries) a longer stretch; a
film with any narration tagged "#unsure" is left out whole. A narration is told at a moment and taken to last to the
next one. Films are hours long, so each record is a window of `WINDOW_S` seconds, as long as EgoSchema's clips.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.ego4d import check_version
from storyjax.data.builders.segments import Found, Media, SegmentBuilder, find_film, read_json, segment
from storyjax.data.builders.tables import finite

WINDOW_S = 180.0
LAST_S = 4.0  # how long the last narration of a film is taken to last
KINDS = ("C", "O", "summary")
_INSTRUCTIONS = (
    "get narrations and films with Ego4D's own program ('ego4d --datasets annotations full_scale --version v2', licence"
    " at https://ego4d-data.org), write the ids of EgoSchema's films (in the table of clips of"
    " https://github.com/egoschema/EgoSchema) as a list into egoschema_videos.json, and put all in that folder"
)


class Told(NamedTuple):
    """Something told of a film. A time is None where it is no number."""

    kind: str
    text: str
    start: float | None
    end: float | None


class Ego4dNarrations(SegmentBuilder):
    """Ego4D's narrations; one record a window of a film with what is told in it."""

    TITLE = "Ego4D narrations"
    SPLITS = ("train",)
    COLUMNS: ClassVar = {"sentence": "text", "start": "float", "end": "float", "kind": "text"}
    INSIDE = False
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    @staticmethod
    def read(manual_dir: Path, split: str) -> Found:
        path = manual_dir / "annotations" / "narration.json"
        table = read_json(path, dict, "Ego4D narrations", _INSTRUCTIONS)
        if "version" in table:
            check_version(path, table)
        heading = {key for key, value in table.items() if key == "version" or isinstance(value, str)}
        films = table.get("videos", {key: value for key, value in table.items() if key not in heading})
        if not isinstance(films, dict):
            raise StoryjaxError(f"{path} must be an object from video to its narrations: download it again")
        excluded = read_json(manual_dir / "egoschema_videos.json", list, "the list of EgoSchema's films", _INSTRUCTIONS)
        excluded = set(map(str, excluded))
        found = Found()
        for uid, passes in films.items():
            if uid in excluded:
                continue
            told = list(_told(found, uid, passes))
            if any(re.search(r"#unsure", one.text, re.IGNORECASE) for one in told):
                continue
            found.rows += len(told)
            media, why = find_film([manual_dir / "full_scale", manual_dir / "video_540ss"], uid)
            if media is None:
                found.leave_out(f"film {uid}: {why}", len(told))
                continue
            for number, one in enumerate(told):
                _add(found, uid, media, number, one)
        return found


def _add(found: Found, uid: str, media: Media, number: int, one: Told) -> None:
    text = sentence(one.text)
    if not text or one.kind not in KINDS:
        found.leave_out(f"film {uid} narration {number}: {'it is empty' if not text else 'it has neither #C nor #O'}")
        return
    if one.start is None or one.end is None:
        found.leave_out(f"film {uid} narration {number}: its time is no finite number")
        return
    window = max(0, int(one.start // WINDOW_S))
    first = window * WINDOW_S
    start, end, why = segment(one.start - first, min(one.end, first + WINDOW_S) - first, WINDOW_S)
    if why:
        found.leave_out(f"film {uid} from {first:.0f} s, narration {number}: {why}")
        return
    film = found.film(f"{uid}@{window}", media, "", 1, start=first, end=first + WINDOW_S)
    film.add(sentence=text, start=start, end=end, kind=one.kind)


def sentence(text: str) -> str:
    """What a narration says without its tags: "#C C opens the door" is "C opens the door"."""
    return " ".join(re.sub(r"#\w+", " ", text).split())


def _told(found: Found, uid: str, passes: Any) -> Iterator[Told]:
    """Everything told of a film: narrations, each lasting to the next of its pass, and summaries."""
    if not isinstance(passes, dict):
        found.refuse(f"film {uid}: its narrations are {passes!r:.40}, not an object")
        return
    for name in ("narration_pass_1", "narration_pass_2"):
        part, where = passes.get(name) or {}, f"film {uid} {name}"
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
            yield Told({"c": "C", "o": "O", "summary": "summary"}.get(kind.lower(), kind), text, start, end)
        for _, row in found.objects(part, "summaries", where):
            times = finite(row.get("start_sec")), finite(row.get("end_sec"))
            yield Told("summary", str(row.get("summary_text") or ""), *times)
