"""From records to batches on the host, with Grain: a function of (seed, step) alone, resumable at any step.

    positions of the run → order of the epoch → load, in threads or processes → batch, in the background

A position is a place in the run: step · batch_size + row. The record at a position, and the generator that its sampling
and augmentation draw from, follow from (seed, position). So the batches are the same for any number of threads, workers
and processes, and a run may go on at any step on another machine.

A broken record (one whose loading raises StoryjaxError or OSError) never stops a stream: training puts another in its
place, drawn from (seed, position, attempt); evaluation leaves it out. It is named in the log once and counted, and when
more than `max_broken_fraction` of the source is found broken, the stream ends with a StoryjaxError.
"""

import logging
import math
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import grain
import numpy as np
from grain.experimental import ThreadPrefetchIterDataset

from storyjax.core.errors import StoryjaxError
from storyjax.data.streams import StreamSpec

Arrays = dict[str, Any]  # of numpy arrays and scalars
# (record, generator) -> arrays of the same shapes for every record. Raise StoryjaxError where the record is broken.
Load = Callable[[Any, np.random.Generator], Arrays]

_LOG = logging.getLogger(__name__)
_BROKEN = (StoryjaxError, OSError)


@runtime_checkable
class RandomAccess(Protocol):
    """A source of records: a prepared data set, or anything else that knows its length and its i-th item."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class Stream:
    """Batches of this process, loaded ahead in the background from the moment of construction.

    Iterate over it once. Besides the loader's arrays every batch has "index" (b,) int32: each row's record number.
    """

    def __init__(self, dataset: grain.IterDataset, records: int, max_broken_fraction: float):
        self._records, self._max_broken_fraction = records, max_broken_fraction
        self._seen = self._broken = 0
        self._named: dict[int, str] = {}
        self._open = [iter(dataset)]
        # Also at exit: Grain's own clean-up comes too late then, and prints warnings.
        self._close = weakref.finalize(self, _close_all, self._open)
        self._open[0].start_prefetch()  # the first batches load while the training step is being compiled

    def __iter__(self) -> Iterator[Arrays]:
        return self

    def __next__(self) -> Arrays:
        """The next batch.

        Raises:
            StoryjaxError: too many records are broken.
        """
        element = next(self._open[0], None) if self._open else None
        if element is None:
            self.close()
            raise StopIteration
        self._seen += element["seen"]
        for index, why in element["broken"]:
            self._count_broken(index, why)
        if element["fatal"]:
            raise StoryjaxError(element["fatal"])
        return element["batch"]

    def _count_broken(self, index: int, why: str) -> None:
        self._broken += 1
        if index in self._named:
            return  # said before: it comes again every epoch
        self._named[index] = why
        _LOG.warning("record %d is broken and left out: %s", index, why)
        if len(self._named) > self._max_broken_fraction * self._records:
            raise StoryjaxError(
                f"{len(self._named)} of {self._records} records are broken, more than the allowed fraction of"
                f" {self._max_broken_fraction:g}; fix or remove them (the log names each); the last: {why}"
            )

    def report(self) -> dict[str, Any]:
        """Counters of the batches given so far: places filled, broken records met (again at every meeting), how many
        different ones, and the last of these."""
        last = next(reversed(self._named.values()), "")
        return {
            "seen": self._seen,
            "broken": self._broken,
            "broken_records": len(self._named),
            "last_broken": last,
        }

    def close(self) -> None:
        """Ends the background threads and worker processes."""
        self._close()


def _close_all(iterators: list[grain.DatasetIterator]) -> None:
    while iterators:
        iterators.pop().close()


def train_stream(
    source: RandomAccess,
    load: Load,
    spec: StreamSpec,
    *,
    workers: int = 0,
    threads: int | None = None,
    prefetch: int = 2,
    max_broken_fraction: float = 0.05,
) -> Stream:
    """Returns batches for training: every epoch has each record once, in an order of its own; endless, or to
    `spec.steps`.

    Args:
        source: records. Item i may as well be one question of a video: an epoch is len(source) items.
        load: decodes, samples and augments one record; all randomness from the generator that it is given.
        spec: see StreamSpec. Process p of P gets the p-th part of each global batch.
        workers: processes for loading. 0 loads in threads of this process, which is best where decoding releases the
            GIL (video does); loaders in pure Python profit from workers. Source and load must then be picklable.
        threads: loading at once in each process; None: one a core, at most 16.
        prefetch: batches held ready.
        max_broken_fraction: see above.

    Raises:
        StoryjaxError: no records, or a batch size that the processes cannot share.
    """
    size = len(source)
    local = _local_batch(spec, size)
    loader = _TrainLoader(source, load, spec, local, _attempts(max_broken_fraction))
    stop = sys.maxsize if spec.steps is None else max(spec.steps, spec.start_step) * local
    return _stream(
        loader, _collate, spec.start_step * local, stop, local, size, workers, threads, prefetch, max_broken_fraction
    )


def eval_stream(
    source: RandomAccess,
    load: Load,
    spec: StreamSpec,
    *,
    workers: int = 0,
    threads: int | None = None,
    prefetch: int = 2,
    max_broken_fraction: float = 0.05,
) -> Stream:
    """Returns batches for evaluation: each record once, in order, and the last batch filled up.

    Every batch has "record_valid" (b,) bool. It is False for broken records ("index" tells which) and for the filling
    ("index" -1); these rows hold another record's arrays, which are as finite as any. All processes get the same number
    of batches. Arguments and errors as for `train_stream`.
    """
    size = len(source)
    local = _local_batch(spec, size)
    loader = _EvalLoader(source, load, spec, local)
    collate = _FilledUp(loader, size, _attempts(max_broken_fraction))
    stop = math.ceil(size / spec.batch_size) * local
    return _stream(
        loader, collate, spec.start_step * local, stop, local, size, workers, threads, prefetch, max_broken_fraction
    )


def _stream(loader, collate, start, stop, local, records, workers, threads, prefetch, max_broken_fraction) -> Stream:
    """The Grain pipeline over this process's places, `start` to `stop`.

    Records, not batches, are what threads and workers take turns at: the first batch is ready soonest so, and the order
    is that of the places whatever their number.
    """
    threads = threads or min(os.cpu_count() or 1, 16)
    dataset = grain.MapDataset.range(start, stop).map(loader)
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2 * threads)
        dataset = dataset.mp_prefetch(options)
    dataset = dataset.batch(local, batch_fn=collate)
    return Stream(ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=prefetch), records, max_broken_fraction)


def _local_batch(spec: StreamSpec, records: int) -> int:
    if not records:
        raise StoryjaxError("the data set holds no records; check its folder and split")
    if spec.batch_size % spec.process_count:
        raise StoryjaxError(
            f"a batch of {spec.batch_size} cannot be shared by {spec.process_count} processes; use a multiple of"
            f" {spec.process_count}"
        )
    return spec.batch_size // spec.process_count


def _attempts(max_broken_fraction: float) -> int:
    """Records to try for one place. With no more than the allowed share broken, all fail once in e^20 times at most."""
    return math.ceil(20 / (1 - min(max_broken_fraction, 0.99)))


class _Loader:
    """The i-th place of this process to {"arrays": {} if broken, "index", "broken": [[index, why], ...], "fatal"}."""

    def __init__(self, source: RandomAccess, load: Load, spec: StreamSpec, local: int):
        self.source, self.load, self.spec, self.local = source, load, spec, local
        self.seed = spec.seed % 2**32

    def position(self, place: int) -> int:
        """Returns the position in the run of the `place`-th record of this process."""
        step, row = divmod(int(place), self.local)
        return step * self.spec.batch_size + self.spec.process_index * self.local + row

    def attempt(self, index: int, *key: int) -> tuple[Arrays, str]:
        """Returns the record's arrays and "", or {} and why it is broken."""
        try:
            return self.load(self.source[index], np.random.default_rng([self.seed, *key])), ""
        except _BROKEN as error:
            return {}, " ".join(str(error).split())


