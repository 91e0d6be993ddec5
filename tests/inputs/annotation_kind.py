"""A kind of annotation file: what data set it is of, what reads it, and how many annotations it holds.

The number is counted without the reader that is tested.
"""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from storyjax.data.builders.segments import SegmentListing


@dataclass(frozen=True)
class Kind:
    """A kind of annotation file.

    Attributes:
        builder: of the data set.
        path: of the file that is damaged, in the data set's folder.
        files: all files of the data set by path: bytes, text, or what JSON can hold.
        split: what is read; None where one reading gives all splits.
        given: how many annotations the (damaged) file holds; None where it is not said.
        used: how many of them a listing gives.
        options: of the reader.
    """

    builder: Any
    path: str
    files: Mapping[str, Any]
    split: str | None = None
    given: Callable[[bytes], int | None] = lambda data: None
    used: Callable[[Any], int] = lambda listing: 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The file that is damaged, whole."""
        return as_bytes(self.files[self.path])

    def write(self, root: Path) -> Path:
        """Writes the data set; returns the file that is damaged."""
        for name, content in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_bytes(content))
        return root / self.path

    def read(self, root: Path) -> Any:
        """Returns the listing of the data set in `root`."""
        if self.split is None:
            return self.builder.read(root, **self.options)
        return self.builder.read(root, self.split, **self.options)


def as_bytes(content: Any) -> bytes:
    """Returns a file's content."""
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content)).encode()


def annotations(listing: SegmentListing) -> int:
    """Returns how many annotations of videos are usable."""
    return sum(max((len(column) for column in video.columns.values()), default=0) for video in listing.videos.values())


def questions(listing: SegmentListing) -> int:
    """Returns how many questions are usable; options are five for each."""
    return sum(len(video.columns.get("question", ())) for video in listing.videos.values())


def images_and_boxes(listing: Any) -> int:
    """Returns how many images and boxes of a data set of detection are usable."""
    return sum(1 + len(image.boxes) for image in listing.images)


def truth(listing: Any) -> int:
    """Returns how many true boxes of sequences are usable."""
    return sum(len(sequence.truth) for sequence in listing.sequences)


def detections(listing: Any) -> int:
    """Returns how many detections of sequences are usable."""
    return sum(len(rows) for sequence in listing.sequences for rows in sequence.detections.values())


def items(listing: Any) -> int:
    """Returns how many media files are usable."""
    found = listing.items
    return sum(map(len, found.values())) if isinstance(found, dict) else len(found)


def lines(heading: int = 1) -> Callable[[bytes], int | None]:
    """Returns a function that counts the lines of a table behind its heading."""

    def count(data: bytes) -> int | None:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None
        found = [line for line in io.StringIO(text, newline="") if line.strip("\r\n")]
        if (odd := sum(line.count('"') % 2 for line in found)) < 2:
            return max(0, len(found) - heading)
        # Quotation marks that are closed on a later line may hold an end of a line, or lines that are no rows.
        commas = found[0].count(",")
        return max(0, sum(line.count(",") >= commas or '"' in line for line in found) - odd // 2 - heading)

    return count


def in_json(count: Callable[[Any], int]) -> Callable[[bytes], int | None]:
    """Returns a function that counts in a JSON file; None where it is not said, as in what is no list."""

    def counted(data: bytes) -> int | None:
        try:
            return count(json.loads(data.decode("utf-8-sig")))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    return counted


def listed(value: Any) -> int:
    """Returns the length of a list. Raises TypeError where it is none."""
    if not isinstance(value, list):
        raise TypeError(value)
    return len(value)


def jpeg(width: int = 40, height: int = 30) -> bytes:
    """Returns an image file."""
    place = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 60)).save(place, "JPEG")
    return place.getvalue()


def tar(members: Mapping[str, bytes]) -> bytes:
    """Returns a tar file."""
    place = io.BytesIO()
    with tarfile.open(fileobj=place, mode="w") as made:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return place.getvalue()


def table(heading: str, rows: list[str]) -> str:
    """Returns a table with commas."""
    return "\n".join([heading, *rows]) + "\n"
