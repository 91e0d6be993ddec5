"""Shards of work on Apache Beam: the direct runner on this machine, or Dataflow, Flink and Spark by their options.

What a shard is and how it is made is a plain function elsewhere; a pipeline only spreads the shards over workers. Each
worker must see the same paths (a network disk, or a bucket mounted as one). Needs the extra `beam`.
"""

import contextlib
import contextvars
import functools
import importlib.util
import logging
import os
import shlex
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError

_LOOK_S, _LEAVE_S = 0.2, 2.0  # how often a pipeline is looked at, and how long it may take to fail by itself
Run = Callable[[Callable[[int], str], Sequence[int]], object]
_RUN: contextvars.ContextVar[Run | None] = contextvars.ContextVar("run", default=None)


@contextlib.contextmanager
def spreading(run: Run) -> Iterator[None]:
    """While entered, `spread` leaves its work to `run`, such as `run_shards` with the options of a runner."""
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


def spread(work: Callable[[int], str], shards: Sequence[int]) -> None:
    """Runs `work(shard)` for every shard: one after another in this process, unless `spreading` says otherwise.

    Args:
        work: as of `run_shards`.
        shards: their numbers.
    """
    run = _RUN.get()
    if run is not None:
        run(work, shards)
        return
    for shard in shards:
        work(shard)


RUNNERS = {
    "direct": "DirectRunner",
    "dataflow": "DataflowRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dask": "apache_beam.runners.dask.dask_runner.DaskRunner",
}
INSTALL = "pip install 'storyjax[beam]'"


def runner_options(runner: str | None, workers: int | None, options: Sequence[str]) -> list[str]:
    """Returns Beam's options for a runner.

    Args:
        runner: a name of RUNNERS, or as Beam calls it; None: "direct".
        workers: processes of the direct runner; None: one.
        options: of Beam, added as they are.

    Raises:
        StoryjaxError: the number of workers is none, or the runner has workers of its own.
    """
    name = runner or "direct"
    if workers is not None and name != "direct":
        raise StoryjaxError(
            f"--workers is for the direct runner: say how many {name} takes by its own options, behind --"
        )
    if workers is not None and workers < 1:
        raise StoryjaxError(f"--workers is {workers}: give 1 or more")
    more = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers or 1}"]
    return [f"--runner={RUNNERS.get(name, name)}", *(more if name == "direct" else []), *options]


def run_shards(work: Callable[[int], str], shards: Sequence[int], options: Sequence[str] = ()) -> None:
    """Runs `work(shard)` for every shard and waits for all.

    Args:
        work: picklable; to be called again with the same shard does no harm, because runners try again what failed.
        options: of Beam, for instance ("--runner=FlinkRunner", "--flink_master=localhost:8081"); without a runner, the
            direct one, whose workers are set by --direct_num_workers and --direct_running_mode.

    Raises:
        StoryjaxError: Beam is not installed, does not know the options, or a shard could not be made.
    """
    if importlib.util.find_spec("apache_beam") is None:
        raise StoryjaxError(f"Apache Beam is not installed; get it with: {INSTALL}")
    for name in ("apache_beam", "grpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is raised, in one line
    logging.disable(logging.WARNING)  # of packages of clouds that are not installed
    try:
        import apache_beam as beam
    finally:
        logging.disable(logging.NOTSET)

    def run(settings: dict[str, Any]) -> None:
        with beam.Pipeline(**settings) as pipeline:
            # Grouping keeps a runner from fusing all shards into one piece of work; some runners lack Reshuffle.
            _ = (
                pipeline
                | "shards" >> beam.Create([(shard, None) for shard in shards])
                | "spread" >> beam.GroupByKey()
                | "numbers" >> beam.Keys()
                | "work" >> beam.Map(work)
            )

    try:
        with tempfile.TemporaryDirectory(prefix="storyjax-beam-") as scratch:
            killed = Path(scratch, "killed")
            _watch(functools.partial(run, _settings(options, killed)), killed)
    except StoryjaxError:
        raise
    except SystemExit as error:  # what argparse does with an option that it does not know
        raise StoryjaxError(f"Apache Beam does not take the options {' '.join(options)}.") from error
    except Exception as error:
        raise StoryjaxError(f"Apache Beam could not make all shards: {_reason(error)}") from error


def _settings(options: Sequence[str], killed: Path) -> dict[str, Any]:
    """The options of a pipeline, and its runner where it is the direct one, whose processes make a file if they die.

    Beam's DirectRunner would first try to download another runner's program; its processes would print their logs.
    """
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, SetupOptions, StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    settings = PipelineOptions(list(options))
    settings.view_as(SetupOptions).save_main_session = False
    if settings.view_as(StandardOptions).runner not in (None, "DirectRunner"):
        return {"options": settings}
    environment = None
    direct = settings.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_processing":
        command = f"{shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main 2>{os.devnull}"
        environment = SubprocessSDKEnvironment.from_command_string(f"{command} || touch {shlex.quote(str(killed))}")
        direct.direct_running_mode = "in_memory"  # else the runner would take an environment of its own
    return {"options": settings, "runner": FnApiRunner(default_environment=environment)}


def _watch(run: Callable[[], None], killed: Path) -> None:
    """Runs a pipeline, and raises what it raises; also where one of its processes was killed, for which the direct
    runner would wait for ever."""
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            run()
        except BaseException as error:
            failed.append(error)

    hook, threading.excepthook = threading.excepthook, lambda _: None  # Beam's threads would print tracebacks
    try:
        _wait(threading.Thread(target=attempt, daemon=True), failed, killed)
    finally:
        threading.excepthook = hook
    if failed:
        raise failed[0]


def _wait(thread: threading.Thread, failed: list[BaseException], killed: Path) -> None:
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_S)
        if killed.exists():
            thread.join(_LEAVE_S)  # it may have ended by itself, with its own words
            if not failed:
                raise StoryjaxError(
                    "a worker was killed, perhaps because memory ran out: give the command again, with fewer --workers;"
                    " the shards that are complete are kept"
                )


def _reason(error: BaseException) -> str:
    """The innermost words: Beam wraps an error of the work into one of its own, with both tracebacks as its text."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        if isinstance(cause, StoryjaxError):
            return str(cause)
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reported = [line for line in lines if "StoryjaxError: " in line]
    return reported[-1].partition("StoryjaxError: ")[2] if reported else (lines or [type(error).__name__])[-1]
