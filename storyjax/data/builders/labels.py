"""What is known of each record of a prepared split without its media, read one record at a time.

Beside the records lie `labels-SPLIT.jsonl`, a line of JSON for each record, and `labels-SPLIT.npy`, where each line
begins. Both are mapped into memory, so that a start costs the same for a hundred videos and for a million; from a
bucket they are fetched once.
"""

import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from storyjax.core.bucket_copies import fetched
from storyjax.core.errors import StoryjaxError


def write_labels(folder: Path, split: str, labels: Iterable[Any]) -> None:
    """Writes the labels of a split, anything that JSON holds, into `folder`."""
    places = [0]
    with (folder / f"labels-{split}.jsonl").open("wb") as file:
        for each in labels:
            places.append(places[-1] + file.write(json.dumps(each).encode() + b"\n"))
    np.save(folder / f"labels-{split}.npy", np.array(places, np.int64))


class Labels(Sequence[Any]):
    """The labels of a split: item i is what `write_labels` was given of record i. Safe to read from many threads.

    Raises:
        StoryjaxError: there are none in `folder`, or they are damaged.
    """

    def __init__(self, folder: Path, split: str):
        text, places = fetched(folder / f"labels-{split}.jsonl"), fetched(folder / f"labels-{split}.npy")
        try:
            self._places = np.load(places, mmap_mode="r")
            with text.open("rb") as file:
                self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if text.stat().st_size else b""
            if self._places[-1] != len(self._text):
                raise ValueError(f"{text.name} has {len(self._text)} bytes, not {self._places[-1]}")
        except (OSError, ValueError, IndexError) as error:
            raise StoryjaxError(f"{folder} is no prepared data set ({error}): prepare it again") from error

    def __len__(self) -> int:
        return len(self._places) - 1

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        index = range(len(self))[index]
        return json.loads(self._text[self._places[index] : self._places[index + 1]])

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


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
