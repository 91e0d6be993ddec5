"""Ego4D's challenges (Grauman et al. 2022; thesis §3.3.4): long-term anticipation, moment and language queries.

The official layout, as `ego4d --datasets annotations clips` leaves it under v1/ or v2/, read from `root`:

    annotations/fho_lta_{train,val}.json, fho_lta_taxonomy.json    {"version", "clips": [one action each]}
    annotations/moments_{train,val}.json                           {"version", "videos": [{"clips": [...]}]}
    annotations/nlq_{train,val}.json                               likewise
    annotations/{fho_lta,moments,nlq}_test_unannotated.json        the challenges' test sets, without labels
    clips/CLIP_UID.mp4              the benchmark's clips, or
    full_scale/VIDEO_UID.mp4        (also video_540ss/) the videos that they are cut from

Versions 1 and 2 are read; they have the same keys and other clips. Times are seconds from the start of the clip. A
verb or noun is written without its brackets, which hold other words for the same; where several of the taxonomy would
be written alike, as nut_(food) and nut_(tool), the brackets' first word is kept: "nut food", "nut tool"; and where that
is alike too, as of version 2's chip_(wood,_metal) and chip_(wood'_metal), further words tell the later one apart: "chip
wood", "chip wood metal".
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.segments import AnnotatedVideo, Media, SegmentBuilder, SegmentListing, find_video, read_json
from storyjax.data.builders.tables import finite
from storyjax.data.builders.times import MOST_S, segment

VERSIONS = ("1", "2")
UNANNOTATED = "test_unannotated"  # the split of what is only predicted: labels are "", times 0
_QUERIES = "language_queries"
_INSTRUCTIONS = (
    "get it with Ego4D's own program ('pip install ego4d', then 'ego4d --datasets annotations clips --benchmarks {}"
    " --version v2 --output_directory DIR'; a licence of https://ego4d-data.org is needed) and give the folder DIR/v2"
)


def check_version(path: Path, table: dict[str, Any]) -> None:
    """Checks the version of an annotation file. Raises StoryjaxError where it is not one of VERSIONS."""
    version = str(table.get("version", "missing"))
    found = re.match(r"v?(\d+)", version.lower())
    if not found or found[1] not in VERSIONS:
        raise StoryjaxError(
            f"{path}: version '{version}' is unknown; get version 1 or 2 of Ego4D's annotations, or another storyjax"
        )


def _table(root: Path, name: str, benchmark: str) -> dict[str, Any]:
    instructions = _INSTRUCTIONS.format(benchmark)
    path = root / "annotations" / name
    table = read_json(path, dict, "Ego4D", instructions)
    check_version(path, table)
    return table


def locate_clip(root: Path, clip_uid: str, video_uid: str, start: float, end: float) -> tuple[Media | None, str, tuple]:
    """Returns the file of a clip or None, why there is none, and which segment of the file it is."""
    media, why = find_video([root / "clips"], clip_uid)
    if media is not None:
        return media, "", (0.0, -1.0)
    whole, _ = find_video([root / "full_scale", root / "video_540ss"], video_uid)
    if whole is not None:
        return whole, "", (start, end)
    return None, f"{why}, nor {video_uid}.mp4 in full_scale or video_540ss", (0.0, -1.0)


def _span(clip: dict[str, Any], first: str, last: str) -> tuple[float, float, str]:
    """From where to where (-1: to the end) a clip goes by these keys, and why that is not a time span."""
    given = clip.get(first) or 0.0, clip.get(last) or -1.0
    start, end = map(finite, given)
    if start is None or end is None or not 0 <= start < MOST_S or (end != -1.0 and not start < end < MOST_S):
        return 0.0, -1.0, f"{first} {given[0]!r:.40} to {last} {given[1]!r:.40} is not a time span"
    return start, end, ""


def _take_up(
    found: SegmentListing, root: Path, clip: dict[str, Any], span: tuple[float, float], rows: int
) -> AnnotatedVideo | None:
    """The clip's video, if its file is there; `span` is where the clip is in its video."""
    uid = str(clip.get("clip_uid"))
    if uid in found.videos:
        return found.videos[uid]
    media, why, (first, last) = locate_clip(root, uid, str(clip.get("video_uid")), *span)
    return found.video(uid, media, why, rows, start=first, end=last)


class _Ego4d(SegmentBuilder):
    SPLITS = ("train", "val", UNANNOTATED)
    INSIDE = False
    TABLE: ClassVar[str]  # the name of a split's annotations

    @classmethod
    def splits_there(cls, root: Path) -> tuple[str, ...]:
        """Returns the splits whose annotations are in `root`; those of training and validation where none are."""
        found = (split for split in cls.SPLITS if (root / "annotations" / cls.TABLE.format(split)).is_file())
        return tuple(found) or cls.SPLITS[:2]


