"""Sequences to track in, from prepared records, folders of images and videos, read frame by frame.

Rules for all of them: frames count from 1; a frame that is missing or broken is None, and is reported; a frame of
another size than the first is resized to the first's, in whose pixels all boxes are, and that is reported once.

Where a data set annotates only some frames of a video (TAO), a sequence has all frames, and says which are annotated.
"""

import functools
import itertools
import logging
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from storyjax.core.buckets import place
from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.frames import FrameSource, SequenceInfo
from storyjax.data.builders.mot import read_seqinfo
from storyjax.data.images import SUFFIXES, ImageError, decode_image, read_image
from storyjax.data.mot_text import LabelledKinds, Rows, concatenate, no_rows, read_rows, rows
from storyjax.data.video import every_frame, frame_starts, probe

Frame = tuple[int, UInt8[np.ndarray, "y x 3"] | None]
Report = Callable[[str], None]
# Reads the frames from one number to another (both included), and reports each fault of one in a line.
Window = Callable[[int, int, Report], Iterator[Frame]]
_LOG = logging.getLogger(__name__)
_DEFAULT_FPS = 25.0  # of folders of images without seqinfo.ini
_NUMBER = re.compile(r"(\d+)(?!.*\d)")
EXEMPLAR = "exemplar"  # in the place of a detector: the box of one object (`VideoSequence.exemplar`)


def silent(line: str) -> None:
    """A report that is discarded."""
    del line


@dataclass(frozen=True)
class VideoSequence:
    """A sequence of frames with its annotations.

    Attributes:
        name: for messages.
        fps: frames per second.
        width, height: of the frames, in pixels.
        length: the number of frames, including missing ones; of a video at most that.
        read: yields the frames, and reports each fault of one in a line.
        ground_truth: rows with MOT17's classes (`Rows.targets`, `Rows.distractors`).
        detections: boxes of other detectors, by the name of the detector; see `given`.
        categories: the category of each ground-truth track, as the data set numbers them (TAO).
        annotated: the frames that a tracker is judged in; None: all of them.
        window: reads some of the frames without those before them; None: they are read too, and dropped.
        labelled: which categories are annotated, where not all are (TAO).
        files: what is read, so that nothing is written over it.
        notes: what people should know of how the frames were found, in lines.
        start_of: the start (seconds from 0:00) of a frame that was read, by its number; None: frames are evenly spaced.
        source: the file that the frames are of, which may have sound; None where they are images.
    """

    name: str
    fps: float
    width: int
    height: int
    length: int
    read: Callable[[Report], Iterator[Frame]]
    ground_truth: Rows = field(default_factory=no_rows)
    detections: dict[str, Rows] = field(default_factory=dict)
    categories: dict[int, int] = field(default_factory=dict)
    annotated: tuple[int, ...] | None = None
    window: Window | None = None
    labelled: LabelledKinds | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    start_of: Callable[[int], float] | None = None
    source: Path | None = None

    def time_of(self, number: int) -> float:
        """Returns the start (seconds from 0:00) of a frame, by its number from 1."""
        return self.start_of(number) if self.start_of is not None else (number - 1) / self.fps

    def frames(self, report: Report = silent) -> Iterator[Frame]:
        """Yields (number from 1, RGB image or None where it is missing or broken) in order."""
        return self.read(report)

    def frames_between(self, first: int, last: int, report: Report = silent) -> Iterator[Frame]:
        """Yields the frames from number `first` to `last`, both included, as `frames` does."""
        if self.window is not None:
            return self.window(first, last, report)
        return itertools.islice(self.read(report), first - 1, last)

    def given(self, detector: str | None) -> Rows | None:
        """Returns the boxes that a tracker is given.

        Args:
            detector: a name in `detections`, several joined by "+", or EXEMPLAR; None: no boxes are given.

        Raises:
            StoryjaxError: the sequence has no boxes of that detector, or no box to take an exemplar from.
        """
        if detector is None or detector == EXEMPLAR:
            return None if detector is None else self.exemplar()
        names = [choose(name, self.detections, f"config.data.detector, of {self.name}") for name in detector.split("+")]
        return concatenate(self.detections[name] for name in names)

    def exemplar(self) -> Rows:
        """Returns the one box that says what is to be tracked (GMOT-40's one-shot protocol, Bai et al. 2021).

        It is of the object with the lowest number in the first frame that has any.
        """
        targets = self.ground_truth[self.ground_truth.targets]
        if not len(targets):
            raise StoryjaxError(f"{self.name} has no annotated object: one-shot tracking starts from the box of one")
        return targets[np.lexsort((targets.id, targets.frame))[:1]]

    def judged(self, found: Rows) -> Rows:
        """Returns the rows of `found` in annotated frames."""
        return found if self.annotated is None else found[np.isin(found.frame, self.annotated)]


