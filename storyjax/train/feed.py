"""The batches of a step: one from each task's stream, on the devices, with the time spent waiting for them."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from storyjax.errors import StoryjaxError
from storyjax.train.experiment import StreamSpec, Task
from storyjax.train.mesh import batch_sharding, put_batch


class Feed:
    """All tasks' streams, opened at `start_step`.

    Attributes:
        waited: seconds spent so far in waiting for streams.
        examples: of one step, over all tasks and processes.
    """

    def __init__(
        self, tasks: tuple[Task, ...], batch_sizes: list[int], seed: int, start_step: int, steps: int, mesh: Mesh
    ) -> None:
        self._tasks = tasks
        self._sharding = batch_sharding(mesh)
        self._streams: list[Any] = []
        self._iterators: list[Iterator[dict[str, np.ndarray]]] = []
        self._batch_sizes = batch_sizes
        self.examples = sum(batch_sizes)
        self.waited = 0.0
        for task, size in zip(tasks, batch_sizes, strict=True):
            spec = StreamSpec(size, seed, start_step, jax.process_index(), jax.process_count(), steps)
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
        """{task: its stream's counters}."""
        return {task.name: dict(stream.report()) for task, stream in zip(self._tasks, self._streams, strict=True)}

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
