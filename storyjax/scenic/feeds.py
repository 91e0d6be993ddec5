"""Batches as Scenic's trainers take them: {"inputs", "batch_mask"}, cut into one part for each local device."""

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import Batch, Evaluator, Task

_CHECKPOINT = re.compile(r"checkpoint_(\d+)")


def shard(batch: Batch, devices: int) -> dict[str, Any]:
    """Returns this process's part of a batch cut over its devices.

    Every array (b, ...) becomes (devices, b / devices, ...). "inputs" are the batch's arrays, and "batch_mask" is 1.0
    for records and 0.0 for broken ones and the filling of an evaluation's last batch ("record_valid").
    """
    inputs = {name: np.asarray(value) for name, value in batch.items()}
    examples = len(next(iter(inputs.values())))
    mask = inputs.get("record_valid", np.ones(examples)).astype(np.float32)

    def cut(array: np.ndarray) -> np.ndarray:
        return array.reshape(devices, examples // devices, *array.shape[1:])

    return {"inputs": {name: cut(array) for name, array in inputs.items()}, "batch_mask": cut(mask)}


def train_batches(task: Task, spec: StreamSpec, devices: int) -> Iterator[dict[str, Any]]:
    """Yields the task's batches from `spec.start_step` on: the same ones that storyjax's own loop takes.

    Raises:
        StoryjaxError: the data came to an end, although training streams repeat it.
    """
    with contextlib.closing(task.data(spec)) as stream:
        for batch in stream:
            yield shard(batch, devices)
    raise StoryjaxError(f"the training data of task '{task.name}' came to an end before the run did.")


def eval_batches(evaluator: Evaluator, spec: StreamSpec, devices: int) -> Iterator[dict[str, Any]]:
    """Yields the evaluator's batches, over and over: one pass is as many as `batches_of_a_pass` says.

    Raises:
        StoryjaxError: a pass has another number of batches, with which the next evaluation would begin in mid-pass.
    """
    expected = batches_of_a_pass(evaluator, spec.batch_size)
    while True:
        stream, count = evaluator.data(spec), 0
        with contextlib.ExitStack() as stack:
            if hasattr(stream, "close"):
                stack.callback(stream.close)
            for batch in stream:
                count += 1
                yield shard(batch, devices)
        if count != expected:
            raise StoryjaxError(f"evaluator '{evaluator.name}' gave {count} batches, not {expected}: check its data.")


def batches_of_a_pass(evaluator: Evaluator, batch_size: int) -> int:
    """Returns how many global batches an evaluator's data has."""
    assert evaluator.size is not None
    return math.ceil(evaluator.size() / batch_size)


def latest_checkpoint(folder: str | Path) -> tuple[int, Path] | None:
    """Returns (step, path) of the last `checkpoint_N` that one of Scenic's trainers has written, None if there is none.

    Flax writes under another name first, so that what has this name is whole.
    """
    found = [
        (int(match[1]), path)
        for path in (Path(folder).iterdir() if Path(folder).is_dir() else ())
        if (match := _CHECKPOINT.fullmatch(path.name))
    ]
    return max(found, default=None)
