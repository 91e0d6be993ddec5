"""One jitted training step: the gradients of all tasks, summed; clipping; AdamW; and a guard against NaN."""

from dataclasses import dataclass
from typing import Any

import einops
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from storyjax.core.params_io import flatten
from storyjax.train.experiment import Batch, Params, Task
from storyjax.train.mesh import batch_sharding, replicated
from storyjax.train.params import merge

# {"loss", "grad_norm", "finite/<task>", "<task>/loss", "<task>/<what the loss reports>"} -> scalar.
StepMetrics = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What a step changes. (`Any`, because jax also fills these fields with shardings and specs.)

    Attributes:
        step: int32 (), steps done.
        healthy: bool (), false from the first loss or gradient that was not finite; nothing changes after that.
        trainable: nested dict of float32.
        opt_state: optax's, for the trainable parameters only.
    """

    step: Any
    healthy: Any
    trainable: Any
    opt_state: Any


def new_state(trainable: Params, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state before the first step."""
    shardings = jax.tree.map(lambda slot: slot.sharding, abstract_state(trainable, optimizer, mesh).opt_state)
    return TrainState(
        step=jax.device_put(jnp.zeros((), jnp.int32), replicated(mesh)),
        healthy=jax.device_put(jnp.ones((), bool), replicated(mesh)),
        trainable=trainable,
        opt_state=jax.jit(optimizer.init, out_shardings=shardings)(trainable),
    )


def abstract_state(trainable: Params, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Returns shapes, types and shardings of a state; each optimiser slot lies on the mesh as its parameter does.

    A slot is known by its path: optax keeps the moments of "tcr/block_0/kernel" under these same names.
    """
    parameters = flatten(trainable)

    def laid_out(path: tuple[Any, ...], leaf: Any) -> jax.ShapeDtypeStruct:
        names = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
        parameter = parameters.get("/".join(names))
        sharding = replicated(mesh)
        if parameter is not None and parameter.shape == leaf.shape:
            sharding = parameter.sharding
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    slots = jax.tree_util.tree_map_with_path(laid_out, jax.eval_shape(optimizer.init, trainable))
    step, healthy = (jax.ShapeDtypeStruct((), kind, sharding=replicated(mesh)) for kind in (jnp.int32, jnp.bool_))
    return TrainState(step, healthy, jax.tree_util.tree_map_with_path(laid_out, trainable), slots)


def task_gradients(
    task: Task, trainable: Params, frozen: Params, batch: Batch, key: jax.Array, accumulate: int, mesh: Mesh
) -> tuple[jax.Array, dict[str, jax.Array], Params]:
    """(loss, scalars, gradients) of one task, the mean over `accumulate` micro-batches taken one after another.

    Equal to the whole batch at once when the loss is a plain mean over examples. (A contrastive loss sees only the
    negatives of its micro-batch.)
    """

    def loss(trainable: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return task.loss(merge(trainable, frozen), batch, key)

    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if accumulate == 1:
        (value, scalars), gradients = value_and_grad(trainable, batch, key)
        return value, scalars, gradients

    # Micro-batch i takes every `accumulate`-th example, so that each device cuts up its own part and none travel.
    micro_batches = {
        name: jax.lax.with_sharding_constraint(
            einops.rearrange(array, "(b m) ... -> m b ...", m=accumulate),
            NamedSharding(mesh, PartitionSpec(None, *batch_sharding(mesh, name in task.sequences).spec)),
        )
        for name, array in batch.items()
    }

    def add(total: Any, micro: tuple[jax.Array, Batch]) -> tuple[Any, None]:
        index, batch = micro
        one = value_and_grad(trainable, batch, jax.random.fold_in(key, index))
        return jax.tree.map(jnp.add, total, one), None

    first = jax.eval_shape(value_and_grad, trainable, jax.tree.map(lambda array: array[0], micro_batches), key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
    total, _ = jax.lax.scan(add, zeros, (jnp.arange(accumulate), micro_batches))
    (value, scalars), gradients = jax.tree.map(lambda leaf: leaf / accumulate, total)
    return value, scalars, gradients


def make_step(
    tasks: tuple[Task, ...],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    frozen: Params,
    mesh: Mesh,
    accumulate: int = 1,
) -> Any:
    """Returns the jitted step: (state, frozen, one batch per task, key of the run) -> (state, metrics).

    `state` is donated.
    The randomness of a step is fold_in(fold_in(key, step), index of the task).
    """

    def step(
        state: TrainState, frozen: Params, batches: tuple[Batch, ...], key: jax.Array
    ) -> tuple[TrainState, StepMetrics]:
        key = jax.random.fold_in(key, state.step)
        total = jax.tree.map(jnp.zeros_like, state.trainable)
        metrics: StepMetrics = {"loss": jnp.zeros(())}
        healthy = state.healthy
        for index, (task, batch) in enumerate(zip(tasks, batches, strict=True)):
            if index:  # one task after the other: side by side their activations would need memory for all
                total, batch = jax.lax.optimization_barrier((total, batch))
            loss, scalars, gradients = task_gradients(
                task, state.trainable, frozen, batch, jax.random.fold_in(key, index), accumulate, mesh
            )
            total = jax.tree.map(lambda sum_, gradient, w=task.weight: sum_ + w * gradient, total, gradients)
            finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradients))
            healthy &= finite
            metrics |= {f"{task.name}/{name}": scalar for name, scalar in {"loss": loss, **scalars}.items()}
            metrics |= {f"finite/{task.name}": finite, "loss": metrics["loss"] + task.weight * loss}
        metrics["grad_norm"] = optax.tree.norm(total)
        healthy &= jnp.isfinite(metrics["grad_norm"])
        updates, opt_state = optimizer.update(total, state.opt_state, state.trainable)
        updated = TrainState(state.step + 1, healthy, optax.apply_updates(state.trainable, updates), opt_state)
        # The host learns of a NaN one step late; until then the state must stay that of the last good step.
        kept = jax.tree.map(lambda new, old: jnp.where(healthy, new, old), updated, state)
        return TrainState(kept.step, healthy, kept.trainable, kept.opt_state), metrics

    def sharding_of(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.sharding, tree)

    whole = replicated(mesh)
    return jax.jit(
        step,
        # Batches lie as put_batch laid them.
        in_shardings=(sharding_of(state), sharding_of(frozen), None, whole),
        out_shardings=(sharding_of(state), whole),
        donate_argnums=0,
    )
