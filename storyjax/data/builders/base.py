"""The base of all data sets: official files are listed, checked, prepared once as TFDS records, and read by index.

A data set is a subclass of a kind (`media.py`, `segments.py`, `frames.py`, `detection.py`, `instances.py`), which says
what a record is; the data set says what it is called and how its official files are read. All share

    Builder.prepare(root, cache_dir, split)             -> a source of records, as in `registry.prepare_split`
    Builder.prepare_splits(root, cache_dir)             -> all splits that are there, with the files read once

and one policy for what cannot be used (`broken.py`).
"""

import abc
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from storyjax.core.buckets import listed, one_line, place
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.data.builders.broken import KEPT, SHOWN, BrokenCount, report_broken
from storyjax.data.builders.prepared import PreparedSource
from storyjax.data.builders.preparing import prepare_once
from storyjax.data.builders.shards import example_writer
from storyjax.data.builders.starts import load_start, save_start, start_key


@dataclass
class Listing(abc.ABC):
    """What the official files of a data set hold, without the media. Kinds add their items.

    Attributes:
        broken: a line for each thing that had to be left out.
    """

    broken: list[str] = field(default_factory=list)

    @abc.abstractmethod
    def counts(self) -> tuple[int, int]:
        """Returns how many of the things that are counted cannot be used, and how many there are with them."""

    @abc.abstractmethod
    def by_split(self, split: str) -> dict[str, list[Any]]:
        """Returns the usable items of each split, in the order of their records; all are of `split` where only one was
        read."""


@dataclass(frozen=True)
class Made:
    """What was prepared.

    Attributes:
        folder: of the records.
        splits: those that it has.
        broken: what was left out, as `BrokenCount.note` says it.
        counts: as of `Listing.counts`.
    """

    folder: Path
    splits: tuple[str, ...]
    broken: dict[str, Any]
    counts: tuple[int, int]

    def start(self) -> dict[str, Any]:
        """Returns the note of it for `save_start`."""
        broken = self.broken["broken"][:SHOWN], self.broken["broken_count"]
        return {"folders": dict.fromkeys(self.splits, self.folder.name), "broken": broken, "counts": self.counts}


