"""Which folder imports which: entry points → chapters → shared folders → core, never back, without circles."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "storyjax"
SHARED = ("core", "train", "plan", "models", "nn", "data", "gallery", "search", "metrics", "weights", "storyworld")
ENTRY_POINTS = ("main", "cli", "reproduce", "scenic", "app")
CHAPTERS = ("mqt", "tcr", "clip_pad", "pi_map", "subtitles")
# What is made of StoryWorld. data/registry.py names its exporters as text, and imports them when a config asks.
SYNTHETIC = ("storyworld", "embedded")
MAY_USE_SYNTHETIC = (*SYNTHETIC, "cli", "reproduce")
# Composes the chapters; entry points use it, and nothing else does.
STORY = "story"
# The thesis builds its subtitles on CLIP-PAD's retrieval (§6.1.4); no other chapter uses another.
EXCEPTIONS = {("subtitles", "clip_pad.predict")}
# StoryWorld is drawn in processes of its own, which must start in half a second.
WITHOUT = {
    "storyworld": ("jax", "flax", "tensorflow_datasets", "transformers"),
    "cli": ("jax", "flax", "tensorflow_datasets"),
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


def folder_of(path: Path) -> str:
    """The top-level folder or file of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_folder_is_known() -> None:
    known = {*SHARED, *ENTRY_POINTS, *CHAPTERS, STORY, "embedded", "__init__"}
    assert {folder_of(path) for path in FILES} <= known


def allowed(here: str, module: str) -> bool:
    """Whether a file of folder `here` may import a module of storyjax."""
    there = module.split(".")[1]
    if here == "core":
        return there == "core"
    if here in SHARED and there in (*CHAPTERS, STORY, *ENTRY_POINTS):
        return False
    if here in CHAPTERS and there in CHAPTERS and there != here:
        return any(here == a and module.removeprefix("storyjax.").startswith(b) for a, b in EXCEPTIONS)
    if here in (*CHAPTERS, *SYNTHETIC) and there in (STORY, *ENTRY_POINTS):
        return False
    if here == STORY and there in ENTRY_POINTS:
        return False
    return there not in SYNTHETIC or here in MAY_USE_SYNTHETIC


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows(path: Path) -> None:
    here = folder_of(path)
    for module in imports(path):
        if module.startswith("storyjax."):
            assert allowed(here, module), f"{path} imports {module}"
    for module in imports(path, top_level=True):
        assert module.split(".")[0] not in ("torch", "tensorflow", "scenic", "clu"), f"{path} imports {module}"
        assert module.split(".")[0] not in WITHOUT.get(here, ()), f"{path} imports {module} at the top"


def test_no_file_and_no_folder_imports_in_a_circle() -> None:
    files = {re.sub(r"\.__init__$", "", ".".join(path.relative_to(ROOT).with_suffix("").parts)): path for path in FILES}
    edges = {name: {m for m in imports(path) if m in files and m != name} for name, path in files.items()}
    assert not _circles(edges)
    folders: dict[str, set[str]] = {}
    for name, modules in edges.items():
        if "." in name:  # the package itself loads every chapter on demand
            here = name.split(".")[1]
            folders.setdefault(here, set()).update(
                m.split(".")[1] for m in modules if "." in m and m.split(".")[1] != here
            )
    assert not _circles(folders)


def _circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of names that reach each other."""
    reached: dict[str, set[str]] = {}
    for name in edges:
        seen: set[str] = set()
        ahead = list(edges[name])
        while ahead:
            if (one := ahead.pop()) not in seen:
                seen.add(one)
                ahead += edges.get(one, ())
        reached[name] = seen
    return [
        sorted({name, *(m for m in reached[name] if name in reached.get(m, ()))})
        for name in edges
        if name in reached[name]
    ]


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
