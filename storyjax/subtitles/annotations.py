"""Reading the thesis's evaluation files (Seinfeld, Frasier, Scrubs), and StoryWorld's in the same layout (§6.2).

    csv/SHOW/SHOW_03x05.csv         start,end,speaker,transcript; seconds; without a heading
    castlist/SHOW/SHOW_03x05.txt    character,actor; "unknown" for an actor who is not known
    video/SHOW/SHOW_03x05.mp4       as the authors name them; any depth and any ending will do

as github.com/JaesungHuh/look-listen-recognise has them; the videos are given to those who ask for them there. Of every
season six episodes are annotated: the sixth is to choose thresholds by, the first five are the test.
"""

import csv
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.data.video_files import VIDEO_SUFFIXES

SPLITS = ("test", "val")


@dataclass(frozen=True)
class TrueLine:
    """An annotated line: seconds, speaker, text; `visible`: whether the camera shows the speaker, if that is known."""

    start: float
    end: float
    speaker: str
    text: str
    visible: bool | None = None


@dataclass(frozen=True)
class AnnotatedEpisode:
    """An annotated episode. `cast` pairs characters with actors (None: unknown); `video` is None where it lacks."""

    name: str
    lines: tuple[TrueLine, ...]
    cast: tuple[tuple[str, str | None], ...]
    video: Path | None

    @property
    def listed(self) -> frozenset[str]:
        """The characters of its cast list."""
        return frozenset(name for name, _ in self.cast)


def read_annotations(root: str | os.PathLike[str], show: str, split: str | None = None) -> list[AnnotatedEpisode]:
    """Returns the annotated episodes of a show, in order.

    Args:
        root: see the module.
        show: a folder of `root`/csv.
        split: "val", the last episode, or "test", the others; None: all.

    Raises:
        StoryjaxError: the show is not there, or a file is not as described above.
    """
    root = Path(root)
    tables = sorted((root / "csv" / show).glob("*.csv"))
    if not tables:
        shows = sorted(p.name for p in (root / "csv").iterdir() if p.is_dir()) if (root / "csv").is_dir() else []
        known = f" Known: {', '.join(shows)}." if shows else ""
        raise StoryjaxError(f"{root}/csv/{show} holds no annotations.{nearest(show, shows)}{known}")
    videos = {p.stem: p for p in sorted(root.rglob(f"{show}_*")) if p.suffix.lower() in VIDEO_SUFFIXES}
    episodes = [
        AnnotatedEpisode(
            table.stem,
            tuple(_with_visibility(read_lines(table), root / "truth" / f"{table.stem}.json")),
            tuple(_read_castlist(root / "castlist" / show / f"{table.stem}.txt")),
            videos.get(table.stem),
        )
        for table in tables
    ]
    if split is None:
        return episodes
    if split not in SPLITS:
        raise StoryjaxError(f"unknown split '{split}'. Known: {', '.join(SPLITS)}")
    return episodes[:-1] if split == "test" else episodes[-1:]


def read_lines(path: Path) -> list[TrueLine]:
    """Returns the lines of an episode's table in the order of their times. Raises StoryjaxError naming a wrong row."""
    lines = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if not row or (number == 1 and row[0].strip().lower() in ("start", "start_time")):
                    continue
                lines.append(_line(path, number, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoryjaxError(f"{path} cannot be read ({error}): get it anew") from error
    return sorted(lines, key=lambda line: (line.start, line.end))


def _with_visibility(lines: list[TrueLine], truth: Path) -> list[TrueLine]:
    """Lines with `visible`, which only StoryWorld's files say."""
    if not truth.is_file():
        return lines
    known = sorted(json.loads(truth.read_text("utf-8"))["lines"], key=lambda row: (row["start"], row["end"]))
    return [replace(line, visible=row["visible"]) for line, row in zip(lines, known, strict=True)]


def _line(path: Path, number: int, row: Sequence[str]) -> TrueLine:
    try:
        start, end, speaker = float(row[0]), float(row[1]), row[2].strip()
        if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end) or not speaker:
            raise ValueError
    except (ValueError, IndexError):
        raise StoryjaxError(f"{path}, row {number}: not start,end,speaker,transcript with seconds") from None
    return TrueLine(start, end, speaker, ",".join(row[3:]).strip())


def _read_castlist(path: Path) -> list[tuple[str, str | None]]:
    try:
        rows = list(csv.reader(path.read_text("utf-8-sig").splitlines()))
    except OSError as error:
        raise StoryjaxError(f"the cast list {path} cannot be read ({error.strerror}): get it anew") from error
    cast = []
    for row in rows:
        if row and row[0].strip():
            actor = row[1].strip() if len(row) > 1 else ""
            cast.append((row[0].strip(), None if actor.lower() in ("", "unknown") else actor))
    return cast
