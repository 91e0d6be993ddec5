"""What a compiled program does, from its text: floating-point operations and bytes, loops counted as often as they run.

XLA's own cost analysis counts the body of a loop once, whatever its trip count: of a scan over a thousand chunks it
reports one. Here the optimised HLO is read, in which every loop that `lax.scan` and `lax.map` make counts from one
constant up to another, and the cost of a body is multiplied by its trips, also of loops in loops. FLOPs are those of
matrix products and convolutions (two for a multiply-add), by XLA's formula; the elementwise rest, some per cent, is not
among them. Bytes are what each operation outside of fusions reads and writes in main memory: buffers that the compiler
put into on-chip memory (the `S(n)` of a layout) are free, and a slice costs its own size, not that of what it is cut
from. The program is that of one chip after partitioning, so what all chips repeat counts on each of them.
"""

import functools
import math
import re
from dataclasses import dataclass

import numpy as np

# Bits of an element.
_BITS = {
    "pred": 8,
    "s4": 4,
    "u4": 4,
    "s8": 8,
    "u8": 8,
    "s16": 16,
    "u16": 16,
    "bf16": 16,
    "f16": 16,
    "s32": 32,
    "u32": 32,
}
_BITS |= {"f32": 32, "s64": 64, "u64": 64, "f64": 64, "c64": 64, "f8e4m3fn": 8, "f8e5m2": 8, "token": 0}
# These move nothing: names for what is there, or parts of what their callers count.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"}
_FREE |= {"custom-call", "partition-id", "replica-id", "iota", "copy-done", "async-start", "async-update", "async-done"}
_FREE |= {"all-gather-done", "all-reduce-done", "collective-permute-done", "optimization-barrier"}

_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^{}]*\})?")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|[a-z]\w*\[[\d,]*\](?:\{[^{}]*\})?) ([a-z][\w\-]*)\((.*)$"
)
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_TUPLE_COMMENT = re.compile(r"/\*.*?\*/")


@dataclass(frozen=True)
class Cost:
    """Of one chip and one run of the program.

    Attributes:
        flops: of matrix products and convolutions.
        bytes: read from and written to main memory.
        unknown_loops: loops whose trips could not be read; their bodies are counted once.
    """

    flops: float | int = 0.0
    bytes: float | int = 0.0
    unknown_loops: int = 0

    def plus(self, other: "Cost", times: float | int = 1) -> "Cost":
        """Returns the sum with `times` another cost."""
        return Cost(
            self.flops + times * other.flops,
            self.bytes + times * other.bytes,
            self.unknown_loops + other.unknown_loops,
        )


@dataclass(frozen=True)
class Shape:
    """An array: its dimensions, its bytes, and the bytes of it that lie in main memory."""

    dims: tuple[int, ...]
    size: float | int
    in_main_memory: float | int


@dataclass(frozen=True)
class Instruction:
    """A line of HLO; `shapes` has one entry but for tuples, `rest` is what follows the operands."""

    name: str
    shapes: tuple[Shape, ...]
    opcode: str
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    def attribute(self, name: str) -> str:
        """Returns the text of an attribute of the instruction, or nothing where it has none."""
        found = re.search(rf"\b{name}=%?([^\s,]+)", self.rest)
        return found[1] if found else ""


def program_cost(text: str) -> Cost:
    """The cost of a program from `compiled.as_text()`."""
    return Program(text).cost()


