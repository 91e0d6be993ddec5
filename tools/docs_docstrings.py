"""A Griffe extension for the pages of modules: "a, b: text" in a docstring is an entry for each of the names."""

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ \t]+\S.*\n?|[ \t]*\n)+)", re.MULTILINE)
_NAMES = re.compile(r"( +)((?:[\w*]+, )+[\w*]+):((?:.*)(?:\n\1[ \t]+\S.*)*)")


def split_names(docstring: str) -> str:
    """Returns a docstring in which every entry of "Args:" and "Attributes:" has one name."""

    def entries(match: re.Match[str]) -> str:
        indent, names, text = match.groups()
        return "\n".join(f"{indent}{name}:{text}" for name in names.split(", "))

    return _SECTION.sub(lambda section: _NAMES.sub(entries, section[0]), docstring)


class SplitNames(griffe.Extension):
    """Applies `split_names` to every docstring that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Changes the docstring of `obj` in place."""
        if obj.docstring is not None:
            obj.docstring.value = split_names(obj.docstring.value)
