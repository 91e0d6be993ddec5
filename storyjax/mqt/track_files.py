"""Tracking a video or folder of images to a file of tracks and a rendered video (`storyjax track`).

Memory does not depend on the length of the video: one frame, the tracker's state, and the trails of visible tracks.
Files are complete, and appear after all frames are done, or not at all.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.files import atomic_path, check_outputs
from storyjax.data.mot_text import Rows, format_line, read_rows, rows
from storyjax.mqt.eval_tracking import Image, OnlineTracker, TrackedBox, follow, from_first_boxes
from storyjax.mqt.render import Painter, check_render, video_writer
from storyjax.mqt.sequences import Report, VideoSequence

_KEYS = ("box", "id", "frame", "name")
Watch = Callable[[int, float, Image | None, Sequence[TrackedBox]], None]
Paint = Callable[[int, Image | None, Sequence[TrackedBox]], None]


@dataclass(frozen=True)
class Summary:
    """The counts of a tracked sequence.

    Attributes:
        frames: all of them.
        missing: those of them that were missing or broken.
        tracks, boxes: that were written.
        seconds: of wall time.
        classes: of the tracks, by the number in the file's eighth column; none where the tracker knows no classes.
    """

    frames: int
    missing: int
    tracks: int
    boxes: int
    seconds: float
    classes: dict[int, str] = field(default_factory=dict)


def track_to_files(
    tracker: OnlineTracker,
    video: VideoSequence,
    out: str | Path,
    render: str | Path | None = None,
    detections: Rows | None = None,
    initial: Rows | None = None,
    report: Report = print,
    after_frame: Callable[[], None] = lambda: None,
    inputs: Sequence[str | os.PathLike[str]] = (),
    audio_track: int | None = None,
    watch: Watch | None = None,
) -> Summary:
    """Tracks a sequence, writes the results, and returns a summary.

    Args:
        tracker: to use.
        video: the sequence.
        out: MOTChallenge's text: frame, id, left, top, width, height, score, class or -1, -1, -1; frames and pixels
            from 1.
        render: an mp4 with boxes, numbers and trails, at the times of the source's frames, and with its sound.
        detections: boxes that the tracker is given in each frame; see `clip_detections`.
        initial: boxes that tracks are started on, nothing else being tracked; see `read_initial`.
        report: called with a line for each fault of a frame.
        after_frame: called after each frame.
        inputs: further files that were read, none of which may be written over; those of `video` are known.
        audio_track: the sound track that is rendered, from 1; None: see `storyjax.data.containers.choose_track`.
        watch: called with each frame's number, time, image and tracks.

    Raises:
        StoryjaxError: no frame can be read, or the files cannot be written.
    """
    if render is not None:
        check_render(render)
    check_outputs((("the file of tracks", out), ("the video", render)), (*video.files, *inputs), make_folders=True)
    if initial is not None:
        frames = from_first_boxes(tracker, video, initial, report)
    else:
        frames = follow(tracker, video, detections, report)
    began, count, missing, boxes, numbers = time.perf_counter(), 0, 0, 0, _DistinctCount()
    classes: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(_text_writer(place(out)))
        paint = None if render is None else stack.enter_context(_painting(render, video, audio_track))
        for number, image, tracked in frames:
            tracked = [clipped for one in tracked if (clipped := _clip_box(one, video)) is not None]
            write(format_line(number, one.id, one.xywh_px, one.score, getattr(one, "category", -1)) for one in tracked)
            classes |= {one.category: one.label for one in tracked if hasattr(one, "category")}
            if paint is not None:
                paint(number, image, tracked)
            if watch is not None:
                watch(number, video.time_of(number), image, tracked)
            count, missing, boxes = count + 1, missing + (image is None), boxes + len(tracked)
            numbers.add(one.id for one in tracked)
            after_frame()
        if missing == count:
            raise StoryjaxError(f"none of the {count} frames of {video.name} can be read: copy or export it again")
    return Summary(count, missing, len(numbers), boxes, time.perf_counter() - began, dict(sorted(classes.items())))


@dataclass(frozen=True)
class LabelledBox:
    """A `TrackedBox` with a label, which is drawn beside its number."""

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float
    label: str


def render_tracks(
    video: VideoSequence, tracks: str | Path, render: str | Path, labels: Mapping[int, str], audio_track: int | None
) -> None:
    """Draws a file of tracks into a video, once it is known who they are.

    Args:
        video: the sequence, which is read again.
        tracks: that `track_to_files` wrote of it.
        render: as of `track_to_files`.
        labels: of tracks, by number.
        audio_track: as of `track_to_files`.

    Raises:
        StoryjaxError: a file cannot be read or written.
    """
    found = read_rows(tracks) if Path(tracks).stat().st_size else rows([], [], np.zeros((0, 4)))
    order = np.argsort(found.frame, kind="stable")
    frames = found.frame[order]
    with _painting(render, video, audio_track) as paint:
        for number, image in video.frames():
            first, last = np.searchsorted(frames, [number, number + 1])
            here = [(int(found.id[i]), found.xywh_px[i].tolist(), float(found.score[i])) for i in order[first:last]]
            paint(
                number,
                image,
                [LabelledBox(id, tuple(box), score, labels.get(id, "")) for id, box, score in here],
            )


class _DistinctCount:
    """The number of distinct track numbers, in one bit each: a million tracks take 125 kB."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, numbers: Iterable[int]) -> None:
        """Adds numbers."""
        for number in numbers:
            byte, bit = divmod(max(0, number), 8)
            if byte >= len(self._bits):
                self._bits.extend(bytes(byte + 1 - len(self._bits)))
            self._bits[byte] |= 1 << bit

    def __len__(self) -> int:
        return sum(byte.bit_count() for byte in self._bits)


