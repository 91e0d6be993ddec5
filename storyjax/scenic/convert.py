"""A checkpoint of Scenic's trainer as safetensors:

    python -m storyjax.scenic.convert --run=DIR --out=FILE.safetensors [--step=N]

DIR is the workdir of a run with --config.trainer_name=classification_trainer. FILE is for `config.init.checkpoint`:
`python -m storyjax.main --mode=eval --config=NAME --config.init.checkpoint=FILE --workdir=OTHER` evaluates it. Neither
Scenic nor TensorFlow is needed for it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from flax import serialization
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs
from storyjax.core.params_io import flatten, save_tree, unflatten
from storyjax.core.renames import modernise
from storyjax.main import leave, report_errors
from storyjax.scenic.feeds import latest_checkpoint
from storyjax.train.experiment import Experiment, build_experiment
from storyjax.train.params import partition, validate_params
from storyjax.train.settings import complete


def convert(run: str | Path, out: str | Path, step: int | None = None) -> tuple[int, int]:
    """Writes the parameters that no other file has: trained ones, and frozen ones that the config does not name.

    Args:
        run: the workdir.
        out: the safetensors file.
        step: of the checkpoint; None: the latest.

    Returns:
        (step, number of arrays).

    Raises:
        StoryjaxError: no such run or checkpoint, one that cannot be read or is of another model, or `out` cannot be
            written.
    """
    run = Path(run)
    latest = latest_checkpoint(run)
    if latest is None:
        raise StoryjaxError(f"there is no checkpoint_N in {run}: give the workdir of a run of Scenic's trainer")
    step, path = (step, run / f"checkpoint_{step}") if step is not None else latest
    check_outputs([("--out", out)], read=[path, run / "config.json"])
    params, experiment = _read(path), build_experiment(_config(run))
    tree = flatten(jax.eval_shape(experiment.init, jax.random.key(0)))
    validate_params(params, tree, set(tree), str(path))
    own = _own(params, experiment)
    save_tree(out, own, {"experiment": experiment.name, "made_by": "storyjax.scenic.convert", "step": str(step)})
    return step, len(own)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The parameters of a checkpoint, flat."""
    try:
        state: Any = serialization.msgpack_restore(path.read_bytes())
        return flatten(state["params"])
    except OSError as error:
        raise StoryjaxError(f"{path} cannot be read: {error.strerror}; look for another --step") from error
    except Exception as error:  # msgpack has many words for what is not its own
        raise StoryjaxError(f"{path} is no checkpoint of Flax's, or not whole: look for another --step") from error


def _config(run: Path) -> ConfigDict:
    try:
        stored = json.loads((run / "config.json").read_text("utf-8"))
        return complete(ConfigDict(modernise(stored)))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{run} has no config.json that can be read: give the workdir of a run") from error


def _own(params: dict[str, np.ndarray], experiment: Experiment) -> dict[str, np.ndarray]:
    """Those that the experiment's own files do not give."""
    given = set(experiment.pretrained()) if experiment.pretrained is not None else set()
    trained = set(flatten(partition(unflatten(params), experiment.trainable)[0]))
    return {path: array for path, array in params.items() if path in trained or path not in given}


class _Parser(argparse.ArgumentParser):
    """Errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise StoryjaxError(f"{message}; '{self.prog} --help' shows how.")


def main(argv: Sequence[str]) -> int:
    """Runs the command line and returns the exit code.

    Raises:
        StoryjaxError: as `convert`, and for a flag that there is not.
    """
    about = "Makes safetensors of a checkpoint of Scenic's trainer, for config.init.checkpoint."
    parser = _Parser(prog="python -m storyjax.scenic.convert", description=about, allow_abbrev=False)
    parser.add_argument("--run", required=True, help="the workdir of a run of Scenic's trainer")
    parser.add_argument("--out", required=True, help="the safetensors file to write")
    parser.add_argument("--step", type=int, help="of the checkpoint (default: the latest)")
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as done:  # --help
        return int(done.code or 0)
    step, count = convert(arguments.run, arguments.out, arguments.step)
    print(f"{count} arrays of step {step} are in {arguments.out}")
    return 0


if __name__ == "__main__":
    leave(report_errors(lambda: main(sys.argv[1:]), "interrupted; nothing is written"))
