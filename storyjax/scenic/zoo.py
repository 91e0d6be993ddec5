"""An experiment under Scenic's own `classification_trainer`: a BaseModel, and a data set of its registry.

It fits experiments of one task whose metrics are ratios of sums, such as TCR's on NExT-QA: everything else is for
`train.py`, storyjax's loop under Scenic's launcher. Scenic is imported in functions, for it needs TensorFlow.
"""

import copy
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell
from storyjax.data.streams import StreamSpec
from storyjax.scenic.feeds import eval_batches, latest_checkpoint, train_batches
from storyjax.scenic.module import ExperimentModule
from storyjax.train.experiment import Evaluator, Experiment, Params, Task, build_experiment
from storyjax.train.initial_state import restore_or_init
from storyjax.train.loop import total_steps
from storyjax.train.mesh import make_mesh
from storyjax.train.params import merge
from storyjax.train.settings import MeshSettings, OptimSettings, Settings, read_settings
from storyjax.train.workdir import check_same_run, make_workdir, training_lock, write_config

NAME, TRAINER = "storyjax", "classification_trainer"


@dataclass(frozen=True)
class Fitted:
    """An experiment that Scenic's trainer can train.

    Attributes:
        settings: of the config.
        experiment: whole; its first task is trained.
        evaluator: the one that is run.
        steps: the length of the run.
    """

    settings: Settings
    experiment: Experiment
    evaluator: Evaluator
    steps: int

    @classmethod
    def of(cls, config: ConfigDict) -> "Fitted":
        """Returns the experiment of `config.storyjax`.

        Raises:
            StoryjaxError: Scenic's trainer cannot train it; the message says why.
        """
        settings = read_settings(config.storyjax)
        experiment = build_experiment(config.storyjax)
        evaluators = [e for e in experiment.evaluators if isinstance(e, Evaluator) and e.ratios and e.size]
        mesh, train = settings.mesh, settings.train
        for wrong, reason in (
            (len(experiment.tasks) != 1, f"{experiment.name} trains {len(experiment.tasks)} tasks, not one"),
            (not evaluators, f"no metric of {experiment.name} is a ratio of sums"),
            (train.accumulate > 1, "config.train.accumulate is more than 1"),
            (train.stop_metric is not None, "config.train.stop_metric is set"),
            (mesh.fsdp != 1 or mesh.seq != 1, "config.mesh cuts parameters or frames"),
            (bool(settings.optim.lr_multipliers), "config.optim.lr_multipliers is set"),
        ):
            if wrong:
                raise StoryjaxError(f"{TRAINER} cannot train this: {reason}; use --config.trainer_name=storyjax.")
        left = [e.name for e in experiment.evaluators if e is not evaluators[0]]
        if left:
            tell(f"{TRAINER} runs one evaluator, {evaluators[0].name}, and not {', '.join(left)}", (TRAINER, *left))
        return cls(settings, experiment, evaluators[0], total_steps(settings, experiment))

    @property
    def task(self) -> Task:
        """What is trained."""
        return self.experiment.tasks[0]

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """(of training, of evaluation), over all processes."""
        train = self.settings.train.batch_size
        return self.task.batch_size or train, self.settings.eval.batch_size or train

    def initial(self, workdir: str | Path) -> Params:
        """Returns the parameters that the run begins with, as `storyjax train` would in an empty workdir."""
        start = restore_or_init(self.settings, self.experiment, Path(workdir), make_mesh(MeshSettings()))
        return jax.tree.map(np.asarray, merge(start.trainable, start.frozen))


