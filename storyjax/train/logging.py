"""The log of a run: metrics.jsonl for programs, TensorBoard's event files, and a progress bar for people."""

import contextlib
import json
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import jax
from tqdm import tqdm

from storyjax.core.buckets import BucketPath
from storyjax.core.files import write_atomically
from storyjax.train.workdir import as_json

# Takes (step, "train" or "eval", metrics by name): another place where metrics go.
Sink = Callable[[int, str, Mapping[str, float]], None]


class RunLog:
    """The log of one run; of many processes only the first writes.

    Args:
        workdir: where metrics.jsonl and the event files go.
        start_step: the step that the run resumes from; what an earlier attempt logged beyond it is dropped, since
            those steps are about to be logged again.
        total_steps: the length of the run.
        units: what an example is, for the rate.
        tensorboard: whether to write event files.
        progress: whether to show the bar, on standard error.
        sinks: are given what metrics.jsonl is given.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        start_step: int,
        total_steps: int,
        units: str = "examples",
        tensorboard: bool = True,
        progress: bool = True,
        sinks: Sequence[Sink] = (),
    ) -> None:
        first = jax.process_index() == 0
        self._units, self._sinks = units, sinks if first else ()
        self._events: _EventFile | None = None
        self._lines: _Lines | None = None
        path = workdir / "metrics.jsonl"
        kept = [line for line in read_metrics(path) if line["step"] <= start_step]
        self._evaluated = {line["step"] for line in kept if line["kind"] == "eval"}
        if first:
            self._lines = _Lines(path, "".join(json.dumps(line) + "\n" for line in kept))
            self._events = _EventFile(workdir, start_step) if tensorboard else None
        self._bar = progress_bar(
            first and progress,
            total=total_steps,
            initial=start_step,
            bar_format="{desc}{percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}, {remaining} left{postfix}]",
        )
        self.restart_clock(start_step, waited=0.0)
        self._speed: dict[str, float] = {}
        self.least_seconds: float | None = None  # of a step, at the devices' peak

    def evaluated(self, step: int) -> bool:
        """Whether an earlier attempt has logged the evaluation after `step`."""
        return step in self._evaluated

    def restart_clock(self, step: int, waited: float) -> None:
        """Leaves out of the rate what came before: compilation, an evaluation."""
        self._mark = (time.perf_counter(), step, waited)

    def measure_speed(self, step: int, examples: int, waited: float) -> None:
        """Measures the rate since the last call, and how much memory was used at most since the process began.

        Args:
            step: steps done.
            examples: of one step.
            waited: seconds spent in waiting for data since the run began.
        """
        then, last_step, last_waited = self._mark
        self.restart_clock(step, waited)
        seconds = max(self._mark[0] - then, 1e-9)
        rate = (step - last_step) / seconds
        self._speed = {
            "units_per_second": examples * rate,
            "steps_per_second": rate,
            "wait_share": min((waited - last_waited) / seconds, 1.0),
            **most_memory(),
        }
        if self.least_seconds is not None:
            self._speed["mfu"] = self.least_seconds * rate

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line of training metrics."""
        self._write(step, "train", {**metrics, **self._speed})

    def evaluation(self, step: int, results: Mapping[str, float]) -> None:
        """One line of an evaluation's results."""
        self._write(step, "eval", results)
        self.publish()
        self.say(f"step {step}: " + "  ".join(f"{name} {value:.4g}" for name, value in results.items()))

    def _write(self, step: int, kind: str, metrics: Mapping[str, float]) -> None:
        if self._lines is not None:
            self._lines.write(json.dumps({"step": step, "kind": kind, **as_json(metrics)}) + "\n")
        if self._events is not None:
            self._events.write(step, kind, metrics)
        for sink in self._sinks:
            sink(step, kind, metrics)

    def advance(self, step: int, loss: float) -> None:
        """Moves the bar to `step`."""
        postfix = f"loss {loss:.4g}"
        if self._speed:
            rate, wait = self._speed["units_per_second"], self._speed["wait_share"]
            postfix += f", {rate:.3g} {self._units}/s, wait {wait:.0%}"
        self._bar.set_postfix_str(postfix, refresh=False)
        self._bar.update(step - self._bar.n)

    def say(self, text: str) -> None:
        """A line for people, above the bar."""
        if not self._bar.disable:
            self._bar.write(text, file=sys.stderr)

    def publish(self) -> None:
        """Uploads the log of a run in a bucket, whole, as nothing can be appended to objects; on a disk it is there."""
        for part in (self._lines, self._events):
            if part is not None:
                part.publish()

    def close(self) -> None:
        """Closes the bar and the files."""
        self._bar.close()
        with contextlib.suppress(OSError):  # the run may have ended because of the store
            self.publish()
        for part in (self._lines, self._events):
            if part is not None:
                part.close()


def progress_bar(shown: bool, **settings: Any) -> tqdm:
    """A tqdm bar on standard error: redrawn in place on a terminal, now and then in what may be somebody's log file."""
    every = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(disable=not shown, file=sys.stderr, mininterval=every, dynamic_ncols=True, **settings)


def most_memory() -> dict[str, float]:
    """Returns "host_memory_gib", the most that this process has had in memory, and, where devices count theirs,
    "device_memory_gib", of the fullest of them."""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    host = kib / 2**30 if sys.platform == "darwin" else kib / 2**20
    used = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    counted = [size for size in used if size is not None]
    return {"host_memory_gib": host} | ({"device_memory_gib": max(counted) / 2**30} if counted else {})


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, less a last one that a killed run left half written."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


class _Lines:
    """The lines of a file: appended to it, or, in a bucket, kept and uploaded with all before them."""

    def __init__(self, path: pathlib.Path, text: str) -> None:
        write_atomically(path, text, durable=True)
        self._path, self._text, self._published = path, text, len(text)
        self._file: TextIO | None = None
        if not isinstance(path, BucketPath):
            self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed in close)

    def write(self, line: str) -> None:
        if self._file is not None:
            self._file.write(line)
        else:
            self._text += line

    def publish(self) -> None:
        if self._file is None and len(self._text) > self._published:
            write_atomically(self._path, self._text)
            self._published = len(self._text)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _EventFile:
    """TensorBoard scalars, written in this thread: tensorboardX's own writer has a thread, and a full disk there is a
    traceback nobody catches and, ten events later, a run that hangs.
    """

    def __init__(self, workdir: pathlib.Path, start_step: int) -> None:
        # Imported here because it takes a second.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        self._event, self._scalar = event_pb2.Event, scalar
        self._folder, self._scratch = workdir / "events", None
        local = self._folder
        if isinstance(workdir, BucketPath):
            self._scratch = tempfile.TemporaryDirectory(prefix="storyjax-events-")
            local = pathlib.Path(self._scratch.name) / "events"
        # The suffix keeps apart two attempts that begin within one second.
        self._writer = EventsWriter(str(local), filename_suffix=f".{start_step}")
        # Tells TensorBoard to forget what an earlier attempt wrote beyond this step.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.write_event(self._event(wall_time=time.time(), step=start_step + 1, session_log=start))

    def write(self, step: int, kind: str, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            summary = self._scalar(f"{kind}/{name}", value)
            self._writer.write_event(self._event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()

    def publish(self) -> None:
        if self._scratch is not None:
            for file in pathlib.Path(self._scratch.name).iterdir():
                write_atomically(self._folder.with_name(file.name), file.read_bytes())

    def close(self) -> None:
        self._writer.close()
        if self._scratch is not None:
            self._scratch.cleanup()
