"""A film's page as a folder that opens without a server: `storyjax story export --to html`.

It has the app's own page and scripts (`storyjax/app/static`), which are joined into one classic script, for browsers
load no modules from files; the data are scripts too: data.js, and the boxes of every half minute in data/.
"""

import os
import re
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs, json_text, write_atomically
from storyjax.core.notes import tell
from storyjax.story import page_data
from storyjax.story.rows import Film
from storyjax.story.schema import FILE
from storyjax.story.store import Story

COPY, LINK = "copy", "link"
_STATIC = Path(__file__).parents[2] / "app" / "static"
_WINDOW_S = 30  # as in overlay.js
_MANY = 10**9
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class|let) )", re.MULTILINE)


def export_html(story: Story, out: str | os.PathLike[str], film: str | None = None, media: str = COPY) -> list[Path]:
    """Writes the pages of a story's films, and returns the files.

    Args:
        story: what is written.
        out: the folder: of one film its page, of several a list of films and a folder for each.
        film: the name of the film that is meant; None: all.
        media: "copy": the films are copied into the folder; "link": the page plays them where they are.

    Raises:
        StoryjaxError: an unknown film, or a folder that cannot be written or would replace what is read.
    """
    choose(media, (COPY, LINK), "--media")
    films = [story.film(film)] if film is not None else story.films()
    if not films:
        raise StoryjaxError(f"the story in {story.folder} has no films yet: 'storyjax story VIDEO --out DIR' first")
    out = Path(out)
    files: dict[Path, str | bytes | Path] = {}
    for one in films:
        folder = out if len(films) == 1 else out / _file_name(one.name)
        files |= _film_files(story, one, folder, media)
    if len(films) > 1:
        files[out / "index.html"] = _list_of(films)
        files[out / "style.css"] = (_STATIC / "style.css").read_bytes()
    read = [story.folder / FILE, *(story.media(one) for one in films)]
    check_outputs([("--out", path) for path in files], read, make_folders=True)
    for path, content in files.items():
        try:
            write_atomically(path, _copier(content) if isinstance(content, Path) else content)
        except OSError as error:
            raise StoryjaxError(f"cannot write {path} ({error.strerror}): check space and permissions") from error
    return list(files)


def _copier(source: Path) -> Any:
    return lambda path: shutil.copyfile(source, path)


def _film_files(story: Story, film: Film, folder: Path, media: str) -> dict[Path, str | bytes | Path]:
    """What a film's folder holds, by path; a path as content is copied."""
    place = story.media(film)
    files: dict[Path, str | bytes | Path] = {}
    name = f"film{Path(film.path).suffix.lower()}"
    if not place.is_file():
        tell(f"{place} is not there: its page has everything but the film")
    if media == COPY and place.is_file():
        files[folder / name] = place
        address = name
    else:
        address = quote(os.path.relpath(place, folder).replace(os.sep, "/"))
    facts = page_data.film(story, film.id)
    shots = page_data.shots(story, film.id, limit=_MANY)["rows"]
    data = {
        "film": facts,
        "shots": shots,
        "lanes": page_data.lanes(story, film.id, limit=_MANY)["rows"],
        "utterances": page_data.utterances(story, film.id, limit=_MANY)["rows"],
        "media": address,
        "window": _WINDOW_S,
        "boxes": {},
    }
    files[folder / "data.js"] = f"globalThis.STORYJAX = {_js(data)};\n"
    stills = {row["still"] for row in [*shots, *facts["entities"]] if row["still"] is not None}
    for start in range(0, int(film.duration_s) + 1, _WINDOW_S):
        number = start // _WINDOW_S
        rows = page_data.tracks(story, film.id, start, start + _WINDOW_S)["rows"]
        files[folder / "data" / f"boxes_{number}.js"] = f"STORYJAX.boxes[{number}] = {_js(rows)};\n"
    for still in sorted(stills):
        if (jpeg := story.still(still)) is not None:
            files[folder / "stills" / f"{still}.jpg"] = jpeg
    files[folder / "index.html"] = _page(film)
    files[folder / "app.js"] = bundle("film")
    for static in ("style.css", "icon.svg"):
        files[folder / static] = (_STATIC / static).read_bytes()
    return files


def bundle(name: str) -> str:
    """Returns the app's module of a name, with all that it imports, as one script."""
    parts: dict[str, str] = {}

    def add(module: str) -> None:
        if module in parts:
            return
        text = (_STATIC / f"{module}.js").read_text("utf-8")
        for needed in _IMPORT.findall(text):
            add(needed)
        parts[module] = _EXPORT.sub("", _IMPORT.sub("", text))

    add(name)
    return '"use strict";\n(() => {\n' + "\n".join(parts.values()) + "})();\n"


def _page(film: Film) -> str:
    text = (_STATIC / "film.html").read_text("utf-8")
    scripts = '<script defer src="data.js"></script>\n  <script defer src="app.js"></script>'
    text = text.replace('<script type="module" src="/static/film.js"></script>', scripts)
    text = text.replace("/static/", "").replace('href="/"', 'href="../index.html"')
    return text.replace("<title>Film · storyjax</title>", f"<title>{escape(film.name)} · storyjax</title>")


def _list_of(films: Sequence[Film]) -> str:
    places = [f"{escape(quote(_file_name(film.name)))}/index.html" for film in films]
    rows = "\n".join(
        f'    <li><a href="{place}"><h3 dir="auto">{escape(film.name)}</h3></a></li>'
        for film, place in zip(films, places, strict=True)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Films · storyjax</title>
  <link rel="stylesheet" href="style.css">
</head>
<body class="library">
  <header class="head"><h1>Films</h1></header>
  <ul class="films">
{rows}
  </ul>
</body>
</html>
"""


def _js(value: Any) -> str:
    """JSON that is also a script, whatever is in it."""
    text = json_text(value).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


def _file_name(name: str) -> str:
    """A name that is a folder's on any system."""
    safe = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in name).strip(". ")
    return safe or "film"
