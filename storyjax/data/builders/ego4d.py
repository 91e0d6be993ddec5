"""Ego4D's challenges (Grauman et al. 2022; thesis §3.3.4): long-term anticipation, moment and language queries.

The official layout, as `ego4d --datasets annotations clips` leaves it under v1/ or v2/, read from `manual_dir`:

    annotations/fho_lta_{train,val}.json, fho_lta_taxonomy.json    {"version", "clips": [one action each]}
    annotations/moments_{train,val}.json                           {"version", "videos": [{"clips": [...]}]}
    annotations/nlq_{train,val}.json                               likewise
    clips/CLIP_UID.mp4              the benchmark's clips, or
    full_scale/VIDEO_UID.mp4        (also video_540ss/) the films that they are cut from

Versions 1 and 2 are read; they have the same keys and other clips. Times are seconds from the start of the clip.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from storyjax.data.builders.segments import Film, Found, Media, SegmentBuilder, find_film, read_json, segment
from storyjax.errors import StoryjaxError

VERSIONS = ("1", "2")
_INSTRUCTIONS = (
    "get it with Ego4D's own program ('pip install ego4d', then 'ego4d --datasets annotations clips --benchmarks {}"
    " --version v2 --output_directory DIR'; a licence of https://ego4d-data.org is needed) and give the folder DIR/v2"
)


def check_version(path: Path, table: dict[str, Any]) -> None:
    """Raises StoryjaxError where a file is of a version that nobody has read here."""
    version = str(table.get("version", "missing"))
    found = re.match(r"v?(\d+)", version.lower())
    if not found or found[1] not in VERSIONS:
        raise StoryjaxError(
            f"{path}: version '{version}' is unknown; get version 1 or 2 of Ego4D's annotations, or another storyjax"
        )


def _table(manual_dir: Path, name: str, benchmark: str) -> dict[str, Any]:
    instructions = _INSTRUCTIONS.format(benchmark)
    path = manual_dir / "annotations" / name
    table = read_json(path, dict, "Ego4D", instructions)
    check_version(path, table)
    return table


def locate_clip(
    manual_dir: Path, clip_uid: str, video_uid: str, start: float, end: float
) -> tuple[Media | None, str, tuple]:
    """The file of a clip, why there is none, and which stretch of the file it is."""
    media, why = find_film([manual_dir / "clips"], clip_uid)
    if media is not None:
        return media, "", (0.0, -1.0)
    whole, _ = find_film([manual_dir / "full_scale", manual_dir / "video_540ss"], video_uid)
    if whole is not None:
        return whole, "", (start, end)
    return None, f"{why}, nor {video_uid}.mp4 in full_scale or video_540ss", (0.0, -1.0)


def _take_up(
    found: Found, manual_dir: Path, clip: dict[str, Any], keys: tuple[str, str, str], rows: int
) -> Film | None:
    """The clip's film, if its file is there; `keys` name the clip's uid, start and end in its video."""
    uid = str(clip.get(keys[0]))
    if uid in found.films:
        return found.films[uid]
    start, end = float(clip.get(keys[1]) or 0.0), float(clip.get(keys[2]) or -1.0)
    video = str(clip.get("video_uid"))
    media, why, (first, last) = locate_clip(manual_dir, uid, video, start, end)
    return found.film(uid, media, why, rows, start=first, end=last)


class Ego4dLta(SegmentBuilder):
    """Long-term anticipation; one record a clip with its actions in order, each a (verb, noun) pair."""

    TITLE = "Ego4D LTA"
    SPLITS = ("train", "val")
    COLUMNS: ClassVar = {"verb": "text", "noun": "text", "start": "float", "end": "float"}
    INSIDE = False
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS.format("FHO")

    @staticmethod
    def read(manual_dir: Path, split: str) -> Found:
        table = _table(manual_dir, f"fho_lta_{split}.json", "FHO")
        rows = [row for row in table.get("clips", ()) if isinstance(row, dict)]
        found, actions, missing = Found(rows=len(rows)), {}, set()
        for number, row in enumerate(rows):
            uid, where = str(row.get("clip_uid")), f"fho_lta_{split}.json action {number}"
            keys = ("clip_uid", "clip_parent_start_sec", "clip_parent_end_sec")
            if uid in missing:
                found.lost += 1
                continue
            if _take_up(found, manual_dir, row, keys, rows=1) is None:
                missing.add(uid)
                continue
            length = row.get("clip_parent_end_sec"), row.get("clip_parent_start_sec")
            duration = None if None in length else float(length[0]) - float(length[1])
            start, end, why = segment(row.get("action_clip_start_sec"), row.get("action_clip_end_sec"), duration)
            verb, noun = _label(row.get("verb")), _label(row.get("noun"))
            if why or not verb or not noun:
                found.leave_out(f"{where} (clip {uid}): {why or 'its verb or noun is empty'}")
                continue
            actions.setdefault(uid, {})[int(row.get("action_idx", number))] = (verb, noun, start, end)
        for uid, ordered in actions.items():
            for index in sorted(ordered):
                verb, noun, start, end = ordered[index]
                found.films[uid].add(verb=verb, noun=noun, start=start, end=end)
        return found


def taxonomy(manual_dir: str | Path) -> tuple[list[str], list[str]]:
    """All verbs and nouns of the challenge, as prompts say them."""
    path = Path(manual_dir) / "annotations" / "fho_lta_taxonomy.json"
    table = read_json(path, dict, "Ego4D LTA", _INSTRUCTIONS.format("FHO"))
    try:
        verbs, nouns = ([_label(label) for label in table[name]] for name in ("verbs", "nouns"))
    except (KeyError, TypeError) as error:
        raise StoryjaxError(f"{path} lists no verbs and nouns: download it again") from error
    return verbs, nouns


def _label(name: Any) -> str:
    """'turn_on_(switch,_start)' is said as 'turn on': what stands in brackets are other words for the same."""
    return " ".join(re.sub(r"\(.*", "", str(name or "")).replace("_", " ").split())


def _clips(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for video in table.get("videos", ()):
        for clip in video.get("clips", ()):
            yield {**clip, "video_uid": video.get("video_uid")}


_CLIP_KEYS = ("clip_uid", "video_start_sec", "video_end_sec")


def _clip_length(clip: dict[str, Any]) -> float | None:
    start, end = clip.get("clip_start_sec"), clip.get("clip_end_sec")
    return float(end) - float(start) if start is not None and end is not None else None


class Ego4dMq(SegmentBuilder):
    """Moment queries; one record a clip with its labelled moments. The challenge scores those called primary."""

    TITLE = "Ego4D MQ"
    SPLITS = ("train", "val")
    COLUMNS: ClassVar = {"label": "text", "start": "float", "end": "float"}
    INSIDE = False
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS.format("EM")

    @staticmethod
    def read(manual_dir: Path, split: str) -> Found:
        found = Found()
        for clip in _clips(_table(manual_dir, f"moments_{split}.json", "EM")):
            labels = [label for part in clip.get("annotations", ()) for label in part.get("labels", ())]
            labels = [label for label in labels if label.get("primary", True)]
            found.rows += len(labels)
            if not labels or (film := _take_up(found, manual_dir, clip, _CLIP_KEYS, len(labels))) is None:
                continue
            for number, label in enumerate(labels):
                start, end, why = segment(label.get("start_time"), label.get("end_time"), _clip_length(clip))
                name = " ".join(str(label.get("label") or "").replace("_", " ").split())
                if why or not name:
                    found.leave_out(f"clip {film.film_id} moment {number}: {why or 'its label is empty'}")
                else:
                    film.add(label=name, start=start, end=end)
        return found


class Ego4dNlq(SegmentBuilder):
    """Natural language queries; one record a clip with its questions and where their answers are."""

    TITLE = "Ego4D NLQ"
    SPLITS = ("train", "val")
    COLUMNS: ClassVar = {"query": "text", "start": "float", "end": "float"}
    INSIDE = False
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS.format("EM")

    @staticmethod
    def read(manual_dir: Path, split: str) -> Found:
        found = Found()
        for clip in _clips(_table(manual_dir, f"nlq_{split}.json", "EM")):
            queries = [query for part in clip.get("annotations", ()) for query in part.get("language_queries", ())]
            found.rows += len(queries)
            if not queries or (film := _take_up(found, manual_dir, clip, _CLIP_KEYS, len(queries))) is None:
                continue
            for number, query in enumerate(queries):
                start, end, why = segment(query.get("clip_start_sec"), query.get("clip_end_sec"), _clip_length(clip))
                text = " ".join(str(query.get("query") or "").split())
                if why or not text or end <= start:
                    reason = why or ("its text is empty" if not text else "its answer takes no time")
                    found.leave_out(f"clip {film.film_id} query {number}: {reason}")
                else:
                    film.add(query=text, start=start, end=end)
        return found
