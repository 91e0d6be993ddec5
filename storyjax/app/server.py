"""The app's pages and what they read: films, people, what is seen and said, pictures and the films themselves."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from storyjax.app.changes import ROUTES, Questions
from storyjax.app.guard import Access, Guard
from storyjax.app.media import film_response
from storyjax.app.views import VIEWS, known_film, read, row_id, story_of
from storyjax.core.errors import StoryjaxError
from storyjax.story import page_data
from storyjax.story.page_data import UnknownRow
from storyjax.story.store import Story

STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_TYPES[".js"] = "text/javascript; charset=utf-8"


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
        *(Route(path, read(view)) for path, view in VIEWS.items()),
        *ROUTES,
        Route("/api/stills/{still}", _still),
        Route("/api/films/{film}/subtitles.vtt", _subtitles),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={StoryjaxError: _bad, HTTPException: _http},
    )
    app.state.library = library
    app.state.access = access
    app.state.questions = Questions()
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
            return page_data.webvtt(story, known_film(story, request))

    return Response(await run_in_threadpool(work), media_type="text/vtt", headers={"cache-control": "no-store"})


async def _media(request: Request) -> Response:
    def work() -> Any:
        with story_of(request) as story:
            return story, page_data.film_of(story, row_id(request, "film"))

    return await film_response(request, *await run_in_threadpool(work))


def error_response(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Returns an error as JSON, in one line."""
    given = {**(headers or {}), "cache-control": "no-store"}
    return JSONResponse({"error": " ".join(message.split())}, status, headers=given)


async def _bad(request: Request, error: Exception) -> Response:
    return error_response(str(error), 404 if isinstance(error, UnknownRow) else 400)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.detail, error.status_code, error.headers)
