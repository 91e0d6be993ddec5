"""The gallery: the people and things that every command knows by name, with vectors of all kinds, and pictures.

A gallery is a folder: gallery.json says the format, and each entry is a sub-folder, named by its id (record.py).
Entries appear, change and go whole or not at all; changes are made by one process at a time, and readers need no lock.
"""

import contextlib
import datetime
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import exclusive_lock, write_atomically
from storyjax.gallery.names import name_key
from storyjax.gallery.reading import GALLERY_FILE, Entry, GalleryReader, Stored, check_role, entry_of
from storyjax.gallery.record import (
    FORMAT,
    KINDS,
    TOKEN,
    Evidence,
    Record,
    Source,
    checked_source,
    new_id,
    write_pictures,
    write_record,
)

__all__ = ["Entry", "Evidence", "Gallery", "Taught"]

# Folders that are being added or removed. Those of a killed process are removed by the next one that writes.
_ADDED, _REMOVED = ".coming-", ".going-"
_LOCK = ".lock"
_LOCK_WAIT_S = 10.0


@dataclass(frozen=True)
class Taught:
    """What is to be learned of an entry; see `Gallery.learn`."""

    role: str
    fingerprint: str
    vectors: Float32[np.ndarray, "n d"]
    source: str
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]] = ()
    seconds: Sequence[float] = field(default=())
    model: str | None = None