def learning_rate(optim: OptimSettings, steps: int) -> ConfigDict:
    """Returns Scenic's `lr_configs` of a schedule. Warm-up begins at 0 there; after it, the rates are the same."""
    config: dict[str, Any] = {
        "learning_rate_schedule": "compound",
        "base_learning_rate": optim.learning_rate,
        "warmup_steps": optim.warmup_steps,
        "total_steps": steps,
    }
    factors = ["constant"]
    if optim.schedule == "cosine":
        factors.append("cosine_decay")
        config |= {"steps_per_cycle": steps, "alpha": optim.final_scale}
    elif optim.schedule == "linear":
        factors.append("linear_decay")
        config |= {"end_learning_rate": optim.learning_rate * optim.final_scale}
    elif optim.schedule == "step":
        factors.append("piecewise_constant")
        falls = [math.ceil(boundary * steps) - 1 for boundary in sorted(optim.boundaries)]
        config |= {"decay_events": falls, "decay_factors": [optim.decay ** (i + 1) for i in range(len(falls))]}
    return ConfigDict(config | {"factors": " * ".join([*factors, "linear_warmup"])})


def trainer_config(config: ConfigDict, fitted: Fitted, workdir: str | Path) -> ConfigDict:
    """Returns the config that Scenic's trainer reads: of `storyjax.scenic.config.get_config`, with what is derived of
    it once all flags are read.
    """
    optim, made = fitted.settings.optim, copy.deepcopy(config)
    with made.unlocked(), made.ignore_type():
        made.batch_size, made.eval_batch_size = fitted.batch_sizes
        made.num_training_steps, made.num_training_epochs = fitted.steps, None
        made.lr_configs = learning_rate(optim, fitted.steps)
        made.log_eval_steps = fitted.settings.eval.every or fitted.steps
        made.checkpoint_steps = fitted.settings.checkpoint.every or fitted.steps
        made.optimizer_configs = ConfigDict(
            {
                "optimizer": "adamw",
                "b1": optim.b1,
                "b2": optim.b2,
                "eps": optim.eps,
                "weight_decay": optim.weight_decay,
                "skip_scale_and_bias_regularization": True,
                # Scenic searches paths for what is frozen; ours must match what trains, and in full.
                "freeze_params_reg_exp": rf"^(?!(?:{fitted.experiment.trainable})\Z)",
            }
        )
        made.dataset_configs = ConfigDict(
            {"fitted": fitted, "workdir": str(workdir), "resume": bool(config.checkpoint)}
        )
    return made


def steps_done(workdir: str | Path) -> int:
    """Returns the step of the latest checkpoint that Scenic's trainer has written in a workdir; 0 without one."""
    latest = latest_checkpoint(workdir)
    return latest[0] if latest else 0


def build_dataset(
    *,
    batch_size: int,
    eval_batch_size: int,
    num_shards: int,
    dtype_str: str = "float32",
    shuffle_seed: int | None = None,
    rng: Any = None,
    dataset_configs: Any = None,
    dataset_service_address: str | None = None,
) -> Any:
    """Returns Scenic's `Dataset` of an experiment; training goes on from the workdir's latest checkpoint.

    Args:
        batch_size, eval_batch_size: of this process.
        num_shards: devices of this process.
        dtype_str, shuffle_seed, rng, dataset_service_address: of Scenic's launcher; an experiment has its own.
        dataset_configs: of `trainer_config`.
    """
    from scenic.dataset_lib.dataset_utils import Dataset

    del dtype_str, shuffle_seed, rng, dataset_service_address
    fitted: Fitted = dataset_configs.fitted
    workdir, count, seed = dataset_configs.workdir, jax.process_count(), fitted.settings.seed
    start = steps_done(workdir) if dataset_configs.resume else 0
    share = {"process_index": jax.process_index(), "process_count": count}
    trained = StreamSpec(batch_size * count, seed, start, steps=fitted.steps, **share)
    assert fitted.evaluator.size is not None
    epoch = fitted.experiment.steps_per_epoch
    return Dataset(
        train_iter=train_batches(fitted.task, trained, num_shards),
        valid_iter=eval_batches(fitted.evaluator, StreamSpec(eval_batch_size * count, seed, **share), num_shards),
        meta_data={
            "input_shape": (-1, 1),  # the module makes its parameters without looking at inputs
            "input_dtype": jnp.float32,
            "num_train_examples": epoch() * batch_size * count if epoch else 0,
            "num_eval_examples": fitted.evaluator.size(),
            "fitted": fitted,
            "initial": functools.cache(lambda: fitted.initial(workdir)),
        },
    )