def _clip_box(one: TrackedBox, video: VideoSequence) -> Any:
    """Returns the tracked box clipped to the image, or None where nothing is left of it."""
    left, top, width, height = one.xywh_px
    right, bottom = min(left + width, video.width), min(top + height, video.height)
    left, top = max(left, 0.0), max(top, 0.0)
    if right <= left or bottom <= top:
        return None
    return replace(one, xywh_px=(left, top, right - left, bottom - top))  # type: ignore[type-var]


def _clip(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns boxes (left, top, width, height) clipped to the image; outside it width or height are not above zero."""
    low = np.clip(boxes[:, :2], 0, (width, height))
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, (width, height))
    return np.concatenate([low, high - low], 1)


@contextlib.contextmanager
def _text_writer(path: Path) -> Iterator[Callable[[Iterable[str]], None]]:
    try:
        with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
            yield file.writelines
    except OSError as error:
        raise StoryjaxError(f"can't write {path} ({error.strerror}): choose another place") from error


@contextlib.contextmanager
def _painting(path: str | Path, video: VideoSequence, audio_track: int | None) -> Iterator[Paint]:
    painter = Painter(video.width, video.height)
    with video_writer(path, video.fps, painter.size, video.source, audio_track) as writer:
        yield lambda number, image, tracked: writer.add(painter.paint(number, image, tracked), video.time_of(number))


def clip_detections(
    found: Rows, video: VideoSequence, where: str, report: Report, min_score: float | None = None
) -> Rows:
    """Returns detections clipped to the image, in each frame the best first; those outside it are left out, and their
    number is reported.

    A tracker takes so many of a frame and no more (`TrackerConfig.max_detections`): those with the highest scores.

    Args:
        found: the detections.
        video: that they are of.
        where: the name of their file, for messages.
        report: called with a line if any are left out.
        min_score: those with a lower score are left out.

    Raises:
        StoryjaxError: none is left.
    """
    if min_score is not None:
        good = found.score >= min_score
        if not good.any():
            raise StoryjaxError(
                f"the highest score in {where} is {found.score.max():g}: lower --min-score {min_score:g}"
            )
        found = found[good]
    found = found[np.argsort(-found.score, kind="stable")]
    clipped = _clip(found.xywh_px.astype(np.float64), video.width, video.height)
    inside = (clipped[:, 2] > 0) & (clipped[:, 3] > 0)
    if not inside.any():
        raise StoryjaxError(
            f"all {len(found)} boxes of {where} lie outside the image of {video.width} × {video.height} pixels: they"
            " may be of another video, or in other units"
        )
    if not inside.all():
        first = int(found.frame[~inside][0])
        report(f"{where}: {(~inside).sum()} boxes outside the image are left out, the first in frame {first}")
    return replace(found, xywh_px=clipped.astype(np.float32))[inside]


def read_initial(path: str | Path, video: VideoSequence) -> Rows:
    """Returns the boxes to start tracks on, from a JSON file.

        [{"box": [left, top, width, height], "id": 7, "frame": 1}, ...]

    in pixels from 0; the list may also be under "boxes" in an object. Without "id" boxes are numbered from 1 in their
    order, without "frame" they start in the first. A box is clipped to the image. "name" is a comment.

    Raises:
        StoryjaxError: it is no such file, a box has no area or lies outside the image, a frame does not exist, or an id
            is given twice.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StoryjaxError(f"{path} cannot be read as JSON ({why}): 'storyjax track --help' shows how") from error
    entries = content.get("boxes") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise StoryjaxError(f"{path} holds no list of boxes: 'storyjax track --help' shows how")
    given = [_entry(entry, f"{path} box {number}", number, video) for number, entry in enumerate(entries, 1)]
    ids = [number for number, _, _ in given]
    for number in ids:
        if ids.count(number) > 1:
            raise StoryjaxError(f"{path} gives the id {number} to two boxes: each track starts on one box")
    return rows([frame for _, frame, _ in given], ids, [box for _, _, box in given])


def _entry(entry: Any, where: str, number: int, video: VideoSequence) -> tuple[int, int, list[float]]:
    """Returns (id, frame, box) of one box to start on."""
    if not isinstance(entry, dict):
        entry = {"box": entry}
    for key in entry:
        if key not in _KEYS:
            raise StoryjaxError(f"{where} has an unknown '{key}', known are {', '.join(_KEYS)}.{nearest(key, _KEYS)}")
    box = entry.get("box")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
        raise StoryjaxError(f"{where} must be four numbers, left, top, width and height, not {json.dumps(box)[:60]}")
    track, frame = entry.get("id", number), entry.get("frame", 1)
    for name, value in (("id", track), ("frame", frame)):
        if not _is_number(value) or value != int(value) or not 1 <= value < 2**31:  # 1.0 is 1
            raise StoryjaxError(f"{where} has the {name} {json.dumps(value)[:30]}: it must be a whole number from 1 on")
    track, frame = int(track), int(frame)
    if video.length and frame > video.length:
        raise StoryjaxError(f"{where} is of frame {frame}, but {video.name} has {video.length}")
    if box[2] <= 0 or box[3] <= 0:
        raise StoryjaxError(f"{where} is {box[2]:g} × {box[3]:g} pixels: a box must have an area")
    clipped = _clip(np.array([box], np.float64), video.width, video.height)[0]
    if clipped[2] <= 0 or clipped[3] <= 0:
        size = f"{video.width} × {video.height}"
        raise StoryjaxError(f"{where} ({', '.join(f'{v:g}' for v in box)}) lies outside the image of {size} pixels")
    return track, frame, [float(v) for v in clipped]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
