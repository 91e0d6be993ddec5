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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.base import Made
from storyjax.data.builders.segments import Media, SegmentBuilder, SegmentListing, find_video, plain, tar_members
from storyjax.data.builders.times import segments
from storyjax.data.builders.yttemporal_index import listed_ids
from storyjax.data.builders.yttemporal_shards import ids_table, prepare_streamed, sentence_files, tar_files

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
        """Returns the annotated videos of a split; see `OfficialBuilder`. All are held in memory: of a large corpus
        `prepare` reads them shard by shard instead."""
        YtTemporal._check_there(root, split)
        wanted = dict.fromkeys(listed_ids(ids_table(root, split)))
        shards = tar_members(tar_files(root))
        found = SegmentListing()
        for where, line in _lines(found, sentence_files(root)):
            video = str(line.get("video_id"))
            if video in wanted:
                del wanted[video]
                media, why = (shards[video], "") if video in shards else find_video([root / "videos"], video)
                YtTemporal.annotate(found, where, line, video, media, why)
        for video in wanted:
            found.rows += 1
            found.leave_out(f"video {video}: no line of asr/*.jsonl has its sentences")
        return found

    @staticmethod
    def _check_there(root: Path, split: str) -> None:
        table, asr = ids_table(root, split), sentence_files(root)
        if not table.exists() or not asr:
            missing = table.name if not table.exists() else "asr/*.jsonl"
            raise StoryjaxError(f"YT-Temporal-1B is not in {root} ({missing} is missing): {_INSTRUCTIONS}")

    @classmethod
    def _make(
        cls, root: Path, cache: Path, split: str | None, allowed: float, options: Mapping[str, Any], key: str
    ) -> Made:
        assert split is not None
        del options
        cls._check_there(root, split)
        return prepare_streamed(cls, root, cache, split, allowed, key)

    @staticmethod
    def parse(found: SegmentListing, where: str, raw: bytes) -> dict[str, Any] | None:
        """Returns the object of a line, which is called `where`; None of an empty one, and of one that holds none,
        which is refused."""
        try:
            line = json.loads(raw.decode("utf-8-sig")) if raw.strip() else None
        except (ValueError, RecursionError) as error:
            found.refuse(f"{where} cannot be read as JSON ({error})")
            return None
        if isinstance(line, dict):
            return line
        if raw.strip():
            found.refuse(f"{where} is {line!r:.40}, not an object")
        return None

    @staticmethod
    def annotate(
        found: SegmentListing, where: str, line: dict[str, Any], video: str, media: Media | None, why: str
    ) -> None:
        """Takes up a video and its sentences.

        Args:
            found: what it is added to.
            where: what the line is called.
            line: of the video's sentences.
            video: its id.
            media: where it lies; None: nowhere, for the reason `why`.
        """
        lengths = [len(part) if isinstance(part := line.get(name), list) else -1 for name in ("text", "start", "end")]
        alike = len(set(lengths)) == 1 and lengths[0] >= 0
        rows = lengths[0] if alike or lengths[0] > 0 else 1
        found.rows += rows
        if not alike:
            found.leave_out(f"{where} (video {video}): start, end and text are not lists of one length", rows)
        elif annotated := found.video(video, media, why, rows):
            starts, ends, wrong = segments(line["start"], line["end"], line.get("duration"))
            texts = _one_line_each(line["text"])
            bad = sorted({*wrong, *(number for number, text in enumerate(texts) if not text)})
            for number in bad:
                found.leave_out(f"{where} sentence {number}: {wrong.get(number) or 'it is empty'}")
            for number in reversed(bad):
                del texts[number], starts[number], ends[number]
            annotated.columns = {"sentence": texts, "start": starts, "end": ends} if texts else {}


def _one_line_each(texts: list[Any]) -> list[str]:
    """The texts as records hold them, with single blanks between words; "" of what is none."""
    if set(map(type, texts)) == {str}:
        joined = "\n".join(texts)
        words = joined.split()
        blanks, gaps = joined.count(" ") + joined.count("\n"), len(words) - 1
        single = joined.count("\n") == len(texts) - 1 and blanks == gaps == len(joined) - len("".join(words))
        if single and joined.isascii():
            return list(texts)
    return [plain(" ".join(str(text or "").split())) for text in texts]


def _lines(found: SegmentListing, files: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of all lines; a line that holds none is refused. Bytes, as lines of text end at U+2028 too."""
    for path in files:
        try:
            with path.open("rb") as file:
                for number, raw in enumerate(file, 1):
                    where = f"{path.name} line {number}"
                    if (line := YtTemporal.parse(found, where, raw)) is not None:
                        yield where, line
        except OSError as error:
            raise StoryjaxError(f"{path} cannot be read ({error}): download it again") from error
