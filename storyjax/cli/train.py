"""`storyjax train`, `storyjax eval` and `storyjax predict`: `python -m storyjax.main` for people."""

import argparse
from collections.abc import Sequence

from storyjax import main as runs

TRAIN = "Trains an experiment and evaluates it (the same as python -m storyjax.main)."
EVAL = "Evaluates a run, or the weights that it starts from (python -m storyjax.main --mode=eval)."
PREDICT = "Writes the files of challenges, for their servers (python -m storyjax.main --mode=predict)."
COMMANDS = {"train": TRAIN, "eval": EVAL, "predict": PREDICT}


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name; their arguments are read by storyjax.main."""
    for name, about in COMMANDS.items():
        made[name] = commands.add_parser(name, description=about, add_help=False)


def run(argv: Sequence[str]) -> int:
    """Runs `storyjax train ...`, `eval ...` or `predict ...` and returns its exit code.

    A first argument that is no flag is the config: `storyjax train tcr_nextqa:embedded --workdir=runs/tcr`.
    """
    mode, *rest = argv
    if rest and not rest[0].startswith("-"):
        rest[0] = f"--config={rest[0]}"
    return runs.main([f"--mode={mode}", *rest], f"storyjax {mode}")
