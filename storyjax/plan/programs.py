"""The programs of a run: its training step, and what its evaluators run on the devices, traced with shapes alone."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from storyjax.core.errors import StoryjaxError
from storyjax.train.evaluation import make_eval_step
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, HostEvaluator, Params
from storyjax.train.mesh import batch_sharding, check_batch_size, replicated
from storyjax.train.optim import make_optimizer
from storyjax.train.params import abstract_parameters, merge
from storyjax.train.precision import get_policy
from storyjax.train.settings import Settings
from storyjax.train.step import abstract_state, make_step

TRAIN = "train"


@dataclass(frozen=True)
class Lowered:
    """A program ready to be compiled. Sizes in bytes, on one device.

    Attributes:
        lowered: JAX's.
        weights: parameters and optimiser state.
        batch: the step's input.
        features: what is kept of the batch between passes.
        examples: of a global batch; of several tasks, together.
    """

    lowered: Any
    weights: int
    batch: int
    features: int
    examples: int

    @property
    def digest(self) -> str:
        """Returns a mark of the program itself: for the same slice, two of the same mark compile to the same."""
        return hashlib.sha256(self.lowered.as_text().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class EvalProgram:
    """What an evaluator runs on the devices.

    Attributes:
        name: of the evaluator, and of the part where it has several.
        function: (whole parameters, batch) -> what it measures.
        spec: of the batch.
        sequences: entries of the batch whose second dimension is cut along the mesh axis `seq`.
        alone: one example at a time, whole on every device: a tracker's frame.
    """

    name: str
    function: Callable[[Params, Batch], Any]
    spec: BatchSpec
    sequences: tuple[str, ...] = ()
    alone: bool = False


def eval_programs(experiment: Experiment) -> tuple[list[EvalProgram], list[str]]:
    """Returns the evaluators' programs, and the names of those evaluators that do not say what a batch looks like."""
    made: list[EvalProgram] = []
    missing: list[str] = []
    for evaluator in experiment.evaluators:
        if isinstance(evaluator, HostEvaluator):
            steps = evaluator.programs() if evaluator.programs is not None else {}
            made += [EvalProgram(f"{evaluator.name}/{name}", *step, alone=True) for name, step in steps.items()]
            missing += [] if steps else [evaluator.name]
        elif evaluator.batch_spec is None:
            missing.append(evaluator.name)
        elif isinstance(evaluator.batch_spec, Mapping):
            made += [
                EvalProgram(f"{evaluator.name}/{name}", evaluator.eval_step, spec, evaluator.sequences)
                for name, spec in evaluator.batch_spec.items()
            ]
        else:
            made.append(EvalProgram(evaluator.name, evaluator.eval_step, evaluator.batch_spec, evaluator.sequences))
    return made, missing


def lower_training(experiment: Experiment, settings: Settings, mesh: Mesh, batch_size: int | None) -> Lowered:
    """Returns the training step over a mesh.

    Args:
        batch_size: of every task; None: its own, or the config's.

    Raises:
        StoryjaxError: there are no tasks, one does not say what a batch looks like, or the mesh does not divide it.
    """
    missing = [task.name for task in experiment.tasks if task.batch_spec is None]
    if not experiment.tasks or missing:
        raise StoryjaxError(f"{experiment.name} does not say what a batch of task {', '.join(missing) or '(none)'} is.")
    key = jax.random.key(0)  # made here: under the mesh it would be made on devices that are not there
    with jax.set_mesh(mesh):
        trainable, frozen = _parameters(experiment, settings, mesh, key)
        optimizer = make_optimizer(settings.optim, settings.train.steps or 1)
        state = abstract_state(trainable, optimizer, mesh)
        batches, features, examples = [], 0, 0
        for task in experiment.tasks:
            size = batch_size or task.batch_size or settings.train.batch_size
            check_batch_size(mesh, size, settings.train.accumulate, f"the batch size of task '{task.name}'")
            assert task.batch_spec is not None
            batches.append(_abstract(task.batch_spec, size, task.sequences, mesh))
            features, examples = features + task.batch_spec.features(size), examples + size
        step = make_step(experiment.tasks, optimizer, state, frozen, mesh, settings.train.accumulate)
        abstract_key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(mesh))
        lowered = step.lower(state, frozen, tuple(batches), abstract_key)
    held = features // settings.train.accumulate // mesh.size
    return Lowered(lowered, _bytes((state, frozen)), _bytes(batches), held, examples)


def lower_evaluation(
    program: EvalProgram, experiment: Experiment, settings: Settings, mesh: Mesh, batch_size: int | None
) -> Lowered:
    """Returns an evaluator's program over a mesh.

    Args:
        batch_size: None: the config's.

    Raises:
        StoryjaxError: the mesh does not divide the batch.
    """
    size = 1 if program.alone else batch_size or settings.eval.batch_size or settings.train.batch_size
    if not program.alone:
        check_batch_size(mesh, size, 1, "the batch size of evaluation")
    key = jax.random.key(0)  # as in lower_training
    with jax.set_mesh(mesh):
        trainable, frozen = _parameters(experiment, settings, mesh, key)
        if program.alone:
            whole = replicated(mesh)
            batch = {
                name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole)
                for name, leaf in program.spec.shapes(1).items()
            }

            def step(trainable: Params, frozen: Params, batch: Batch) -> Any:
                return program.function(merge(trainable, frozen), batch)

            trainable, frozen = (
                jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), part)
                for part in (trainable, frozen)
            )
            lowered = jax.jit(step, out_shardings=whole).lower(trainable, frozen, batch)
        else:
            batch = _abstract(program.spec, size, program.sequences, mesh)
            as_evaluator = Evaluator(program.name, lambda spec: (), program.function, _nothing, _nothing)
            lowered = make_eval_step(as_evaluator, mesh).lower(trainable, frozen, batch)
    features = program.spec.features(size) // mesh.size
    return Lowered(lowered, _bytes((trainable, frozen)), _bytes(batch), features, size)


def _nothing(*arguments: Any) -> Any:
    raise AssertionError("a program that is planned measures nothing")


def _parameters(experiment: Experiment, settings: Settings, mesh: Mesh, key: jax.Array) -> tuple[Params, Params]:
    policy = get_policy(settings.precision)
    return abstract_parameters(experiment.init, key, experiment.trainable, policy, mesh)


def _abstract(spec: BatchSpec, examples: int, sequences: tuple[str, ...], mesh: Mesh) -> Batch:
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=batch_sharding(mesh, name in sequences))
        for name, leaf in spec.shapes(examples).items()
    }


def _bytes(tree: Any) -> int:
    """On one device."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