class Gallery(GalleryReader):
    """The people and things in a folder. Reading never writes; a missing folder is an empty gallery.

    Everything that changes an entry returns it as it then is, and raises StoryjaxError where the entry is gone, or the
    folder cannot be written or stays locked by another process; the gallery is then as it was.

    Raises:
        StoryjaxError: the folder is a file, or cannot be read.
    """

    def create(
        self,
        name: str,
        kind: str,
        category: str | None = None,
        pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]] = (),
        taught: Sequence[Taught] = (),
    ) -> Entry:
        """Adds an entry under a new name, with what is known of it from the start.

        Args:
            name: for prompts and subtitles.
            kind: "person" or "thing".
            category: of a thing ("dog").
            pictures: of the source "created".
            taught: vectors, as of `learn`.

        Raises:
            StoryjaxError: the name is taken, looks like another's or is invalid; or a thing without a category.
        """
        if kind not in KINDS:
            raise StoryjaxError(f"'{kind}' is no kind of entry: {' or '.join(KINDS)}")
        if category is not None and not category.strip():
            raise StoryjaxError("the category of a thing is empty: give one, such as dog")
        for one in taught:
            _check_taught(one)
        with self.writing():
            moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            record = Record(new_id(), self.check_new(name), kind, category, moment)
            return self._add(record, taught, [("created", pictures)] if len(pictures) else [])

    def learn(
        self,
        entry: Entry,
        role: str,
        fingerprint: str,
        vectors: Float32[np.ndarray, "n d"],
        source: str,
        pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]] = (),
        *,
        seconds: Sequence[float] = (),
        model: str | None = None,
    ) -> Entry:
        """Adds vectors to an entry. Those that it has of the same source, role and network are replaced.

        Args:
            entry: who or what they are of.
            role: "face", "voice", "image" or "token".
            fingerprint: of the network that made them.
            vectors: one or more.
            source: what they are of: a photo's file name, "film:NAME#track 12", "taught".
            pictures: of the source; they replace those that it has, if any are given.
            seconds: of speech, for each vector, of voices.
            model: what people call the network.

        Raises:
            StoryjaxError: see the class; or vectors that are none, or of another width than those of that network.
        """
        return self.learn_all(entry, [Taught(role, fingerprint, vectors, source, pictures, seconds, model)])

    def learn_all(self, entry: Entry, taught: Sequence[Taught]) -> Entry:
        """Adds several kinds of vectors to an entry at once, all or none; see `learn`."""
        for one in taught:
            _check_taught(one)
        with self.writing():
            return self._change(self._still_there(entry), taught, [])

    def add_pictures(self, entry: Entry, source: str, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Entry:
        """Adds small copies of images of a source, in place of those that it has."""
        with self.writing():
            return self._change(self._still_there(entry), [], [(checked_source(source), images)])

    def unlearn(self, entry: Entry, source: str) -> Entry:
        """Takes back all vectors and pictures of a source.

        Raises:
            StoryjaxError: see the class; or the entry has nothing of that source.
        """
        source = checked_source(source)
        with self.writing():
            stored, vectors = self._read(self._still_there(entry))
            record = stored.record
            kept = [number for number, one in enumerate(record.evidence) if one.source != source]
            if len(kept) == len(record.evidence) and source not in record.sources:
                raise StoryjaxError(f"'{record.name}' has nothing from {source!r}: 'storyjax gallery list' shows all")
            left = replace(
                record,
                evidence=tuple(record.evidence[number] for number in kept),
                sources={name: one for name, one in record.sources.items() if name != source},
            )
            return entry_of(write_record(stored.folder, left, [vectors[number] for number in kept]))

    def rename(self, name: str, new: str) -> Entry:
        """Gives an entry another name; all else stays.

        Raises:
            StoryjaxError: see the class; or the old name is unknown, or the new one taken or invalid.
        """
        with self.writing():
            stored = self._named(name)
            named = replace(stored.record, name=self.check_new(new, besides=stored.record.id))
            return entry_of(write_record(stored.folder, named, None))

    def merge(self, name: str, into: str) -> Entry:
        """Makes two entries one, under the name and id of the second. `by_id` finds it by the first id, too.

        Raises:
            StoryjaxError: see the class; or a name is unknown, both are the same, or one is a person and one a thing.
        """
        with self.writing():
            first, second = self._named(name), self._named(into)
            if first.record.id == second.record.id:
                raise StoryjaxError(f"'{name}' and '{into}' are the same entry already: give two")
            if first.record.kind != second.record.kind:
                raise StoryjaxError(
                    f"'{first.record.name}' is a {first.record.kind} and '{second.record.name}' a"
                    f" {second.record.kind}: only entries of one kind can be merged"
                )
            merged = self._merged(first, second)
            self._remove(first.folder)
            return merged

    def forget(self, name: str) -> Entry:
        """Removes an entry with all its vectors and pictures, and returns what it was.

        Raises:
            StoryjaxError: see the class; or the name is unknown.
        """
        self._named(name)  # an unknown name writes nothing
        with self.writing():
            stored = self._named(name)
            self._remove(stored.folder)
            return entry_of(stored.record)

    def records(self) -> list[tuple[Path, Record]]:
        """Returns the folder and the record of each entry, by name."""
        found = [(stored.folder, stored.record) for stored in self._stored()]
        return sorted(found, key=lambda one: name_key(one[1].name))

    def adopt(self, entries: Sequence[tuple[Record, Mapping[str, bytes]]]) -> None:
        """Adds entries that come with their files, by name; their names are checked. To be called within `writing`."""
        staged = []
        try:
            for record, files in entries:
                partial = self.folder / f"{_ADDED}{uuid.uuid4().hex}"
                partial.mkdir()
                staged.append((partial, record))
                for name, data in files.items():
                    write_atomically(partial / name, data, durable=True)
            for partial, record in staged:
                os.rename(partial, self.folder / record.id)
        finally:
            for partial, _ in staged:
                shutil.rmtree(partial, ignore_errors=True)

    def _add(self, record: Record, taught: Sequence[Taught], pictures: Sequence[tuple[str, Sequence]]) -> Entry:
        """Writes a new entry beside its place and moves it there."""
        partial = self.folder / f"{_ADDED}{uuid.uuid4().hex}"
        partial.mkdir()
        try:
            entry = self._change(Stored(partial, record), taught, pictures)
            os.rename(partial, self.folder / record.id)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return entry

    def _change(self, stored: Stored, taught: Sequence[Taught], pictures: Sequence[tuple[str, Sequence]]) -> Entry:
        stored, vectors = self._read(stored)
        evidence, sources = list(stored.record.evidence), dict(stored.record.sources)
        given = [(checked_source(one.source), one.pictures) for one in taught if len(one.pictures)]
        for one in taught:
            added = _evidence(one)
            _check_width(stored.record, added)
            same = [number for number, old in enumerate(evidence) if _key(old) == _key(added)]
            for number in reversed(same):
                del evidence[number], vectors[number]
            evidence.append(added)
            vectors.append(np.asarray(one.vectors, np.float32))
        for source, images in [*given, *pictures]:
            sources[source] = Source(len(images), write_pictures(stored.folder, images))
        changed = replace(stored.record, evidence=tuple(evidence), sources=sources)
        return entry_of(write_record(stored.folder, changed, vectors if taught else None))

    def _merged(self, first: Stored, second: Stored) -> Entry:
        """Writes the second entry with all that the first has."""
        (first, theirs), (second, own) = self._read(first), self._read(second)
        evidence, vectors = list(second.record.evidence), list(own)
        before: list[tuple[Evidence, np.ndarray]] = []
        for one, rows in zip(first.record.evidence, theirs, strict=True):
            same = [number for number, other in enumerate(evidence) if _key(other) == _key(one)]
            if not same:
                before.append((one, rows))
            elif one.role != TOKEN:  # two tokens of one source would be read as a longer word
                number = same[0]
                evidence[number], vectors[number] = _joined(evidence[number], vectors[number], one, rows)
        sources = dict(second.record.sources)
        for source, given in first.record.sources.items():
            names = copied_pictures([first.folder / picture for picture in given.pictures], second.folder)
            there = sources.get(source, Source())
            sources[source] = Source(there.photos + given.photos, (*there.pictures, *names))
        record = replace(
            second.record,
            evidence=(*(one for one, _ in before), *evidence),
            sources=sources,
            merged=tuple(dict.fromkeys([*second.record.merged, first.record.id, *first.record.merged])),
        )
        return entry_of(write_record(second.folder, record, [*(rows for _, rows in before), *vectors]))

    def _remove(self, folder: Path) -> None:
        removed = self.folder / f"{_REMOVED}{uuid.uuid4().hex}"
        os.rename(folder, removed)  # the entry disappears at once, before its files do
        if removed.is_symlink():
            removed.unlink()  # its target belongs to somebody else
        else:
            shutil.rmtree(removed)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the gallery's lock, in a folder of today's format without remains of killed processes.

        What changes entries does so by itself.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as stack:
                self._lock(stack)
                self._check_format()
                self._clean_up()
                self._convert()
                yield
        except OSError as error:
            why = error.strerror or error
            raise StoryjaxError(
                f"cannot write into the gallery {self.folder} ({why}): check space and permissions"
            ) from error

    def _lock(self, stack: contextlib.ExitStack) -> None:
        refusal = f"the gallery {self.folder} is being changed by another process: try again when it is done"
        until = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                stack.enter_context(exclusive_lock(self.folder / _LOCK, refusal))
            except StoryjaxError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def _clean_up(self) -> None:
        """Removes what killed processes left: photos of a removed person must not stay."""
        for path in [*self.folder.glob(f"{_REMOVED}*"), *self.folder.glob(f"{_ADDED}*")]:
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)
        here = {stored.folder.name for stored in self._stored()}
        for path in self.folder.glob("*/entry.json"):  # merged into another, or converted
            if path.parent.name not in here:
                self._remove(path.parent)

    def _convert(self) -> None:
        """Rewrites entries of format 1."""
        for stored in self._stored():
            if not stored.old:
                continue
            record = stored.record
            ((token,), (one,)) = stored.vectors(), record.evidence
            source = record.sources[one.source]
            fresh = replace(record, evidence=(), sources={}, vectors=None)
            partial = self.folder / f"{_ADDED}{uuid.uuid4().hex}"
            partial.mkdir()
            names = copied_pictures([stored.folder / picture for picture in source.pictures], partial)
            taught = Taught(one.role, one.fingerprint, token, one.source)
            sources = {one.source: Source(source.photos, names)}
            write_record(partial, replace(fresh, evidence=(_evidence(taught),), sources=sources), [token])
            os.rename(partial, self.folder / record.id)
            self._remove(stored.folder)
        if not (self.folder / GALLERY_FILE).exists():
            write_atomically(self.folder / GALLERY_FILE, f'{{"format": {FORMAT}}}\n', durable=True)


