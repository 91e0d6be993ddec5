"""Small mistakes that can be put into Python code, one at a time: the operators of `tools/mutation.py`.

A mutant replaces the text of one expression or statement; nothing else of the file changes, so that line numbers stay.
Messages, annotations, decorators and docstrings are left alone: a mistake in them is none that a test should see.
"""

import ast
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_COMPARE = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_OPPOSITES = [("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("floor", "ceil"), ("any", "all")]
_OPPOSITES += [("zeros", "ones"), ("zeros_like", "ones_like"), ("bisect_left", "bisect_right"), ("mean", "sum")]
_OPPOSITE = {a: b for pair in _OPPOSITES for a, b in (pair, pair[::-1])}
_DROPPED = ("transpose", "swapaxes", "sort", "strip", "stop_gradient", "sorted", "abs", "sqrt", "clip", "unit_norm")
# Calls whose arguments are words for people.
_MESSAGES = ("StoryjaxError", "tell", "print", "add_argument", "warning", "info", "add_parser", "fail")


@dataclass(frozen=True)
class Mutant:
    """A mistake: `old` at (line, column), both from 1 and 0, becomes `new`; `operator` names its kind."""

    path: str
    line: int
    column: int
    operator: str
    old: str
    new: str
    function: str = ""

    @property
    def name(self) -> str:
        """A name that is the same as long as the file is."""
        return f"{self.path}:{self.line}:{self.column}:{self.operator}:{self.new}"

    def applied(self, text: str) -> str:
        """Returns a file's text with the mistake in it."""
        start = _offset(text, self.line, self.column)
        assert text[start : start + len(self.old)] == self.old, self.name
        return text[:start] + self.new + text[start + len(self.old) :]


def mutants_of(path: str, text: str) -> list[Mutant]:
    """Returns all mistakes that can be made in a file, in the order of its lines."""
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    starts = list(itertools.accumulate((len(line) for line in lines), initial=0))
    whole = text.encode()
    found: list[Mutant] = []
    for node, function in _code(ast.parse(text), ""):
        mistakes = list(_mistakes(node))
        if not mistakes:
            continue
        first, last = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        old = whole[first:last].decode()
        column = len(lines[node.lineno - 1][: node.col_offset].decode())
        for operator, changed in mistakes:
            new = changed if isinstance(changed, str) else f"({ast.unparse(changed)})"
            if new.strip("()") != old.strip("()"):
                found.append(Mutant(path, node.lineno, column, operator, old, new, function))
    return found


def sample(groups: Sequence[Sequence[Mutant]], count: int, seed: int) -> list[Mutant]:
    """Returns up to `count` mutants drawn from groups (modules) in proportion to the root of their sizes, so that small
    ones are seen too; no function gives two before all that were drawn have given one."""
    rng = random.Random(seed)
    pools = [sorted(group, key=lambda one: one.name) for group in groups if group]
    for pool in pools:
        rng.shuffle(pool)
        seen: dict[str, int] = {}
        ranked = []
        for one in pool:
            key = f"{one.path}:{one.function}"
            seen[key] = seen.get(key, 0) + 1
            ranked.append((seen[key], one))
        pool[:] = [one for _, one in sorted(ranked, key=lambda pair: pair[0])]
    weights = [len(pool) ** 0.5 for pool in pools]
    drawn: list[Mutant] = []
    while len(drawn) < count and any(pools):
        (index,) = rng.choices(range(len(pools)), [w if pool else 0.0 for w, pool in zip(weights, pools, strict=True)])
        drawn.append(pools[index].pop(0))
    return drawn


def _offset(text: str, line: int, column: int) -> int:
    lines = text.splitlines(keepends=True)
    return sum(len(one) for one in lines[: line - 1]) + column


def _code(node: ast.AST, function: str) -> Iterator[tuple[Any, str]]:
    """Yields the nodes in which a mistake is one, and the function that each is in."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".strip(".")
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _for_people(child):
                yield child, function
                yield from _code(child, function)


def _for_people(node: ast.AST) -> bool:
    """Whether a node is words for people, or says what names mean."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    if isinstance(node, ast.Expr):  # a docstring, or what is printed
        return isinstance(node.value, ast.Constant) or _for_people(node.value)
    return isinstance(node, ast.Call) and _called(node).rpartition(".")[2] in _MESSAGES


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func) if isinstance(call.func, ast.Name | ast.Attribute) else ""


def _mistakes(node: ast.AST) -> Iterator[tuple[str, ast.AST | str]]:
    for kind, make in _OPERATORS:
        if isinstance(node, kind):
            yield from make(node)


def _comparisons(node: ast.Compare) -> Iterator[tuple[str, ast.AST]]:
    if len(node.ops) == 1:
        yield "compare", ast.Compare(node.left, [_COMPARE[type(node.ops[0])]()], node.comparators)


def _arithmetic(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    words = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (node.left, node.right))
    if type(node.op) in _ARITHMETIC and not words:
        yield "arithmetic", ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)


