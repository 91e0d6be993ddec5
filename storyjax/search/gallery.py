"""The gallery: the enrolled people and things, each with a token for the text tower and thumbnails.

A gallery is a folder with one sub-folder for each name: entry.json, token.safetensors and up to twelve thumbnails. An
entry is written beside its place and renamed into it, so that it appears whole or not at all.
"""

import datetime
import difflib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import load_flat, save_tree
from storyjax.search.names import folder_name, name_key, normalise_name, skeleton
from storyjax.search.protocol import PERSON, THING, ConceptEncoder

THUMBNAILS = 12
THUMBNAIL_PIXELS = 128
# Folders that are being added or removed. Those of a killed process are removed by the next one that writes.
_ADDED, _REMOVED = ".coming-", ".going-"
_ABANDONED_S = 3600


@dataclass(frozen=True)
class Entry:
    """An enrolled person or thing.

    Attributes:
        name: as it was given, normalised.
        kind: "person" or "thing".
        category: of a thing ("dog").
        fingerprint: of the model that made the token, and the only one that can use it.
        photos: number of photos that the token was made from.
        date: day of enrolment, ISO.
    """

    name: str
    kind: str
    category: str | None
    fingerprint: str
    photos: int
    date: str


class Gallery:
    """The enrolled people and things in a folder. Reading never writes; a missing folder is an empty gallery.

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
        return [path.parent for path in self.folder.glob("*/entry.json")]

    def entries(self) -> list[Entry]:
        """Returns all entries by name.

        Raises:
            StoryjaxError: an entry is damaged; the message says how to remove it.
        """
        if not self.folder.is_dir():
            return []
        found = [self._read(path) for path in sorted(self.folder.glob("*/entry.json")) if path.parent.name[0] != "."]
        return sorted(found, key=lambda entry: name_key(entry.name))

    def _read(self, path: Path) -> Entry:
        try:
            with open(path, encoding="utf-8") as file:
                entry = Entry(**json.load(file))
            valid = folder_name(entry.name) == path.parent.name and entry.kind in (PERSON, THING)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StoryjaxError(f"{path} is damaged ({error}): remove {path.parent} and enrol again") from error
        if not valid:
            raise StoryjaxError(f"{path} does not belong into {path.parent}: remove that folder and enrol again")
        return entry

    def get(self, name: str) -> Entry:
        """Returns the entry of a name in any case.

        Raises:
            StoryjaxError: there is none; the message has the nearest names.
        """
        entries = self.entries()
        for entry in entries:
            if name_key(entry.name) == name_key(name):
                return entry
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        if not entries:
            raise StoryjaxError(
                f"nobody is enrolled in {self.folder}, so {shown!r} is unknown: 'storyjax find enrol NAME PHOTOS' first"
            )
        known = {name_key(entry.name): entry.name for entry in entries}
        close = [known[match] for match in difflib.get_close_matches(name_key(name), list(known), n=3, cutoff=0.5)]
        hint = f"nearest: {', '.join(close)}" if close else f"known: {_some(list(known.values()))}"
        raise StoryjaxError(f"{shown!r} is not enrolled in {self.folder}; {hint}; 'storyjax find list' shows all.")

    def check_new(self, name: str) -> str:
        """Returns the normalised form of a name that can be enrolled.

        Raises:
            StoryjaxError: it is taken, looks like another, or is no valid name.
        """
        name = normalise_name(name)
        for entry in self.entries():
            if name_key(entry.name) == name_key(name):
                raise StoryjaxError(
                    f"'{entry.name}' is enrolled already, from {_photos(entry.photos)} on {entry.date}:"
                    f" 'storyjax find forget \"{entry.name}\"' first, or give another name"
                )
            if skeleton(entry.name) == skeleton(name):
                raise StoryjaxError(
                    f"'{name}' looks like '{entry.name}', which is enrolled already: give a name that looks different"
                )
        return name

    def add(
        self,
        name: str,
        encoder: ConceptEncoder,
        category: str | None,
        token: Float32[np.ndarray, "c w"],
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    ) -> Entry:
        """Adds a token under a new name and returns its entry.

        Raises:
            StoryjaxError: the name cannot be enrolled or the folder cannot be written; the gallery is then unchanged.
        """
        name = self.check_new(name)
        day = datetime.date.today().isoformat()
        entry = Entry(name, encoder.kind, category, encoder.fingerprint, len(photos), day)
        place = self.folder / folder_name(name)
        partial = self.folder / f"{_ADDED}{uuid.uuid4().hex}"
        self._clean_up()
        try:
            partial.mkdir(parents=True)
            save_tree(partial / "token.safetensors", {"token": token})
            for index, photo in enumerate(photos[:THUMBNAILS]):
                thumbnail = Image.fromarray(np.ascontiguousarray(photo))
                thumbnail.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
                thumbnail.save(partial / f"{index + 1}.jpg", quality=85)
            with open(partial / "entry.json", "w", encoding="utf-8") as file:
                json.dump(asdict(entry), file, ensure_ascii=False, indent=2)
                file.flush()
                os.fsync(file.fileno())
            os.rename(partial, place)
        except OSError as error:
            raise StoryjaxError(f"cannot write {place} ({error.strerror}): check space and permissions") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return entry

    def forget(self, name: str) -> Entry:
        """Removes an entry with its token and thumbnails, and returns it.

        Raises:
            StoryjaxError: the name is unknown, or the folder cannot be written.
        """
        entry = self.get(name)
        place = self.folder / folder_name(entry.name)
        removed = self.folder / f"{_REMOVED}{uuid.uuid4().hex}"
        try:
            self._clean_up()
            os.rename(place, removed)  # the entry disappears at once, before its files do
            if removed.is_symlink():
                removed.unlink()  # its target belongs to somebody else
            else:
                shutil.rmtree(removed)
        except OSError as error:
            raise StoryjaxError(f"cannot remove {place} ({error.strerror}): check its permissions") from error
        return entry

    def _clean_up(self) -> None:
        """Removes the folders of killed processes: photos of a removed person must not stay."""
        for path in self.folder.glob(f"{_REMOVED}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"{_ADDED}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)

    def tokens(self, entries: Sequence[Entry], encoder: ConceptEncoder) -> Mapping[str, Float32[np.ndarray, "c w"]]:
        """Returns the tokens of entries by name.

        Raises:
            StoryjaxError: a token was made by another model, or is damaged.
        """
        return {entry.name: self._token(entry, encoder) for entry in entries}

    def _token(self, entry: Entry, encoder: ConceptEncoder) -> Float32[np.ndarray, "c w"]:
        again = f"'storyjax find forget \"{entry.name}\"' and enrol again"
        if entry.fingerprint != encoder.fingerprint:
            raise StoryjaxError(f"'{entry.name}' was enrolled with another model: {again}, or name it by --checkpoint")
        path = self.folder / folder_name(entry.name) / "token.safetensors"
        token = load_flat(path).get("token")
        shaped = token is not None and token.ndim == 2 and token.shape[1] == encoder.width and len(token)
        if token is None or not shaped or not np.isfinite(token).all():
            raise StoryjaxError(f"{path} does not hold a token of this model: {again}")
        return token.astype(np.float32)


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