class OfficialBuilder(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of a data set that is read from its official files.

    Attributes:
        TITLE: its name in messages.
        SPLITS: all splits that there may be.
        JOINT: whether one reading of the files gives all splits (`read(root, **options)`); else each split is read and
            prepared by itself (`read(root, split, **options)`).
        COUNTED: what `Listing.counts` counts, for messages.
        MAX_BROKEN_FRACTION: of what is counted may be unusable, unless `prepare` is given another.
        SOURCE: the class that reads the prepared records.
        read: the reader of the official files. Raises StoryjaxError where the data set is not there, saying what to get
            and where to put it.
    """

    VERSION = tfds.core.Version("1.0.0")
    # TFDS would look beside this file for checksums of downloads, by a package it does not require; there are none.
    code_path = None
    TITLE: ClassVar[str]
    SPLITS: ClassVar[tuple[str, ...]]
    JOINT: ClassVar[bool] = False
    COUNTED: ClassVar[str] = "annotations"
    MAX_BROKEN_FRACTION: ClassVar[float] = 0.05
    SOURCE: ClassVar[type[PreparedSource]] = PreparedSource
    read: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**{"skip_registration": True, **kwargs})

    def __init__(self, *, items: Mapping[str, Sequence[Any]] | None = None, **kwargs: Any):
        """Args: items: of each split to prepare; None reads all splits that are there from TFDS's manual_dir."""
        self.items = items
        super().__init__(**{"file_format": "array_record", **kwargs})

    @classmethod
    def prepare(
        cls,
        root: str | Path,
        cache_dir: str | Path,
        split: str,
        *,
        max_broken_fraction: float | None = None,
        **options: Any,
    ) -> Any:
        """Returns a split as a source of records under `cache_dir`: made now, or found if the files are the same.

        May be killed and called again, and called by many processes at once: a preparation appears whole, and once.

        Args:
            root: the folder of the official files.
            cache_dir: where the prepared records go.
            split: one of SPLITS.
            max_broken_fraction: of what is counted may be unusable; None: MAX_BROKEN_FRACTION.
            options: of the reader.

        Raises:
            StoryjaxError: the data set is not there (what to get and where to put it), has no such split, too much of
                it cannot be used, or `cache_dir` cannot be written.
        """
        return cls.prepare_splits(root, cache_dir, (split,), max_broken_fraction=max_broken_fraction, **options)[split]

    @classmethod
    def prepare_splits(
        cls,
        root: str | Path,
        cache_dir: str | Path,
        splits: Sequence[str] | None = None,
        *,
        max_broken_fraction: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Returns the source of each split, by name. Where JOINT, the files are read once for all.

        Args:
            splits: those to return; None: all that are there.
            root, cache_dir, max_broken_fraction, options: as for `prepare`, whose errors are raised.
        """
        root, cache_dir = place(root), place(cache_dir)
        for split in splits or ():
            cls._check_split(split, cls.SPLITS)
        if (prepared := cls.prepared_by_tfds(cache_dir)) is not None:
            return {split: cls.SOURCE(prepared, cls, split) for split in splits or cls.SPLITS}
        sources: dict[str, Any] = {}
        for one in (None,) if cls.JOINT else splits or cls.splits_there(root):
            sources |= cls._prepare(root, cache_dir, one, max_broken_fraction, options)
        for split in splits or ():
            cls._check_split(split, sources)
        return {split: sources[split] for split in splits or sources}

    @classmethod
    def _prepare(
        cls, root: Path, cache_dir: Path, split: str | None, max_broken_fraction: float | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """The sources of what one reading of the official files gives: all splits (None) or one."""
        cache = cache_dir / cls.name
        allowed = cls.MAX_BROKEN_FRACTION if max_broken_fraction is None else max_broken_fraction
        with one_line(), listed(root):
            key = start_key(f"{cls.__qualname__} {cls.VERSION} {split}", root, cache_dir, options)
            if (note := load_start(cache, key)) is not None:
                lines, number = note["broken"]
                cls.report(lines, note["counts"], root, split, usable=True, allowed=allowed, number=number)
                return {name: cls.SOURCE(cache / folder, cls, name) for name, folder in note["folders"].items()}
            made = cls._make(root, cache, split, allowed, options, key)
        save_start(cache, key, made.start())
        return {name: cls.SOURCE(made.folder, cls, name) for name in made.splits}

    @classmethod
    def _make(
        cls, root: Path, cache: Path, split: str | None, allowed: float, options: Mapping[str, Any], key: str
    ) -> Made:
        """Reads the official files, and prepares all splits (None) or one, unless they are there.

        Args:
            allowed: fraction of what is counted that may be unusable.
            key: changes with any of the official files.
        """
        del key
        listing = cls.read(root, **options) if split is None else cls.read(root, split, **options)
        items = cls._checked(listing, root, split, allowed)
        broken = BrokenCount()
        broken.add(listing.broken)
        beside: dict[str, Any] = {"summary.json": {**broken.note(), **cls.summary(listing)}}
        if broken.number > KEPT:
            beside["broken.txt"] = "\n".join([*listing.broken, ""])
        fingerprint = cls._fingerprint(items, listing, root)
        folder = prepare_once(cls, root, cache, fingerprint, items, part=split or "", beside=beside)
        return Made(folder, tuple(items), broken.note(), listing.counts())

    @classmethod
    def _checked(
        cls, listing: Listing, root: Path, split: str | None, max_broken_fraction: float | None
    ) -> dict[str, list[Any]]:
        """The items of each split that has any, in the order of SPLITS, after the broken ones were reported."""
        by_split = listing.by_split(split or "")
        items = {name: by_split[name] for name in cls.SPLITS if by_split.get(name)}
        allowed = cls.MAX_BROKEN_FRACTION if max_broken_fraction is None else max_broken_fraction
        cls.report(listing.broken, listing.counts(), root, split, usable=bool(items), allowed=allowed)
        return items

    @classmethod
    def report(
        cls,
        broken: Sequence[str],
        counts: Sequence[int],
        root: Path,
        split: str | None,
        usable: bool,
        allowed: float,
        number: int | None = None,
    ) -> None:
        """Names what was left out; StoryjaxError where that is too much. Arguments as of `report_broken`."""
        where = f"{cls.TITLE} {split} in {root}" if split else f"{cls.TITLE} in {root}"
        lost, total = counts
        more: dict[str, Any] = {"where": where, "counted": cls.COUNTED, "number": number}
        report_broken(broken, lost, total, usable=usable, allowed=allowed, **more)

    @classmethod
    def _check_split(cls, split: str, known: Iterable[str]) -> None:
        known = tuple(known)
        if split not in known:
            raise StoryjaxError(f"{cls.TITLE} has no split '{split}', only {', '.join(known)}.{nearest(split, known)}")

    @classmethod
    def _fingerprint(cls, items: Mapping[str, list[Any]], listing: Listing, root: Path) -> str:
        """A name that changes with any annotation, and with the path, size or date of any file."""
        digest = hashlib.sha256(f"{cls.name} {cls.VERSION} {json.dumps(cls.summary(listing))}".encode())
        for split, found in items.items():
            digest.update(f"{split}\n".encode())
            for item in found:
                digest.update(cls.state(item))
                for path in cls.files(item):
                    stat = path.stat()
                    place = path.relative_to(root) if path.is_relative_to(root) else path
                    digest.update(f"{place} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        digest.update("\n".join(listing.broken).encode())
        return digest.hexdigest()[:12]

    # What a kind or a data set says of itself.

    @abc.abstractmethod
    def features(self) -> dict[str, Any]:
        """Returns the TFDS features of a record, by name."""

    @classmethod
    @abc.abstractmethod
    def records(cls, items: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """Yields the records of a split's items, media read now."""

    @classmethod
    @abc.abstractmethod
    def state(cls, item: Any) -> bytes:
        """Returns bytes that change with the item's annotations."""

    @classmethod
    def files(cls, item: Any) -> Iterable[Path]:
        """Returns the files that the item's records are made of."""
        return (item.path,)

    @classmethod
    def spreadable(cls, split: str, items: Sequence[Any]) -> Sequence[Any]:
        """Returns the items that workers are given, in the order of the records: smaller ones, where `read` gives a
        few large ones."""
        del split
        return items

    @classmethod
    def weight(cls, item: Any) -> int:
        """Returns about how many bytes the item's records have, to make shards of like sizes."""
        return 1024 + sum(path.stat().st_size for path in cls.files(item))

    @classmethod
    def serialised(cls, items: Sequence[Any]) -> Iterator[bytes]:
        """Yields the records of the items as bytes."""
        return map(example_writer(cls), cls.records(items))

    @classmethod
    def summary(cls, listing: Listing) -> dict[str, Any]:
        """Returns what sources must know before they read a record, as JSON holds it."""
        del listing
        return {}

    @classmethod
    def labels(cls, items: Sequence[Any]) -> Iterable[Any]:
        """Returns what is known of each record of a split without its media, as JSON holds it; [] for nothing."""
        del items
        return []

    @classmethod
    def splits_there(cls, root: Path) -> tuple[str, ...]:
        """Returns the splits whose official files are in `root`, as far as that can be said without reading them."""
        del root
        return cls.SPLITS

    @classmethod
    def prepared_by_tfds(cls, cache_dir: Path) -> Path | None:
        """Returns the folder, as TFDS calls data_dir, in which TFDS's own data set of this name lies prepared."""
        del cache_dir
        return None

    # TFDS's side.

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(self.features()),
            disable_shuffling=True,  # training shuffles, and evaluation keeps the order of the files
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        items = self.items if self.items is not None else self._read_all(place(os.fspath(dl_manager.manual_dir)))
        return {split: self._generate_examples(found) for split, found in items.items()}

    def _read_all(self, root: Path) -> dict[str, list[Any]]:
        if self.JOINT:
            return self._checked(type(self).read(root), root, None, None)
        there = self.splits_there(root)
        return {
            name: found
            for split in there
            for name, found in self._checked(type(self).read(root, split), root, split, None).items()
        }

    def _generate_examples(self, items: Sequence[Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
        yield from enumerate(self.records(items))
