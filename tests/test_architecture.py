"""The arrows of the house: entry points → chapters → shared folders, never back, and no chapter to another."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "storyjax"
SHARED = ("train", "nn", "data", "storyworld", "search", "metrics", "weights")
ROOM_FREE = ("errors", "configuration", "main", "cli", "commands", "ledger")
CHAPTERS = ("mqt", "tcr", "clip_pad", "pi_map", "subtitles", "towers")
# The thesis builds its subtitles on CLIP-PAD's retrieval (§6.1.4); no other chapter uses another.
EXCEPTIONS = {("subtitles", "clip_pad.predict")}
# StoryWorld is drawn in processes of its own, which must start in half a second.
WITHOUT = {
    "storyworld": ("jax", "flax", "tensorflow_datasets", "transformers"),
    "cli": ("jax", "flax", "tensorflow_datasets"),
    "commands": ("jax", "flax", "tensorflow_datasets"),
}

FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def imports(path: Path, top_level: bool = False) -> set[str]:
    """The modules that a file imports, with dots."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_is_known() -> None:
    assert {room(path) for path in FILES} <= {*SHARED, *ROOM_FREE, *CHAPTERS, "__init__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows(path: Path) -> None:
    here = room(path)
    for module in imports(path):
        if not module.startswith("storyjax."):
            continue
        there = module.split(".")[1]
        if here in SHARED or here in ("errors", "configuration"):
            assert there not in (*CHAPTERS, "main", "cli", "commands", "ledger"), f"{path} imports {module}"
        if here in CHAPTERS and there in CHAPTERS and there != here:
            allowed = any(here == a and module.removeprefix("storyjax.").startswith(b) for a, b in EXCEPTIONS)
            assert allowed, f"{path} imports {module}"
        if here in CHAPTERS:
            assert there not in ("main", "cli", "commands", "ledger"), f"{path} imports {module}"
    for module in imports(path, top_level=True):
        assert module.split(".")[0] not in ("torch", "tensorflow"), f"{path} imports {module}"
        assert module.split(".")[0] not in WITHOUT.get(here, ()), f"{path} imports {module} at the top"


def test_importing_everything_needs_neither_torch_nor_tensorflow() -> None:
    names = [
        re.sub(r"\.__init__$", "", ".".join(path.relative_to(ROOT).with_suffix("").parts))
        for path in FILES
        if path.name != "__main__.py"
    ]
    code = f"import sys, importlib\nfor n in {names!r}: importlib.import_module(n)\n"
    code += "bad = [m for m in ('torch', 'tensorflow') if m in sys.modules]\nassert not bad, bad"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_file_outgrows_its_room() -> None:
    long = {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text().splitlines())) > 420}
    assert not long


def test_nothing_unfinished_hides_in_the_code() -> None:
    signs = re.compile(r"NotImplementedError|\bTODO\b|\bFIXME\b|\bXXX\b")
    assert not [str(path) for path in FILES if signs.search(path.read_text())]
