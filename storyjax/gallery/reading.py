"""Reading a gallery: its entries, their vectors and pictures. Nothing here writes."""

import difflib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.format1 import read_old_record, read_old_vectors
from storyjax.gallery.names import name_key, normalise_name, skeleton
from storyjax.gallery.record import ENTRY_FILE, FORMAT, ROLES, Evidence, Record, entry_json, read_record, read_vectors

GALLERY_FILE = "gallery.json"
_TRIES = 5  # at an entry that another process changes meanwhile


@dataclass(frozen=True)
class Entry:
    """A person or thing in a gallery.

    Attributes:
        id: 32 hexadecimal digits, the same through renames.
        name: as it was given, normalised.
        kind: "person" or "thing".
        category: of a thing ("dog"); None of a person.
        created: when it was made, ISO 8601; of old galleries, the day.
        counts: number of vectors by role, of all networks.
        photos: number of photos that it was made from.
        merged: ids of entries that were merged into this one.
    """

    id: str
    name: str
    kind: str
    category: str | None
    created: str
    counts: Mapping[str, int]
    photos: int = 0
    merged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """An entry as it lies in its folder; `old`: in format 1."""

    folder: Path
    record: Record
    old: bool = field(default=False)

    def vectors(self) -> list[Float32[np.ndarray, "_ _"]]:
        """Returns the vectors of each evidence; errors as of `read_vectors`."""
        return read_old_vectors(self.folder, self.record) if self.old else read_vectors(self.folder, self.record)


