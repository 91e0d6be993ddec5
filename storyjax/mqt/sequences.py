"""Sequences to track in: frames one after another, never all at once, from records, folders of pictures and videos.

Rules that hold for all: frames count from 1; a frame that is missing or broken is given as None, and reported; a frame
of another size than the first is brought to the first's, in whose pixels all boxes are, and that is reported once.
"""

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.frames import FrameSource, SequenceInfo
from storyjax.data.builders.mot import read_seqinfo
from storyjax.data.images import SUFFIXES, ImageError, decode_image, read_image
from storyjax.data.mot_text import Rows, concatenate, no_rows, read_rows, rows
from storyjax.data.video import _opened, probe

Frame = tuple[int, UInt8[np.ndarray, "y x 3"] | None]
Report = Callable[[str], None]
_DEFAULT_FPS = 25.0  # of folders of pictures that say nothing
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


def _silent(line: str) -> None:
    del line


@dataclass(frozen=True)
class Sequence:
    """A sequence of pictures with what is known of it.

    Attributes:
        length: frames, missing ones too; of some videos it is known only when they have been read.
        ground_truth: rows of what is there, with MOT17's classes (`Rows.targets`, `Rows.distractors`).
        detections: by the name of the public detector.
        categories: the kind of each track of the truth, as the data set counts them (TAO).
        read: gives the frames, and says in a line what is wrong with one.
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

    def frames(self, report: Report = _silent) -> Iterator[Frame]:
        """(number from 1, RGB picture or None where it is missing or broken), one after another."""
        return self.read(report)


def prepared_sequences(source: FrameSource) -> list[Sequence]:
    """The sequences of a prepared split, with their truth and public detections; pictures are read when asked for."""
    return [_prepared(source, info) for info in source.sequences]


def _prepared(source: FrameSource, info: SequenceInfo) -> Sequence:
    truth, found = [], {name: [] for name in source.detectors}
    categories: dict[int, int] = {}
    for index in range(info.start, info.start + info.length):
        record = source[index]
        count = len(record["ids"])
        # Rows are given as MOT17's classes have them, whatever the data set calls its own.
        kind = np.where(record["considered"], 1, np.where(record["ignored"], 8, 0))
        categories |= dict(zip(record["ids"].tolist(), record["kinds"].tolist(), strict=True))
        columns = (record["ids"], record["boxes"], record["considered"], kind, record["visibility"])
        truth.append(rows(np.full(count, record["frame"]), *columns))
        for number, name in enumerate(source.detectors):
            boxes = record["detections"][record["detector"] == number]
            found[name].append(rows([record["frame"]] * len(boxes), [-1] * len(boxes), boxes[:, :4], boxes[:, 4]))

    def read(report: Report) -> Iterator[Frame]:
        pictures = _Pictures(info.name, (info.width, info.height), report)
        for index in range(info.start, info.start + info.length):
            record = source[index]
            yield pictures.read(int(record["frame"]), lambda record=record: _decode(record))

    detections = {name: concatenate(parts) for name, parts in found.items()}
    size = (info.width, info.height)
    return Sequence(info.name, info.fps, *size, info.length, read, concatenate(truth), detections, categories)


def _decode(record: dict) -> np.ndarray:
    if not record["image"]:
        raise ImageError("its picture is missing")
    return decode_image(record["image"], "its picture")


class _Pictures:
    """Pictures of one size, whatever is wrong with some."""

    def __init__(self, name: str, size: tuple[int, int] | None, report: Report):
        self.name, self.size, self.report = name, size, report
        self._told = False

    def read(self, number: int, load: Callable[[], np.ndarray]) -> Frame:
        try:
            pixels = load()
        except (StoryjaxError, OSError) as error:
            self.report(f"{self.name}: frame {number} is left out: {error}")
            return number, None
        return number, self.fit(number, pixels)

    def fit(self, number: int, pixels: np.ndarray) -> np.ndarray:
        size = (pixels.shape[1], pixels.shape[0])
        self.size = self.size or size
        if size == self.size:
            return pixels
        if not self._told:
            self.report(
                f"{self.name}: frame {number} has {size[0]} × {size[1]} pixels; it, and others that are not"
                f" {self.size[0]} × {self.size[1]} as the first, are brought to that size"
            )
            self._told = True
        return np.asarray(Image.fromarray(pixels).resize(self.size, Image.Resampling.BILINEAR))


def open_sequence(path: str | Path, detections: str | Path | None = None) -> Sequence:
    """A video file, a folder of pictures, or a sequence in MOTChallenge's layout (with seqinfo.ini), to be tracked.

    Args:
        detections: a text file of detections, instead of those that the layout may have.

    Raises:
        StoryjaxError: it is neither, holds no picture, or the detections are unusable.
    """
    path = Path(path)
    if not path.exists():
        raise StoryjaxError(f"{path} is not there: give a video, or a folder of pictures")
    sequence = _folder(path) if path.is_dir() else _video(path)
    if detections is None:
        return sequence
    found = read_rows(detections)
    if not len(found):
        raise StoryjaxError(f"{detections} holds no detections: leave it out to have the model detect, or mend it")
    if sequence.length and found.frame.max() > sequence.length:
        raise StoryjaxError(
            f"{detections} has detections in frame {found.frame.max()}, but {path} has {sequence.length} frames"
        )
    return Sequence(**{**sequence.__dict__, "detections": {"given": found}})


def _folder(path: Path) -> Sequence:
    fps, images, length, size = _DEFAULT_FPS, path, None, None
    if (path / "seqinfo.ini").exists():
        fps, width, height, length, images = read_seqinfo(path)
        size = (width, height)
    elif (path / "img1").is_dir():
        images = path / "img1"
    if not images.is_dir():
        raise StoryjaxError(f"{images} is not there: the sequence's pictures are missing")
    numbered: dict[int, Path] = {}
    files = sorted(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise StoryjaxError(f"{path} holds no pictures ({', '.join(SUFFIXES)}): give a video, or a folder of pictures")
    for file in files:
        match = _NUMBER.search(file.stem)
        if match is None or int(match[1]) in numbered:  # names that do not count: in their order
            numbered = dict(enumerate(files, 1))
            break
        numbered[int(match[1])] = file
    # Frames may count from anywhere; the first picture is frame 1 unless seqinfo.ini gives numbers their meaning.
    first = 1 if length else min(numbered)
    last = length or max(numbered) - first + 1
    if size is None:
        size = _first_size([numbered[number] for number in sorted(numbered)], path)

    def read(report: Report) -> Iterator[Frame]:
        pictures = _Pictures(path.name, size, report)

        def load(number: int) -> np.ndarray:
            file = numbered.get(number - 1 + first)
            if file is None:
                raise ImageError("its picture is missing")
            return read_image(file)

        for number in range(1, last + 1):
            yield pictures.read(number, lambda number=number: load(number))

    return Sequence(path.name, fps, *size, last, read)


def _first_size(files: list[Path], path: Path) -> tuple[int, int]:
    """Width and height of the first picture that can be read."""
    for file in files:
        try:
            height, width = read_image(file).shape[:2]
        except ImageError:
            continue
        return width, height
    raise StoryjaxError(f"none of the {len(files)} pictures in {path} can be read: copy them again")


def _video(path: Path) -> Sequence:
    info = probe(path)
    shown = _shown_at(path)

    def read(report: Report) -> Iterator[Frame]:
        pictures = _Pictures(path.name, (info.width, info.height), report)
        last = 0
        for number, pixels in _decoded(path, shown):
            for missing in range(last + 1, number):
                report(f"{path.name}: frame {missing} is left out: it is damaged")
                yield missing, None
            yield number, pictures.fit(number, pixels)
            last = number
        for missing in range(last + 1, len(shown) + 1):
            report(f"{path.name}: frame {missing} is left out: it is damaged")
            yield missing, None

    return Sequence(path.name, info.fps or _DEFAULT_FPS, info.width, info.height, len(shown), read)


def _shown_at(path: Path) -> array:
    """When each frame is shown, in ticks and in order: what there should be, from the packets alone."""
    ticks = array("q")
    with _opened(path, None) as video:
        for packet in video.container.demux(video.stream):
            if packet.size and not packet.is_discard:
                at = packet.pts if packet.pts is not None else packet.dts
                ticks.append(at if at is not None else len(ticks))
    return array("q", sorted(set(ticks)))


def _decoded(path: Path, shown: array) -> Iterator[tuple[int, np.ndarray]]:
    """(number, picture) of each frame that comes out whole."""
    places = np.frombuffer(shown, np.int64)
    with _opened(path, None) as video:
        last = 0
        for packet in video.container.demux(video.stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue  # what this packet should have shown is missed by its number
            for frame in frames:
                if frame.is_corrupt:
                    continue
                number = last + 1
                if frame.pts is not None:
                    number = int(np.searchsorted(places, frame.pts)) + 1
                if not last < number <= len(shown):
                    continue
                last = number
                turns = round(frame.rotation / 90) % 4
                pixels = frame.to_ndarray(format="rgb24")
                yield number, np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