@functools.cache
def get_model_cls(model_name: str = NAME) -> type:
    """Returns the class `StoryjaxModel`, as Scenic's function of this name does of its own models.

    Raises:
        StoryjaxError: another name.
    """
    from scenic.model_lib.base_models.base_model import BaseModel

    choose(model_name, (NAME,), "config.model_name")

    class StoryjaxModel(BaseModel):
        """An experiment; its data set's meta data hold it."""

        def build_flax_model(self) -> ExperimentModule:
            fitted, initial = self.dataset_meta_data["fitted"], self.dataset_meta_data["initial"]
            return ExperimentModule(fitted.experiment, fitted.evaluator, lambda key: initial())

        def loss_function(self, logits: Any, batch: Any, model_params: Any = None) -> jax.Array:
            del batch, model_params
            return logits["loss"]

        def get_metrics_fn(self, split: str | None = None) -> Callable[..., dict[str, tuple[Any, Any]]]:
            return metrics_of(self.dataset_meta_data["fitted"].evaluator, "train" if split == "train" else "eval")

    return StoryjaxModel


def metrics_of(evaluator: Evaluator, split: str, axis: str = "batch") -> Callable[..., dict[str, tuple[Any, Any]]]:
    """Returns (module's output, batch) -> {name: (numerator, denominator)}, summed over the devices along `axis`.

    In training, what the loss reports; in evaluation the evaluator's ratios.
    """

    def trained(logits: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        weight = jnp.sum(jnp.ones_like(batch["batch_mask"]))
        return {name: (value * weight, weight) for name, value in logits.items()}

    def evaluated(logits: Any, batch: Any) -> dict[str, tuple[Any, Any]]:
        del batch
        assert evaluator.ratios is not None
        return dict(evaluator.ratios(logits))

    measure = trained if split == "train" else evaluated
    return lambda logits, batch: jax.lax.psum(measure(logits, batch), axis)


def register() -> None:
    """Enters the data set "storyjax" in Scenic's registry, if it is not there."""
    from scenic.dataset_lib import datasets

    if NAME not in datasets.DatasetRegistry.list():
        datasets.add_dataset(NAME)(build_dataset)


def train(*, rng: Any, config: ConfigDict, workdir: str, writer: Any) -> tuple[Any, Any, Any]:
    """Trains by Scenic's `classification_trainer`, from the latest `checkpoint_N` of workdir on.

    Args:
        rng: of Scenic's launcher.
        config: of `storyjax.scenic.config.get_config`.
        workdir: the run's folder; it gets our config.json besides, which `convert` reads.
        writer: a CLU metric writer.

    Returns:
        What the trainer does: (its last state, the last metrics of training, those of evaluation).

    Raises:
        StoryjaxError: an experiment that does not fit, a run that has taken all its steps, or another one's workdir.
    """
    fitted = Fitted.of(config)
    if (Path(workdir) / "checkpoints").exists():
        raise StoryjaxError(f"{workdir} holds a run of storyjax's own loop: choose another --workdir.")
    if config.checkpoint and steps_done(workdir) >= fitted.steps:
        raise StoryjaxError(
            f"the run in {workdir} has taken its {fitted.steps} steps: python -m storyjax.scenic.convert makes"
            " safetensors of it, and a higher --config.num_training_steps goes on."
        )
    from scenic.train_lib import classification_trainer, train_utils

    make_workdir(Path(workdir))
    with training_lock(Path(workdir)):
        check_same_run(Path(workdir), config.storyjax)
        if jax.process_index() == 0:
            write_config(Path(workdir), config.storyjax)
        register()
        made = trainer_config(config, fitted, workdir)
        data_rng, rng = jax.random.split(rng)
        dataset = train_utils.get_dataset(made, data_rng)
        model_cls = get_model_cls(made.model_name)
        return classification_trainer.train(
            rng=rng, config=made, model_cls=model_cls, dataset=dataset, workdir=workdir, writer=writer
        )
