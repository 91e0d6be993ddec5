"""Published checkpoints as parameters of ours: which tensor becomes which parameter, converted when it is read.

What is missing, left over, misshapen or no floating-point number is found from the files' headers, before any is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.weights.model_family import Family, Layout
from storyjax.weights.rules import Planned, RuleTable, plan, refuse_difference, repeated
from storyjax.weights.source_files import Checkpoint
from storyjax.weights.tensor_files import Tensor


def matches(layout: Layout, names: Iterable[str]) -> bool:
    """Returns whether a checkpoint with these names is of a layout."""
    return any(name.startswith(layout.signs) for name in names)


def match_layout(family: Family, checkpoints: Sequence[Checkpoint], where: str) -> tuple[Layout, dict[str, Tensor]]:
    """Returns the layout that the names in the checkpoints are of, and all tensors under their names in it.

    Args:
        family: of the model.
        checkpoints: the parts of one model.
        where: names their place in messages.

    Raises:
        StoryjaxError: the names are of no layout of the family, or two checkpoints hold the same.
    """
    names = [name for checkpoint in checkpoints for name in checkpoint.tensors]
    for layout in family.layouts:
        if matches(layout, names):
            tensors: dict[str, Tensor] = {}
            for checkpoint in checkpoints:
                for name, tensor in checkpoint.tensors.items():
                    name = layout.rename(name)
                    if name in tensors:
                        raise StoryjaxError(f"{where}: two places hold '{name}'; give each part of the model once")
                    tensors[name] = tensor
            return layout, tensors
    known = " or ".join(f"{layout.name}'s ('{layout.signs[0]}...')" for layout in family.layouts)
    example = f"'{names[0]}' and so on" if names else "nothing"
    raise StoryjaxError(f"the weights in {where} are of another model: they have {example}, not the names of {known}")


@dataclass(frozen=True, eq=False)
class Conversion:
    """How the tensors of a checkpoint become the parameters of a model.

    Attributes:
        table: the rules of the layout.
        tensors: of the checkpoint, by the layout's names.
        steps: which of them become which parameters.
        shapes: of all parameters, by path.
        where: names the checkpoint in messages.
    """

    table: RuleTable
    tensors: Mapping[str, Tensor]
    steps: Sequence[Planned]
    shapes: Mapping[str, tuple[int, ...]]
    where: str

    def repeated(self) -> list[tuple[str, str, str]]:
        """Returns pairs of names under which the same tensor must be, and the name for messages."""
        return repeated(self.table, self.tensors)

    def refuse_difference(self, first: str, other: str, name: str) -> None:
        """Raises StoryjaxError if one of `repeated` is not the same tensor; reads both."""
        one, two = self.tensors[first], self.tensors[other]
        if one.shape != two.shape or not np.array_equal(one.read(), two.read()):
            refuse_difference(self.where, other, name)

    def arrays(self, step: Planned) -> dict[str, np.ndarray]:
        """Returns the parameters that a tensor of the checkpoint becomes, by path; reads it.

        Raises:
            StoryjaxError: it holds what is no finite number, as of a training that diverged or a damaged file.
        """
        array = self.tensors[step.source].read()
        if count := array.size - int(np.isfinite(array).sum()):
            raise StoryjaxError(
                f"the weights in {self.where} are damaged: {count:,} of the {array.size:,} numbers of '{step.source}'"
                " are not finite; fetch them again, or take an earlier checkpoint"
            )
        return step.ours(array)

    def dtypes(self) -> dict[str, np.dtype]:
        """Returns the dtype of each parameter; what the layout leaves out is of the type of the first."""
        found = {path: np.dtype(self.tensors[step.source].dtype) for step in self.steps for path in step.paths}
        common = next(iter(found.values()))
        return {path: found.get(path, common) for path in self.shapes}

    def parameters(self) -> dict[str, Tensor]:
        """Returns all parameters by path, each read and converted where it is needed."""
        dtypes = self.dtypes()
        steps = {path: step for step in self.steps for path in step.paths}
        twins: dict[str, list[tuple[str, str, str]]] = {}
        for pair in self.repeated():
            twins.setdefault(pair[0], []).append(pair)
        found: dict[str, Tensor] = {}
        for path, shape in self.shapes.items():
            if path in steps:
                same = tuple(twins.get(steps[path].source, ()))
                found[path] = ConvertedTensor(shape, dtypes[path], path, self, steps[path], same)
            else:
                found[path] = ZeroTensor(shape, dtypes[path])
        return found


def plan_conversion(
    family: Family, config: Any, layout: Layout, tensors: Mapping[str, Tensor], where: str
) -> Conversion:
    """Returns how the tensors of a checkpoint become the parameters of a model.

    Args:
        family: of the model.
        config: its architecture, of the family's class.
        layout, tensors: as `match_layout` returns them.
        where: names the checkpoint in messages.

    Raises:
        StoryjaxError: tensors are missing, left over, misshapen or no floating-point numbers; the message lists them.
    """
    shapes = {path: tuple(leaf.shape) for path, leaf in family.shapes(config).items()}
    table = layout.table(config)
    held = {name: tensors[other] for name, other in table.omitted.items() if other in tensors}
    tensors = {**held, **tensors}
    return Conversion(table, tensors, plan(table, tensors, shapes, where), shapes, where)


@dataclass(frozen=True, eq=False)
class ConvertedTensor:
    """A parameter that a published tensor, or a part of one, becomes when it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype
    path: str
    conversion: Conversion = field(repr=False)
    step: Planned = field(repr=False)
    twins: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)

    def read(self) -> np.ndarray:
        """Returns the array. Raises StoryjaxError if the checkpoint repeats it differently, or it is not finite."""
        for pair in self.twins:
            self.conversion.refuse_difference(*pair)
        return self.conversion.arrays(self.step)[self.path]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # it is always one
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)


@dataclass(frozen=True)
class ZeroTensor:
    """A parameter that a layout leaves out because it is zero there."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray:
        """Returns the zeros."""
        return np.zeros(self.shape, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.zeros(self.shape, self.dtype if dtype is None else dtype)
