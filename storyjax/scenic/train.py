"""A trainer with the signature of Scenic's, for every experiment of storyjax: Scenic's writer around storyjax's loop.

Data, steps, checkpoints and evaluation are those of `storyjax train`; the parameters at the end are bit for bit the
same.
"""

from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.plan.utilisation import least_seconds
from storyjax.scenic.feeds import latest_checkpoint
from storyjax.train.loop import run

# The first part of the names of metrics, as Scenic's trainers write them: "train_loss", "valid_nextqa/acc".
PREFIXES = {"train": "train_", "eval": "valid_"}


def train(
    *,
    rng: jax.Array | None = None,
    config: ConfigDict,
    model_cls: Any = None,
    dataset: Any = None,
    workdir: str,
    writer: Any,
) -> dict[str, float]:
    """Trains and evaluates the experiment of `config.storyjax`; a run that is there already is gone on with.

    Args:
        rng: of Scenic's launcher, from config.rng_seed, which is our seed, too: the loop draws from that.
        config: of `storyjax.scenic.config.get_config`.
        model_cls, dataset: of Scenic's launcher; an experiment has its own model and data.
        workdir: the run's folder.
        writer: a CLU metric writer, which gets what metrics.jsonl gets.

    Returns:
        {"dataset/metric": number}.

    Raises:
        StoryjaxError: Scenic's own trainer has trained in `workdir`.
        StoryjaxError, Stopped: as `storyjax.train.loop.run`.
    """
    del rng, model_cls, dataset
    if latest_checkpoint(workdir):
        raise StoryjaxError(
            f"{workdir} holds a run of Scenic's trainer: choose another --workdir, or go on with"
            " --config.trainer_name=classification_trainer."
        )

    def write(step: int, kind: str, metrics: Mapping[str, float]) -> None:
        writer.write_scalars(step, {f"{PREFIXES[kind]}{name}": value for name, value in metrics.items()})

    try:
        return run(config.storyjax, workdir, sinks=(write,), least_seconds=least_seconds)
    finally:
        writer.flush()
