"""What is known of each record of a prepared split without its media, read one record at a time.

Beside each shard of the records lie `labels-SPLIT-00000-of-00012.jsonl`, a line of JSON for each record, and the same
with `.npy`, where each line begins; `counts-SPLIT.json` says how many lines each has. They are mapped into memory when
one of their records is first asked for, so that a start costs the same for a hundred videos and for a million; from a
bucket they are fetched then, once.
"""

import bisect
import itertools
import json
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np

from storyjax.core.bucket_copies import fetched
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically


def label_file(split: str, number: int, total: int, ending: str) -> str:
    """Returns the name of one of the two files of the labels of a shard."""
    return f"labels-{split}-{number:05d}-of-{total:05d}.{ending}"


def count_file(split: str) -> str:
    """Returns the name of the file that says how many labels each shard has."""
    return f"counts-{split}.json"


class LabelWriter:
    """Writes the labels of a shard into its two files; a context manager, which closes them."""

    def __init__(self, text: Path, places: Path):
        self._text, self._where = text.open("wb"), places
        self._places = [0]

    def add(self, label: Any) -> bytes:
        """Appends a label, anything that JSON holds, and returns what was written."""
        line = json.dumps(label).encode() + b"\n"
        self._places.append(self._places[-1] + self._text.write(line))
        return line

    def __enter__(self) -> "LabelWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._text.close()
        with self._where.open("wb") as file:
            np.save(file, np.array(self._places, np.int64))


def write_label_counts(folder: Path, split: str, counts: Sequence[int]) -> None:
    """Writes how many labels each shard of a split has."""
    write_atomically(folder / count_file(split), json.dumps({"counts": list(counts)}))


class _ShardLabels:
    """The labels of a shard, mapped into memory. Raises StoryjaxError where they are not there, or are damaged."""

    def __init__(self, text: Path, places: Path, count: int | None):
        try:
            text, places = fetched(text), fetched(places)
            self.places = np.load(places, mmap_mode="r")
            self._file = text
            with text.open("rb") as file:
                self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if text.stat().st_size else b""
            if self.places[-1] != len(self._text):
                raise ValueError(f"{text.name} has {len(self._text)} bytes, not {self.places[-1]}")
            if count is not None and count != len(self.places) - 1:
                raise ValueError(f"{text.name} has {len(self.places) - 1} labels, not {count}")
        except (OSError, ValueError, IndexError) as error:
            raise StoryjaxError(f"{text.parent} is no prepared data set ({error}): prepare it again") from error

    def read(self, index: int) -> Any:
        """Returns label `index` of the shard."""
        return json.loads(self._text[self.places[index] : self.places[index + 1]])

    def __iter__(self) -> Iterator[Any]:
        with self._file.open("rb") as file:
            yield from map(json.loads, file)


class Labels(Sequence[Any]):
    """The labels of a split: item i is what is known of record i. Safe to read from many threads.

    Raises:
        StoryjaxError: there are none in `folder`, or they are damaged, which is found out when they are read.
    """

    def __init__(self, folder: Path, split: str):
        self._folder, self._split = folder, split
        self._parts: dict[int, _ShardLabels] = {}
        older = folder / f"labels-{split}.jsonl"  # as versions to 0.2 wrote them, all in one
        try:
            if older.exists():
                self._parts[0] = _ShardLabels(older, older.with_suffix(".npy"), None)
                self._counts = [len(self._parts[0].places) - 1]
            else:
                self._counts = list(json.loads((folder / count_file(split)).read_text("utf-8"))["counts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoryjaxError(f"{folder} is no prepared data set ({error}): prepare it again") from error
        self._ends = list(itertools.accumulate(self._counts))

    def __reduce__(self) -> tuple[type["Labels"], tuple[Path, str]]:
        return Labels, (self._folder, self._split)  # another process maps them anew

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        index = range(len(self))[index]
        number = bisect.bisect_right(self._ends, index)
        return self._part(number).read(index - self._ends[number] + self._counts[number])

    def _part(self, number: int) -> _ShardLabels:
        """The labels of a shard, mapped when they are first needed; several threads may do so at once."""
        if number not in self._parts:
            text, places = (
                self._folder / label_file(self._split, number, len(self._counts), ending) for ending in ("jsonl", "npy")
            )
            self._parts[number] = _ShardLabels(text, places, self._counts[number])
        return self._parts[number]

    def __iter__(self) -> Iterator[Any]:
        """Yields all labels in their order. They are not mapped: the memory of a million would count as this
        process's."""
        for number in range(len(self._counts)):
            yield from self._part(number)


class Part(Sequence[Any]):
    """One entry, `key`, of each item of `labels`, read when it is asked for."""

    def __init__(self, labels: Sequence[Any], key: int | str):
        self._labels, self._key = labels, key

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [each[self._key] for each in self._labels[index]]
        return self._labels[index][self._key]

    def __iter__(self) -> Iterator[Any]:
        return (each[self._key] for each in self._labels)