def prepared_sequences(source: FrameSource, root: str | Path | None = None) -> list[VideoSequence]:
    """Returns the sequences of a prepared split, with ground truth and public detections; images are read on demand.

    Args:
        source: the prepared split.
        root: the folder of the official files, in which the frames between annotated ones lie; where they are not
            there, or None, sequences have their annotated frames alone.
    """
    return [_prepared(source, info, _all_frames(info, root)) for info in source.sequences]


def _all_frames(info: SequenceInfo, root: str | Path | None) -> list[Path] | None:
    """Returns the files of all frames of a sequence whose records are annotated frames alone, in order; else None."""
    if info.origin is None or root is None:
        return None
    folder = place(root) / info.origin.folder
    there = {p.name for p in folder.glob("*") if p.suffix.lower() in SUFFIXES} if folder.is_dir() else set()
    if there <= set(info.origin.names):
        _LOG.warning(
            "%s has only its annotated frames in %s: it is tracked on these; unpack all frames of its video there",
            info.name,
            folder,
        )
        return None
    names = there | set(info.origin.names)
    numbers = {name: _NUMBER.search(Path(name).stem) for name in names}
    counted = all(numbers.values())

    def position(name: str) -> tuple[int, str]:
        match = numbers[name]
        return (int(match[1]) if counted and match is not None else 0, name)

    return [folder / name for name in sorted(names, key=position)]


def _prepared(source: FrameSource, info: SequenceInfo, files: list[Path] | None) -> VideoSequence:
    """Returns a sequence of records or, with `files`, one of these files, in which the records are annotated frames."""
    # The number of each annotated frame among those of the sequence, and its record.
    numbers = list(range(1, info.length + 1))
    if files is not None and info.origin is not None:
        place = {file.name: number for number, file in enumerate(files, 1)}
        numbers = [place[name] for name in info.origin.names]
    record_of = {number: info.start + i for i, number in enumerate(numbers)}
    length = info.length if files is None else len(files)
    truth: list[Rows] = []
    found: dict[str, list[Rows]] = {name: [] for name in source.detectors}
    categories: dict[int, int] = {}
    for number, index in record_of.items():
        record = source[index]
        count = len(record["ids"])
        # Rows have MOT17's classes, whatever those of the data set are.
        kind = np.where(record["considered"], 1, np.where(record["ignored"], 8, 0))
        categories |= dict(zip(record["ids"].tolist(), record["kinds"].tolist(), strict=True))
        columns = (record["ids"], record["boxes"], record["considered"], kind, record["visibility"])
        truth.append(rows(np.full(count, number), *columns))
        for place_of, name in enumerate(source.detectors):
            boxes = record["detections"][record["detector"] == place_of]
            found[name].append(rows([number] * len(boxes), [-1] * len(boxes), boxes[:, :4], boxes[:, 4]))

    def load(number: int) -> np.ndarray:
        if number in record_of:
            return _decode(source[record_of[number]])
        assert files is not None  # without them every frame has a record
        return read_image(files[number - 1])

    def window(first: int, last: int, report: Report) -> Iterator[Frame]:
        reader = _FrameReader(info.name, (info.width, info.height), report)
        for number in range(first, last + 1):
            yield reader.read(number, functools.partial(load, number))

    return VideoSequence(
        name=info.name,
        fps=info.fps * length / max(1, info.length),
        width=info.width,
        height=info.height,
        length=length,
        read=functools.partial(window, 1, length),
        ground_truth=concatenate(truth),
        detections={name: concatenate(parts) for name, parts in found.items()},
        categories=categories,
        annotated=None if files is None else tuple(numbers),
        window=window,
        labelled=info.labelled,
    )


