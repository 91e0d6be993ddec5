"""The app's pages and what they read: films, people, what is seen and said, pictures and the films themselves."""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from storyjax.app.guard import Access, Guard
from storyjax.app.media import film_response
from storyjax.core.errors import StoryjaxError
from storyjax.story import page_data
from storyjax.story.page_data import MOST_ROWS, PAGE, UnknownRow
from storyjax.story.store import Story

STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_TYPES[".js"] = "text/javascript; charset=utf-8"
_MOST_ID = 2**63 - 1
_LONGEST_QUERY = 200
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Library:
    """What the app shows: the story's folder, and the gallery's (None: corrections stay in the story alone)."""

    story: Path
    gallery: Path | None = None


def make_app(library: Library, access: Access) -> Starlette:
    """Returns the ASGI app. Raises StoryjaxError: there is no story, or none that can be read."""
    Story.open(library.story).close()
    files = _StaticFiles()
    routes = [
        Route("/", files.page("library.html")),
        Route("/film/{film}", files.page("film.html")),
        Route("/login", files.page("login.html")),
        Route("/static/{name}", files.named),
        Route("/media/{film}", _media),
        *(Route(path, _read(view)) for path, view in _VIEWS.items()),
        Route("/api/stills/{still}", _still),
        Route("/api/films/{film}/subtitles.vtt", _subtitles),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={StoryjaxError: _bad, HTTPException: _http},
    )
    app.state.library = library
    app.state.access = access
    app.add_middleware(Guard, access=access)
    return app


class _StaticFiles:
    """The pages, scripts and styles that ship with the app, all in memory: no request names a path."""

    def __init__(self) -> None:
        self.files = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.suffix in _TYPES}
        self.tags = {name: f'"{hashlib.sha256(content).hexdigest()[:16]}"' for name, content in self.files.items()}

    def page(self, name: str) -> Callable:
        """Returns the endpoint of a page."""

        async def endpoint(request: Request) -> Response:
            return self._answer(request, name)

        return endpoint

    async def named(self, request: Request) -> Response:
        """Answers a request for a file by its name."""
        name = request.path_params["name"]
        if name not in self.files:
            raise UnknownRow(f"the app has no file '{name[:100]}'")
        return self._answer(request, name)

    def _answer(self, request: Request, name: str) -> Response:
        headers = {"etag": self.tags[name], "cache-control": "no-cache", "content-type": _TYPES[Path(name).suffix]}
        if request.headers.get("if-none-match") == self.tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(self.files[name], headers=headers)


def story_of(request: Request) -> Story:
    """Returns the story, opened anew: every request has a connection of its own, which its thread closes."""
    return Story.open(request.app.state.library.story)


def number(request: Request, name: str, default: float, low: float, high: float) -> float:
    """Returns a number of the query. Raises StoryjaxError: it is none, or out of its bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise StoryjaxError(f"{name}={text[:40]} is no number from {low:g} to {high:g}")
    return value


def row_id(request: Request, name: str) -> int:
    """Returns a row's number of the path. Raises UnknownRow: it is none."""
    text = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MOST_ID):
        raise UnknownRow(f"there is no {name} '{text[:40]}'")
    return int(text)


def _page(request: Request, most: int = MOST_ROWS) -> dict[str, int]:
    return {
        "offset": int(number(request, "offset", 0, 0, 10**9)),
        "limit": int(number(request, "limit", PAGE, 1, most)),
    }


def _known_film(story: Story, request: Request) -> int:
    return page_data.film_of(story, row_id(request, "film")).id


def _library(story: Story, request: Request) -> Any:
    return page_data.library(story)


def _entities(story: Story, request: Request) -> Any:
    kind = request.query_params.get("kind")
    if kind not in (None, "person", "thing"):
        raise StoryjaxError(f"kind={kind[:40]} is neither person nor thing")
    return page_data.entities(story, kind, **_page(request))


def _film(story: Story, request: Request) -> Any:
    return page_data.film(story, row_id(request, "film"))


def _shots(story: Story, request: Request) -> Any:
    return page_data.shots(story, _known_film(story, request), **_page(request))


def _lanes(story: Story, request: Request) -> Any:
    return page_data.lanes(story, _known_film(story, request), **_page(request))


def _utterances(story: Story, request: Request) -> Any:
    return page_data.utterances(story, _known_film(story, request), **_page(request))


def _tracks(story: Story, request: Request) -> Any:
    start = number(request, "start", 0.0, 0.0, 1e9)
    end = number(request, "end", start + 30.0, start, 1e9 + 60)
    return page_data.tracks(story, _known_film(story, request), start, end)


def _search(story: Story, request: Request) -> Any:
    words = _CONTROLS.sub(" ", request.query_params.get("q", ""))[:_LONGEST_QUERY]
    film = request.query_params.get("film")
    limit = int(number(request, "limit", 50, 1, 200))
    if film is not None and not (film.isascii() and film.isdigit() and len(film) < 19):
        raise UnknownRow(f"there is no film '{film[:40]}'")
    return page_data.search(story, words, None if film is None else int(film), limit)


_VIEWS: dict[str, Callable[[Story, Request], Any]] = {
    "/api/library": _library,
    "/api/entities": _entities,
    "/api/films/{film}": _film,
    "/api/films/{film}/shots": _shots,
    "/api/films/{film}/lanes": _lanes,
    "/api/films/{film}/utterances": _utterances,
    "/api/films/{film}/tracks": _tracks,
    "/api/search": _search,
}


def _read(view: Callable[[Story, Request], Any]) -> Callable:
    """The endpoint of a view of the story, as JSON."""

    async def endpoint(request: Request) -> Response:
        def work() -> Any:
            with story_of(request) as story:
                return view(story, request)

        return JSONResponse(await run_in_threadpool(work), headers={"cache-control": "no-store"})

    return endpoint


async def _still(request: Request) -> Response:
    def work() -> bytes | None:
        with story_of(request) as story:
            return story.still(row_id(request, "still"))

    jpeg = await run_in_threadpool(work)
    if jpeg is None:
        raise UnknownRow("there is no such picture any more")
    tag = f'"{hashlib.sha256(jpeg).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(jpeg, media_type="image/jpeg", headers=headers)


async def _subtitles(request: Request) -> Response:
    def work() -> str:
        with story_of(request) as story:
            return page_data.webvtt(story, _known_film(story, request))

    return Response(await run_in_threadpool(work), media_type="text/vtt", headers={"cache-control": "no-store"})


async def _media(request: Request) -> Response:
    def work() -> Any:
        with story_of(request) as story:
            return story, page_data.film_of(story, row_id(request, "film"))

    return await film_response(request, *await run_in_threadpool(work))


def error_response(message: str, status: int) -> Response:
    """Returns an error as JSON, in one line."""
    return JSONResponse({"error": " ".join(message.split())}, status, headers={"cache-control": "no-store"})


async def _bad(request: Request, error: Exception) -> Response:
    return error_response(str(error), 404 if isinstance(error, UnknownRow) else 400)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.detail, error.status_code)
