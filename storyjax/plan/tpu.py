"""TPU slices by name, "v5e:4x4", for compiling ahead of time where there is no TPU.

The compiler is that of `libtpu` (`pip install 'storyjax[plan]'`), which compiles for any of its topologies on any Linux
machine with an x86-64 processor.

Sizes and speeds are those that Google publishes for a chip (https://cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e and
/tpu7x, read in November 2026); how much of the memory a program may use is the compiler's to say.
"""

import importlib.metadata
import importlib.util
import math
import os
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache

from storyjax.core.errors import StoryjaxError, nearest


@dataclass(frozen=True)
class Chip:
    """A generation of TPUs.

    Attributes:
        memory_gib: of HBM.
        peak_flops: a second, bfloat16.
        bandwidth: bytes a second between HBM and the chip.
        slices: chips along each dimension of the slices that there are.
        options: how JAX sets the chip up. Both cores of a v4 are one device.
    """

    memory_gib: int
    peak_flops: float | int
    bandwidth: float | int
    slices: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16")
CHIPS = {
    "v4": Chip(32, 275e12, 1228e9, _CUBES, {"chip_config_name": "megacore"}),
    "v5e": Chip(16, 197e12, 819e9, _FLAT),
    "v5p": Chip(95, 459e12, 2765e9, _CUBES),
    "v6e": Chip(32, 918e12, 1640e9, _FLAT),
    "tpu7x": Chip(192, 2307e12, 7380e9, _CUBES),
}


@dataclass(frozen=True)
class Slice:
    """Chips to compile for.

    Attributes:
        name: as it was asked for.
        chip: its generation.
        devices: JAX's, which cannot run anything.
        chips: how many.
        compiler: libtpu's version.
    """

    name: str
    chip: Chip
    devices: list[Any]
    chips: int
    compiler: str

    @property
    def devices_per_chip(self) -> int:
        """JAX takes a chip of two dies for two devices, each with its half of the memory."""
        return max(1, len(self.devices) // self.chips)


def prepare_environment() -> None:
    """Keeps libtpu from looking for a TPU machine around it; must come before anything starts JAX's backends.

    From here on the process keeps no compiled programs (core/runtime.py).
    """
    settings = {
        "TPU_SKIP_MDS_QUERY": "1",
        # libtpu wants to know of a machine even if all it does is compile; any answer will do.
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        # A lock keeps two processes from one TPU; compiling needs none.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if not jax.config.values["jax_platforms"]:
        jax.config.update("jax_platforms", "cpu")
    # A kept program for devices that are not there cannot be read again: JAX says so, and it would fill the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()


def find_slice(name: str) -> Slice:
    """The slice of that name.

    Raises:
        StoryjaxError: there is no such slice (the message lists those that there are), or no libtpu.
    """
    generation, _, shape = name.partition(":")
    if generation not in CHIPS:
        raise StoryjaxError(
            f"--topology={name}: there is no TPU '{generation}'.{nearest(generation, CHIPS)} There are {_listing()}."
        )
    chip = CHIPS[generation]
    if shape not in chip.slices:
        raise StoryjaxError(
            f"--topology={name}: {generation} has no slice '{shape}'.{nearest(shape, chip.slices)} There are"
            f" {', '.join(f'{generation}:{known}' for known in chip.slices)}."
        )
    if importlib.util.find_spec("libtpu") is None:
        raise StoryjaxError("compiling for a TPU needs its compiler: pip install 'storyjax[plan]' (Linux, x86-64).")
    prepare_environment()
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name, **chip.options)
    except Exception as error:  # of several kinds, by the version of jaxlib
        reason = str(error).splitlines()[0]
        raise StoryjaxError(f"--topology={name}: this version of libtpu has no such slice ({reason}).") from error
    chips = math.prod(int(size) for size in shape.split("x"))
    return Slice(name, chip, list(topology.devices), chips, importlib.metadata.version("libtpu"))


def _listing() -> str:
    return "; ".join(f"{name}:{', '.join(chip.slices)}" for name, chip in CHIPS.items())
