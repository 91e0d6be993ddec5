"""The step: what trains, what does not, and what is summed."""

import jax
import numpy as np
import optax
import pytest
import toy
from jax.sharding import NamedSharding, PartitionSpec

from storyjax.data.streams import StreamSpec
from storyjax.train.experiment import Task
from storyjax.train.mesh import batch_sharding, make_mesh, put_batch
from storyjax.train.optim import make_optimizer
from storyjax.train.params import initialise
from storyjax.train.precision import get_policy
from storyjax.train.settings import MeshSettings, OptimSettings
from storyjax.train.step import abstract_state, make_step, new_state

pytestmark = pytest.mark.usefixtures("compile_once")

KEY = jax.random.key(5)


class Setting:
    """One step of plain gradient descent at rate 1, so that a parameter's change is its gradient."""

    def __init__(self, tasks, accumulate=1, optimizer=None):
        self.mesh = make_mesh(MeshSettings())
        trainable, self.frozen = initialise(toy.init, KEY, "student/.*", {}, get_policy("float32"), self.mesh)
        self.before = jax.tree.map(np.array, trainable)
        optimizer = optimizer or optax.sgd(1.0)
        self.state = new_state(trainable, optimizer, self.mesh)
        self.step = make_step(tasks, optimizer, self.state, self.frozen, self.mesh, accumulate)

    def gradients(self, *batches):
        batches = tuple(put_batch(batch, 8, batch_sharding(self.mesh), "") for batch in batches)
        state, metrics = self.step(self.state, self.frozen, batches, KEY)
        return jax.tree.map(lambda before, after: before - after, self.before, state.trainable), jax.device_get(metrics)


def batch(step=0, size=8):
    return next(iter(toy.ToyStream(StreamSpec(size, seed=1, start_step=step))))


def assert_close(left, right):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=2e-6), left, right
    )


def test_the_gradient_of_several_tasks_is_their_weighted_sum():
    losses = toy.loss(0, noise=0.0), toy.loss(1, noise=0.0)
    tasks = (Task("left", toy.ToyStream, losses[0]), Task("right", toy.ToyStream, losses[1], weight=0.5))
    setting = Setting(tasks)
    both, metrics = setting.gradients(batch(0), batch(1))

    @jax.jit
    @jax.grad
    def reference(trainable):
        params = {**trainable, **setting.frozen}
        return losses[0](params, batch(0), KEY)[0] + 0.5 * losses[1](params, batch(1), KEY)[0]

    assert_close(both, reference(setting.before))
    assert metrics["loss"] == pytest.approx(metrics["left/loss"] + 0.5 * metrics["right/loss"], rel=1e-6)


def test_micro_batches_add_up_to_the_batch():
    tasks = (Task("left", toy.ToyStream, toy.loss(0, 0.0)),)
    whole, metrics = Setting(tasks).gradients(batch())
    cut, cut_metrics = Setting(tasks, accumulate=4).gradients(batch())
    assert_close(cut, whole)
    np.testing.assert_allclose(cut_metrics["left/loss"], metrics["left/loss"], rtol=1e-6)
    np.testing.assert_allclose(cut_metrics["left/mean"], metrics["left/mean"], rtol=1e-5)


def test_frozen_parameters_have_no_gradient_and_no_optimiser_slot():
    setting = Setting((Task("left", toy.ToyStream, toy.loss(0, 0.0)),), optimizer=make_optimizer(OptimSettings(), 5))
    frozen = jax.tree.map(np.array, setting.frozen)
    shapes = [leaf.shape for leaf in jax.tree.leaves(setting.state.opt_state)]
    moved, _ = setting.gradients(batch())
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(moved))
    jax.tree.map(np.testing.assert_array_equal, frozen, setting.frozen)
    trainable = [leaf.shape for leaf in jax.tree.leaves(setting.before)]
    # Adam's two moments of what trains, and the counters.
    assert sorted(shape for shape in shapes if shape) == sorted(2 * trainable)


def test_nothing_changes_from_the_first_step_that_is_not_finite():
    setting = Setting((Task("left", toy.ToyStream, toy.loss(0, 0.0)), Task("right", toy.ToyStream, toy.loss(1, 0.0))))
    spoilt = batch() | {"x": np.full((8, 4), np.inf, np.float32)}
    put = lambda *batches: tuple(put_batch(one, 8, batch_sharding(setting.mesh), "") for one in batches)  # noqa: E731
    state, metrics = setting.step(setting.state, setting.frozen, put(batch(), spoilt), KEY)
    assert (metrics["finite/left"], metrics["finite/right"]) == (True, False)
    state, _ = setting.step(state, setting.frozen, put(batch(), batch()), KEY)
    assert (int(state.step), bool(state.healthy)) == (0, False)
    jax.tree.map(np.testing.assert_array_equal, setting.before, state.trainable)


def test_an_optimiser_slot_lies_as_the_parameter_of_its_path_not_one_of_its_shape():
    mesh = make_mesh(MeshSettings())
    rows, columns = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data", None), (None, "fsdp")))
    trainable = {
        "a": {"kernel": jax.ShapeDtypeStruct((4, 4), np.float32, sharding=rows)},
        "b": {"kernel": jax.ShapeDtypeStruct((4, 4), np.float32, sharding=columns)},
    }
    state = abstract_state(trainable, make_optimizer(OptimSettings(), 5), mesh)
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state):
        found.setdefault(jax.tree_util.keystr(path)[-15:], []).append(leaf.sharding)
    assert found["['a']['kernel']"] == [rows, rows]  # Adam's two moments
    assert found["['b']['kernel']"] == [columns, columns]
    assert state.trainable["b"]["kernel"].sharding == columns
