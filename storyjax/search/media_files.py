"""The images and videos below a folder, and why other files are left out.

A folder that cannot be looked into, whose disk is not mounted, or that is a link to nothing says nothing about the
files in it: what an index knows of them stays (`Scan.lost_from_view`).
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from storyjax.data.images import SUFFIXES as IMAGE_SUFFIXES
from storyjax.data.video_files import VIDEO_SUFFIXES

HIDDEN = "hidden"


@dataclass(frozen=True)
class MediaFile:
    """An image or a video; `path` is relative to the folder, as bytes of the file system."""

    path: bytes
    size: int
    mtime_ns: int
    video: bool


@dataclass
class Scan:
    """What is below a folder.

    Attributes:
        found: images and videos, in the order of their names, the files of a folder before the folders in it.
        left_out: reasons by name, for folders and files that could not be looked at, and links that are left out.
        ignored: how many files have which ending that no image or video has ("" for none, HIDDEN for hidden files and
            folders).
        unseen: relative paths of what could not be looked at.
        mounts: relative paths of folders that lie on another disk than the folder that they are in.
    """

    found: list[MediaFile] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    unseen: list[bytes] = field(default_factory=list)
    mounts: list[bytes] = field(default_factory=list)

    def miss(self, mounts: Iterable[bytes]) -> None:
        """Takes those of the folders that were once `mounts`, and are none now, for disks that are not mounted."""
        for place in mounts:
            if place not in self.mounts:
                self.unseen.append(place)
                self.left_out.setdefault(place.decode(errors="replace"), "its disk is not mounted now")

    def lost_from_view(self, known: Iterable[bytes]) -> dict[bytes, list[bytes]]:
        """Returns those of the `known` paths that are neither found nor known to be gone, by what hides them."""
        found = {file.path for file in self.found}
        lost: dict[bytes, list[bytes]] = {}
        for path in known:
            if path not in found:
                for place in self.unseen:
                    if path == place or path.startswith(place + b"/") or place == b".":
                        lost.setdefault(place, []).append(path)
                        break
        return lost


def scan(root: Path, out: Path) -> Scan:
    """Returns what is below `root`, linked folders too, each once; the folder `out` does not count."""
    return _Walk(root, out).run()


class _Walk:
    def __init__(self, root: Path, out: Path):
        self.root, self.done = root, Scan()
        self._seen: dict[tuple[int, int], str] = {}
        self._links: list[str] = []
        self._out = self._identity(str(out))

    def run(self) -> Scan:
        self._below(str(self.root))
        # Links come last, so that a file that is also here by itself keeps its own name.
        while self._links:
            link = self._links.pop(0)
            where = self._seen.get(self._identity(link) or (-1, -1))
            if where is None:
                self._below(link)
            else:
                self.done.left_out[self._name(link)] = f"is a link to {where}, which is indexed by that name"
        return self.done

    def _below(self, top: str) -> None:
        waiting = [top]
        while waiting:
            here = waiting.pop()
            identity = self._identity(here)
            if identity is not None and identity == self._out and here != str(self.root):
                continue
            if identity is not None:
                self._seen.setdefault(identity, self._name(here))
            try:
                entries = sorted(os.scandir(here), key=lambda entry: entry.name)
            except OSError as error:
                self._unseen(here, error.strerror or str(error))
                continue
            if here != str(self.root):
                inside = self.root if here == top else Path(here).parent
                if _device(here) != _device(inside):
                    self.done.mounts.append(self._relative(here))
                elif here == top and not entries:
                    self._unseen(here, "is a link to an empty folder, perhaps of a disk that is not mounted")
            folders = [entry.path for entry in entries if self._is_folder(entry)]
            waiting += reversed(folders)

    def _is_folder(self, entry: os.DirEntry) -> bool:
        """Whether the entry is a folder to go down into; anything else is dealt with."""
        if entry.name.startswith("."):
            if self._identity(entry.path) != self._out:
                self.done.ignored[HIDDEN] += 1
            return False
        try:
            if entry.is_dir(follow_symlinks=False):
                return True
            if entry.is_dir():
                self._links.append(entry.path)
                return False
        except OSError:  # a link in a circle: as a file it gets its reason
            pass
        self._file(entry)
        return False

    def _file(self, entry: os.DirEntry) -> None:
        suffix = os.path.splitext(entry.name)[1].lower()
        try:
            state = entry.stat()
        except OSError as error:
            reason = "is a link to nothing" if entry.is_symlink() else error.strerror or str(error)
            self._unseen(entry.path, reason)
            return
        if suffix not in IMAGE_SUFFIXES + VIDEO_SUFFIXES:
            self.done.ignored[suffix] += 1
        elif not stat.S_ISREG(state.st_mode):
            self.done.left_out[self._name(entry.path)] = "is no file, but a device or a pipe"
        else:
            path = self._relative(entry.path)
            self.done.found.append(MediaFile(path, state.st_size, state.st_mtime_ns, suffix in VIDEO_SUFFIXES))

    def _unseen(self, path: str, reason: str) -> None:
        self.done.unseen.append(self._relative(path))
        self.done.left_out[self._name(path)] = reason

    def _relative(self, path: str) -> bytes:
        return os.fsencode(os.path.relpath(path, self.root))

    def _name(self, path: str) -> str:
        return self._relative(path).decode(errors="replace")

    @staticmethod
    def _identity(path: str) -> tuple[int, int] | None:
        try:
            state = os.stat(path)
        except (OSError, ValueError):
            return None
        return state.st_dev, state.st_ino


def _device(folder: str | Path) -> int | None:
    try:
        return os.stat(folder).st_dev
    except OSError:
        return None
