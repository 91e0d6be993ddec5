"""The toy with one task, and a metric that is a ratio of sums: what Scenic's own trainer can train.

`python one_task.py CONFIG WORKDIR KEY=VALUE...` is storyjax.scenic.main on it, and on a checkout of Scenic.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

import toy

from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import Experiment

SIZE = 13  # examples that are evaluated
TOY = str(Path(toy.__file__))


def data(spec: StreamSpec) -> Iterator[dict[str, np.ndarray]]:
    x = np.random.default_rng(7).normal(size=(SIZE, 4)).astype(np.float32)
    for start in range(0, SIZE, spec.batch_size):
        place = np.arange(start, start + spec.batch_size)[toy.part(spec)]
        yield {"x": x[place % SIZE], "record_valid": place < SIZE}


def eval_step(params: dict[str, Any], batch: dict[str, Any]) -> dict[str, jax.Array]:
    y, target = toy.outputs(params, batch["x"])
    error = ((y - target) ** 2).mean(axis=1) * batch["record_valid"]
    return {"error": error.sum(), "count": batch["record_valid"].astype("float32").sum()}


def ratios(sums: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {"toy/mse": (sums["error"], sums["count"])}


def experiment(noise: float = 0.0, **changes: Any) -> Experiment:
    evaluator = toy.summing_evaluator(
        "toy",
        data,
        eval_step,
        lambda sums: {name: over / under for name, (over, under) in ratios(sums).items()},
        ratios=ratios,
        size=lambda: SIZE,
    )
    whole = toy.experiment(evaluators=(evaluator,))
    task = dataclasses.replace(whole.tasks[0], loss=toy.loss(0, noise=noise))
    return dataclasses.replace(whole, **{"tasks": (task,), **changes})


def main(spec: str, workdir: str, *overrides: str) -> None:
    from storyjax.scenic import main as program
    from storyjax.scenic import zoo
    from storyjax.train import loop

    zoo.build_experiment = loop.build_experiment = lambda config: experiment()
    flags = [f"--config={program.__file__.replace('main.py', 'config.py')}:{spec}", f"--workdir={workdir}"]
    sys.argv = ["one_task", *flags, *[f"--config.{override}" for override in overrides]]
    sys.exit(program.report_errors(program.launch, "interrupted"))


if __name__ == "__main__":
    main(*sys.argv[1:])
