"""Data sets of videos with annotations: one record a video or segment of one, annotations in flat columns.

Where videos are small their bytes lie in the record; where they are hours long the record names the file, or the place
in a tar shard.

**The rule of 17 minutes.** Times are given in 2048 bins of half a second (thesis §3.6.1), so a record's video is 1024
seconds long at most: an annotation that begins later is left out and counted, one that ends later is cut there.
"""

import json
import logging
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow_datasets as tfds

from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError, first_line
from storyjax.data.builders.base import Listing, OfficialBuilder
from storyjax.data.builders.labels import Part
from storyjax.data.builders.prepared import MOST_BYTES, PreparedSource, file_size, unusable_file
from storyjax.data.builders.serialise import flat_example
from storyjax.data.builders.tars import TAR_FAULTS, check_tar_end, open_tar, plain_members

_LOG = logging.getLogger(__name__)
_ANNOTATIONS = 2**14  # bytes of a record without its video, about
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")

Column = Literal["text", "float", "int"]


def plain(text: str) -> str:
    """Returns the text as records can hold it: half a surrogate pair, which JSON can spell, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class Media:
    """A video on disk: a file, or `length` bytes at `offset` of a tar shard."""

    path: Path
    offset: int = 0
    length: int = -1

    def read(self) -> bytes:
        """Returns the encoded video."""
        if self.length < 0:
            return self.path.read_bytes()
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass
class AnnotatedVideo:
    """A video with its annotations: each column has an entry (or `WIDTH` entries) for each annotation.

    `start` and `end` are the segment of the file that the record is about, in its seconds; `end` -1 means its end.
    """

    video_id: str
    media: Media
    start: float = 0.0
    end: float = -1.0
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, **values: Any) -> None:
        """Appends an annotation: a value, or a list of as many as the column is wide, for each column."""
        for name, value in values.items():
            column = self.columns.setdefault(name, [])
            if isinstance(value, str):
                column.append(plain(value))
            elif isinstance(value, list | tuple):
                column.extend(plain(entry) if isinstance(entry, str) else entry for entry in value)
            else:
                column.append(value)


@dataclass
class SegmentListing(Listing):
    """The annotated videos of a split, how many annotations (`rows`) there were, and how many of them are lost.

    `aside`: how many others are not meant to be used, by what they are; they are neither rows nor lost.
    """

    videos: dict[str, AnnotatedVideo] = field(default_factory=dict)
    rows: int = 0
    lost: int = 0
    aside: Counter[str] = field(default_factory=Counter)

    def counts(self) -> tuple[int, int]:
        """Returns how many of the things counted cannot be used, and how many there are with them."""
        return self.lost, self.rows

    def by_split(self, split: str) -> dict[str, list[Any]]:
        """Returns the videos that have any annotation left, in the order in which they were met."""
        return {split: [video for video in self.videos.values() if any(video.columns.values())]}

    def leave_out(self, line: str, rows: int = 1) -> None:
        """Notes something that cannot be used, and that it loses so many annotations."""
        self.broken.append("".join(letter if letter.isprintable() else "?" for letter in line))
        self.lost += rows

    def refuse(self, line: str) -> None:
        """Leaves out what holds an unknown number of annotations: it counts as one."""
        self.rows += 1
        self.leave_out(line)

    def set_aside(self, what: str, rows: int = 1) -> None:
        """Counts annotations that the data set itself marks as not to be used; its `summary.json` says how many."""
        self.aside[what] += rows

    def objects(self, table: Mapping[str, Any], key: str, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields the numbered objects of a list of the table; what is not a list or an object is refused."""
        entries = table.get(key, [])
        if not isinstance(entries, list):
            self.refuse(f"{where}: '{key}' is {entries!r:.40}, not a list")
            return
        for number, entry in enumerate(entries):
            if isinstance(entry, dict):
                yield number, entry
            else:
                self.refuse(f"{where}: entry {number} of '{key}' is {entry!r:.40}, not an object")

    def video(
        self, video_id: str, media: Media | None, why: str, rows: int, start: float = 0.0, end: float = -1.0
    ) -> AnnotatedVideo | None:
        """Returns the video of that name, taken up if its file can be used; else it is left out with `rows`
        annotations, and None is returned."""
        if video_id in self.videos:
            return self.videos[video_id]
        if media is None:
            self.leave_out(f"video {video_id}: {why}", rows)
            return None
        self.videos[video_id] = AnnotatedVideo(plain(video_id), media, start, end)
        return self.videos[video_id]


