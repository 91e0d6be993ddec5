"""Partition by path, strict sources, types and places of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from jax.sharding import AbstractMesh, PartitionSpec

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten
from storyjax.train.mesh import AXES, check_batch_size, make_mesh, parameter_sharding
from storyjax.train.params import initialise, merge, partition, validate_params
from storyjax.train.precision import get_policy
from storyjax.train.settings import MeshSettings


def test_a_partition_loses_nothing_and_names_a_pattern_that_matches_nothing():
    tree = toy.init(jax.random.key(0))
    trainable, frozen = partition(tree, "student/(hidden|out)/kernel")
    assert set(flatten(trainable)) == {"student/hidden/kernel", "student/out/kernel"}
    assert set(flatten(frozen)) == {"student/hidden/bias", "student/middle/kernel", "teacher/kernel", "teacher/memory"}
    assert flatten(merge(trainable, frozen)).keys() == flatten(tree).keys()
    for pattern, message in {"student": "no parameter matches", "(": "does not parse"}.items():
        with pytest.raises(StoryjaxError, match=message):
            partition(tree, pattern)


def test_what_is_given_is_used_in_the_policys_types():
    given = {"teacher/kernel": np.full((4, 2), 1 / 3, np.float32)}
    mesh = make_mesh(MeshSettings())
    policy = get_policy("bfloat16")
    trainable, frozen = initialise(toy.init, jax.random.key(0), "student/.*", given, policy, mesh)
    assert {leaf.dtype for leaf in jax.tree.leaves(trainable)} == {jnp.dtype(jnp.float32)}
    assert frozen["teacher"]["kernel"].dtype == jnp.bfloat16
    np.testing.assert_allclose(frozen["teacher"]["kernel"].astype(jnp.float32), 1 / 3, rtol=1e-2)
    drawn = toy.init(jax.random.key(0))["student"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), trainable["student"], drawn)


def test_parameters_of_another_model_are_named():
    abstract = flatten(jax.eval_shape(toy.init, jax.random.key(0)))
    given = {"teacher/kernel": np.zeros((4, 3)), "tutor/kernel": np.zeros(1)}
    with pytest.raises(StoryjaxError) as caught:
        validate_params(given, abstract, {"student/out/kernel"}, "runs/other")
    for part in (
        "runs/other",
        "missing: student/out/kernel",
        "unused: tutor/kernel",
        "teacher/kernel (4, 3) for (4, 2)",
    ):
        assert part in str(caught.value)


def test_the_largest_dimension_that_divides_is_cut_along_fsdp():
    mesh = AbstractMesh((4, 2, 1), AXES)
    assert parameter_sharding(mesh, (30, 51)).spec == PartitionSpec("fsdp")
    assert parameter_sharding(mesh, (30, 52)).spec == PartitionSpec(None, "fsdp")
    assert parameter_sharding(mesh, (31, 51)).spec == PartitionSpec()
    assert parameter_sharding(mesh, (8, 8)).spec == PartitionSpec()
    check_batch_size(mesh, 16, 2, "config.train.batch_size")
    with pytest.raises(StoryjaxError, match="multiple of 16"):
        check_batch_size(mesh, 8, 2, "config.train.batch_size")
    with pytest.raises(StoryjaxError, match=r"data=3, fsdp=1, seq=1\) does not lay out 1 device"):
        make_mesh(MeshSettings(data=3))
