"""MkDocs hooks of the documentation site (mkdocs.yml).

The site shows what a person reads in the repository: the READMEs beside the code are pages of it, links between files
are written as they work in the repository, every module has a page made from its docstrings, and every config an entry
made from its own. A link to a file that does not exist is a warning, which `mkdocs build --strict` makes an error.
"""

import ast
import logging
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LOG = logging.getLogger("mkdocs.plugins.docs_site")
CONFIGS_PAGE = "configs.md"

# An inline link or image: the text in brackets, then the target, with or without a title.
_LINK = re.compile(r'(\[(?:[^\[\]`]|`[^`]*`|\[[^\]]*\])*\])\(\s*<?([^\s()<>]+)>?(\s+"[^"]*")?\s*\)')
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)


def page_paths() -> dict[str, str]:
    """Returns the path in the site of every page that is a file of the repository, by its path in the repository."""
    paths = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
    for readme in sorted((ROOT / "storyjax").glob("*/README.md")):
        paths[readme.relative_to(ROOT).as_posix()] = f"systems/{readme.parent.name}.md"
    for readme in sorted((ROOT / "storyjax/weights/shipped").glob("*/README.md")):
        paths[readme.relative_to(ROOT).as_posix()] = f"shipped/{readme.parent.name}.md"
    paths["storyjax/storyworld/voice_bank/README.md"] = "shipped/voice_bank.md"
    for page in sorted((ROOT / "docs").rglob("*.md")):
        paths[page.relative_to(ROOT).as_posix()] = page.relative_to(ROOT / "docs").as_posix()
    return {source: page for source, page in paths.items() if (ROOT / source).is_file()}


def module_names() -> list[str]:
    """Returns the dotted names of all public modules of the package, sorted."""
    names = []
    for path in sorted((ROOT / "storyjax").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return sorted(names)


def replace_links(markdown: str, replace: Callable[[str], str | None]) -> str:
    """Returns the text with the targets of its inline links replaced; code, in blocks or in lines, stays as it is.

    Args:
        markdown: the text of a page.
        replace: a target ("../README.md#results") to its replacement, or to None to keep it.
    """

    def link(match: re.Match[str]) -> str:
        target = replace(match[2])
        return match[0] if target is None else f"{match[1]}({target}{match[3] or ''})"

    pieces = re.split(r"(^ *(?:```|~~~).*?^ *(?:```|~~~)[^\n]*$)", markdown, flags=re.DOTALL | re.MULTILINE)
    for i in range(0, len(pieces), 2):
        text, code = pieces[i], []
        # Code in lines is put aside while the links are looked for, unless it is a link's text.
        text = _CODE.sub(lambda match, code=code: code.append(match[0]) or f"\0{len(code) - 1}\0", text)  # type: ignore[misc]
        text = _LINK.sub(link, text)
        pieces[i] = re.sub(r"\0(\d+)\0", lambda match, code=code: code[int(match[1])], text)  # type: ignore[misc]
    return "".join(pieces)


def links(markdown: str) -> Iterator[str]:
    """Yields the targets of the inline links of a page that lead to files of the repository, with their anchors."""
    found: list[str] = []
    replace_links(markdown, lambda target: found.append(target))
    for target in found:
        if not re.match(r"[a-z][a-z0-9+.-]*:|#", target):
            yield target


def repository_path(source: str, target: str) -> str:
    """Returns the path in the repository that a link (without its anchor) of the file `source` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _site_path(path: str, pages: dict[str, str]) -> str | None:
    """Where a file of the repository is in the site; None where there is none. A folder is its README."""
    if path == "configs":
        return CONFIGS_PAGE
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    if path in pages:
        return pages[path]
    if path.startswith("storyjax/") and path.endswith(".py"):
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"api/{name}.md"
    if path.startswith("configs/") and path.endswith(".py"):
        return f"{CONFIGS_PAGE}#{Path(path).stem}"
    return f"files/{path}" if (ROOT / path).is_file() else None


def _configs_markdown() -> str:
    """The page of all configs: the docstring of each."""
    lines = ["# Configs", "", "Each file of `configs/` by its own docstring; `--config=configs/NAME.py:VARIANT`.", ""]
    for path in sorted((ROOT / "configs").glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines += [f"## {path.stem}", "", docstring, ""]
    return "\n".join(lines)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replaces "FOLDER/*" in the navigation by all pages of that folder; returns the config."""
    pages = sorted(page_paths().values())

    def filled(item: Any) -> Any:
        if isinstance(item, dict):
            return {title: filled(inner) for title, inner in item.items()}
        if item == ["api/*"]:
            return _api_navigation()
        if isinstance(item, list):
            return [entry for inner in item for entry in expanded(inner)]
        return item

    def expanded(item: Any) -> list[Any]:
        if isinstance(item, str) and item.endswith("/*"):
            return [page for page in pages if posixpath.dirname(page) == item.removesuffix("/*")]
        return [filled(item)]

    config.nav = filled(config.nav)
    return config


def _api_navigation() -> list[Any]:
    groups: dict[str, list[Any]] = {}
    for name in module_names():
        group = ".".join(name.split(".")[:2])
        groups.setdefault(group, []).append({name.removeprefix("storyjax."): f"api/{name}.md"})
    return [
        {group.removeprefix("storyjax."): entries if len(entries) > 1 else next(iter(entries[0].values()))}
        for group, entries in groups.items()
    ]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that do not lie under docs/, and the files that pages link to."""
    pages = page_paths()
    for source, page in pages.items():
        if not source.startswith("docs/"):
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for name in module_names():
        files.append(File.generated(config, f"api/{name}.md", content=f"# `{name}`\n\n::: {name}\n"))
    files.append(File.generated(config, CONFIGS_PAGE, content=_configs_markdown()))
    for source in pages:
        for target in links((ROOT / source).read_text()):
            path = repository_path(source, target.partition("#")[0])
            place = _site_path(path, pages)
            if place and place.startswith("files/") and not files.get_file_from_path(place):
                files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a page, which lead through the repository, into links through the site."""
    pages = page_paths()
    source = {place: path for path, place in pages.items()}.get(page.file.src_uri)
    if source is None:
        return markdown

    def replaced(target: str) -> str | None:
        if re.match(r"[a-z][a-z0-9+.-]*:|#", target):
            return None
        path, mark, anchor = target.partition("#")
        place = _site_path(repository_path(source, path), pages)
        if place is None:
            LOG.warning(f"{source} links to '{target}', which does not exist.")
            return None
        return os.path.relpath(place, posixpath.dirname(page.file.src_uri) or ".") + mark + anchor

    return replace_links(markdown, replaced)
