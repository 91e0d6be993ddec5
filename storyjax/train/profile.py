"""A profile of some steps of a run, for TensorBoard's profile plugin and XProf; and what utilisation is measured by."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from storyjax.core.errors import StoryjaxError

FOLDER = "profile"
# (kind of device, what gives the compiled step) -> seconds of a step at the device's peak, if both are known.
LeastSeconds = Callable[[str, Callable[[], Any]], float | None]


class Profiler:
    """Traces the steps from `first` to `last`, into <workdir>/profile/plugins/profile/steps_FIRST_LAST.

    Args:
        steps: (first, last), counted from 1; None: no step.
        workdir: of the run.
        done, total: steps of the run, those done already and all.

    Raises:
        StoryjaxError: the run takes none of these steps, or not all of them; or this process cannot be traced.
    """

    def __init__(self, steps: tuple[int, int] | None, workdir: Path, done: int, total: int) -> None:
        self._steps, self.folder, self._running = steps, workdir / FOLDER, False
        if steps is None:
            return
        if jax.default_backend() != "tpu" and libtpu_is_loaded():  # the tracer would end the process (libtpu 0.0.52)
            raise StoryjaxError(
                f"--profile={steps[0]}:{steps[1]}: this process has loaded libtpu, and there is no TPU: set"
                f" JAX_PLATFORMS={'cuda,cpu' if jax.default_backend() == 'gpu' else 'cpu'}, or uninstall libtpu"
            )
        if done < steps[0] <= steps[1] <= total:
            return
        takes = f"takes steps {done + 1} to {total}" if done < total else f"has taken all of its {total} steps"
        raise StoryjaxError(f"--profile={steps[0]}:{steps[1]}: this run {takes}; choose among those.")

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Around a step's data and program: begins the trace at the first one, and marks each."""
        if self._steps is None or not self._steps[0] <= step <= self._steps[1]:
            yield
            return
        if step == self._steps[0]:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every call of every thread that decodes would drown the rest
            options.session_id = f"steps_{self._steps[0]}_{self._steps[1]}"
            jax.profiler.start_trace(self.folder, profiler_options=options)
            self._running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def is_last(self, step: int) -> bool:
        """Whether the trace ends with this step."""
        return self._steps is not None and step == self._steps[1]

    def close(self) -> None:
        """Writes the trace, if one is running. The devices must be done with its last step."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()


def libtpu_is_loaded() -> bool:
    """Returns whether TPU's library is in this process, with or without a TPU; False where that cannot be known."""
    try:
        return "libtpu.so" in Path("/proc/self/maps").read_text()
    except OSError:
        return False


def counted(
    step: Any, arguments: tuple[Any, ...], least_seconds: LeastSeconds, say: Callable[[str], None]
) -> tuple[Any, float | None]:
    """Returns (the step to run, how long its FLOPs take at the devices' peak).

    A step that was compiled to be counted is the one that runs: nothing is compiled twice.

    Args:
        step: jitted.
        arguments: of the first step, and of all others but for their values.
        least_seconds: see LeastSeconds.
        say: is told where nothing is known.
    """
    compiled = functools.cache(lambda: step.lower(*arguments).compile())
    kind = jax.local_devices()[0].device_kind
    seconds = least_seconds(kind, compiled)
    if seconds is None:
        say(f"metrics have no mfu: the peak of '{kind}', or the FLOPs of a step on it, are not known")
    return (compiled() if compiled.cache_info().currsize else step), seconds
