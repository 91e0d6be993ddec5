"""How much memory there is for a model, and giving back what one had."""

import contextlib
import ctypes
import gc
from pathlib import Path

import jax

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Returns the bytes that a model may take on the default device, as things are now; None where nobody says.

    Of a processor, what the system can give without swapping, and what is left of the container's limit; of an
    accelerator, what its runtime has not given away.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None
    known = [number for number in (_system(), _container()) if number is not None]
    return min(known) if known else None


def give_back_memory() -> None:
    """Hands the memory of arrays that nobody holds any more back to the system.

    JAX frees some buffers at a collection of garbage only, and GNU's allocator keeps gigabytes of what was freed.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another allocator
        ctypes.CDLL(None).malloc_trim(0)


def _system() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None  # no Linux


def _container() -> int | None:
    """What a control group of version 2 leaves; files that it has read are given up where memory is wanted."""
    try:
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return None  # no such group, or no limit ("max")
