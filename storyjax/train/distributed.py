"""Many processes as one run: how they find each other, and what is said when one of them is lost.

Each process has its own devices; the mesh (mesh.py) is over those of all, and every process runs the same program. A
TPU pod, a Slurm step and an Open MPI job are recognised; elsewhere the config says where process 0 is:

    --config.distributed.address=HOST:PORT --config.distributed.processes=2 --config.distributed.process=0
"""

import contextlib
import importlib.util
import os
import pathlib
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from storyjax.core.errors import StoryjaxError
from storyjax.core.runtime import has_tpu_devices
from storyjax.train.settings import DistributedSettings

# How a lost process shows in the errors of the others: in a collective, in a barrier of a checkpoint, at the service.
_LOST = re.compile(
    r"heartbeat|unhealthy|connection (closed|reset|refused)|socket closed|coordination service|barrier|gloo",
    re.IGNORECASE,
)
_AGAIN = "start all processes again: the run goes on from its latest checkpoint"

# Runs beside each process of many and outlives it: where jax's runtime aborts the process because another one is gone,
# nothing in the process itself can say so in one line. It reads until its standard input ends with the process, and
# prints unless it has read that all is well.
_GUARD = """
import signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if not sys.stdin.buffer.read():
    print(sys.argv[1], file=sys.stderr, flush=True)
"""


def in_cluster(environment: Mapping[str, str], tpu: bool) -> bool:
    """Whether this process was started as one of several, or on a machine that may be one of a pod.

    Args:
        environment: the process's environment variables.
        tpu: whether this is a Cloud TPU machine; whether it is one of several, only its metadata server may know.
    """

    def number(name: str) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdigit() else 0

    slurm = number("SLURM_STEP_NUM_TASKS") > 1 and "SLURM_PROCID" in environment
    return tpu or slurm or number("OMPI_COMM_WORLD_SIZE") > 1


def _on_tpu() -> bool:
    """Whether this machine has TPU chips that jax may use."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    usable = not platforms or "tpu" in platforms
    return usable and has_tpu_devices() and importlib.util.find_spec("libtpu") is not None


def start_distributed(settings: DistributedSettings) -> None:
    """Joins the other processes of the run, if there are any; must come before anything touches a device.

    Raises:
        StoryjaxError: the address, the number of processes or this one's number make no sense, or the others are not
            there in time.
    """
    if jax.distributed.is_initialized() or settings.address == "off":
        return
    named = settings.address != "auto"
    if not named and not in_cluster(os.environ, _on_tpu()):
        if (settings.processes, settings.process) != (None, None):
            raise StoryjaxError("config.distributed.address is missing: HOST:PORT of process 0, a port that is free.")
        return
    where: dict[str, Any] = {
        "initialization_timeout": settings.start_seconds,
        "heartbeat_timeout_seconds": settings.heartbeat_seconds,
    }
    if named:
        where |= _check_named(settings)
    try:
        with _guarded(f"process {settings.process}" if named else "this process"):
            jax.distributed.initialize(**where)
    except ValueError as error:
        if not named and "should be defined" in str(error):
            return  # A TPU machine that belongs to no pod.
        raise
    except RuntimeError as error:
        if "must be called before" in str(error):
            raise
        raise StoryjaxError(
            f"the processes did not come together at {settings.address} within {settings.start_seconds} s: "
            f"{str(error).splitlines()[0]} Are all started, with the same address, and is its port free?"
        ) from error


def _check_named(settings: DistributedSettings) -> dict[str, str | int]:
    host, _, port = settings.address.rpartition(":")
    if not host or not port.isdigit():
        raise StoryjaxError(
            f"config.distributed.address is '{settings.address}'; it must be HOST:PORT of process 0, 'auto' or 'off'."
        )
    count, process = settings.processes, settings.process
    if count is None or process is None or not 0 <= process < count:
        raise StoryjaxError(
            f"config.distributed: process {process} of {count} processes at {settings.address}; processes must say how "
            "many there are, and process, from 0 on, which one this is."
        )
    return {"coordinator_address": settings.address, "num_processes": count, "process_id": process}


@contextlib.contextmanager
def _guarded(who: str) -> Iterator[None]:
    """While entered, a sudden end of this process is reported in one line by another one."""
    line = (
        f"storyjax: error: {who} ended all at once: it was killed, or another process was lost or never came; {_AGAIN}"
    )
    command = [sys.executable, "-I", "-S", "-c", _GUARD, line]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        # Every other end, an exception too, has its own words.
        with contextlib.suppress(BrokenPipeError):
            guard.communicate(b"done")


@contextlib.contextmanager
def peers() -> Iterator[None]:
    """While entered, the loss of another process is one line and an end, whether it is raised here or jax's runtime
    aborts this process (after `config.distributed.heartbeat_seconds` at the latest)."""
    if jax.process_count() == 1:
        yield
        return
    with _guarded(f"process {jax.process_index()} of {jax.process_count()}"):
        try:
            yield
        except StoryjaxError:
            raise
        except (RuntimeError, ValueError) as error:
            if not _LOST.search(str(error)):
                raise
            raise StoryjaxError(
                f"process {jax.process_index()} of {jax.process_count()} has lost another one "
                f"({' '.join(str(error).split())[:200]}); {_AGAIN}."
            ) from error


def check_shared(workdir: pathlib.Path) -> None:
    """Every process must see the same workdir: each writes its own part of a checkpoint there.

    Raises:
        StoryjaxError: this process does not see what process 0 puts there.
    """
    if jax.process_count() == 1:
        return
    name = int(multihost_utils.broadcast_one_to_all(np.int32(secrets.randbelow(2**31))))
    token = workdir / f".{name}.shared"
    if jax.process_index() == 0:
        token.touch()
    multihost_utils.sync_global_devices("workdir token is written")
    seen = token.exists()
    multihost_utils.sync_global_devices("workdir token is looked for")
    if jax.process_index() == 0:
        token.unlink()
    if not seen:
        raise StoryjaxError(
            f"process {jax.process_index()} does not see in {workdir} what process 0 writes there; --workdir must be "
            "on a disk that all processes share, or in a bucket (gs://...)."
        )
