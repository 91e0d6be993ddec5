"""Trains and evaluates: `python -m storyjax.main --config=configs/X.py[:variant] --workdir=DIR`. `--help` tells."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from storyjax.core.errors import StoryjaxError, nearest

HELP = """\
usage: python -m storyjax.main --config=FILE[:VARIANT] --workdir=DIR [--mode=MODE] [--config.KEY=VALUE ...]

Trains an experiment, evaluates it and writes the results to DIR/results.json.

  --config=FILE[:VARIANT]  a file of configs/; variants are "paper" (the default: the thesis's recipe at full size) and
                           "embedded" (the same code, small, on StoryWorld), and what else its docstring names
  --workdir=DIR            the run's folder, made if need be: config.json, checkpoints/, metrics.jsonl (one line per
                           logged step), TensorBoard event files, results.json
  --mode=train             trains, then evaluates (the default)
  --mode=eval              evaluates DIR's latest checkpoint, or where there is none, the weights that a run starts from
  --config.KEY=VALUE       changes one value of the config: --config.train.steps=100 --config.optim.learning_rate=3e-4
  --progress=false         shows no progress bar
  --help                   shows this; with --config, also every key of that config and its value

A run that is stopped, in whatever way, goes on where it was when the same command is given again; the parameters at the
end are bit for bit those of a run that was never stopped. SIGTERM saves the state first.

A run starts from its own latest checkpoint; else from config.init.checkpoint (another run's workdir, or safetensors);
else from the weights that its config imports; else from scratch.

Example, two CPU cores:
  python -m storyjax.main --config=configs/tcr_nextqa.py:embedded --workdir=runs/tcr --config.train.steps=20
"""
FLAGS = ("config", "workdir", "mode", "progress")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns its exit code.

    0: done, or stopped by SIGTERM with the state saved. 2: something a person can mend, told in one line. 130: Ctrl-C.
    """
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except StoryjaxError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", StoryjaxError.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from the latest checkpoint", 130)


def _fail(line: str, code: int) -> int:
    print(f"storyjax: error: {' '.join(line.split())}", file=sys.stderr)
    return code


def leave(code: int) -> NoReturn:
    """Ends the process. After a failure it ends at once: threads that are still writing a checkpoint or decoding a
    video would put their own tracebacks after the line that says what to do.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)
    sys.exit(0)


def _main(argv: list[str]) -> int:
    flags, overrides, wants_help = _parse(argv)
    if wants_help:
        print(HELP, end="")
        if "config" not in flags:
            return 0
    for name in ("config", "workdir"):
        if name not in flags and not wants_help:
            raise StoryjaxError(f"--{name} is missing; --help tells what it is.")

    # From here on the imports take a second or two, which neither --help nor a slip in the command should wait for.
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

    from storyjax.train.loop import run
    from storyjax.train.termination import Stopped

    # Grain's worker processes read absl's flags, which nobody else parses here.
    if not absl_flags.FLAGS.is_parsed():
        absl_flags.FLAGS.mark_as_parsed()
    progress = flags.get("progress", "true").lower()
    if progress not in ("true", "false"):
        raise StoryjaxError(f"--progress must be true or false, not '{progress}'.")
    try:
        results = run(config, flags["workdir"], flags.get("mode", "train"), progress=progress == "true")
    except Stopped as stopped:
        print(f"storyjax: {stopped.message}", file=sys.stderr)
        return 0
    if jax.process_index() == 0:
        print("".join(f"{name} {value:.6g}\n" for name, value in results.items()), end="")
    return 0


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