class _TrainLoader(_Loader):
    def __init__(self, source: RandomAccess, load: Load, spec: StreamSpec, local: int, attempts: int):
        super().__init__(source, load, spec, local)
        self.attempts = attempts
        self.order = grain.MapDataset.range(len(source)).seed(self.seed).shuffle().repeat()

    def __call__(self, place: int) -> dict[str, Any]:
        position = self.position(place)
        broken: list[list[Any]] = []
        index = int(self.order[position])
        others = np.random.default_rng([self.seed, position])
        for attempt in range(self.attempts):
            arrays, why = self.attempt(index, position, attempt)
            if not why:
                return {"arrays": arrays, "index": index, "broken": broken, "fatal": ""}
            broken.append([index, why])
            index = int(others.integers(len(self.source)))
        fatal = f"{self.attempts} records in a row are broken; the last: {why}"
        return {"arrays": {}, "index": index, "broken": broken, "fatal": fatal}


class _EvalLoader(_Loader):
    def __call__(self, place: int) -> dict[str, Any]:
        index = self.position(place)
        if index >= len(self.source):
            return {"arrays": {}, "index": -1, "broken": [], "fatal": ""}
        arrays, why = self.attempt(index, index)
        return {"arrays": arrays, "index": index, "broken": [[index, why]] if why else [], "fatal": ""}


def _collate(elements: list[dict[str, Any]]) -> dict[str, Any]:
    """Places to one batch, with what the stream has to count and say."""
    fatal = next((element["fatal"] for element in elements if element["fatal"]), "")
    batch = {}
    if not fatal:
        batch = _stack([element["arrays"] for element in elements])
        if "index" in batch:
            raise ValueError('a loader must not give "index": the pipeline does')
        batch["index"] = np.array([element["index"] for element in elements], np.int32)
    broken = [pair for element in elements for pair in element["broken"]]
    return {"batch": batch, "broken": broken, "seen": len(elements), "fatal": fatal}


class _FilledUp:
    """Collates for evaluation: rows without arrays hold some good record's."""

    def __init__(self, loader: _EvalLoader, records: int, attempts: int):
        self.loader, self.records, self.attempts = loader, records, attempts
        self.filling: Arrays = {}

    def __call__(self, elements: list[dict[str, Any]]) -> dict[str, Any]:
        valid = np.array([bool(element["arrays"]) for element in elements])
        seen = sum(element["index"] >= 0 for element in elements)
        good = next((element["arrays"] for element in elements if element["arrays"]), None)
        fatal = ""
        if good is not None:
            self.filling = good
        elif not self.filling:
            fatal = self._find_filling()
        filled = [{**element, "arrays": element["arrays"] or self.filling, "fatal": fatal} for element in elements]
        collated = {**_collate(filled), "seen": seen}
        if not fatal:
            collated["batch"]["record_valid"] = valid
        return collated

    def _find_filling(self) -> str:
        """A good record, from the first on; or why there is none."""
        why = ""
        for index in range(min(self.records, self.attempts)):
            self.filling, why = self.loader.attempt(index, index)
            if not why:
                return ""
        return f"none of the first {min(self.records, self.attempts)} records can be loaded; the last: {why}"


def _stack(rows: list[Arrays]) -> Arrays:
    batch = {}
    for name in rows[0]:
        values = [np.asarray(row[name]) for row in rows]
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            raise ValueError(f"records differ in the shape of '{name}': {sorted(shapes)}; pad them in the loader")
        batch[name] = np.stack(values)
    return batch