def copied_pictures(paths: Iterable[Path], folder: Path) -> tuple[str, ...]:
    """Copies pictures into a folder, and returns their names there."""
    stem, names = uuid.uuid4().hex[:8], []
    for number, path in enumerate(paths):
        names.append(f"{stem}-{number + 1}.jpg")
        write_atomically(folder / names[-1], path.read_bytes(), durable=True)
    return tuple(names)


def _key(one: Evidence) -> tuple[str, str, str]:
    return one.role, one.fingerprint, one.source


def _evidence(one: Taught) -> Evidence:
    rows, width = one.vectors.shape
    seconds = tuple(float(value) for value in one.seconds)
    return Evidence(one.role, one.fingerprint, checked_source(one.source), rows, width, one.model, seconds)


def _joined(
    evidence: Evidence, vectors: np.ndarray, other: Evidence, others: np.ndarray
) -> tuple[Evidence, Float32[np.ndarray, "n d"]]:
    """Two entries' vectors of one source, each row once."""
    new = [number for number, row in enumerate(others) if not (vectors == row).all(axis=1).any()]
    both = np.concatenate([vectors, others[new]])
    timed = len(evidence.seconds) == len(vectors) and len(other.seconds) == len(others)
    seconds = (*evidence.seconds, *(other.seconds[number] for number in new)) if timed else ()
    return replace(evidence, rows=len(both), seconds=seconds), both


def _check_taught(one: Taught) -> None:
    check_role(one.role)
    checked_source(one.source)
    vectors = np.asarray(one.vectors)
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise StoryjaxError(f"{one.source}: its {one.role} vectors are no n × d finite numbers ({vectors.shape})")
    if len(one.seconds) not in (0, len(vectors)):
        raise StoryjaxError(f"{one.source}: {len(one.seconds)} times for {len(vectors)} vectors")


def _check_width(record: Record, added: Evidence) -> None:
    for one in record.evidence:
        if (one.role, one.fingerprint) == (added.role, added.fingerprint) and one.width != added.width:
            raise StoryjaxError(
                f"{added.source}: {added.role} vectors of width {added.width}, where that network's have {one.width}"
            )