class Program:
    """A program's computations, by name, and the name of the one that it begins with.

    Args:
        text: of `compiled.as_text()`.
    """

    def __init__(self, text: str) -> None:
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry = ""
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            if head := _COMPUTATION.match(line):
                current = self.computations[head[2]] = {}
                self.entry = head[2] if head[1] else self.entry
            elif found := _INSTRUCTION.match(_TUPLE_COMMENT.sub("", line)):
                operands, rest = _split(found[4])
                current[found[1]] = Instruction(
                    found[1], _shapes(found[2]), found[3], operands, rest, line.lstrip().startswith("ROOT ")
                )
        self.of = functools.cache(self._of)
        self.flops_within = functools.cache(self._flops_within)

    def cost(self) -> Cost:
        """Returns what the whole program does."""
        return self.of(self.entry)

    def _of(self, name: str) -> Cost:
        """Of a computation whose instructions run one by one: the entry, or the body of a loop."""
        total = Cost()
        computation = self.computations.get(name, {})
        for instruction in computation.values():
            if instruction.opcode == "while":
                trips = self.trips(computation, instruction)
                total = total.plus(self.of(instruction.attribute("body")), 1.0 if trips is None else float(trips))
                total = total.plus(Cost(unknown_loops=int(trips is None)))
            elif instruction.opcode in ("call", "async-start"):
                called = instruction.attribute("to_apply") or instruction.attribute("calls")
                total = total.plus(self.of(called))
            elif instruction.opcode == "conditional":
                branches = re.findall(
                    r"%([\w.\-]+)", instruction.rest.partition("branch_computations")[2].partition("}")[0]
                )
                costs = [self.of(branch) for branch in branches]
                total = total.plus(max(costs, key=lambda cost: cost.flops, default=Cost()))
            else:
                total = total.plus(Cost(self._flops(computation, instruction), self._bytes(computation, instruction)))
        return total

    def _flops_within(self, name: str) -> float | int:
        """Of a fused computation, which moves nothing itself."""
        computation = self.computations.get(name, {})
        return sum((self._flops(computation, instruction) for instruction in computation.values()), 0.0)

    def _flops(self, computation: dict[str, Instruction], instruction: Instruction) -> float | int:
        if instruction.opcode == "fusion":
            return self.flops_within(instruction.attribute("calls"))
        if instruction.opcode not in ("dot", "convolution"):
            return 0.0
        left, right = (self._operand(computation, instruction, index) for index in range(2))
        if left is None or right is None:
            return 0.0
        if instruction.opcode == "dot":
            contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)
            axes = [int(axis) for axis in contracted[1].split(",") if axis] if contracted else []
            return 2.0 * math.prod(instruction.shapes[0].dims) * math.prod(left.dims[axis] for axis in axes)
        return _convolution_flops(left.dims, right.dims, instruction.shapes[0].dims, instruction.rest)

    def _operand(self, computation: dict[str, Instruction], instruction: Instruction, index: int) -> Shape | None:
        source = computation.get(instruction.operands[index])
        return source.shapes[0] if source is not None else None

    def _bytes(self, computation: dict[str, Instruction], instruction: Instruction) -> float | int:
        opcode = instruction.opcode
        if opcode in _FREE or opcode.endswith("-done"):
            return 0.0
        written = sum((shape.in_main_memory for shape in instruction.shapes), 0.0)
        if opcode.endswith("-start"):  # (destination, source, context): asynchronous copies and collectives
            return sum((shape.in_main_memory for shape in instruction.shapes[:2]), 0.0)
        if opcode in ("dynamic-slice", "slice", "gather"):
            return 2 * written
        if opcode in ("dynamic-update-slice", "scatter"):
            update = self._operand(computation, instruction, 1 if opcode == "dynamic-update-slice" else 2)
            return 2 * update.in_main_memory if update else written
        reads = [computation[name].shapes for name in instruction.operands if name in computation]
        sizes = [sum((shape.in_main_memory for shape in shapes), 0.0) for shapes in reads]
        if opcode == "fusion":
            return self._fusion_bytes(instruction, sizes, written)
        return written + sum(sizes)

    def _fusion_bytes(self, fusion: Instruction, sizes: list[float | int], written: float | int) -> float | int:
        """A fusion reads of a parameter what it slices, and writes of an array that it updates in place the update."""
        inner = self.computations.get(fusion.attribute("calls"), {})
        parameters = {item.name: int(item.operands[0]) for item in inner.values() if item.opcode == "parameter"}
        for item in inner.values():
            if item.opcode == "dynamic-update-slice":
                target = self._through(inner, item.operands[0])
                update = self._operand(inner, item, 1)
                if target in parameters and update is not None:
                    whole = item.shapes[0].size
                    sizes[parameters[target]] = 0.0
                    written = max(written - whole, 0.0) + update.size
        for name, index in parameters.items():
            if index < len(sizes):
                sizes[index] = min(sizes[index], self._read_of(inner, name))
        return written + sum(sizes)

    def _read_of(self, inner: dict[str, Instruction], name: str) -> float:
        """The bytes that a fusion needs of one of its arrays: slices cost their own size, also in fusions within it."""
        total = 0.0
        for user in inner.values():
            if name not in user.operands or user.opcode == "parameter":
                continue
            if user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == name:
                total += user.shapes[0].size
            elif user.opcode == "bitcast":
                total += self._read_of(inner, user.name)
            elif user.opcode == "fusion":
                within = self.computations.get(user.attribute("calls"), {})
                places = {item.operands[0]: item.name for item in within.values() if item.opcode == "parameter"}
                for place, operand in enumerate(user.operands):
                    if operand == name and str(place) in places:
                        total += self._read_of(within, places[str(place)])
            else:
                return math.inf
        return total

    def _through(self, computation: dict[str, Instruction], name: str) -> str:
        """The instruction that `name` is another view of."""
        while name in computation and computation[name].opcode in ("bitcast", "copy", "reshape"):
            name = computation[name].operands[0]
        return name

    def trips(self, computation: dict[str, Instruction], loop: Instruction) -> int | None:
        """Returns how often a loop runs that counts up from one constant to another; None of any other loop."""
        known = re.search(r"known_trip_count\W+n\W+(\d+)", loop.rest)
        if known:
            return int(known[1])
        condition = self.computations.get(loop.attribute("condition"), {})
        start_of = computation.get(loop.operands[0])
        for test in condition.values():
            if not test.is_root:
                continue
            compared = self._compare(condition, test)
            if compared is None:
                return None
            bounds = []
            for name in compared:
                source = condition[self._through(condition, name)]
                if source.opcode == "get-tuple-element" and start_of is not None and start_of.opcode == "tuple":
                    index = int(source.attribute("index"))
                    origin = self._through(computation, start_of.operands[index])
                    bounds.append(_constant(computation.get(origin)))
                else:
                    bounds.append(_constant(source))
            start, end = bounds
            return None if end is None or start is None else max(end - start, 0)
        return None

    def _compare(self, condition: dict[str, Instruction], test: Instruction) -> tuple[str, str] | None:
        """(what counts, what it is compared with), looking into a fusion."""
        if test.opcode == "compare" and test.attribute("direction") == "LT":
            return test.operands[0], test.operands[1]
        if test.opcode != "fusion":
            return None
        inner = self.computations.get(test.attribute("calls"), {})
        found = [item for item in inner.values() if item.opcode == "compare" and item.attribute("direction") == "LT"]
        if len(found) != 1:
            return None
        sides = [inner[self._through(inner, name)] for name in found[0].operands]
        if any(side.opcode != "parameter" for side in sides):
            return None
        left, right = (test.operands[int(side.operands[0])] for side in sides)
        return left, right


