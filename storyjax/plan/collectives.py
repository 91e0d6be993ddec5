"""What the devices of a compiled program send one another, from its text: how much, of what, and how often.

A partitioner that finds no way to cut an operation gathers its inputs on every device and says nothing; this is how to
see it. Bytes are those of the larger side of a collective on one device, times the turns of the loops around it.
"""

import math
import re
from dataclasses import dataclass

from storyjax.plan.hlo_cost import Instruction, Program

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")


@dataclass(frozen=True)
class Collective:
    """One collective of a program, on one device.

    Attributes:
        kind: one of KINDS.
        shapes: the dimensions of the arrays of its larger side.
        bytes: of these, once.
        times: how often a run of the program does it; 1 for a loop whose turns are not known.
        counted: whether all loops around it have known turns.
        source: the operation that it was made of, as JAX names it ("jit(step)/transpose(...)/gather"), or nothing.
    """

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int
    times: int
    counted: bool
    source: str

    @property
    def elements(self) -> int:
        """Returns the elements of its largest array."""
        return max((math.prod(shape) for shape in self.shapes), default=0)

    @property
    def total(self) -> int:
        """Returns the bytes of all its turns."""
        return self.bytes * self.times


def collectives(text: str) -> list[Collective]:
    """Returns the collectives of a program from `compiled.as_text()`, those that send most first."""
    program = Program(text)
    found: list[Collective] = []
    _collect(program, program.entry, 1, True, found)
    return sorted(found, key=lambda one: -one.total)


def bytes_by_kind(found: list[Collective]) -> dict[str, int]:
    """Returns {kind: bytes of all its collectives, loops counted}, without those that there are none of."""
    sums = {kind: sum(one.total for one in found if one.kind == kind) for kind in KINDS}
    return {kind: size for kind, size in sums.items() if size}


def _collect(program: Program, name: str, times: int, counted: bool, found: list[Collective]) -> None:
    computation = program.computations.get(name, {})
    for instruction in computation.values():
        kind = instruction.opcode.removesuffix("-start")
        if kind in KINDS:
            found.append(_collective(computation, instruction, kind, times, counted))
        elif instruction.opcode == "while":
            trips = program.trips(computation, instruction)
            _collect(program, instruction.attribute("body"), times * (trips or 1), counted and trips is not None, found)
            _collect(program, instruction.attribute("condition"), times * (trips or 1), counted, found)
        else:
            for called in _called(instruction):
                _collect(program, called, times, counted, found)


def _called(instruction: Instruction) -> list[str]:
    """The computations that an instruction runs once, whichever branch it takes."""
    if instruction.opcode == "conditional":
        named = re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", instruction.rest)
        listed = instruction.rest.partition("branch_computations=")[2].partition("}")[0]
        return named + re.findall(r"%([\w.\-]+)", listed)
    if instruction.opcode in ("call", "fusion", "async-start"):
        return [called for called in (instruction.attribute("to_apply"), instruction.attribute("calls")) if called]
    return []


def _collective(
    computation: dict[str, Instruction], instruction: Instruction, kind: str, times: int, counted: bool
) -> Collective:
    results = instruction.shapes
    if instruction.opcode.endswith("-start") and kind in ("all-gather", "collective-permute"):
        results = results[1:2]  # (operand, result, context)
    operands = tuple(
        shape for name in instruction.operands if name in computation for shape in computation[name].shapes
    )
    larger = max(results, operands, key=lambda shapes: sum(shape.size for shape in shapes))
    source = re.search(r'op_name="([^"]*)"', instruction.rest)
    return Collective(
        kind,
        tuple(shape.dims for shape in larger),
        int(sum(shape.size for shape in larger)),
        times,
        counted,
        source[1] if source else "",
    )