def find_video(folders: Iterable[Path], name: str) -> tuple[Media | None, str]:
    """Returns the first usable file of that name (with any of VIDEO_SUFFIXES) in the folders, and why there is none."""
    folders = list(folders)
    for folder in folders:
        for suffix in VIDEO_SUFFIXES:
            path = folder / f"{name}{suffix}"
            try:
                size = file_size(path)
            except OSError:
                continue
            if not path.is_file() or size == 0:
                return None, f"{path} is empty or not a file"
            return Media(path), ""
    return None, f"there is no {name}.mp4 in {' or '.join(map(str, folders))}"


def tar_members(shards: Iterable[Path]) -> dict[str, Media]:
    """Returns the videos in tar shards, by name without ending. A damaged shard is a StoryjaxError naming it."""
    members: dict[str, Media] = {}
    for shard in shards:
        try:
            for name, offset, size in _tar_files(shard):
                path = PurePosixPath(name)
                if size and path.suffix in VIDEO_SUFFIXES:
                    members[path.stem] = Media(shard, offset, size)
        except (OSError, tarfile.TarError, *TAR_FAULTS) as error:
            why = first_line(error, 200)
            raise StoryjaxError(f"{shard} cannot be read as a tar file ({why}): download it again") from error
    return members


def _tar_files(shard: Path) -> list[tuple[str, int, int]]:
    """Name, offset and size of the files in a tar."""
    with shard.open("rb") as file:
        if (plain_files := plain_members(file)) is not None:
            return plain_files
    with open_tar(shard) as tar:
        found = [(member.name, member.offset_data, member.size) for member in tar if member.isfile()]
        check_tar_end(tar)
    return found