def _constant(instruction: Instruction | None) -> int | None:
    if instruction is None or instruction.opcode != "constant":
        return None
    try:
        return int(instruction.operands[0])
    except (ValueError, IndexError):
        return None


def _shapes(text: str) -> tuple[Shape, ...]:
    found = []
    for kind, dims, layout in _SHAPE.findall(text):
        sizes = tuple(int(size) for size in dims.split(",") if size)
        size = math.prod(sizes) * _BITS.get(kind, 32) / 8
        found.append(Shape(sizes, size, 0.0 if re.search(r"S\(\d+\)", layout) else size))
    return tuple(found) or (Shape((), 0.0, 0.0),)


def _split(text: str) -> tuple[tuple[str, ...], str]:
    """(names of the operands, the rest of the line) of what follows the opening parenthesis."""
    depth, end = 0, 0
    while end < len(text) and depth >= 0:
        depth += (text[end] in "({[") - (text[end] in ")}]")
        end += 1
    end -= 1
    names = [part.strip().split(" ")[-1].removeprefix("%") for part in re.split(r",(?![^{\[(]*[}\])])", text[:end])]
    return tuple(name for name in names if name), text[end + 1 :]


def _convolution_flops(
    left: tuple[int, ...], right: tuple[int, ...], out: tuple[int, ...], attributes: str
) -> float | int:
    """Two for every multiply-add of an input and a kernel element that are both there (not padding, not dilation)."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes)
    if labels is None:
        return 0.0
    inputs, kernel, outputs = labels[1], labels[2], labels[3]
    window = re.search(r"window=\{([^}]*)\}", attributes)
    options = dict(re.findall(r"(\w+)=(\S+)", window[1])) if window else {}
    pairs = 1.0
    for axis in sorted(label for label in inputs if label.isdigit()):
        place = int(axis)

        def option(name: str, default: int, place: int = place) -> int:
            values = options.get(name)
            return int(values.split("x")[place]) if values else default

        low = int(options["pad"].split("x")[place].split("_")[0]) if "pad" in options else 0
        pairs *= _valid_positions(
            left[inputs.index(axis)],
            right[kernel.index(axis)],
            out[outputs.index(axis)],
            option("stride", 1),
            low,
            option("lhs_dilate", 1),
            option("rhs_dilate", 1),
        )
    groups = re.search(r"batch_group_count=(\d+)", attributes)
    batch = left[inputs.index("b")] / (int(groups[1]) if groups else 1)
    # The kernel's input features are those of one feature group already.
    return 2.0 * batch * right[kernel.index("i")] * right[kernel.index("o")] * pairs


@functools.cache
def _valid_positions(size: int, kernel: int, out: int, stride: int, low: int, dilate: int, kernel_dilate: int) -> int:
    """Pairs of an output place and a kernel place that meet an element of the input, along one dimension."""
    if (kernel, stride, low, dilate) == (1, 1, 0, 1):
        return min(size, out)
    count = 0
    for offset in range(kernel):
        at = np.arange(out) * stride + offset * kernel_dilate - low
        count += int(((at >= 0) & (at < (size - 1) * dilate + 1) & (at % dilate == 0)).sum())
    return count
