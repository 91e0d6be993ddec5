"""Shards of work on Apache Beam: the direct runner on this machine, or Dataflow, Flink and Spark by their options.

What a shard is and how it is made is a plain function elsewhere; a pipeline only spreads the shards over workers. Each
worker must see the same paths (a network disk, or a bucket mounted as one). Needs the extra `beam`.
"""

import importlib.util
from collections.abc import Callable, Sequence

from storyjax.core.errors import StoryjaxError


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
        raise StoryjaxError("Apache Beam is not installed; get it with: pip install 'storyjax[beam]'")
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

    try:
        settings = PipelineOptions(["--runner=DirectRunner", *options])
        settings.view_as(SetupOptions).save_main_session = False
        with beam.Pipeline(options=settings) as pipeline:
            # The reshuffle keeps a runner from fusing all shards into one piece of work.
            _ = (
                pipeline
                | "shards" >> beam.Create(list(shards))
                | "spread" >> beam.Reshuffle()
                | "work" >> beam.Map(work)
            )
    except SystemExit as error:  # what argparse does with an option that it does not know
        raise StoryjaxError(f"Apache Beam does not take the options {' '.join(options)}.") from error
    except Exception as error:
        raise StoryjaxError(f"Apache Beam could not make all shards: {_reason(error)}") from error


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