def _logic(node: ast.BoolOp) -> Iterator[tuple[str, ast.AST]]:
    yield "logic", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)


def _signs(node: ast.UnaryOp) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield "sign", node.operand


def _numbers(node: ast.Constant) -> Iterator[tuple[str, str]]:
    value = node.value
    if isinstance(value, bool):
        yield "flag", repr(not value)
    elif isinstance(value, int):
        yield "number", repr(value + 1)
    elif isinstance(value, float):
        yield "number", repr(2 * value if value else 1.0)


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = _called(node).rpartition(".")[2]
    if name in _OPPOSITE:
        func: ast.expr = ast.Name(_OPPOSITE[name])
        if isinstance(node.func, ast.Attribute):
            func = ast.Attribute(node.func.value, _OPPOSITE[name])
        yield "opposite", ast.Call(func, node.args, node.keywords)
    if name in _DROPPED:
        method = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) not in ("np", "jnp", "jax.lax")
        if method or node.args:
            yield "dropped call", node.func.value if method else node.args[0]  # type: ignore[union-attr]
    if name == "where" and len(node.args) == 3:
        yield "mask", ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)
    elif len(node.args) >= 2 and all(isinstance(one, ast.Name) for one in node.args[:2]):
        yield "order", ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg == "axis":
            other = {"0": "1", "1": "0"}.get(ast.unparse(keyword.value), "0")
            changed = [*node.keywords]
            changed[index] = ast.keyword("axis", ast.parse(other, mode="eval").body)
            yield "axis", ast.Call(node.func, node.args, changed)


def _attributes(node: ast.Attribute) -> Iterator[tuple[str, ast.AST]]:
    if node.attr in ("T", "mT") and isinstance(node.ctx, ast.Load):
        yield "dropped call", node.value


def _subscripts(node: ast.Subscript) -> Iterator[tuple[str, ast.AST]]:
    if ast.unparse(node.slice) == "::-1" and isinstance(node.ctx, ast.Load):
        yield "sort order", node.value


def _choices(node: ast.IfExp) -> Iterator[tuple[str, ast.AST]]:
    yield "choice", ast.IfExp(node.test, node.orelse, node.body)


def _filters(node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Iterator[tuple[str, ast.AST]]:
    (first, *rest) = node.generators
    if first.ifs:
        plain = ast.comprehension(first.target, first.iter, [], first.is_async)
        yield "filter", type(node)(node.elt, [plain, *rest])


def _statements(node: ast.Expr) -> Iterator[tuple[str, str]]:
    if isinstance(node.value, ast.Call):
        yield "dropped statement", "pass"


def _jumps(node: ast.Break | ast.Continue) -> Iterator[tuple[str, str]]:
    yield "jump", "continue" if isinstance(node, ast.Break) else "break"


_OPERATORS: list[tuple[type | tuple[type, ...], Callable[..., Iterator[tuple[str, ast.AST | str]]]]] = [
    (ast.Compare, _comparisons),
    (ast.BinOp, _arithmetic),
    (ast.BoolOp, _logic),
    (ast.UnaryOp, _signs),
    (ast.Constant, _numbers),
    (ast.Call, _calls),
    (ast.Attribute, _attributes),
    (ast.Subscript, _subscripts),
    (ast.IfExp, _choices),
    ((ast.ListComp, ast.SetComp, ast.GeneratorExp), _filters),
    (ast.Expr, _statements),
    ((ast.Break, ast.Continue), _jumps),
]