def _decode(record: dict[str, Any]) -> np.ndarray:
    if not record["image"]:
        raise ImageError("its image is missing")
    return decode_image(record["image"], "its image")


class _FrameReader:
    """Reads frames, reports faults, and resizes all frames to the size of the first.

    Args:
        name: of the sequence, for messages.
        size: (width, height), or None for that of the first frame.
        report: called with a line for each fault.
    """

    def __init__(self, name: str, size: tuple[int, int] | None, report: Report):
        self.name, self.size, self.report = name, size, report
        self._reported = False

    def read(self, number: int, load: Callable[[], np.ndarray]) -> Frame:
        """Returns (number, the image that `load` returns, or None where it fails)."""
        try:
            pixels = load()
        except (StoryjaxError, OSError) as error:
            self.report(f"{self.name}: frame {number} is left out: {error}")
            return number, None
        return number, self.fit(number, pixels)

    def fit(self, number: int, pixels: np.ndarray) -> np.ndarray:
        """Returns the image in the size of the first."""
        size = (pixels.shape[1], pixels.shape[0])
        self.size = self.size or size
        if size == self.size:
            return pixels
        if not self._reported:
            self.report(
                f"{self.name}: frame {number} has {size[0]} × {size[1]} pixels; it, and others that are not"
                f" {self.size[0]} × {self.size[1]} as the first, are resized to that size"
            )
            self._reported = True
        return np.asarray(Image.fromarray(pixels).resize(self.size, Image.Resampling.BILINEAR))


def open_sequence(
    path: str | Path, detections: str | Path | None = None, video_track: int | None = None
) -> VideoSequence:
    """Returns the sequence of a video file, a folder of images, or one in MOTChallenge's layout (with seqinfo.ini).

    Args:
        path: of the file or folder.
        detections: a text file of detections (MOTChallenge's format), which get the name "given".
        video_track: of a video file, from 1; None: see `storyjax.data.containers.choose_track`.

    Raises:
        StoryjaxError: nothing is at `path`, it has no readable image, or the detections are unusable.
    """
    path = Path(path)
    if not path.exists():
        raise StoryjaxError(f"{path} is not there: give a video, or a folder of images")
    sequence = _folder(path) if path.is_dir() else _video(path, video_track)
    if detections is None:
        return sequence
    found = read_rows(detections, first=0)
    if not len(found):
        raise StoryjaxError(f"{detections} holds no detections: leave it out to have the model detect, or fix it")
    if sequence.length and found.frame.max() > sequence.length:
        raise StoryjaxError(
            f"{detections} has detections in frame {found.frame.max()}, but {path} has {sequence.length} frames"
        )
    return VideoSequence(**{**sequence.__dict__, "detections": {"given": found}})


def _folder(path: Path) -> VideoSequence:
    fps, images, length, size = _DEFAULT_FPS, path, None, None
    described = path / "seqinfo.ini"
    if described.exists():
        fps, width, height, length, images = read_seqinfo(path)
        size = (width, height)
    elif (path / "img1").is_dir():
        images = path / "img1"
    if not images.is_dir():
        raise StoryjaxError(f"{images} is not there: the sequence's images are missing")
    # Names that begin with a dot are what macOS keeps beside an image (._000001.jpg).
    files = [p for p in images.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != "."]
    if not files:
        raise StoryjaxError(f"{path} holds no images ({', '.join(SUFFIXES)}): give a video, or a folder of images")
    numbered, first, last, notes = _numbered(sorted(files, key=_natural), length)
    if size is None:
        size = _first_size([numbered[number] for number in sorted(numbered)], path)

    def load(number: int) -> np.ndarray:
        file = numbered.get(number - 1 + first)
        if file is None:
            raise ImageError("its image is missing")
        return read_image(file)

    def window(begin: int, end: int, report: Report) -> Iterator[Frame]:
        reader = _FrameReader(path.name, size, report)
        for number in range(begin, end + 1):
            yield reader.read(number, functools.partial(load, number))

    read_from = (*files, described) if described.exists() else tuple(files)
    notes = tuple(f"{path.name}: {note}" for note in notes)
    read = functools.partial(window, 1, last)
    return VideoSequence(path.name, fps, *size, last, read, window=window, files=read_from, notes=notes)