class Ego4dLta(_Ego4d):
    """Long-term anticipation; one record a clip with its actions in order, each a (verb, noun) pair."""

    TITLE = "Ego4D LTA"
    TABLE = "fho_lta_{}.json"
    COLUMNS: ClassVar = {"verb": "text", "noun": "text", "start": "float", "end": "float", "action_idx": "int"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS.format("FHO")

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        table = _table(root, f"fho_lta_{split}.json", "FHO")
        verbs, nouns = map(_said, _label_space(root))
        found, missing = SegmentListing(), set()
        actions: dict[str, dict[float, tuple[str, str, float, float]]] = {}
        for number, row in found.objects(table, "clips", f"fho_lta_{split}.json"):
            found.rows += 1
            uid = str(row.get("clip_uid"))
            where = f"fho_lta_{split}.json action {number} (clip {uid})"
            if uid in missing:
                found.lost += 1
                continue
            first, last, why = _span(row, "clip_parent_start_sec", "clip_parent_end_sec")
            if why:
                found.leave_out(f"{where}: {why}")
                continue
            if _take_up(found, root, row, (first, last), rows=1) is None:
                missing.add(uid)
                continue
            duration = None if last < 0 else last - first
            start, end, why = segment(row.get("action_clip_start_sec"), row.get("action_clip_end_sec"), duration)
            verb, noun = _label(row.get("verb"), verbs), _label(row.get("noun"), nouns)
            given = row.get("action_idx", number)
            index = finite(given)
            ordered = actions.setdefault(uid, {})
            if why or (split != UNANNOTATED and not (verb and noun)):
                found.leave_out(f"{where}: {why or 'its verb or noun is empty'}")
            elif index is None or index in ordered:
                reason = "is no finite number" if index is None else "is there twice"
                found.leave_out(f"{where}: its action_idx {given!r:.40} {reason}")
            else:
                ordered[index] = (verb, noun, start, end)
        for uid, ordered in actions.items():
            for index in sorted(ordered):
                verb, noun, start, end = ordered[index]
                found.videos[uid].add(verb=verb, noun=noun, start=start, end=end, action_idx=int(index))
        return found


def taxonomy(root: str | Path) -> tuple[list[str], list[str]]:
    """Returns all verbs and nouns of the challenge, as prompts write them."""
    verbs, nouns = ([_label(name, _said(names)) for name in names] for names in _label_space(place(root)))
    return verbs, nouns


def _label_space(root: Path) -> tuple[list[str], list[str]]:
    """All verbs and nouns as the challenge writes them."""
    path = root / "annotations" / "fho_lta_taxonomy.json"
    table = read_json(path, dict, "Ego4D LTA", _INSTRUCTIONS.format("FHO"))
    verbs, nouns = table.get("verbs"), table.get("nouns")
    for names in (verbs, nouns):
        if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise StoryjaxError(f"{path} lists no verbs and nouns: download it again")
    return verbs, nouns


def _said(names: Sequence[str]) -> dict[str, str]:
    """What is said for each name of the taxonomy, no two alike."""
    unique = list(dict.fromkeys(names))
    alike = {label for label, count in Counter(_bare(name) for name in unique).items() if count > 1}
    said: dict[str, str] = {}
    for name in unique:
        label, words = _bare(name), _bracketed(name)
        kept = 1 if label in alike else 0
        while (text := " ".join([label, *words[:kept]])) in said.values() and kept < len(words):
            kept += 1
        number = 2
        while text in said.values():
            text, number = " ".join([label, *words, str(number)]), number + 1
        said[name] = text
    return said


def _bare(name: str) -> str:
    """'turn_on_(switch,_start)' becomes 'turn on'."""
    return " ".join(name.partition("(")[0].replace("_", " ").split())


def _bracketed(name: str) -> list[str]:
    """The words in the name's brackets."""
    return re.findall(r"[^\W_]+", name.partition("(")[2])


def _label(name: Any, said: Mapping[str, str]) -> str:
    """What is said for a verb or noun; of one that the taxonomy lacks what its bare name and first bracket say."""
    text = str(name or "")
    if text in said:
        return said[text]
    label = _bare(text)
    with_word = " ".join([label, *_bracketed(text)[:1]])
    return with_word if with_word in said.values() else label


def _annotated(
    found: SegmentListing, root: Path, name: str, key: str
) -> Iterator[tuple[AnnotatedVideo, float | None, list[dict[str, Any]]]]:
    """Each clip's video, its length if it is given, and the entries of the annotators' lists of that key."""
    for number, video in found.objects(_table(root, name, "EM"), "videos", name):
        for position, clip in found.objects(video, "clips", f"{name} video {number}"):
            where = f"{name} video {number} clip {position} ({clip.get('clip_uid')})"
            parts = [part for _, part in found.objects(clip, "annotations", where)]
            entries = [
                {**entry, "annotation_uid": str(part.get("annotation_uid") or ""), "query_idx": index}
                for part in parts
                for index, entry in found.objects(part, key, where)
            ]
            if other := sum(not entry.get("primary", True) for entry in entries):  # queries have no such key
                found.set_aside("moments that are not primary", other)
            entries = [entry for entry in entries if entry.get("primary", True)]
            if null := sum(key == _QUERIES and not entry.get("query") for entry in entries):
                found.set_aside("queries without a text", null)  # the files have a few, as null
            entries = [entry for entry in entries if key != _QUERIES or entry.get("query")]
            if key == "labels" and UNANNOTATED in name:
                entries = [{}]  # nothing is known of the clip: it stands for itself
            found.rows += len(entries)
            first, last, why = _span(clip, "video_start_sec", "video_end_sec")
            start, end, wrong = _span(clip, "clip_start_sec", "clip_end_sec")
            if entries and (why or wrong):
                found.leave_out(f"{where}: {why or wrong}", len(entries))
            elif entries:
                clip = {**clip, "video_uid": video.get("video_uid")}
                if annotated := _take_up(found, root, clip, (first, last), len(entries)):
                    yield annotated, None if end < 0 else end - start, entries


def moment_name(label: Any) -> str:
    """Returns a label of moments as prompts write it."""
    return " ".join(str(label or "").replace("_", " ").split())


def moment_classes(root: str | Path) -> dict[str, str]:
    """Returns all labels of moments in the annotations of training and validation, in their order: from how prompts
    write each to how the challenge does."""
    found: set[str] = set()
    listing = SegmentListing()
    for split in ("train", "val"):
        name = Ego4dMq.TABLE.format(split)
        if (place(root) / "annotations" / name).is_file():
            for number, video in listing.objects(_table(place(root), name, "EM"), "videos", name):
                for _, clip in listing.objects(video, "clips", f"{name} video {number}"):
                    for _, part in listing.objects(clip, "annotations", name):
                        entries = (entry for _, entry in listing.objects(part, "labels", name))
                        found |= {
                            str(entry["label"]) for entry in entries if entry.get("primary") and entry.get("label")
                        }
    if not found:
        raise StoryjaxError(
            f"{root}/annotations has no moments_train.json, whose labels say what to look for: get it too"
        )
    return {moment_name(label): label for label in sorted(found)}


class Ego4dMq(_Ego4d):
    """Moment queries; one record a clip with its labelled moments. The challenge scores those called primary."""

    TITLE = "Ego4D MQ"
    TABLE = "moments_{}.json"
    COLUMNS: ClassVar = {"label": "text", "start": "float", "end": "float"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS.format("EM")

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        found = SegmentListing()
        for annotated, length, labels in _annotated(found, root, f"moments_{split}.json", "labels"):
            if split == UNANNOTATED:
                annotated.add(label="", start=0.0, end=0.0)
                continue
            for number, label in enumerate(labels):
                start, end, why = segment(label.get("start_time"), label.get("end_time"), length)
                name = moment_name(label.get("label"))
                if why or not name:
                    found.leave_out(f"clip {annotated.video_id} moment {number}: {why or 'its label is empty'}")
                else:
                    annotated.add(label=name, start=start, end=end)
        return found


class Ego4dNlq(_Ego4d):
    """Natural language queries; one record a clip with its questions and where their answers are."""

    TITLE = "Ego4D NLQ"
    TABLE = "nlq_{}.json"
    COLUMNS: ClassVar = {
        "query": "text",
        "start": "float",
        "end": "float",
        "annotation_uid": "text",
        "query_idx": "int",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS.format("EM")

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        found = SegmentListing()
        for annotated, length, queries in _annotated(found, root, f"nlq_{split}.json", _QUERIES):
            for number, query in enumerate(queries):
                if split == UNANNOTATED:
                    start, end, why = 0.0, 0.0, ""
                else:
                    start, end, why = segment(query.get("clip_start_sec"), query.get("clip_end_sec"), length)
                text = " ".join(str(query["query"]).split())
                if why or not text:
                    found.leave_out(f"clip {annotated.video_id} query {number}: {why or 'its text is empty'}")
                else:  # an answer may take no time: the challenge counts it, and no answer overlaps it
                    place = {key: query[key] for key in ("annotation_uid", "query_idx")}
                    annotated.add(query=text, start=start, end=end, **place)
        return found
