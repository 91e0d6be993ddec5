"""What the documentation says exists: links, commands, flags, configs, names, docstrings."""

import argparse
import ast
import functools
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import storyjax
from storyjax.cli import main as cli
from storyjax.core.config import load_config, override
from storyjax.core.errors import StoryjaxError
from storyjax.main import _parse
from storyjax.train.settings import CHAPTER_SECTIONS, complete

ROOT = Path(__file__).parents[1]
CHAPTERS = ("mqt", "tcr", "clip_pad", "pi_map", "subtitles", "search", "weights")


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


docs_site, make_renamed = _tool("docs_site"), _tool("make_renamed")
PAGES = sorted(docs_site.page_paths())
# Notebooks say what was run when they were written, with the names of then.
CURRENT = [page for page in PAGES if not page.startswith(("docs/results/", "storyjax/weights/shipped/"))]


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(page: str) -> Iterator[list[str]]:
    """The words of each command in the bash blocks of a page."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&", line):
                if words := shlex.split(command, comments=True):
                    yield words


def storyjax_commands(page: str) -> list[list[str]]:
    """The words behind `storyjax` of each command that the bash blocks of a page run."""
    return [words[1:] for words in commands(page) if words[0] == "storyjax"]


def main_commands(page: str) -> list[list[str]]:
    """The words behind `python -m storyjax.main`, or behind the commands that are the same, in the bash blocks."""
    found = [words[3:] for words in commands(page) if words[1:3] == ["-m", "storyjax.main"]]
    return found + [words[1:] for words in storyjax_commands(page) if words[:1] in (["train"], ["eval"])]


@pytest.mark.parametrize("page", ["README.md", *(f"storyjax/{name}/README.md" for name in CHAPTERS)])
def test_readmes_are_short(page: str) -> None:
    assert len((ROOT / page).read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = {docs_site.repository_path(page, link.partition("#")[0]) for link in docs_site.links(text)}
    assert not {target for target in targets if not (ROOT / target).exists()}


def test_links_are_replaced_and_code_is_not() -> None:
    text = "[a](x.md) `[b](y.md)` [`c`](z.md#d)\n\n```\n[e](f.md)\n```\n![g](h.svg)\n"
    assert list(docs_site.links(text)) == ["x.md", "z.md#d", "h.svg"]
    replaced = docs_site.replace_links(text, lambda target: target.upper())
    assert replaced == "[a](X.MD) `[b](y.md)` [`c`](Z.MD#D)\n\n```\n[e](f.md)\n```\n![g](H.SVG)\n"


def test_every_readme_is_a_page_of_the_site() -> None:
    pages = docs_site.page_paths()
    readmes = {path.relative_to(ROOT).as_posix() for path in (ROOT / "storyjax").rglob("README.md")}
    assert readmes
    assert not readmes - pages.keys()


def test_every_page_of_docs_is_in_the_navigation() -> None:
    class Loader(yaml.SafeLoader):
        """Reads mkdocs.yml without what its tags name."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    text = yaml.dump(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"])
    for page in docs_site.page_paths().values():
        assert page in text or f"{Path(page).parent}/*" in text, f"mkdocs.yml does not name {page}"


@pytest.mark.parametrize("page", CURRENT)
def test_commands_are_ones_that_the_parser_knows(page: str) -> None:
    parser, made = cli._parser()
    for words in storyjax_commands(page):
        if words[:1] in (["train"], ["eval"]) or {"COMMAND", "..."} & set(words):
            continue
        arguments, extra = cli._parse(parser, made, cli._with_action(words, made))
        if arguments.command == "plan":
            extra = [word for word in extra if not word.startswith("--config.")]
        assert not extra, f"storyjax {shlex.join(words)}"


