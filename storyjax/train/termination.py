"""SIGTERM: a preempted run saves its state and ends in good order."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils


class Stopped(SystemExit):
    """The run was asked to end (SIGTERM) and has saved its state; exit code 0."""

    def __init__(self, message: str) -> None:
        super().__init__(0)
        self.message = message


class Termination:
    """While entered, SIGTERM is noted instead of ending the process.

    With many processes, jax's own service spreads the notice, so that all of them stop at the same step.
    """

    def __init__(self) -> None:
        self._noted = False
        self._before: Any = None

    def __enter__(self) -> "Termination":
        # Python runs signal handlers in the main thread only; a run in another thread has no say over the process.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = True

    def noted(self) -> bool:
        """Returns whether this process has received SIGTERM."""
        return self._noted

    def agreed(self, step: int) -> bool:
        """Returns whether all processes end after `step`; each must ask at the same steps."""
        if jax.process_count() == 1:
            return self._noted
        return multihost_utils.reached_preemption_sync_point(step)
