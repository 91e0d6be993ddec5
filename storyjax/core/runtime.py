"""What a process sets up before it loads JAX: a cache of compiled programs, and no search for a TPU that is not there.

JAX reads these settings from the environment when it is first imported, so that nothing here imports it.
"""

import contextlib
import glob
import importlib.util
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

CACHE = "STORYJAX_CACHE"  # a folder, or "off"
_CACHE_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_CACHE_SETTINGS = {
    # Seconds that a program must have taken to compile to be kept: a command compiles dozens of small ones.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    # Bytes; the programs that were not used for longest go first.
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**31),
}
_TPU_DEVICES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
# What libtpu would otherwise look for in vain, with five lines of warnings, on a machine without a TPU.
_QUIET_LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
_GOOGLE_PCI_VENDOR = "0x1ae0"


def prepare_runtime() -> None:
    """Sets what JAX reads from the environment; what a person has set there stays as it is."""
    _skip_absent_tpu()
    _use_compilation_cache()


def _skip_absent_tpu() -> None:
    """libtpu, where it is installed, prints five lines of warnings on a machine without a TPU."""
    if importlib.util.find_spec("libtpu") is None:
        return
    if "JAX_PLATFORMS" in os.environ:
        if "tpu" in os.environ["JAX_PLATFORMS"] and not has_tpu():  # JAX itself says that there is none
            for name, value in _QUIET_LIBTPU.items():
                os.environ.setdefault(name, value)
        return
    if not has_tpu() and not any(glob.glob(path) for path in ("/dev/nvidia[0-9]*", "/dev/kfd")):
        os.environ["JAX_PLATFORMS"] = "cpu"


def has_tpu_devices() -> bool:
    """Returns whether the system has device files of TPU chips."""
    return any(glob.glob(pattern) for pattern in _TPU_DEVICES)


def has_tpu() -> bool:
    """Returns whether a TPU may be attached to this machine."""
    if has_tpu_devices():
        return True
    for vendor in glob.glob("/sys/bus/pci/devices/*/vendor"):
        with contextlib.suppress(OSError):
            if Path(vendor).read_text().strip() == _GOOGLE_PCI_VENDOR:
                return True
    return False


def cache_folder() -> Path | None:
    """Returns where compiled programs are kept: $STORYJAX_CACHE, or the user's cache folder; None where it is off."""
    chosen = os.environ.get(CACHE, "")
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen).expanduser() / "programs"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "storyjax" / "programs"


def _use_compilation_cache() -> None:
    folder = cache_folder()
    if folder is None or _CACHE_FOLDER in os.environ:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**16))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        _note(f"compiled programs are not kept: {folder} cannot be written ({reason}); {CACHE}=off hides this note")
        return
    os.environ[_CACHE_FOLDER] = str(folder)
    for name, value in _CACHE_SETTINGS.items():
        os.environ.setdefault(name, value)
    _say_once(folder)


def _say_once(folder: Path) -> None:
    """A cache that fills up later is worth one line, not one of JAX's warnings for each program."""
    show = warnings.showwarning
    said: list[bool] = []

    def once(message: Warning | str, *arguments: Any, **further: Any) -> None:
        if "persistent compilation cache entry" not in str(message):
            show(message, *arguments, **further)
        elif not said:
            said.append(True)
            _note(f"compiled programs are no longer kept: {folder} cannot be read or written")

    warnings.showwarning = once


def _note(line: str) -> None:
    print(f"storyjax: note: {line}", file=sys.stderr)