@pytest.mark.parametrize("page", CURRENT)
def test_commands_in_a_sentence_have_the_flags_that_it_names(page: str) -> None:
    _, made = cli._parser()
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`storyjax ([^`]+)`", prose):
        words = code.replace(",", " ").split()
        if words[0].isupper() or words[0].startswith("-"):
            continue
        assert words[0] in {*(name.split()[0] for name in made), "train", "eval"}, f"`storyjax {code}` on {page}"
        parser = made.get(" ".join(words[:2]), made.get(words[0]))
        for flag in (word.partition("=")[0] for word in words if word.startswith("--") and "." not in word):
            assert parser is None or _has(parser, flag), f"`storyjax {code}` on {page}"


def _has(parser: argparse.ArgumentParser, flag: str) -> bool:
    return flag in parser._option_string_actions


@functools.cache
def _config(name: str) -> object:
    return load_config(name)


@pytest.mark.parametrize("page", CURRENT)
def test_configs_and_keys_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for name, variant in re.findall(r"\bconfigs/([a-z0-9_]+)\.py(?::([a-z0-9_]+))?", text):
        if "my_" not in name:
            _config(f"{ROOT}/configs/{name}.py" + (f":{variant}" if variant else ""))
    for words in main_commands(page):
        flags, overrides, _ = _parse(words)
        config = complete(_config(_path_of(flags["config"])).copy_and_resolve_references())  # type: ignore[attr-defined]
        for key, value in overrides:
            override(config, key, value, open_sections=CHAPTER_SECTIONS)


def _path_of(config: str) -> str:
    """The path of a config that is named by its path or by its name alone."""
    name, colon, variant = config.partition(":")
    return f"{ROOT}/configs/{Path(name).stem}.py{colon}{variant}"


@pytest.mark.parametrize("page", CURRENT)
def test_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    if page in ("CHANGELOG.md", "docs/renamed.md"):
        return
    for code in re.findall(r"`([^`\n]+)`", text):
        for name in re.findall(r"(?<![\w{*.])[\w/]*\w\.py\b", code):
            if "/" in name and not re.search(r"[A-Z]{3}", name):
                places = [ROOT / page, ROOT / "README.md", ROOT / "storyjax/README.md"]
                assert any((place.parent / name).exists() for place in places), f"{page} names {name}"
            elif "/" not in name and name != "run.py":  # run.py is what an export writes
                assert name in _file_names(), f"{page} names {name}"


@functools.cache
def _file_names() -> set[str]:
    folders = ("storyjax", "configs", "tests", "tools")
    return {path.name for folder in folders for path in (ROOT / folder).rglob("*.py")} | {"setup.py"}


@pytest.mark.parametrize("page", PAGES)
def test_python_can_be_read(page: str) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("page", ["README.md", "docs/getting_started.md"])
def test_models_that_python_loads_have_the_methods_that_it_calls(page: str) -> None:
    called: list[tuple[str, str]] = []
    for block in blocks(page, "python"):
        loaded: dict[str, str] = {}
        for line in block.splitlines():
            if made := re.match(r"(\w+) = storyjax\.load\(\"(\w+)\"\)", line):
                loaded[made[1]] = made[2]
            called += [(loaded[name], method) for name, method in re.findall(r"(\w+)\.(\w+)\(", line) if name in loaded]
    for chapter, methods in re.findall(r"^\| `(\w+)` \|[^|]*\|(.*)\|$", (ROOT / page).read_text(), flags=re.MULTILINE):
        if chapter in storyjax.PREDICTORS:
            called += [(chapter, method) for method in re.findall(r"`(\w+)(?:\([^`]*\))?`", methods)]
    assert {chapter for chapter, _ in called} == set(storyjax.PREDICTORS)
    for chapter, method in called:
        module, _, name = storyjax.PREDICTORS[chapter].partition(":")
        assert hasattr(getattr(importlib.import_module(module), name), method), f"{name}.{method} on {page}"


def test_the_page_of_renamed_things_is_up_to_date() -> None:
    assert make_renamed.PAGE.read_text() == make_renamed.page(), "run python tools/make_renamed.py"
    for new in make_renamed.MODULES.values():
        assert (ROOT / "storyjax" / new).exists() or (ROOT / new).exists(), f"{new} in tools/make_renamed.py is gone"


def test_old_keys_are_answered_with_a_new_name_that_the_page_has() -> None:
    config = load_config(f"{ROOT}/configs/tcr_nextqa.py:embedded")
    with pytest.raises(StoryjaxError, match=r"optim\.lr_multipliers"):
        override(config, "optim.slow", "x", open_sections=CHAPTER_SECTIONS)
    assert "`optim.lr_multipliers`" in make_renamed.PAGE.read_text()


FILES = sorted((ROOT / "storyjax").rglob("*.py"))
# Flax calls these; what they do is the class's business.
EXEMPT = {"setup"}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(path: Path) -> Iterator[tuple[str, ast.Module | Definition]]:
    """The module and its public classes, functions and methods, with their names."""
    tree = ast.parse(path.read_text())
    yield path.relative_to(ROOT).as_posix(), tree
    nodes: list[tuple[str, ast.AST]] = [("", node) for node in tree.body]
    while nodes:
        prefix, node = nodes.pop(0)
        if isinstance(node, Definition) and not node.name.startswith("_") and node.name not in EXEMPT:
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                nodes += [(f"{node.name}.", inner) for inner in node.body]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_have_docstrings(path: Path) -> None:
    missing = [name for name, node in public(path) if not ast.get_docstring(node) and not _is_overload(node)]
    if missing == [path.relative_to(ROOT).as_posix()] and not path.read_text().strip():
        missing = []  # an empty __init__.py
    assert not missing


def _is_overload(node: ast.AST) -> bool:
    """Whether what the name does is said elsewhere: at the implementation, or at the property's getter."""
    names = [getattr(each, "attr", getattr(each, "id", "")) for each in getattr(node, "decorator_list", [])]
    return bool({"overload", "setter", "register"} & set(names))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_name_parameters_that_exist(path: Path) -> None:
    for name, node in public(path):
        if isinstance(node, ast.Module):
            continue
        documented = _documented(ast.get_docstring(node) or "")
        unknown = documented - _known(node) if documented else set()
        assert not unknown, f"{name} documents {sorted(unknown)}"


def _documented(docstring: str) -> set[str]:
    """The names under "Args:" and "Attributes:"; "a, b: text" has two."""
    found: set[str] = set()
    for section in re.findall(r"^(?:Args|Attributes):\n((?:[ \t]+.*\n?|\n)+)", docstring, flags=re.MULTILINE):
        indent = min(len(line) - len(line.lstrip()) for line in section.splitlines() if line.strip())
        for line in section.splitlines():
            if entry := re.match(rf" {{{indent}}}([\w*]+(?:, [\w*]+)*)(?: \([^)]*\))?:", line):
                found |= {name.strip("*") for name in entry[1].split(", ")}
    return found


def _known(node: Definition) -> set[str]:
    """Parameters of a function; fields, attributes and parameters of `__init__` of a class and what it inherits."""
    if not isinstance(node, ast.ClassDef):
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        return {each.arg for each in every if each is not None}
    known: set[str] = set()
    for base in (getattr(each, "id", "") for each in node.bases):
        known |= {name for parent in _classes().get(base, []) for name in _known(parent)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.AnnAssign | ast.Assign):
            targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
            for target in [each for one in targets for each in (one.elts if isinstance(one, ast.Tuple) else [one])]:
                known |= {target.id} if isinstance(target, ast.Name) else set()
                known |= {target.attr} if isinstance(target, ast.Attribute) else set()
        elif isinstance(inner, ast.FunctionDef):
            known |= {inner.name} | (_known(inner) if inner.name == "__init__" else set())
    return known


@functools.cache
def _classes() -> dict[str, list[ast.ClassDef]]:
    """The classes of the package by name."""
    found: dict[str, list[ast.ClassDef]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found
