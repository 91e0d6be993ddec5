"""How many examples each video of a prepared split has, counted once and kept beside the records.

Counting reads every annotation, which takes a minute for a million videos; what is kept is mapped into memory.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from storyjax.core.bucket_copies import fetched
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.data.builders.starts import code_digest
from storyjax.tcr.tasks import Options


@runtime_checkable
class AnnotatedRecords(Sized, Protocol):
    """A prepared split, and the folder that it lies in."""

    folder: Path
    split: str

    @property
    def annotations(self) -> Sequence[Mapping[str, Any]]:
        """The annotations' columns of each record."""
        ...


def example_counts(
    records: AnnotatedRecords, task: str, count: Callable[[Mapping[str, Any], Options], int], options: Options
) -> Int[np.ndarray, " n"]:
    """Returns how many examples each record has.

    Args:
        records: a prepared split.
        task: the name under which `count` is kept.
        count: as `TaskSpec.count`.
        options: of the task.
    """
    code = code_digest(Path(__file__).parent)  # of what counts
    key = hashlib.sha256(f"{task} {options!r} {code}".encode()).hexdigest()[:16]
    path = records.folder / f"examples-{records.split}-{key}.npy"
    with contextlib.suppress(OSError, ValueError, StoryjaxError):
        kept = np.load(fetched(path), mmap_mode="r")
        if kept.shape == (len(records),):
            return kept
    counts = np.fromiter((count(columns, options) for columns in records.annotations), np.int64, len(records))
    with contextlib.suppress(OSError):  # in a folder that cannot be written to they are counted at each start
        write_atomically(path, lambda unfinished: _save(unfinished, counts))
    return counts


def _save(path: Path, counts: Int[np.ndarray, " n"]) -> None:
    with path.open("wb") as file:  # np.save would add a suffix to the name
        np.save(file, counts)
