"""The device mesh, and how parameters and batches lie on it.

Axes: `data` (examples), `fsdp` (examples too, and parameters are cut along it), `seq` (for chapters that cut one).
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from storyjax.core.errors import StoryjaxError
from storyjax.core.mesh_axes import AXES, BATCH_AXES, SEQUENCE_AXIS
from storyjax.train.settings import MeshSettings

# Cutting a bias into eight saves nothing and costs a collective at each use.
MIN_SHARDED_SIZE = 1024


def make_mesh(settings: MeshSettings) -> Mesh:
    """The mesh over all devices of all processes.

    Raises:
        StoryjaxError: the axes do not multiply to the number of devices.
    """
    return Mesh(mesh_utils.create_device_mesh(mesh_shape(settings, jax.device_count())), AXES)


def mesh_shape(settings: MeshSettings, devices: int) -> tuple[int, ...]:
    """Devices along each of AXES.

    Raises:
        StoryjaxError: the axes do not multiply to `devices`.
    """
    shape = [settings.data, settings.fsdp, settings.seq]
    wrong = any(size == 0 or size < -1 for size in shape) or shape.count(-1) > 1
    if not wrong and -1 in shape:
        shape[shape.index(-1)] = devices // -math.prod(shape)
    if wrong or math.prod(shape) != devices:
        asked = ", ".join(f"{axis}={getattr(settings, axis)}" for axis in AXES)
        raise StoryjaxError(
            f"config.mesh ({asked}) does not lay out {devices} device(s); one axis may be -1, the rest."
        )
    return tuple(shape)


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the sharding of arrays that lie whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh | AbstractMesh, sequence: bool = False) -> NamedSharding:
    """Of arrays whose leading dimension is the examples and, with `sequence`, whose second is cut along `seq`."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES, *([SEQUENCE_AXIS] if sequence else [])))


def parameter_sharding(mesh: Mesh | AbstractMesh, shape: tuple[int, ...]) -> NamedSharding:
    """The largest dimension that `fsdp` divides is cut along it; small arrays lie whole on every device."""
    ways = mesh.shape["fsdp"]
    candidates = [axis for axis, size in enumerate(shape) if size % ways == 0]
    if ways == 1 or math.prod(shape) < MIN_SHARDED_SIZE or not candidates:
        return replicated(mesh)
    axis = max(candidates, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*([None] * axis), "fsdp"))


def data_share(mesh: Mesh | AbstractMesh) -> tuple[int, int]:
    """(index, count): which part of every batch this process loads, and of how many parts.

    Processes whose devices hold the same examples (those along `seq`) load the same part. Where the devices of a
    process lie apart along the batch, its part is spread likewise: the batch has the same examples, in another order.

    Raises:
        StoryjaxError: the processes' devices cut the batch in parts that overlap.
    """
    assert isinstance(mesh, Mesh)  # an abstract one has no processes
    owners = np.vectorize(lambda device: device.process_index)(mesh.devices).reshape(-1, mesh.shape["seq"])
    parts = {process: tuple(np.flatnonzero((owners == process).any(axis=1))) for process in np.unique(owners)}
    distinct = sorted(set(parts.values()))
    if sum(map(len, distinct)) != len(owners) or len(set(map(len, distinct))) > 1:
        axes = ", ".join(f"{axis}={mesh.shape[axis]}" for axis in AXES)
        raise StoryjaxError(
            f"config.mesh ({axes}) cuts a batch across processes unevenly; let config.mesh.seq be a multiple, or a "
            "divisor, of the devices of a process."
        )
    return distinct.index(parts[jax.process_index()]), len(distinct)


def check_batch_size(mesh: Mesh | AbstractMesh, batch_size: int, accumulate: int, where: str) -> None:
    """Every device must get as many examples of each micro-batch as any other.

    Raises:
        StoryjaxError: `batch_size` is not a multiple of devices along data and fsdp times `accumulate`.
    """
    ways = math.prod(mesh.shape[axis] for axis in BATCH_AXES) * accumulate
    if batch_size % ways:
        raise StoryjaxError(
            f"{where} is {batch_size}; it must be a multiple of {ways} (data x fsdp devices x train.accumulate)."
        )


def put_batch(
    batch: Mapping[str, Any], batch_size: int, sharding: NamedSharding, where: str, sequences: tuple[str, ...] = ()
) -> dict[str, jax.Array]:
    """Returns this process's part of a batch of `batch_size` examples as arrays of the global batch.

    Those that `sequences` names are cut along `seq` too.

    Raises:
        ValueError: an array has another number of examples; `where` names the stream.
    """
    size = batch_size // data_share(sharding.mesh)[1]
    arrays = {name: np.asarray(value) for name, value in batch.items()}
    for name, array in arrays.items():
        if array.shape[:1] != (size,):
            raise ValueError(f"{where}: batch['{name}'] has shape {array.shape}, not ({size}, ...)")
    along = batch_sharding(sharding.mesh, sequence=True)
    # The whole shape is given, because processes that share a video all load all of its frames.
    return {
        name: jax.make_array_from_process_local_data(
            along if name in sequences else sharding, array, (batch_size, *array.shape[1:])
        )
        for name, array in arrays.items()
    }


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """A model that does not fit its devices is for the person to make smaller."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise StoryjaxError(
            f"the devices have too little memory: {str(error).splitlines()[0]} Raise config.train.accumulate or "
            "config.mesh.fsdp, or lower config.train.batch_size."
        ) from error
