"""The batches of a step: one from each task's stream, on the devices, with the time spent waiting for them."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from storyjax.core.errors import StoryjaxError
from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import Task
from storyjax.train.mesh import batch_sharding, data_share, put_batch

# What a stream's report counts, over this process's part of the data.
COUNTERS = {"seen", "broken"}


class TaskBatches:
    """All tasks' streams, opened at `start_step`.

    Args:
        before: {task: its stream's counters} at `start_step`, of the attempt that this one resumes.

    Attributes:
        waited: seconds spent so far in waiting for streams.
        examples: of one step, over all tasks and processes.
    """

    def __init__(
        self,
        tasks: tuple[Task, ...],
        batch_sizes: list[int],
        seed: int,
        start_step: int,
        steps: int,
        mesh: Mesh,
        before: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._tasks, self._before = tasks, before or {}
        self._sharding = batch_sharding(mesh)
        self._streams: list[Any] = []
        self._iterators: list[Iterator[dict[str, np.ndarray]]] = []
        self._batch_sizes = batch_sizes
        self.examples = sum(batch_sizes)
        self.waited = 0.0
        index, count = data_share(mesh)
        for task, size in zip(tasks, batch_sizes, strict=True):
            spec = StreamSpec(size, seed, start_step, index, count, steps)
            self._streams.append(task.data(spec))
            self._iterators.append(iter(self._streams[-1]))

    def next(self) -> tuple[tuple[dict[str, jax.Array], ...], dict[str, np.ndarray]]:
        """(one global batch per task, {task: this process's record numbers, where its batches have an "index"}).

        Raises:
            StoryjaxError: a stream has ended, although training streams repeat their data.
        """
        batches, indices = [], {}
        for task, iterator, size in zip(self._tasks, self._iterators, self._batch_sizes, strict=True):
            began = time.perf_counter()
            batch = next(iterator, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                raise StoryjaxError(f"the training data of task '{task.name}' came to an end before the run did.")
            if "index" in batch:
                indices[task.name] = np.asarray(batch["index"])
            batches.append(put_batch(batch, size, self._sharding, task.name, task.sequences))
        return tuple(batches), indices

    def reports(self) -> dict[str, dict[str, Any]]:
        """{task: its stream's counters}; those of COUNTERS are of the whole run, the others of this attempt."""
        reports = {}
        for task, stream in zip(self._tasks, self._streams, strict=True):
            report, before = dict(stream.report()), self._before.get(task.name, {})
            reports[task.name] = report | {
                name: report[name] + before.get(name, 0) for name in COUNTERS & report.keys()
            }
        return reports

    def close(self) -> None:
        """Closes all streams."""
        for stream in self._streams:
            stream.close()
