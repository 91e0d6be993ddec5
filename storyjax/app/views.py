"""What the app's pages read of the story, as JSON: each view takes the story and the request."""

import math
import re
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from storyjax.core.errors import StoryjaxError
from storyjax.story import page_data
from storyjax.story.page_data import MOST_ROWS, PAGE, UnknownRow
from storyjax.story.store import Story

_MOST_ID = 2**63 - 1
_LONGEST_QUERY = 200
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


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


def known_film(story: Story, request: Request) -> int:
    """Returns the id of the film in a request's path. Raises UnknownRow: there is none."""
    return page_data.film_of(story, row_id(request, "film")).id


def _library(story: Story, request: Request) -> Any:
    return page_data.library(story)


def _entities(story: Story, request: Request) -> Any:
    kind = request.query_params.get("kind")
    if kind not in (None, "person", "thing"):
        raise StoryjaxError(f"kind={kind[:40]} is neither person nor thing")
    return page_data.entities(story, kind, **_page(request))


def _entity(story: Story, request: Request) -> Any:
    return page_data.entity(story, row_id(request, "entity"))


def _film(story: Story, request: Request) -> Any:
    return page_data.film(story, row_id(request, "film"))


def _shots(story: Story, request: Request) -> Any:
    return page_data.shots(story, known_film(story, request), **_page(request))


def _lanes(story: Story, request: Request) -> Any:
    return page_data.lanes(story, known_film(story, request), **_page(request))


def _utterances(story: Story, request: Request) -> Any:
    return page_data.utterances(story, known_film(story, request), **_page(request))


def _tracks(story: Story, request: Request) -> Any:
    start = number(request, "start", 0.0, 0.0, 1e9)
    end = number(request, "end", start + 30.0, start, 1e9 + 60)
    return page_data.tracks(story, known_film(story, request), start, end)


def _search(story: Story, request: Request) -> Any:
    words = _CONTROLS.sub(" ", request.query_params.get("q", ""))[:_LONGEST_QUERY]
    film = request.query_params.get("film")
    limit = int(number(request, "limit", 50, 1, 200))
    if film is not None and not (film.isascii() and film.isdigit() and len(film) < 19):
        raise UnknownRow(f"there is no film '{film[:40]}'")
    return page_data.search(story, words, None if film is None else int(film), limit)


# By their paths.
VIEWS: dict[str, Callable[[Story, Request], Any]] = {
    "/api/library": _library,
    "/api/entities": _entities,
    "/api/entities/{entity}": _entity,
    "/api/films/{film}": _film,
    "/api/films/{film}/shots": _shots,
    "/api/films/{film}/lanes": _lanes,
    "/api/films/{film}/utterances": _utterances,
    "/api/films/{film}/tracks": _tracks,
    "/api/search": _search,
}


def read(view: Callable[[Story, Request], Any]) -> Callable:
    """Returns the endpoint of a view of the story, as JSON."""

    async def endpoint(request: Request) -> Response:
        def work() -> Any:
            with story_of(request) as story:
                return view(story, request)

        return JSONResponse(await run_in_threadpool(work), headers={"cache-control": "no-store"})

    return endpoint