def _natural(file: Path) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts names as people count: 9 before 10, dates before times."""
    parts = re.split(r"(\d+)", file.name)
    return tuple((1, int(part)) if part.isdecimal() else (0, part) for part in parts)


def _numbered(files: list[Path], length: int | None) -> tuple[dict[int, Path], int, int, tuple[str, ...]]:
    """Returns the images by number, the number of frame 1, how many frames there are, and notes.

    Args:
        files: in their natural order.
        length: the number of frames where seqinfo.ini says it: numbers then are those of frames, from 0 or 1.
    """
    in_order = dict(enumerate(files, 1))
    matches = [_NUMBER.search(file.stem) for file in files]
    numbers = [int(match[1]) for match in matches if match is not None]
    if len(numbers) < len(files) or len(set(numbers)) < len(files):
        return in_order, 1, length or len(files), ()
    lowest, highest = min(numbers), max(numbers)
    by_number = dict(zip(numbers, files, strict=True))
    if length is not None:
        # Numbers that begin beyond the sequence's end are those of the video that it was cut from.
        first = lowest if lowest == 0 or lowest > length else 1
        return by_number, first, max(length, highest + 1 if first == 0 else 0), ()
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    regular = len(files) > 2 and len(steps) == 1 and steps != {1}
    if numbers == sorted(numbers) and not regular and highest - lowest + 1 <= 2 * len(files):
        return by_number, lowest, highest - lowest + 1, ()  # numbers that are left out are missing frames
    # Times, dates, every tenth frame: an order.
    note = f"the numbers in the images' names ({numbers[0]}, {numbers[1]} ...) are taken as an order, not as frames"
    return in_order, 1, len(files), (note,)


def _first_size(files: list[Path], path: Path) -> tuple[int, int]:
    """Returns width and height of the first image that can be read."""
    for file in files:
        try:
            height, width = read_image(file).shape[:2]
        except ImageError:
            continue
        return width, height
    raise StoryjaxError(f"none of the {len(files)} images in {path} can be read: copy them again")


def _video(path: Path, track: int | None) -> VideoSequence:
    info = probe(path, track=track)
    starts = frame_starts(path, track=track)
    clock: array[float] = array("d")  # of the frames as they are read: damage and hidden frames are known only then

    def read(report: Report) -> Iterator[Frame]:
        if (info.width, info.height) not in (info.stored, info.stored[::-1]):
            report(
                f"{path.name}: its pixels are not square: images and boxes are of {info.width} × {info.height} pixels,"
                f" not of the stored {info.stored[0]} × {info.stored[1]}"
            )
        reader = _FrameReader(path.name, (info.width, info.height), report)
        del clock[:]
        for number, frame in enumerate(every_frame(path, track=track), 1):
            clock.append(frame.start_s)
            if frame.image is None:
                report(f"{path.name}: frame {number} is left out: it is damaged")
                yield number, None
            else:
                yield number, reader.fit(number, frame.image)

    def start_of(number: int) -> float:
        return clock[number - 1] if number <= len(clock) else (number - 1) / (info.fps or _DEFAULT_FPS)

    return VideoSequence(
        path.name,
        info.fps or _DEFAULT_FPS,
        info.width,
        info.height,
        len(starts),
        read,
        start_of=start_of,
        source=path,
        files=(path,),
    )
