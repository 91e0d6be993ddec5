"""The gallery: who and what has been enrolled, each with a token for the text tower and small pictures.

A gallery is a folder with one sub-folder for each name: entry.json, token.safetensors and up to twelve thumbnails. An
entry appears whole or not at all: it is made beside its place and renamed into it.
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
from storyjax.search.names import folder_name, key, skeleton, tidy
from storyjax.search.protocol import PERSON, THING, Personaliser

THUMBNAILS = 12
THUMBNAIL_PIXELS = 128
# Folders on their way in and out. What a killed process left of them is removed by the next that writes.
_COMING, _GOING = ".coming-", ".going-"
_ABANDONED_S = 3600


@dataclass(frozen=True)
class Entry:
    """Somebody, or something, that has been enrolled.

    Attributes:
        name: as it was given, tidied.
        kind: "person" or "thing".
        category: the general word for a thing ("dog").
        fingerprint: of the model that made the token, and the only one that understands it.
        photos: how many photos the token was made from.
        date: day of enrolment, ISO.
    """

    name: str
    kind: str
    category: str | None
    fingerprint: str
    photos: int
    date: str


class Gallery:
    """The enrolled, kept in a folder. Reading never writes; a folder that is not there is an empty gallery."""

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

    def entries(self) -> list[Entry]:
        """All entries by name. Raises StoryjaxError for one that is damaged, saying how to be rid of it."""
        if not self.folder.is_dir():
            return []
        found = [self._read(path) for path in sorted(self.folder.glob("*/entry.json")) if path.parent.name[0] != "."]
        return sorted(found, key=lambda entry: key(entry.name))

    def _read(self, path: Path) -> Entry:
        try:
            with open(path, encoding="utf-8") as file:
                entry = Entry(**json.load(file))
            good = folder_name(entry.name) == path.parent.name and entry.kind in (PERSON, THING)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StoryjaxError(f"{path} is damaged ({error}): remove {path.parent} and enrol again") from error
        if not good:
            raise StoryjaxError(f"{path} does not belong into {path.parent}: remove that folder and enrol again")
        return entry

    def get(self, name: str) -> Entry:
        """The entry of a name, whatever its case. Raises StoryjaxError naming the nearest known ones."""
        entries = self.entries()
        for entry in entries:
            if key(entry.name) == key(name):
                return entry
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        if not entries:
            raise StoryjaxError(
                f"nobody is enrolled in {self.folder}, so {shown!r} is unknown: 'storyjax find enrol NAME PHOTOS' first"
            )
        known = {key(entry.name): entry.name for entry in entries}
        close = [known[match] for match in difflib.get_close_matches(key(name), list(known), n=3, cutoff=0.5)]
        hint = f"nearest: {', '.join(close)}" if close else f"known: {_some(list(known.values()))}"
        raise StoryjaxError(f"{shown!r} is not enrolled in {self.folder}; {hint}; 'storyjax find list' shows all.")

    def check_new(self, name: str) -> str:
        """The tidy form of a name that can be enrolled. Raises StoryjaxError for one taken, alike or impossible."""
        name = tidy(name)
        for entry in self.entries():
            if key(entry.name) == key(name):
                raise StoryjaxError(
                    f"'{entry.name}' is enrolled already, from {_photos(entry.photos)} on {entry.date}:"
                    f" 'storyjax find forget \"{entry.name}\"' first, or give another name"
                )
            if skeleton(entry.name) == skeleton(name):
                raise StoryjaxError(
                    f"'{name}' looks like '{entry.name}', who is enrolled already: give a name that can be told apart"
                )
        return name

    def add(
        self,
        name: str,
        personaliser: Personaliser,
        category: str | None,
        token: Float32[np.ndarray, "c w"],
        photos: Sequence[UInt8[np.ndarray, "y x 3"]],
    ) -> Entry:
        """Keeps a token under a new name. Raises StoryjaxError where it cannot; the gallery is then as it was."""
        name = self.check_new(name)
        day = datetime.date.today().isoformat()
        entry = Entry(name, personaliser.kind, category, personaliser.fingerprint, len(photos), day)
        place = self.folder / folder_name(name)
        partial = self.folder / f"{_COMING}{uuid.uuid4().hex}"
        self._sweep()
        try:
            partial.mkdir(parents=True)
            save_tree(partial / "token.safetensors", {"token": token})
            for index, photo in enumerate(photos[:THUMBNAILS]):
                picture = Image.fromarray(np.ascontiguousarray(photo))
                picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
                picture.save(partial / f"{index + 1}.jpg", quality=85)
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
        """Removes an entry with its token and pictures. Raises StoryjaxError for an unknown name."""
        entry = self.get(name)
        place = self.folder / folder_name(entry.name)
        going = self.folder / f"{_GOING}{uuid.uuid4().hex}"
        try:
            self._sweep()
            os.rename(place, going)  # gone at once, whatever happens while its files are removed
            if going.is_symlink():
                going.unlink()  # what it points to is not ours
            else:
                shutil.rmtree(going)
        except OSError as error:
            raise StoryjaxError(f"cannot remove {place} ({error.strerror}): check its permissions") from error
        return entry

    def _sweep(self) -> None:
        """Removes what killed processes left: pictures of somebody forgotten must not stay."""
        for path in self.folder.glob(f"{_GOING}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"{_COMING}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)

    def tokens(self, entries: Sequence[Entry], personaliser: Personaliser) -> Mapping[str, Float32[np.ndarray, "c w"]]:
        """The tokens of entries by name. Raises StoryjaxError for one made by another model, or damaged."""
        return {entry.name: self._token(entry, personaliser) for entry in entries}

    def _token(self, entry: Entry, personaliser: Personaliser) -> Float32[np.ndarray, "c w"]:
        again = f"'storyjax find forget \"{entry.name}\"' and enrol again"
        if entry.fingerprint != personaliser.fingerprint:
            raise StoryjaxError(f"'{entry.name}' was enrolled with another model: {again}, or name it by --checkpoint")
        path = self.folder / folder_name(entry.name) / "token.safetensors"
        token = load_flat(path).get("token")
        whole = token is not None and token.ndim == 2 and token.shape[1] == personaliser.width and len(token)
        if not whole or not np.isfinite(token).all():
            raise StoryjaxError(f"{path} does not hold a token of this model: {again}")
        return token.astype(np.float32)


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
