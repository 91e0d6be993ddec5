"""Training and evaluation: `python -m storyjax.main --config=configs/X.py[:variant] --workdir=DIR`.

`storyjax train`, `storyjax eval` and `storyjax predict` are the same thing.
"""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.runtime import prepare_runtime

PROGRAM = "python -m storyjax.main"
HELP = """\
usage: {program} --config=CONFIG[:VARIANT] --workdir=DIR [--config.KEY=VALUE ...]

Trains an experiment, evaluates it and writes the results to DIR/results.json.

  --config=CONFIG[:VARIANT]  the name of a config ("tcr_nextqa") or the path of a file; variants are "paper" (the
                             default: the thesis's recipe at full size), "embedded" (the same code, small, on
                             StoryWorld), and others that its docstring names
  --workdir=DIR              the run's folder, on a disk or in a bucket (gs://BUCKET/FOLDER), made if need be:
                             config.json, checkpoints/, metrics.jsonl (one line per logged step), TensorBoard event
                             files, results.json
  --mode=train               trains, then evaluates (the default)
  --mode=eval                evaluates DIR's latest checkpoint; without one, the weights that a run starts from
  --mode=predict             writes what these predict of the evaluated splits to DIR/predictions, in the files that the
                             challenges take: EgoSchema, Ego4D LTA, MQ and NLQ, MOT17, MOT20, GMOT-40, TAO. Splits need
                             no labels; a run that is stopped goes on where it was when the command is given again
  --config.KEY=VALUE         sets a value of the config: --config.train.steps=100 --config.optim.learning_rate=3e-4
  --resume-from=STEP         goes on from the checkpoint of that step, not the latest: where a later one is damaged, or
                             was a mistake. Later ones are moved to DIR/set_aside
  --profile=FIRST:LAST       traces these steps of the training, counted from 1, to DIR/profile: where the time goes, on
                             the devices and in loading data. --profile=20:24 leaves out the first steps, which compile.
                             pip install tensorboard xprof; tensorboard --logdir=DIR shows it under "Profile"
  --progress=false           shows no progress bar
  --help                     shows this; with --config, also every key of that config and its value

A run that is stopped, in whatever way, resumes when the same command is given again; the parameters at the end are bit
for bit those of a run that was never stopped. SIGTERM saves the state first.

Among the metrics of training are the rate (units_per_second, steps_per_second), the fraction of the time that was spent
in waiting for data (wait_share), the most memory used so far (host_memory_gib and, where devices count it,
device_memory_gib) and, on TPUs, the FLOPs a second that the step does as a fraction of the devices' peak (mfu).

A run starts from its own latest checkpoint; else from config.init.checkpoint (another run's workdir, or safetensors);
else from the weights that its config imports; else from scratch.

Example, two CPU cores:
  {program} --config=tcr_nextqa:embedded --workdir=runs/tcr --config.train.steps=20

A submission to EgoSchema's server, from a finished run:
  {program} --config=tcr_egoschema --workdir=DIR --mode=predict \\
    "--config.data.tasks.egoschema.eval_splits=('full',)"
"""
FLAGS = ("config", "workdir", "mode", "progress", "resume-from", "profile")


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Runs the command line `argv` (default: the process's) and returns its exit code.

    0: done, or stopped by SIGTERM with the state saved. 2: an error that a person can fix, in one line. 130: Ctrl-C.
    `program` is what the command is called in help and messages.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return report_errors(
        lambda: _main(arguments, program), "interrupted; the same command resumes from the latest checkpoint"
    )


def report_errors(action: Callable[[], int], interrupted: str) -> int:
    """Returns the exit code of `action`, or of the error that it ends with, whose one line goes to standard error.

    `interrupted` is the line for Ctrl-C.
    """
    try:
        code = action()
        sys.stdout.flush()  # what cannot be written to a full disk is an error here, not at the exit
        return code
    except StoryjaxError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of our output (`| head`) has closed it; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        nameless = (
            error.filename is None and error.errno == errno.ENOSPC
        )  # writers of files name theirs (core/files.py)
        where = f": {error.filename}" if error.filename else ": standard output" * (nameless and _output_is_full())
        return _fail(f"{error.strerror or error}{where}", StoryjaxError.exit_code)
    except (RuntimeError, AssertionError) as error:
        if not _is_of_the_backend(error):
            raise
        platforms = os.environ.get("JAX_PLATFORMS", "")
        reason = f" ({str(error).partition(' (set JAX_PLATFORMS')[0]})" if str(error) else ""
        named = f"JAX_PLATFORMS={platforms} asks for devices that JAX cannot use here" if platforms else "no devices"
        return _fail(f"{named}{reason}: unset JAX_PLATFORMS, or set it to cpu", StoryjaxError.exit_code)
    except KeyboardInterrupt:
        return _fail(interrupted, 130)


def _output_is_full() -> bool:
    """Whether standard output goes to a full disk."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _is_of_the_backend(error: BaseException) -> bool:
    """Whether JAX found no devices; of some platforms it says no more than that an assertion failed."""
    frames = traceback.walk_tb(error.__traceback__)
    places = {(frame.f_globals.get("__name__"), frame.f_code.co_name) for frame, _ in frames}
    return ("jax._src.xla_bridge", "backends") in places


def _fail(line: str, code: int) -> int:
    print(f"storyjax: error: {' '.join(line.split())}", file=sys.stderr)
    return code


def leave(code: int) -> NoReturn:
    """Ends the process. After a failure it ends at once: threads that are still writing a checkpoint or decoding a
    video would put their own tracebacks after the line that says what to do.
    """
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    if code:
        os._exit(code)
    sys.exit(0)


def _main(argv: list[str], program: str) -> int:
    flags, overrides, wants_help = _parse(argv)
    if wants_help:
        print(HELP.format(program=program), end="")
        if "config" not in flags:
            return 0
    for name in ("config", "workdir"):
        if name not in flags and not wants_help:
            raise StoryjaxError(f"--{name} is missing; see --help.")
    _steps(flags.get("profile"))

    prepare_runtime()
    # From here on the imports take a second or two, which neither --help nor a wrong argument should wait for.
    from storyjax.core.config import load_config, override
    from storyjax.train.settings import CHAPTER_SECTIONS, complete, read_settings

    config = complete(load_config(flags["config"]))
    for key, text in overrides:
        override(config, key, text, open_sections=CHAPTER_SECTIONS)
    read_settings(config)
    if wants_help:
        print(f"\nThe keys of {flags['config']}:\n\n{config}", end="")
        return 0
    return _run(config, flags)


def _run(config: object, flags: dict[str, str]) -> int:
    import jax
    from absl import flags as absl_flags

    from storyjax.plan.utilisation import least_seconds
    from storyjax.train.loop import run
    from storyjax.train.termination import Stopped

    # Grain's worker processes read absl's flags, which nobody else parses here.
    if not absl_flags.FLAGS.is_parsed():
        absl_flags.FLAGS.mark_as_parsed()
    progress = flags.get("progress", "true").lower()
    if progress not in ("true", "false"):
        raise StoryjaxError(f"--progress must be true or false, not '{progress}'.")
    resume_from = flags.get("resume-from")
    if resume_from is not None and not resume_from.isdecimal():
        raise StoryjaxError(f"--resume-from must be the step of a checkpoint, not '{resume_from}'.")
    step = None if resume_from is None else int(resume_from)
    try:
        results = run(
            config,
            flags["workdir"],
            flags.get("mode", "train"),
            progress=progress == "true",
            resume_from=step,
            profile=_steps(flags.get("profile")),
            least_seconds=least_seconds,
        )
    except Stopped as stopped:
        print(f"storyjax: {stopped.message}", file=sys.stderr)
        return 0
    if jax.process_index() == 0:
        print("".join(f"{name} {value:.6g}\n" for name, value in results.items()), end="")
    return 0


def _steps(text: str | None) -> tuple[int, int] | None:
    """(first, last) of "FIRST:LAST".

    Raises:
        StoryjaxError: these are not two steps in order.
    """
    if text is None:
        return None
    first, colon, last = text.partition(":")
    fine = colon and all(part.isascii() and part.isdecimal() for part in (first, last))
    if not fine or not 1 <= int(first) <= int(last):
        raise StoryjaxError(f"--profile must be FIRST:LAST, two steps counted from 1, such as 20:24, not '{text}'.")
    return int(first), int(last)


def _parse(argv: list[str]) -> tuple[dict[str, str], list[tuple[str, str]], bool]:
    """(flags, overrides as (dotted key, text), whether help is wanted); `--name=value` and `--name value` both do."""
    flags: dict[str, str] = {}
    overrides: list[tuple[str, str]] = []
    wants_help = False
    rest = iter(argv)
    for argument in rest:
        if argument in ("--help", "-h"):
            wants_help = True
            continue
        if not argument.startswith("--"):
            raise StoryjaxError(f"'{argument}' is not a flag; --help shows the flags.")
        name, equals, value = argument.removeprefix("--").partition("=")
        if name not in FLAGS and not name.startswith("config."):
            _refuse_flag(name)
        if not equals:
            value = next(rest, "")
            if not value or value.startswith("--"):
                raise StoryjaxError(f"--{name} needs a value: --{name}=VALUE.")
        if name.startswith("config."):
            overrides.append((name.removeprefix("config."), value))
        else:
            flags[name] = value
    return flags, overrides, wants_help


def _refuse_flag(name: str) -> NoReturn:
    hint = nearest(f"--{name.partition('.')[0]}", [f"--{flag}" for flag in (*FLAGS, "help")])
    raise StoryjaxError(f"there is no flag --{name}.{hint} Changes of the config are spelt --config.KEY=VALUE.")


if __name__ == "__main__":
    leave(main())
