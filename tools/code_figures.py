"""Figures of the code, for docs/results/house.md.

python tools/code_figures.py            # of this checkout
python tools/code_figures.py FOLDER     # of another one
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


def figures(root: Path) -> dict[str, str]:
    """Returns the figures of the package in `root`, by what they are of."""
    trees = {path: ast.parse(path.read_text()) for path in sorted((root / "storyjax").rglob("*.py"))}
    lines = {path: len(path.read_text().splitlines()) for path in trees}
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    long = sum(_length(node) > 60 for node in functions)
    public = [node for tree in trees.values() for node in _public(tree.body)]
    synthetic = [
        path
        for path, tree in trees.items()
        if path.relative_to(root / "storyjax").parts[0] not in ("storyworld", "embedded", "cli", "reproduce")
        and any(name.startswith(("storyjax.storyworld", "storyjax.embedded")) for name in _imports(tree))
    ]
    return {
        "files of `storyjax/`": f"{len(trees)}",
        "lines of them": f"{sum(lines.values()):,}",
        "longest file, lines": f"{max(lines.values())}",
        "files over 400 lines": f"{sum(count > 400 for count in lines.values())}",
        "functions": f"{len(functions):,}",
        "functions over 60 lines": f"{long} ({long / len(functions):.1%})",
        "functions whose parameters and result are all typed": f"{sum(map(_is_typed, functions)) / len(functions):.1%}",
        "public classes, functions and methods without a docstring": f"{sum(not ast.get_docstring(n) for n in public)}",
        "files of the methods that import the synthetic world": f"{len(synthetic)}",
        "lines of README.md": f"{len((root / 'README.md').read_text().splitlines())}",
        "longest README of a chapter, lines": f"{max(map(_lines, (root / 'storyjax').glob('*/README.md')))}",
        "`# type: ignore`": f"{sum(len(re.findall('# type: ignore', path.read_text())) for path in trees)}",
    }


def _length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _is_typed(node: Function) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    typed = all(each.annotation is not None or each.arg in ("self", "cls") for each in arguments)
    return typed and (node.returns is not None or node.name == "__init__")


def _public(body: list[ast.stmt]) -> Iterator[ast.ClassDef | Function]:
    for node in body:
        named = isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_") and node.name != "setup"
        if named and not any(getattr(each, "id", "") == "overload" for each in node.decorator_list):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def main() -> None:
    """Prints the figures as rows of a table."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1])
    for name, value in figures(root).items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
