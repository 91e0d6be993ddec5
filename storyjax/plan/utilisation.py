"""How long a device's peak would need for a step: what FLOPs utilisation is measured against."""

from collections.abc import Callable
from typing import Any

from storyjax.plan.compile import counted
from storyjax.plan.tpu import CHIPS

# JAX's name of a device -> (chip, devices of one chip).
_KINDS = {
    "TPU v4": ("v4", 1),
    "TPU v5 lite": ("v5e", 1),
    "TPU v5e": ("v5e", 1),
    "TPU v5": ("v5p", 1),
    "TPU v5p": ("v5p", 1),
    "TPU v6 lite": ("v6e", 1),
    "TPU v6e": ("v6e", 1),
    "TPU7x": ("tpu7x", 2),
}


def peak_flops(kind: str) -> float | None:
    """Returns the FLOPs a second (bfloat16) of one device at its peak, None where it is not known.

    Args:
        kind: `jax.Device.device_kind`.
    """
    if kind not in _KINDS:
        return None
    chip, devices = _KINDS[kind]
    return CHIPS[chip].peak_flops / devices


def least_seconds(kind: str, compiled: Callable[[], Any]) -> float | None:
    """Returns how long a device needs for a program's FLOPs at its peak; None where either is not known.

    The FLOPs are those that `storyjax plan` counts, of matrix products and convolutions, loops as often as they run;
    what is computed a second time to save memory counts twice.

    Args:
        kind: `jax.Device.device_kind`.
        compiled: gives the compiled program; not called where the peak is not known.
    """
    peak = peak_flops(kind)
    if peak is None:
        return None
    flops = counted(compiled())[0]
    return flops / peak if flops else None
