"""What the builders of films with annotations share: one record a film or stretch of one, annotations in flat columns.

A data set is a subclass of `SegmentBuilder`: its official files are read by `read`, whatever cannot be used is named
and counted (`Found`), and the rest is prepared once as TFDS records. Where films are small their bytes lie in the
record; where they are hours long the record says where the file is, or where in a tar shard.

**The rule of 17 minutes.** Times are told in 2048 bins of half a second (thesis §3.6.1), so a record's film is 1024
seconds long at most: an annotation that begins later is left out and counted, one that ends later is cut there.
"""

import json
import logging
import math
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow_datasets as tfds

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.data.builders.prepared import PreparedSource, file_size, files_fingerprint, prepare_once
from storyjax.data.builders.tables import finite

_LOG = logging.getLogger(__name__)
_SHOWN = 20  # broken ones that the log names
_MOST_BYTES = 2**31 - 2**20  # a record must stay under protobuf's 2 GiB
LONGEST_S = 1024.0
_SLACK_S = 0.5  # one time bin: annotations are rounded, and films end between frames
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")

Column = Literal["text", "float", "int"]


def plain(text: str) -> str:
    """The text as records can hold it: half a surrogate pair, which JSON can spell, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class Media:
    """A film on disk: a file, or `length` bytes at `offset` of a tar shard."""

    path: Path
    offset: int = 0
    length: int = -1

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass
class Film:
    """A film with its annotations: each column has an entry (or `width` entries) for each annotation.

    `start` and `end` are the stretch of the file that the record is about, in its seconds; `end` -1 means its end.
    """

    film_id: str
    media: Media
    start: float = 0.0
    end: float = -1.0
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, **values: Any) -> None:
        for name, value in values.items():
            several = value if isinstance(value, list | tuple) else [value]
            column = self.columns.setdefault(name, [])
            column.extend(plain(entry) if isinstance(entry, str) else entry for entry in several)


@dataclass
class Found:
    """What a split's files say: usable films, a line for each thing left out, and how many annotations there were."""

    films: dict[str, Film] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    rows: int = 0
    lost: int = 0

    def leave_out(self, line: str, rows: int = 1) -> None:
        self.broken.append("".join(letter if letter.isprintable() else "?" for letter in line))
        self.lost += rows

    def refuse(self, line: str) -> None:
        """Leaves out what holds nobody knows how many annotations: it counts as one."""
        self.rows += 1
        self.leave_out(line)

    def objects(self, table: Mapping[str, Any], key: str, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The numbered objects of a list of the table; what is not a list or an object is refused."""
        entries = table.get(key, [])
        if not isinstance(entries, list):
            self.refuse(f"{where}: '{key}' is {entries!r:.40}, not a list")
            return
        for number, entry in enumerate(entries):
            if isinstance(entry, dict):
                yield number, entry
            else:
                self.refuse(f"{where}: entry {number} of '{key}' is {entry!r:.40}, not an object")

    def film(self, film_id: str, media: Media | None, why: str, rows: int, **stretch: float) -> Film | None:
        """The film of that name, taken up if its file can be used; else it is left out with `rows` annotations."""
        if film_id in self.films:
            return self.films[film_id]
        if media is None:
            self.leave_out(f"film {film_id}: {why}", rows)
            return None
        self.films[film_id] = Film(plain(film_id), media, **stretch)
        return self.films[film_id]


def find_film(folders: Iterable[Path], name: str) -> tuple[Media | None, str]:
    """The first usable file of that name (with any of VIDEO_SUFFIXES) in the folders, and why there is none."""
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
    """Films in tar shards by name without ending. A damaged shard is a StoryjaxError naming it."""
    members = {}
    for shard in shards:
        try:
            with tarfile.open(shard) as tar:
                for member in tar:
                    name = Path(member.name)
                    if member.isfile() and member.size and name.suffix in VIDEO_SUFFIXES:
                        members[name.stem] = Media(shard, member.offset_data, member.size)
        except (OSError, tarfile.TarError) as error:
            raise StoryjaxError(f"{shard} cannot be read as a tar file ({error}): download it again") from error
    return members


def segment(start: Any, end: Any, duration: Any) -> tuple[float, float, str]:
    """(start, end, "") in seconds from the film's beginning, put right within half a second; or why it cannot be used.

    `duration` of the film in seconds, None where it is not known before it is decoded.
    """
    try:
        start, end = float(start), float(end)
    except (TypeError, ValueError, OverflowError):
        return 0.0, 0.0, f"its time {start!r:.40} to {end!r:.40} is no number"
    if not (math.isfinite(start) and math.isfinite(end)):
        return 0.0, 0.0, f"its time {start} to {end} is not finite"
    told = duration
    if told is not None and (duration := finite(told)) is None:
        return 0.0, 0.0, f"the film's length {told!r:.40} is no finite number"
    if start < -_SLACK_S or end < start:
        return 0.0, 0.0, f"its time {start:.2f} to {end:.2f} s is not a stretch of time"
    if duration is not None and (start >= duration or end > duration + _SLACK_S):
        return 0.0, 0.0, f"its time {start:.2f} to {end:.2f} s is past the end of the film at {duration:.2f} s"
    if start >= LONGEST_S:
        return 0.0, 0.0, f"it begins at {start:.0f} s, beyond the {LONGEST_S:.0f} s that time tokens reach"
    limit = LONGEST_S if duration is None else min(LONGEST_S, duration)
    start = max(start, 0.0)
    return start, max(min(end, limit), start), ""


def read_json(path: Path, kind: type, what: str, instructions: str) -> Any:
    """A JSON file whose top must be of `kind`. Raises StoryjaxError: not there (how to get it), or not what it should
    be."""
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


class SegmentBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The TFDS builder of a data set of annotated films.

    Attributes:
        TITLE: for messages.
        SPLITS: all that there may be.
        COLUMNS: the annotations' columns, and what each holds.
        WIDTH: columns with several entries for each annotation, and how many.
        INSIDE: whether records hold the films' bytes.
        BROKEN_SHARE: of annotations, the share that may be unusable unless `prepare` is told otherwise.
        read: (manual_dir, split, **options) -> Found. Raises StoryjaxError where the data set is not there.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "One record a film, annotations in flat columns."}
    # TFDS would look beside this file for checksums of downloads, by a package it does not require; there are none.
    code_path = None
    TITLE: ClassVar[str]
    SPLITS: ClassVar[tuple[str, ...]]
    COLUMNS: ClassVar[Mapping[str, Column]]
    WIDTH: ClassVar[Mapping[str, int]] = {}
    INSIDE: ClassVar[bool] = True
    BROKEN_SHARE: ClassVar[float] = 0.05
    read: ClassVar[Callable[..., Found]]

    def __init__(self, *, split: str | None = None, options: Mapping[str, Any] | None = None, **kwargs: Any):
        self.only, self.options = (split,) if split else self.SPLITS, dict(options or {})
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        kinds = {
            "text": lambda: tfds.features.Sequence(tfds.features.Text()),
            "float": lambda: tfds.features.Tensor(shape=(None,), dtype=np.float32),
            "int": lambda: tfds.features.Tensor(shape=(None,), dtype=np.int32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "video_id": tfds.features.Text(),
                    "video": tfds.features.Scalar(np.object_),  # the file as it is; empty if it stays where it is
                    "path": tfds.features.Text(),
                    "place": tfds.features.Tensor(shape=(2,), dtype=np.int64),  # offset and length in a tar shard
                    "stretch": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                    **{name: kinds[kind]() for name, kind in self.COLUMNS.items()},
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {split: self._generate_examples(Path(dl_manager.manual_dir), split) for split in self.only}

    def _generate_examples(self, manual_dir: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        dtypes = {"float": np.float32, "int": np.int32}
        for index, film in enumerate(usable(type(self).read(manual_dir, split, **self.options))):
            media = film.media
            columns = {
                name: list(map(str, film.columns[name]))
                if kind == "text"
                else np.array(film.columns[name], dtypes[kind])
                for name, kind in self.COLUMNS.items()
            }
            yield (
                index,
                {
                    "video_id": film.film_id,
                    "video": media.read() if self.INSIDE else b"",
                    "path": str(media.path.absolute()),
                    "place": np.array([media.offset, media.length], np.int64),
                    "stretch": np.array([film.start, film.end], np.float32),
                    **columns,
                },
            )

    @classmethod
    def prepare(cls, root: str | Path, cache_dir: str | Path, split: str, **options: Any) -> "SegmentSource":
        """Returns a split as a source of records; see `prepare_segments` for the options and errors."""
        return prepare_segments(cls, root, cache_dir, split, **options)


def usable(found: Found) -> list[Film]:
    """The films that have any annotation left, in the order in which they were met."""
    return [film for film in found.films.values() if any(film.columns.values())]


class SegmentSource(PreparedSource):
    """A prepared split. Item i is {"video_id", "video": bytes or path, "stretch": (start, end), a list a column}.

    Attributes:
        counts: annotations of each record.
        film_ids: what the films are called.
        films: the annotations' columns of each, without the films.
        broken: a line for everything that was left out.
    """

    def __init__(self, folder: Path, builder: type[SegmentBuilder], split: str, found: Found):
        super().__init__(folder, builder.name, str(builder.VERSION), split)
        films = usable(found)
        first = next(iter(builder.COLUMNS))
        self.counts = tuple(len(film.columns[first]) // builder.WIDTH.get(first, 1) for film in films)
        self.films = tuple(film.columns for film in films)
        self.film_ids = tuple(film.film_id for film in films)
        self.broken = tuple(found.broken)
        self._columns, self._width = dict(builder.COLUMNS), dict(builder.WIDTH)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = super().__getitem__(index)
        offset, length = map(int, record["place"])
        video: str | bytes = record["video"]
        if not video:
            media = Media(Path(record["path"]), offset, length)
            video = media.read() if length >= 0 else str(media.path)
        out = {"video_id": record["video_id"], "video": video, "stretch": tuple(map(float, record["stretch"]))}
        for name, kind in self._columns.items():
            values = (
                [v.decode() if isinstance(v, bytes) else v for v in record[name]] if kind == "text" else record[name]
            )
            wide = self._width.get(name, 1)
            out[name] = values if wide == 1 else [values[i : i + wide] for i in range(0, len(values), wide)]
        return out


def prepare_segments(
    builder: type[SegmentBuilder],
    manual_dir: str | Path,
    data_dir: str | Path,
    split: str,
    max_broken_fraction: float | None = None,
    **options: Any,
) -> SegmentSource:
    """The split as records under `data_dir`: made now, or found there if the files in `manual_dir` are the same.

    Raises:
        StoryjaxError: the data set is not there (what to get and where to put it), too much of it cannot be used, or
            `data_dir` cannot be written.
    """
    manual_dir = Path(manual_dir)
    if split not in builder.SPLITS:
        known = ", ".join(builder.SPLITS)
        raise StoryjaxError(f"{builder.TITLE} has no split '{split}', only {known}.{nearest(split, builder.SPLITS)}")
    found = builder.read(manual_dir, split, **options)
    films = usable(found)
    where = f"{builder.TITLE} {split} in {manual_dir}"
    for line in found.broken[:_SHOWN]:
        _LOG.warning("left out: %s", line)
    if len(found.broken) > _SHOWN:
        _LOG.warning("left out: %d more", len(found.broken) - _SHOWN)
    allowed = builder.BROKEN_SHARE if max_broken_fraction is None else max_broken_fraction
    share = found.lost / max(found.rows, 1)
    if found.broken and share > allowed:
        raise StoryjaxError(
            f"{where}: {share:.1%} of the annotations cannot be used, more than the allowed {allowed:.1%}; complete or"
            f" mend the data; the first of {len(found.broken)}: {found.broken[0]}"
        )
    if not films:
        raise StoryjaxError(f"{where} holds no annotation that can be used: download it again")
    if builder.INSIDE and (large := [f for f in films if f.media.path.stat().st_size > _MOST_BYTES]):
        raise StoryjaxError(f"{where}: {large[0].media.path} is more than a record can hold (2 GiB); cut it")
    told = json.dumps([[f.film_id, f.start, f.end, f.columns] for f in films], default=str)
    version = f"{builder.name} {builder.VERSION} {split} {json.dumps(options, sort_keys=True, default=str)} {told}"
    files = [film.media.path for film in films]
    name = files_fingerprint(version, dict.fromkeys(files), manual_dir)
    folder = prepare_once(
        lambda out: builder(data_dir=out, split=split, options=options),
        manual_dir,
        Path(data_dir) / f"{builder.name}_{split}",
        name,
    )
    return SegmentSource(folder, builder, split, found)