class GalleryReader:
    """The entries in a folder. A missing folder is an empty gallery.

    Raises:
        StoryjaxError: the folder is a file, or cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        try:
            there = os.stat(self.folder)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise StoryjaxError(f"the gallery {str(folder)!r} cannot be read ({why}): give another folder") from error
        if not stat.S_ISDIR(there.st_mode):
            raise StoryjaxError(f"the gallery {folder} is a file: give a folder with --gallery")

    def folders(self) -> list[Path]:
        """Returns the folders of all entries."""
        return [stored.folder for stored in self._stored()]

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Returns all entries, or those of a kind, by name.

        Raises:
            StoryjaxError: an entry is damaged; the message says how to remove it.
        """
        found = [entry_of(stored.record) for stored in self._stored()]
        return sorted((one for one in found if kind in (None, one.kind)), key=lambda one: name_key(one.name))

    def get(self, name: str) -> Entry:
        """Returns the entry of a name in any case.

        Raises:
            StoryjaxError: there is none; the message has the nearest names.
        """
        return entry_of(self._named(name).record)

    def by_id(self, id: str) -> Entry | None:
        """Returns the entry of an id, which may be one that was merged into it; None where there is none."""
        stored = self._of_id(id)
        return None if stored is None else entry_of(stored.record)

    def check_new(self, name: str, besides: str | None = None) -> str:
        """Returns the normalised form of a name that a new entry can have.

        Args:
            name: to be taken.
            besides: the id of an entry whose own name does not count.

        Raises:
            StoryjaxError: it is taken, looks like another, or is no valid name.
        """
        name = normalise_name(name)
        for entry in self.entries():
            if entry.id == besides:
                continue
            if name_key(entry.name) == name_key(name):
                what = photo_count(entry.photos) if entry.photos else "other evidence"
                raise StoryjaxError(
                    f"'{entry.name}' is enrolled already, from {what} on {entry.created[:10]}: somebody else of this"
                    f" name needs a word more, such as '{name} (baker)'; 'storyjax gallery forget' removes the first"
                )
            if skeleton(entry.name) == skeleton(name):
                raise StoryjaxError(
                    f"'{name}' looks like '{entry.name}', which is enrolled already: give a name that looks different"
                )
        return name

    def evidence(self, entry: Entry) -> tuple[Evidence, ...]:
        """Returns what the vectors of an entry were made of, the oldest first."""
        stored = self._still_there(entry)
        if not stored.old:
            return stored.record.evidence
        (one,), (token,) = stored.record.evidence, stored.vectors()
        return (Evidence(one.role, one.fingerprint, one.source, *token.shape),)

    def rows(self, entry: Entry) -> list[tuple[Evidence, Float32[np.ndarray, "_ _"]]]:
        """Returns the evidence of an entry, the oldest first, each with its vectors.

        Raises:
            StoryjaxError: the entry is gone, or its vectors are damaged.
        """
        stored, vectors = self._read(self._still_there(entry))
        return list(zip(stored.record.evidence, vectors, strict=True))

    def vectors(self, role: str, fingerprint: str, kind: str | None = None) -> dict[str, Float32[np.ndarray, "_ d"]]:
        """Returns the vectors of a role that one network made, by the ids of entries that have any.

        Args:
            role: "face", "voice", "image" or "token".
            fingerprint: of the network.
            kind: of the entries; None: all.

        Raises:
            StoryjaxError: an entry is damaged, or there is no such role.
        """
        check_role(role)
        found = {}
        for stored in self._stored():
            if kind not in (None, stored.record.kind) or not _has(stored.record, role, fingerprint):
                continue
            stored, each = self._read(stored)
            rows = [
                one
                for evidence, one in zip(stored.record.evidence, each, strict=True)
                if (evidence.role, evidence.fingerprint) == (role, fingerprint)
            ]
            if rows:
                found[stored.record.id] = np.concatenate(rows)
        if len({rows.shape[1] for rows in found.values()}) > 1:
            raise StoryjaxError(f"{self.folder} holds {role} vectors of one network in several widths: it is damaged")
        return found

    def stale(self, role: str, fingerprint: str) -> list[Entry]:
        """Returns the entries, by name, that have the role from other networks alone, so that this one knows them not.

        `stale_line` says what to do about it.
        """
        check_role(role)
        records = [stored.record for stored in self._stored()]
        entries = [entry_of(one) for one in records if _has(one, role) and not _has(one, role, fingerprint)]
        return sorted(entries, key=lambda one: name_key(one.name))

    def pictures(self, entry: Entry) -> list[Path]:
        """Returns the files of an entry's pictures (JPEG), in the order in which they came."""
        stored = self._still_there(entry)
        return [stored.folder / name for one in stored.record.sources.values() for name in one.pictures]

    def _stored(self) -> list[Stored]:
        """All entries as they lie there, without those that were merged into another."""
        if not self.folder.is_dir():
            return []
        self._check_format()
        found: dict[str, Stored] = {}
        for path in sorted(self.folder.glob(f"*/{ENTRY_FILE}")):
            if path.parent.name[0] == ".":
                continue
            try:
                content = entry_json(path)
            except FileNotFoundError:
                continue  # gone since the folder was listed
            old = "format" not in content
            record = read_old_record(path, content) if old else read_record(path, content)
            if not (old and record.id in found):  # else a conversion was interrupted before the old one went
                found[record.id] = Stored(path.parent, record, old)
        gone = {id for stored in found.values() for id in stored.record.merged}
        return [stored for id, stored in found.items() if id not in gone]

    def _check_format(self) -> None:
        path = self.folder / GALLERY_FILE
        try:
            content = json.loads(path.read_text("utf-8"))
            known = isinstance(content, dict) and content["format"] == FORMAT
        except FileNotFoundError:
            return  # of format 1
        except (OSError, ValueError, KeyError) as error:
            raise StoryjaxError(f"{path} is damaged ({error}): remove it, its entries are kept without it") from error
        if not known:
            raise StoryjaxError(f"{path} is of another format than {FORMAT}, which this version reads: update storyjax")

    def _named(self, name: str) -> Stored:
        everyone = self._stored()
        for stored in everyone:
            if name_key(stored.record.name) == name_key(name):
                return stored
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        if not everyone:
            raise StoryjaxError(
                f"nobody is enrolled in {self.folder}, so {shown!r} is unknown: 'storyjax find enrol NAME PHOTOS' first"
            )
        known = {name_key(stored.record.name): stored.record.name for stored in everyone}
        close = [known[match] for match in difflib.get_close_matches(name_key(name), list(known), n=3, cutoff=0.5)]
        hint = f"nearest: {', '.join(close)}" if close else f"known: {_some(sorted(known.values(), key=name_key))}"
        raise StoryjaxError(f"{shown!r} is not enrolled in {self.folder}; {hint}; 'storyjax find list' shows all.")

    def _of_id(self, id: str) -> Stored | None:
        for stored in self._stored():
            if id == stored.record.id or id in stored.record.merged:
                return stored
        return None

    def _still_there(self, entry: Entry) -> Stored:
        stored = self._of_id(entry.id)
        if stored is None:
            raise StoryjaxError(f"'{entry.name}' is no longer in {self.folder}: it was forgotten meanwhile")
        return stored

    def _read(self, stored: Stored) -> tuple[Stored, list[Float32[np.ndarray, "_ _"]]]:
        """An entry with its vectors; anew where another process changes it between the two."""
        for _ in range(_TRIES):
            try:
                return stored, stored.vectors()
            except FileNotFoundError:
                again = self._of_id(stored.record.id)
                if again is None or again.record.vectors == stored.record.vectors:
                    break
                stored = again
        raise StoryjaxError(
            f"{stored.folder} has lost its file of vectors: 'storyjax gallery forget \"{stored.record.name}\"' and"
            " enrol again"
        )


def entry_of(record: Record) -> Entry:
    """Returns what others see of a record."""
    counts: dict[str, int] = {}
    for one in record.evidence:
        counts[one.role] = counts.get(one.role, 0) + one.rows
    given = (record.id, record.name, record.kind, record.category, record.created)
    return Entry(*given, counts=counts, photos=record.photos, merged=record.merged)


def _has(record: Record, role: str, fingerprint: str | None = None) -> bool:
    return any(one.role == role and fingerprint in (None, one.fingerprint) for one in record.evidence)


def check_role(role: str) -> None:
    """Raises StoryjaxError unless there is such a role of vectors."""
    if role not in ROLES:
        raise StoryjaxError(f"there is no role '{role}' of vectors: {', '.join(ROLES)}")


def stale_line(entries: Sequence[Entry], role: str) -> str:
    """Returns a line that says what to redo for the entries that `stale` returned."""
    names = _some([entry.name for entry in entries])
    what = {"voice": "--voice and the recordings", "token": "the photos", "image": "the photos"}.get(role, "the photos")
    return (
        f"the gallery knows the {role} of {names} from another model only: 'storyjax gallery add NAME' with {what} once"
        " more, or choose that model"
    )


def photo_count(count: int) -> str:
    """Returns "1 photo", "2 photos"."""
    return "1 photo" if count == 1 else f"{count} photos"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
