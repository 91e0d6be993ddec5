"""Tracks and detections as rows, and MOTChallenge's text files of them.

A line of such a file is `frame,id,left,top,width,height,score,...`, of tracks found also `-1,-1,-1`, of ground truth
`considered,class,visibility` after the height (MOT15's: `considered,x,y,z`). Frames count from 1, as do pixels: a box
of the whole image starts at (1, 1). In memory pixels count from 0.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32

from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.data.encodings import decode_text

UNKNOWN = -1
# MOTChallenge's classes: what is tracked, and what a tracker may find or not without being judged by it.
PEDESTRIAN = 1
_SINCE_2016 = (2, 7, 8, 12)  # person on vehicle, static person, distractor, reflection
NON_MOT_VEHICLE = 6  # such as a pushchair: a distractor in MOT20 alone
DISTRACTORS: dict[str, tuple[int, ...]] = {
    "MOT15": (),  # has no classes
    "MOT16": _SINCE_2016,
    "MOT17": _SINCE_2016,
    "MOT20": (*_SINCE_2016, NON_MOT_VEHICLE),
}


@dataclass(frozen=True)
class LabelledKinds:
    """What else is known of a sequence of which not every kind is annotated, as of TAO's and LVIS's.

    A sequence's tracks say of their own kinds that they are there. Found tracks of any other kind are not judged, but
    for those of `negative` kinds; and those of `not_exhaustive` kinds not unless they are on a true one.

    Attributes:
        negative: kinds of which the sequence is known to have none.
        not_exhaustive: kinds of which it may have more than are annotated.
    """

    negative: tuple[int, ...] = ()
    not_exhaustive: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Boxes in frames, in any order.

    `frame` counts from 1; `id` is -1 where there is none (detections); `xywh_px` are left, top, width, height in
    pixels, 0-based; `score` is the confidence of what was found, and of ground truth whether it is considered (0 or 1);
    `kind` is the class, -1 where unknown; `visibility` is the fraction that shows, 1 where unknown.
    """

    frame: Int32[np.ndarray, " m"]
    id: Int32[np.ndarray, " m"]
    xywh_px: Float32[np.ndarray, "m 4"]
    score: Float32[np.ndarray, " m"]
    kind: Int32[np.ndarray, " m"]
    visibility: Float32[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, chosen: "slice | np.ndarray") -> "Rows":
        """The rows of a slice, a mask or indices."""
        return Rows(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def targets(self) -> Bool[np.ndarray, " m"]:
        """Which rows of ground truth a tracker is judged by: considered, and a pedestrian where classes are known."""
        return (self.score > 0) & np.isin(self.kind, (PEDESTRIAN, UNKNOWN))

    @property
    def distractors(self) -> Bool[np.ndarray, " m"]:
        """Which rows of MOT17's ground truth a tracker may find without being judged; of others, `distracting`."""
        return self.distracting("MOT17")

    def distracting(self, benchmark: str) -> Bool[np.ndarray, " m"]:
        """Returns which rows of a benchmark's ground truth (a name of DISTRACTORS) a tracker may find without being
        judged."""
        return np.isin(self.kind, DISTRACTORS[benchmark])


def rows(frame: Any, id: Any, xywh_px: Any, score: Any = None, kind: Any = None, visibility: Any = None) -> Rows:
    """Returns rows from columns that NumPy makes arrays of; score and visibility are 1 and kind -1 where they are not
    given."""
    frames = np.asarray(frame, np.int32).reshape(-1)
    count = len(frames)

    def column(values: object, default: float | int, dtype: type) -> np.ndarray:
        return np.full(count, default, dtype) if values is None else np.asarray(values, dtype).reshape(count)

    return Rows(
        frames,
        np.asarray(id, np.int32).reshape(count),
        np.asarray(xywh_px, np.float32).reshape(count, 4),
        column(score, 1.0, np.float32),
        column(kind, UNKNOWN, np.int32),
        column(visibility, 1.0, np.float32),
    )


def no_rows() -> Rows:
    """Returns a table without rows."""
    return rows([], [], np.zeros((0, 4)))


def concatenate(parts: Iterable[Rows]) -> Rows:
    """Returns all rows of all parts, one after another."""
    parts = list(parts)
    if not parts:
        return no_rows()
    return Rows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)))


