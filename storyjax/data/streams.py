"""What the training loop asks of a stream of batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class StreamSpec:
    """What the loop asks of a data stream.

    Attributes:
        batch_size: examples of a global batch, over all processes.
        seed: with the step, the only source of randomness.
        start_step: the first batch to give is the one of this step (0-based).
        process_index, process_count: which part of each global batch is this process's (mesh.data_share).
        steps: how many batches will be asked for from the start of the run, or None if that is not known.
    """

    batch_size: int
    seed: int
    start_step: int = 0
    process_index: int = 0
    process_count: int = 1
    steps: int | None = None


class Stream(Protocol):
    """Local batches (leading dimension batch_size / process_count), a function of (seed, step) alone."""

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...

    def report(self) -> dict[str, Any]:
        """Counters so far, e.g. {"seen": 512, "broken": 3, "last_broken": "a/b.mp4: ..."}."""
        ...

    def close(self) -> None:
        """Ends the background threads and worker processes."""