def read_json(path: Path, kind: type, what: str, instructions: str) -> Any:
    """Returns the content of a JSON file, whose top must be of `kind`.

    Raises:
        StoryjaxError: it is not there (`instructions` say how to get it), or is not what it should be.
    """
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise StoryjaxError(f"{what} is not in {path.parent} ({path.name} is missing): {instructions}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StoryjaxError(f"{path} cannot be read as JSON ({error}): download it again") from error
    if not isinstance(found, kind):
        name = "an object" if kind is dict else "a list"
        raise StoryjaxError(f"{path} must hold {name}: download it again")
    return found


class SegmentSource(PreparedSource):
    """A prepared split. Item i is {"video_id", "video": bytes or path, "segment": (start, end), a list a column}."""

    def __init__(self, folder: Path, builder: "type[SegmentBuilder]", split: str):
        super().__init__(folder, builder, split)
        self._columns, self._width = dict(builder.COLUMNS), dict(builder.WIDTH)

    @property
    def video_ids(self) -> Sequence[str]:
        """The name of each record's video, read when it is asked for."""
        return Part(self.labels, 0)

    @property
    def annotations(self) -> Sequence[dict[str, list[Any]]]:
        """The annotations' columns of each record, without the videos, read when they are asked for."""
        return Part(self.labels, 1)

    def convert(self, record: dict[str, Any], index: int) -> dict[str, Any]:
        """Returns item `index` from the prepared record."""
        offset, length = map(int, record["place"])
        video: str | bytes = record["video"]
        if not video:
            media = Media(place(record["path"]), offset, length)
            inside = length >= 0 or isinstance(media.path, BucketPath)
            video = media.read() if inside else str(media.path)
        out = {"video_id": record["video_id"], "video": video, "segment": tuple(map(float, record["segment"]))}
        for name, kind in self._columns.items():
            values = (
                [v.decode() if isinstance(v, bytes) else v for v in record[name]] if kind == "text" else record[name]
            )
            wide = self._width.get(name, 1)
            out[name] = values if wide == 1 else [values[i : i + wide] for i in range(0, len(values), wide)]
        return out


class SegmentBuilder(OfficialBuilder):
    """The builder of a data set of annotated videos.

    Attributes:
        COLUMNS: the annotations' columns, and what each holds.
        WIDTH: columns with several entries for each annotation, and how many.
        INSIDE: whether records hold the videos' bytes.
        read: (root, split) -> SegmentListing.
    """

    SOURCE = SegmentSource
    COLUMNS: ClassVar[Mapping[str, Column]]
    WIDTH: ClassVar[Mapping[str, int]] = {}
    INSIDE: ClassVar[bool] = True

    def features(self) -> dict[str, Any]:
        """Returns the TFDS features of a record, by name."""
        kinds = {
            "text": lambda: tfds.features.Sequence(tfds.features.Text()),
            "float": lambda: tfds.features.Tensor(shape=(None,), dtype=np.float32),
            "int": lambda: tfds.features.Tensor(shape=(None,), dtype=np.int32),
        }
        return {
            "video_id": tfds.features.Text(),
            "video": tfds.features.Scalar(np.object_),  # the file as it is; empty if it stays where it is
            "path": tfds.features.Text(),
            "place": tfds.features.Tensor(shape=(2,), dtype=np.int64),  # offset and length in a tar shard
            "segment": tfds.features.Tensor(shape=(2,), dtype=np.float32),
            **{name: kinds[kind]() for name, kind in self.COLUMNS.items()},
        }

    @classmethod
    def records(cls, items: Sequence[AnnotatedVideo]) -> Iterator[dict[str, Any]]:
        """Yields the records of a split's items, media read now."""
        dtypes = {"float": np.float32, "int": np.int32}
        for video in items:
            columns = {
                name: list(map(str, video.columns[name]))
                if kind == "text"
                else np.array(video.columns[name], dtypes[kind])
                for name, kind in cls.COLUMNS.items()
            }
            yield {
                "video_id": video.video_id,
                "video": video.media.read() if cls.INSIDE else b"",
                "path": str(video.media.path.absolute()),
                "place": np.array([video.media.offset, video.media.length], np.int64),
                "segment": np.array([video.start, video.end], np.float32),
                **columns,
            }

    @classmethod
    def serialised(cls, items: Sequence[AnnotatedVideo]) -> Iterator[bytes]:
        """Yields the records of the items as bytes."""
        dtypes = {"float": np.float32, "int": np.int32}
        for video in items:
            columns: dict[str, Any] = {
                name: [str(text).encode() for text in video.columns[name]]
                if kind == "text"
                else np.array(video.columns[name], dtypes[kind])
                for name, kind in cls.COLUMNS.items()
            }
            media = video.media
            columns |= {
                "video_id": [video.video_id.encode()],
                "video": [media.read() if cls.INSIDE else b""],
                "path": [str(media.path.absolute()).encode()],
                "place": np.array([media.offset, media.length], np.int64),
                "segment": np.array([video.start, video.end], np.float32),
            }
            yield flat_example(columns)

    @classmethod
    def weight(cls, item: AnnotatedVideo) -> int:
        """Returns about how many bytes the item's record has."""
        if not cls.INSIDE:
            return _ANNOTATIONS
        return item.media.path.stat().st_size if item.media.length < 0 else item.media.length

    @classmethod
    def state(cls, item: AnnotatedVideo) -> bytes:
        """Returns bytes that change with the item's annotations."""
        media = item.media
        return json.dumps([item.video_id, media.offset, media.length, item.start, item.end, item.columns]).encode()

    @classmethod
    def files(cls, item: AnnotatedVideo) -> Iterable[Path]:
        """Returns the files that the item's records are made of."""
        return (item.media.path,)

    @classmethod
    def summary(cls, listing: Listing) -> dict[str, Any]:
        """Returns what sources must know before they read a record: what was set aside, and how much of it."""
        assert isinstance(listing, SegmentListing)
        return {"set_aside": dict(listing.aside)} if listing.aside else {}

    @classmethod
    def labels(cls, items: Sequence[AnnotatedVideo]) -> Iterable[tuple[str, dict[str, list[Any]]]]:
        """Returns what is known of each record without its media."""
        return ((video.video_id, video.columns) for video in items)

    @classmethod
    def _checked(
        cls, listing: Listing, root: Path, split: str | None, max_broken_fraction: float | None
    ) -> dict[str, list[Any]]:
        assert isinstance(listing, SegmentListing)
        for what, count in listing.aside.items():
            _LOG.info("%s in %s: set aside: %d %s", f"{cls.TITLE} {split or ''}".strip(), root, count, what)
        first = next(iter(cls.COLUMNS))
        for key, video in list(listing.videos.items()) if cls.INSIDE else ():
            if video.media.path.stat().st_size > MOST_BYTES:
                del listing.videos[key]
                rows = len(video.columns.get(first, ())) // cls.WIDTH.get(first, 1)
                listing.leave_out(f"video {key}: {unusable_file(video.media.path)}", rows)
        return super()._checked(listing, root, split, max_broken_fraction)