def by_frame(found: Rows) -> dict[int, Rows]:
    """Returns the rows of each frame that has any."""
    order = np.argsort(found.frame, kind="stable")
    frames, starts = np.unique(found.frame[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(order) else []
    return {int(frame): found[part] for frame, part in zip(frames, parts, strict=True)}


def read_rows(path: str | Path, truth: bool = False, broken: list[str] | None = None, first: int = 1) -> Rows:
    """Reads a file of tracks, detections or (`truth`) ground truth, separated by commas, semicolons or blanks.

    Lines may lack what comes after the box, and a field may be empty: it keeps its column and is unknown. A line of ten
    columns has no class and no visibility (MOT15): its last three are a place in the world. Empty lines, those that
    start with # and a heading are passed over. What no tracker can use (no numbers, a frame before the first, a width
    or height that is not above zero, numbers without end) is left out and, if `broken` is given, named there; without
    `broken` it is an error.

    Args:
        path: of the file.
        truth: whether class and visibility are read.
        broken: gets the faults.
        first: the lowest number of a frame; with 0, a file that has a frame 0 counts from 0, and all its frames are
            moved up by one.

    Raises:
        StoryjaxError: the file cannot be read, or a line of it is unusable.
    """
    path = place(path)
    try:
        text = decode_text(path.read_bytes(), guess=False)[0]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise StoryjaxError(f"{path} cannot be read ({why}): check the path") from error
    kept = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#") or (number == 1 and _is_heading(line)):
            continue
        values, why = _parse(line, first)
        if values is not None:
            kept.append(values)
        elif broken is None:
            raise StoryjaxError(f"{path} line {number} {why}: correct or remove it")
        else:
            broken.append(f"{path} line {number} {why}")
    table = np.array(kept, np.float64).reshape(-1, 9)
    box = table[:, 2:6] - np.array([1.0, 1.0, 0.0, 0.0])
    kind, visibility = (table[:, 7], table[:, 8]) if truth else (None, None)
    frames = table[:, 0] + (1 if (table[:, 0] == 0).any() else 0)
    return rows(frames, table[:, 1], box, table[:, 6], kind, visibility)


def _is_heading(line: str) -> bool:
    names = [part.strip() for part in re.split("[,;]", line)]
    return len(names) >= 6 and all(name[:1].isalpha() and name != "nan" for name in names[:6])


def _fields(line: str) -> list[float]:
    """The numbers of a line; an empty field is NaN. Raises ValueError for what is no number."""
    if ";" in line:  # of spreadsheets, in which the decimal point may be a comma
        line = line.replace(",", ".").replace(";", ",")
    parts = line.split(",") if "," in line else line.split()
    while parts and not parts[-1].strip():
        parts.pop()
    return [float(part) if part.strip() else np.nan for part in parts]


def _parse(line: str, first: int) -> tuple[list[float] | None, str]:
    """(frame, id, left, top, width, height, score, class, visibility) of a line, or why there is nothing to use."""
    try:
        values = _fields(line)
    except ValueError:
        return None, f"holds what is no number ({line[:40]!r})"
    if len(values) < 6:
        return None, f"has {len(values)} numbers instead of frame, id, left, top, width, height"
    if np.isnan(values[1]):
        values[1] = UNKNOWN
    if not np.isfinite(values[:6]).all() or max(abs(v) for v in values[:6]) > 2**30:
        return None, "holds an empty field in its frame or box, or numbers without end"
    if values[0] < first or values[0] != int(values[0]):
        return None, f"has the frame {values[0]:g}, but frames are {first}, {first + 1}, {first + 2} ..."
    if values[4] <= 0 or values[5] <= 0:
        return None, f"has a box of {values[4]:g} × {values[5]:g} pixels"
    score = values[6] if len(values) > 6 and np.isfinite(values[6]) else 1.0
    classed = 7 < len(values) < 10
    kind = values[7] if classed and np.isfinite(values[7]) else float(UNKNOWN)
    visibility = values[8] if classed and len(values) > 8 and 0 <= values[8] <= 1 else 1.0
    return [*values[:6], score, kind, visibility], ""


def as_columns(found: Rows) -> Iterator[tuple[int, int, float, float, float, float, float]]:
    """Yields (frame, id, left, top, width, height, score) of each row, by frame and id, as JSON holds them."""
    ordered = found[np.lexsort((found.id, found.frame))]
    columns = (ordered.frame, ordered.id, ordered.xywh_px, ordered.score)
    for frame, number, box, score in zip(*(column.tolist() for column in columns), strict=True):
        yield (frame, number, *box, score)


def format_rows(found: Rows) -> Iterator[str]:
    """Yields the lines of a file of tracks or detections, in the order of the rows."""
    for frame, number, box, score in zip(
        found.frame.tolist(), found.id.tolist(), found.xywh_px.tolist(), found.score.tolist(), strict=True
    ):
        yield format_line(frame, number, box, score)


def format_line(frame: int, number: int, xywh_px: Sequence[float], score: float, category: int = -1) -> str:
    """Returns a line of such a file; the box is left, top, width and height in pixels from 0, and -1 is no class."""
    left, top, width, height = xywh_px
    return f"{frame},{number},{left + 1:.2f},{top + 1:.2f},{width:.2f},{height:.2f},{score:.4f},{category},-1,-1\n"


def write_rows(path: str | Path, found: Rows) -> None:
    """Writes a file of tracks or detections, whole or not at all. Raises StoryjaxError where it cannot be written."""
    path = place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(format_rows(found)))
    except OSError as error:
        raise StoryjaxError(f"can't write {path}: {error.strerror}; choose another place") from error
