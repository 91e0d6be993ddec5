"""The one training loop: `run(config, workdir)` trains an experiment, evaluates it and writes its results."""

import json
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

from storyjax.train import mesh as mesh_lib
from storyjax.train.evaluation import Evaluation
from storyjax.train.experiment import Experiment, StreamSpec, build_experiment
from storyjax.train.optim import make_optimizer
from storyjax.train.params import check_given, flatten, initialise
from storyjax.train.precision import get_policy
from storyjax.train.settings import complete, read_settings
from storyjax.train.step import make_step, new_state


def run(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    mode: str = "train",
    *,
    experiment: Experiment | None = None,
    progress: bool = True,
) -> dict[str, float]:
    config = complete(config)
    settings = read_settings(config)
    mesh_lib.start_distributed(settings.mesh)
    experiment = experiment or build_experiment(config)
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    mesh = mesh_lib.make_mesh(settings.mesh)
    key = jax.random.key(settings.seed)
    given: dict[str, Any] = {}
    if experiment.pretrained is not None:
        given = experiment.pretrained()
        check_given(given, flatten(jax.eval_shape(experiment.init, key)), set(), "the pretrained weights")
    trainable, frozen = initialise(
        experiment.init, key, experiment.trainable, given, get_policy(settings.precision), mesh
    )
    total = settings.train.steps
    if total is None:
        total = round(settings.train.epochs * experiment.steps_per_epoch())
    if mode == "train":
        optimizer = make_optimizer(settings.optim, total)
        state = new_state(trainable, optimizer, mesh)
        step_fn = make_step(experiment.tasks, optimizer, state, frozen, mesh, settings.train.accumulate)
        spec = [StreamSpec(task.batch_size or settings.train.batch_size, settings.seed) for task in experiment.tasks]
        streams = [iter(task.data(s)) for task, s in zip(experiment.tasks, spec, strict=True)]
        sharding = mesh_lib.batch_sharding(mesh)
        for step in range(1, total + 1):
            batches = tuple(mesh_lib.put_batch(next(stream), sharding) for stream in streams)
            state, metrics = step_fn(state, frozen, batches, key)
            if progress and (step % settings.log.every == 0 or step == total):
                print(f"step {step}/{total} loss {float(metrics['loss']):.4f}", flush=True)
        trainable = state.trainable
    batch_size = settings.eval.batch_size or settings.train.batch_size
    results = Evaluation(experiment.evaluators, batch_size, settings.seed, mesh)(trainable, frozen)
    (workdir / "results.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    return results
