"""Qualitative results as one self-contained HTML file: what queries find, right and wrong marked (Figs. 4.3 to 5.7)."""

import base64
import html
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.search.clips import jpeg

Mark = Literal["right", "elsewhere", "wrong"]
_SIDE = 160  # pixels of an image on the page, at most
_WORDS = {"right": "right", "elsewhere": "right, but in another setting", "wrong": "wrong"}
_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 84rem; padding: 2rem 1.25rem; background: #fff; color: #1d1c1a;
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; overflow-wrap: anywhere; }
ol { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .75rem; }
li { border: 5px solid; border-radius: .3rem; }
li img { display: block; width: 9rem; height: 9rem; object-fit: contain; background: #0e0d0c; }
li span { display: block; padding: .1rem .4rem; font-size: .85rem; }
.right { border-color: #1a7f37; } .elsewhere { border-color: #1a7f37; border-style: dotted; }
.wrong { border-color: #c62828; }
"""


@dataclass(frozen=True)
class Shown:
    """A result: its rank from 1, whether it is right ("elsewhere": in another setting), and its image."""

    rank: int
    mark: Mark
    image: UInt8[np.ndarray, "y x 3"]


@dataclass(frozen=True)
class RankedQuery:
    """A query in words, and its results, best first."""

    query: str
    results: tuple[Shown, ...]


def choose_shown(
    scores: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], first: int, later: int = 0
) -> list[tuple[int, int]]:
    """Returns (position, rank from 1) of the `first` best results, and of at most `later` right ones below them.

    Of equal scores the earlier position comes first.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = [(int(position), rank) for rank, position in enumerate(order, 1)]
    missed = [(position, rank) for position, rank in ranked[first:] if right[position]]
    return ranked[:first] + missed[:later]


def spread(count: int, wanted: int) -> list[int]:
    """Returns at most `wanted` of `count` numbers from 0, evenly spread."""
    return sorted({int(number) for number in np.linspace(0, count - 1, min(count, wanted)).round()}) if count else []


def ranked_page(title: str, queries: Iterable[RankedQuery]) -> str:
    """Returns the page's HTML."""
    sections = "\n".join(f"<h2>{html.escape(each.query)}</h2>\n<ol>\n{_items(each.results)}\n</ol>" for each in queries)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>Best first. A green frame is a right result, a dotted one the right person or thing in another setting, a red one
wrong.</p>
{sections}
</body>
</html>
"""


def write_ranked_page(path: str | os.PathLike[str], title: str, queries: Sequence[RankedQuery]) -> None:
    """Writes the page, as a whole or not at all.

    Raises:
        StoryjaxError: it cannot be written.
    """
    try:
        write_atomically(path, ranked_page(title, queries))
    except OSError as error:
        raise StoryjaxError(f"cannot write {path} ({error.strerror}): check space and permissions") from error


def _items(results: Sequence[Shown]) -> str:
    return "\n".join(
        f'<li class="{each.mark}"><img src="data:image/jpeg;base64,{_jpeg(each.image)}"'
        f' alt="Rank {each.rank}: {_WORDS[each.mark]}"><span>{each.rank} · {_WORDS[each.mark]}</span></li>'
        for each in results
    )


def _jpeg(image: UInt8[np.ndarray, "y x 3"]) -> str:
    small = Image.fromarray(np.ascontiguousarray(image))
    small.thumbnail((_SIDE, _SIDE))
    return base64.b64encode(jpeg(np.asarray(small))).decode()
