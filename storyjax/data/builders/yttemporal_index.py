"""What shards of YT-Temporal-1B look up: which videos are wanted, and where in tar files they lie.

Both are sorted arrays of digests of names, mapped into memory: tens of bytes a video, where tables of Python would take
hundreds, in every worker.
"""

import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from storyjax.core.bucket_copies import fetched
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.data.builders.segments import Media, tar_members

_WIDTH = 16  # bytes of a digest: two names of 18 million are alike by chance in one of 10^24 corpora
_KEY = np.dtype(f"S{_WIDTH}")


def listed_ids(table: Path) -> Iterator[str]:
    """Yields the ids of a published list in their order, those that are there twice too.

    Raises:
        StoryjaxError: it cannot be read as text.
    """
    try:
        with table.open(encoding="utf-8-sig") as file:
            for line in itertools.chain.from_iterable(map(str.splitlines, file)):
                name = line.strip().split(",")[0].strip('"')
                if line.strip() and name != "video_id":
                    yield name
    except (OSError, UnicodeDecodeError) as error:
        raise StoryjaxError(f"{table} cannot be read as text ({error}): download it again") from error


def digests(names: Iterable[str]) -> np.ndarray:
    """Returns a digest of each name, as an array of bytes."""
    found = bytearray()
    for name in names:
        found += hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_WIDTH).digest()
    return np.frombuffer(bytes(found), _KEY)


def _save(path: Path, array: np.ndarray) -> None:
    out = io.BytesIO()
    np.save(out, array)
    write_atomically(path, out.getvalue())


class Table:
    """Numbers of named things, kept in two files and found by the digests of the names."""

    def __init__(self, folder: Path, name: str):
        """Maps what `write` wrote into memory; from a bucket it is fetched first."""
        self.keys, self.values = (
            np.load(fetched(folder / f"{name}-{part}.npy"), mmap_mode="r") for part in ("keys", "values")
        )

    @staticmethod
    def write(folder: Path, name: str, keys: np.ndarray, values: Int[np.ndarray, "n k"]) -> None:
        """Writes a table. Of equal keys, the first counts."""
        unique, first = np.unique(keys, return_index=True)
        _save(folder / f"{name}-values.npy", values[first])
        _save(folder / f"{name}-keys.npy", unique)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, keys: np.ndarray) -> Int[np.ndarray, "n k"]:
        """Returns the numbers of each key; -1 of those that are not in the table."""
        found = np.full((len(keys), self.values.shape[1]), -1, np.int64)
        if len(self.keys):
            places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            there = self.keys[places] == keys
            found[there] = self.values[places[there]]
        return found


def write_ids(folder: Path, table: Path) -> None:
    """Writes the table "ids": the row of each id, the first where it is listed twice."""
    keys = digests(listed_ids(table))
    Table.write(folder, "ids", keys, np.arange(len(keys), dtype=np.int64)[:, None])


def write_tar(folder: Path, number: int, path: Path) -> None:
    """Writes what tar `number` holds, for `write_members`. Errors as of `tar_members`."""
    members = tar_members([path])
    _save(folder / f"tar-{number:05d}-keys.npy", digests(members))
    places = [(number, media.offset, media.length) for media in members.values()]
    _save(folder / f"tar-{number:05d}-values.npy", np.array(places, np.int64).reshape(-1, 3))


def has_tar(folder: Path, number: int) -> bool:
    """Returns whether `write_tar` has come to its end."""
    return (folder / f"tar-{number:05d}-values.npy").exists()


def write_members(folder: Path, tars: int) -> None:
    """Writes the table "members" of all tars: tar, offset and length of each video; of two alike, the later counts."""
    parts = [Table(folder, f"tar-{number:05d}") for number in reversed(range(tars))]
    keys = [part.keys[::-1] for part in parts]
    values = [part.values[::-1] for part in parts]
    Table.write(
        folder,
        "members",
        np.concatenate([np.zeros(0, _KEY), *keys]),
        np.concatenate([np.zeros((0, 3), np.int64), *values]),
    )


def members_media(places: Int[np.ndarray, "n 3"], tars: Sequence[Path]) -> list[Media | None]:
    """Returns the videos at places that the table "members" gave, None where it gave none."""
    return [None if tar < 0 else Media(tars[tar], offset, length) for tar, offset, length in places.tolist()]
