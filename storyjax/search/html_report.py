"""Search results as one self-contained HTML file: ranked images with times, as in Fig. 4.4."""

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.search.query import Hit, SearchResult

_STYLE = """
:root { color-scheme: light dark; --ground: #faf9f7; --ink: #1d1c1a; --soft: #5f5b55; --card: #ffffff; --line: #dedad3;
  --accent: #1f5fae; }
@media (prefers-color-scheme: dark) { :root { --ground: #161513; --ink: #f0eeea; --soft: #b3ada3; --card: #211f1c;
  --line: #3a3732; --accent: #8ab8f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 2.5rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .35rem; overflow-wrap: anywhere; }
header p { color: var(--soft); margin: 0 0 2rem; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1.1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(13.5rem, 100%), 1fr)); }
li { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden;
  display: flex; flex-direction: column; }
li a { color: inherit; text-decoration: none; display: block; }
li a:hover .times, li a:focus-visible .times { text-decoration: underline; }
a:focus-visible { outline: 3px solid var(--accent); outline-offset: -3px; border-radius: .6rem; }
.picture { aspect-ratio: 16 / 10; background: #0e0d0c; display: block; width: 100%; object-fit: contain; }
.words { padding: .6rem .8rem .75rem; }
.first { display: flex; align-items: baseline; gap: .5rem; }
.rank { font-weight: 700; }
.times { color: var(--accent); font-variant-numeric: tabular-nums; }
.score { margin-left: auto; color: var(--soft); font-size: .85rem; font-variant-numeric: tabular-nums; }
.file { color: var(--soft); font-size: .85rem; margin: .15rem 0 0; overflow-wrap: anywhere; }
@media print { body { max-width: none; padding: 0; } li { break-inside: avoid; } }
"""


def check_path(path: str | os.PathLike[str]) -> None:
    """Checks a path before the search.

    Raises:
        StoryjaxError: no report can be written to it.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise StoryjaxError(f"--html {path} is a folder: give the name of a file")
        if not path.parent.is_dir():
            raise StoryjaxError(f"--html {path}: there is no folder {path.parent}")
    except ValueError as error:  # no file could have this name
        raise StoryjaxError(f"--html {str(path)!r} is no name of a file") from error


def write_html_report(path: str | os.PathLike[str], prompt: str, result: SearchResult) -> None:
    """Writes the report of a search, as a whole or not at all.

    Raises:
        StoryjaxError: it cannot be written.
    """
    try:
        write_atomically(path, html_report(prompt, result).encode("utf-8", errors="replace"))
    except OSError as error:
        raise StoryjaxError(f"cannot write {path} ({error.strerror}): check space and permissions") from error


def html_report(prompt: str, result: SearchResult) -> str:
    """Returns the report's HTML."""
    title = html.escape(_clean(prompt))
    searched = " and ".join(
        f"{count:,} {word if count != 1 else word[:-1]}"
        for count, word in ((result.clips, "clips"), (result.images, "images"))
        if count
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · storyjax find</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>The {len(result.hits)} most similar of {searched}, best first. Each is a link to its place in the video.</p>
</header>
<main>
<ol>
{_items(result.hits)}
</ol>
</main>
</body>
</html>
"""


def _items(hits: Sequence[Hit]) -> str:
    return "\n".join(_item(hit) for hit in hits)


def _item(hit: Hit) -> str:
    # The media fragment (#t=) has browsers play just the clip.
    fragment = "" if hit.start_s is None else f"#t={hit.start_s:g},{hit.end_s:g}"
    link = html.escape(Path(hit.file).as_uri() + fragment, quote=True)
    image = base64.b64encode(hit.still).decode()
    name, times = html.escape(_clean(hit.path)), html.escape(hit.times())
    return (
        f'<li><a href="{link}">'
        f'<img class="picture" src="data:image/jpeg;base64,{image}" alt="Rank {hit.rank}: {name}, {times}">'
        f'<div class="words"><div class="first"><span class="rank">{hit.rank}</span>'
        f'<span class="times">{times}</span><span class="score">similarity {hit.score:.3f}</span></div>'
        f'<p class="file">{name}</p></div></a></li>'
    )


def _clean(text: str) -> str:
    """The text with control characters and unpaired surrogates replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
