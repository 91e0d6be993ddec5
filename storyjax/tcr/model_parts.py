"""The parameters of a large model by parts, each in memory only while it is used.

A BLIP-2 with Flan-T5-XL has 7.9 GB of parameters in bfloat16; its tower, its Q-Former, and the encoder and decoder of
its language model work one after the other, so that the largest of them is all that memory has to hold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from storyjax.core.errors import StoryjaxError
from storyjax.core.memory import available_memory, give_back_memory
from storyjax.core.params_io import flatten, unflatten
from storyjax.train.experiment import Params
from storyjax.train.params import validate_params
from storyjax.train.precision import Policy
from storyjax.train.restore import in_memory
from storyjax.weights.tensor_files import Tensor

GIGABYTE = 1e9
SMALL = 100_000_000  # bytes of a part before which memory is not tidied up, which takes a moment
# Beside its parameters a part needs what it computes with, and the program itself.
WORKING_MEMORY = 1_500_000_000

# XLA turns bfloat16 into float32 on processors. By default it does so with all weights of a program at once, or before
# a loop, which takes twice their memory again: here each is turned where it is used.
_FRUGAL_CPU = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_disable_hlo_passes": "while-loop-invariant-code-motion",
}


def frugal_options() -> dict[str, str] | None:
    """Returns the compiler options of `jax.jit` for programs of large parts on the default device, None for none."""
    return _FRUGAL_CPU if jax.default_backend() == "cpu" else None


@dataclass(frozen=True)
class ModelParts:
    """Parameters that are read part by part.

    Attributes:
        stored: all parameters by path, each read where it is needed.
        shapes: the whole tree, of `jax.eval_shape`.
        parts: of each name, the prefixes of the paths that the part needs.
        policy: the types in memory.
        source: of the parameters, for messages.
        keep: whether parts stay in memory once they were read; then the whole model has to fit.
    """

    stored: Mapping[str, Tensor]
    shapes: Params
    parts: Mapping[str, Sequence[str]]
    policy: Policy
    source: str
    keep: bool = False
    _kept: dict[str, Params] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        abstract = flatten(self.shapes)
        validate_params(self.stored, abstract, set(abstract), self.source)

    def read(self, name: str) -> Params:
        """Returns a part's parameters, on the default device; they go when the caller lets go of them.

        Raises:
            StoryjaxError: they cannot be read.
        """
        if name in self._kept:
            return self._kept[name]
        if self.nbytes(name) > SMALL:
            give_back_memory()
        shapes = self._shapes(name)
        given = {path: self.stored[path] for path in shapes}
        params = in_memory(given, unflatten(shapes), (), self.policy, self.source)
        if self.keep:
            self._kept[name] = params
        return params

    def nbytes(self, name: str) -> int:
        """Returns the bytes of a part in memory."""
        return sum(
            math.prod(leaf.shape) * jax.numpy.dtype(self.policy.parameter_dtype(leaf.dtype, False, path)).itemsize
            for path, leaf in self._shapes(name).items()
        )

    def check_memory(self, advice: str) -> None:
        """Refuses a model that does not fit the memory that is free; nothing but sizes is read.

        Args:
            advice: what to do instead, for the message.

        Raises:
            StoryjaxError: it does not fit.
        """
        sizes = {name: self.nbytes(name) for name in self.parts}
        largest = max(sizes, key=lambda name: sizes[name])
        needed = (sum(sizes.values()) if self.keep else sizes[largest]) + WORKING_MEMORY
        free = available_memory()
        if free is None or needed <= free:
            return
        of_what = "" if self.keep else f", most of it for its {largest}"
        raise StoryjaxError(
            f"{self.source} needs {needed / GIGABYTE:.1f} GB of memory{of_what}, and {free / GIGABYTE:.1f} GB are free:"
            f" {advice}"
        )

    def _shapes(self, name: str) -> dict[str, Any]:
        prefixes = tuple(self.parts[name])
        return {path: leaf for path, leaf in flatten(self.shapes).items() if path.startswith(prefixes)}
