"""Work that each device does on its own examples of a batch, where XLA's partitioner would not leave it there.

A loop over examples, or a loop whose end depends on them, is one loop to the partitioner: it gathers what the loop
reads, and every device runs all of it; or all devices wait for each other in every turn. Under `shard_map` each device
loops over the examples that lie on it, and nothing travels.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Int

from storyjax.core.mesh_axes import BATCH_AXES


def batch_axes(examples: int) -> tuple[str, ...]:
    """Returns the axes of the mesh around this call that a batch of so many examples is cut along.

    None, where there is no mesh or one of a single device, where the devices do not divide the batch (a single image in
    a process of many devices), or where the call is within a `shard_map` over them already.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(axis for axis in BATCH_AXES if mesh.shape.get(axis, 1) > 1)
    devices = math.prod(mesh.shape[axis] for axis in axes)
    inside = any(axis in mesh.manual_axes for axis in mesh.axis_names)
    return () if inside or devices == 1 or examples % devices else axes


def by_device(function: Callable[..., Any], *arrays: Any) -> Any:
    """Returns `function(*arrays)`, which each device computes of its own examples where a mesh cuts the batch.

    Not differentiated by itself: a custom derivative calls it once for each direction, so that no device sums the
    gradient of what it holds alone.

    Args:
        function: of arrays whose leading axis is the batch; what it returns has that axis too, and no row depends on
            another's.
        arrays: trees of arrays, all with the same leading axis.
    """
    axes = batch_axes(jax.tree.leaves(arrays)[0].shape[0])
    if not axes:
        return function(*arrays)
    batch = PartitionSpec(axes)
    return jax.shard_map(function, in_specs=batch, out_specs=batch, check_vma=False)(*arrays)


def take_rows(array: Array, rows: Int[Array, "b"], axis: int) -> Array:
    """Returns the `rows` of a whole batch, whose examples are along `axis`; differentiable in `array`.

    Within a `shard_map` that cuts the batch, `array` and `rows` are this device's parts, and what is asked for comes
    from the devices that have it: give it no more at once than all devices together can hold on each of them.
    """
    manual = jax.sharding.get_abstract_mesh().manual_axes
    axes = tuple(name for name in BATCH_AXES if name in manual)
    if axes:
        array = jax.lax.all_gather(array, axes, axis=axis, tiled=True)
    return jnp.take(array, rows, axis=axis)
