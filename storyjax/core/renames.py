"""Old and new names of config keys, so that runs, checkpoints and shipped models of version 0.1 still load.

`modernise` is applied to every config that is read from a file. On the command line an old key is an error that names
the new one (`new_name`). The names are in renamed_keys.py.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from storyjax.core.renamed_keys import CONVERSIONS, CONVERTED, EXPERIMENTS, RENAMES, Rename

__all__ = ["CONVERTED", "EXPERIMENTS", "RENAMES", "Rename", "modernise", "new_name"]


def modernise(config: Any) -> Any:
    """Returns a stored config with today's names; a new dict. What is no mapping is returned as it is.

    Keys that have no other name stay, and are refused, if unknown, by whoever reads them.
    """
    if not isinstance(config, Mapping):
        return config
    config = _copy(config)
    if isinstance(name := config.get("experiment"), str):
        name = name.replace("/", ".")
        config["experiment"] = EXPERIMENTS.get(name, name)
    for rename in RENAMES:
        if re.fullmatch(rename.experiments, str(config.get("experiment", ""))):
            for path in _matching(config, rename.old.split(".")):
                _move(config, path, _target(rename, path), rename.value)
    for convert in CONVERSIONS:
        convert(config)
    return config


def new_name(dotted: str, experiment: str) -> str | None:
    """Returns today's name of the key `dotted` ("data.eval_split"), or None where it is no old name."""
    if dotted in CONVERTED:
        return CONVERTED[dotted]
    parts = dotted.split(".")
    for rename in RENAMES:
        old = rename.old.split(".")
        matches = len(parts) >= len(old) and all(a in ("*", b) for a, b in zip(old, parts, strict=False))
        if matches and re.fullmatch(rename.experiments, experiment):
            return ".".join([_target(rename, parts[: len(old)]), *parts[len(old) :]])
    return None


def _copy(tree: Any) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree


def _matching(config: Mapping[str, Any], old: list[str]) -> list[list[str]]:
    """The paths of a config that a dotted pattern names."""
    name, rest = old[0], old[1:]
    keys = list(config) if name == "*" else [name] * (name in config)
    if not rest:
        return [[key] for key in keys]
    inner = [(key, config[key]) for key in keys if isinstance(config[key], Mapping)]
    return [[key, *path] for key, section in inner for path in _matching(section, rest)]


def _target(rename: Rename, path: list[str]) -> str:
    stars = [part for part, pattern in zip(path, rename.old.split("."), strict=True) if pattern == "*"]
    return ".".join(stars.pop(0) if part == "*" else part for part in rename.new.split("."))


def _move(config: dict[str, Any], path: list[str], target: str, value: Callable[[Any], Any]) -> None:
    section, parents = config, []
    for part in path[:-1]:
        parents.append((section, part))
        section = section[part]
    moved = value(section.pop(path[-1]))
    for parent, part in reversed(parents):  # a group that is left empty goes with its last key
        if parent[part]:
            break
        del parent[part]
    section = config
    *groups, last = target.split(".")
    for part in groups:
        section = section.setdefault(part, {})
    section[last] = _merged(moved, section[last]) if last in section else moved


def _merged(moved: Any, there: Any) -> Any:
    """A section that is moved to where keys of it were moved before."""
    if not (isinstance(moved, dict) and isinstance(there, dict)):
        return moved
    return there | {key: _merged(value, there[key]) if key in there else value for key, value in moved.items()}
