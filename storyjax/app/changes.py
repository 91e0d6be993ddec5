"""What the app changes: corrections, photos of people, logins; and questions, which take a while."""

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from storyjax.app.guard import COOKIE
from storyjax.app.views import row_id, story_of
from storyjax.core.errors import StoryjaxError, first_line
from storyjax.data.images import decode_image
from storyjax.gallery.gallery import Entry, Gallery
from storyjax.story.corrections.correct import Corrector
from storyjax.story.page_data import UnknownRow, film_of
from storyjax.story.questions.ask import ask
from storyjax.story.rows import Entity
from storyjax.story.store import Story

MOST_JSON_BYTES = 1 << 16
MOST_PHOTO_BYTES = 20 << 20
MOST_PHOTOS = 50
_MOST_SIDE = 1600
_MOST_WAITING = 8
_MOST_KEPT = 64
_LONGEST_NAME = 100
_LONGEST_QUESTION = 500
_CHANGING = threading.Lock()  # one correction at a time: each looks at what is there before it changes it


async def _body(request: Request, most: int) -> bytes:
    """The body of a request, counted while it comes. Raises HTTPException 413: it is longer than allowed."""
    refusal = HTTPException(413, f"more than {most >> 10} kB are not taken", {"connection": "close"})
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 18 or int(length) > most:
        raise refusal
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise refusal
        parts.append(part)
    return b"".join(parts)


async def _json(request: Request) -> Mapping[str, Any]:
    """The JSON object that was sent. Raises StoryjaxError: it is none."""
    try:
        value = json.loads(await _body(request, MOST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise StoryjaxError("the request is no JSON") from error
    if not isinstance(value, dict):
        raise StoryjaxError("the request is no JSON object")
    return value


def _number(value: Mapping[str, Any], name: str) -> int:
    found = value.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 2**63:
        raise StoryjaxError(f"'{name}' is no number of a row")
    return found


def _text(value: Mapping[str, Any], name: str, most: int) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found.strip() or len(found) > most:
        raise StoryjaxError(f"'{name}' is no text of 1 to {most} characters")
    return found.encode("utf-8", "replace").decode()  # halves of characters can be stored nowhere


def _time(value: Mapping[str, Any], name: str) -> float | None:
    found = value.get(name)
    if found is None:
        return None
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found < 1e9:
        raise StoryjaxError(f"'{name}' is no time in seconds")
    return float(found)


def correct(story: Story, gallery: Gallery | None, value: Mapping[str, Any]) -> str:
    """Makes a correction that was sent as JSON, and returns what was done. Raises StoryjaxError: it cannot be made."""
    corrector = Corrector(story, gallery)
    action = value.get("action")
    if action == "rename":
        return corrector.rename(_number(value, "entity"), _text(value, "name", _LONGEST_NAME))
    if action == "merge":
        return corrector.merge(_number(value, "entity"), _number(value, "into"))
    if action == "reject":
        if "track" in value:
            return corrector.reject_track(_number(value, "track"))
        return corrector.reject_line(_number(value, "utterance"))
    if action != "assign":
        raise StoryjaxError("'action' is none of rename, merge, assign, reject")
    who: int | str | None = None
    if value.get("entity") is not None:
        who = _number(value, "entity")
    elif value.get("name") is not None:
        who = _text(value, "name", _LONGEST_NAME)
    if "track" in value:
        return corrector.assign_track(_number(value, "track"), who, _time(value, "from"), _time(value, "to"))
    return corrector.assign_line(_number(value, "utterance"), who, value.get("voice") is True)


def _changing(request: Request, act: Callable[[Story, Gallery | None], str]) -> Callable[[], str]:
    """What a thread does to change the story."""
    library = request.app.state.library

    def work() -> str:
        with _CHANGING, story_of(request) as story:
            return act(story, None if library.gallery is None else Gallery(library.gallery))

    return work


async def _correct(request: Request) -> Response:
    value = await _json(request)
    done = await run_in_threadpool(_changing(request, lambda story, gallery: correct(story, gallery, value)))
    return JSONResponse({"message": done})


async def _undo(request: Request) -> Response:
    await _json(request)
    done = await run_in_threadpool(_changing(request, lambda story, gallery: Corrector(story, gallery).undo()))
    return JSONResponse({"message": done})


async def _photo(request: Request) -> Response:
    entity = row_id(request, "entity")
    data = await _body(request, MOST_PHOTO_BYTES)

    def add(story: Story, gallery: Gallery | None) -> str:
        entry = _entry(story, gallery, entity)
        assert gallery is not None
        if entry.photos >= MOST_PHOTOS:
            raise StoryjaxError(f"{entry.name} has {entry.photos} photos already: that is enough")
        image = decode_image(data, "the photo")
        step = -(-max(image.shape[:2]) // _MOST_SIDE)
        gallery.add_pictures(entry, f"photo {hashlib.sha256(data).hexdigest()[:12]}", [image[::step, ::step]])
        return f"the gallery has a photo more of {entry.name}: the next run of 'storyjax story' looks at it"

    return JSONResponse({"message": await run_in_threadpool(_changing(request, add))})


def _entry(story: Story, gallery: Gallery | None, entity: int) -> Entry:
    found = story.rows(Entity, "WHERE id = ?", [entity])
    if not found:
        raise UnknownRow("there is no such person or thing")
    entry = gallery.by_id(found[0].gallery) if gallery is not None and found[0].gallery else None
    if entry is None and not found[0].named:
        raise StoryjaxError(f"{found[0].name} has no name yet: rename first")
    if entry is None:
        raise StoryjaxError(f"{found[0].name} is not in the app's gallery: 'storyjax gallery add' puts people there")
    return entry


async def _login(request: Request) -> Response:
    value = await _json(request)
    access = request.app.state.access
    if not await access.logs_in(_text(value, "token", 1000)):
        raise HTTPException(403, "this is not the token")
    answer = JSONResponse({"message": "logged in"})
    answer.set_cookie(COOKIE, access.session, httponly=True, samesite="strict", path="/")
    return answer


class Questions:
    """Questions that are being answered, one after the other, and the last answers."""

    def __init__(self) -> None:
        self._jobs: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "questions")

    def start(self, library: Any, question: str, film: int | None) -> int:
        """Begins to answer a question and returns its number. Raises HTTPException 429: too many are waiting."""
        with self._lock:
            if sum(job["state"] == "running" for job in self._jobs.values()) >= _MOST_WAITING:
                raise HTTPException(429, "other questions are being answered: wait for them")
            number = next(self._numbers)
            job = self._jobs[number] = {"state": "running", "note": ""}
            for old in [key for key, one in self._jobs.items() if one["state"] != "running"][:-_MOST_KEPT]:
                del self._jobs[old]
        self._worker.submit(self._answer, job, library.story, question, film)
        return number

    def state(self, number: int) -> dict[str, Any]:
        """Returns how far a question is. Raises UnknownRow: there is none of that number."""
        job = self._jobs.get(number)
        if job is None:
            raise UnknownRow("this question was asked too long ago: ask it again")
        return dict(job)

    def _answer(self, job: dict[str, Any], folder: Any, question: str, film: int | None) -> None:
        try:
            with Story.open(folder) as story:
                name = None if film is None else film_of(story, film).name
                answer = ask(story, question, name, progress=lambda text: job.update(note=text))
                films = {one.name: one.id for one in story.films()}
            evidence = [
                {
                    **{"film": films.get(one.film), "name": one.film, "start": one.start_s, "end": one.end_s},
                    **{"text": one.shows, "here": films.get(one.film) == film},
                }
                for one in answer.proofs
            ]
            shown = {"text": answer.text, "known": answer.known, "note": "; ".join(answer.notes), "evidence": evidence}
            job.update(answer=shown, state="done")
        except StoryjaxError as error:
            job.update(error=" ".join(str(error).split()), state="failed")
        except Exception as error:  # a defect: the browser learns that there is one, and the app goes on
            job.update(error=f"the question could not be answered ({first_line(error, 100)})", state="failed")


async def _ask(request: Request) -> Response:
    value = await _json(request)
    question = _text(value, "question", _LONGEST_QUESTION)
    film = None if value.get("film") is None else _number(value, "film")
    number = request.app.state.questions.start(request.app.state.library, question, film)
    return JSONResponse({"job": number})


async def _asked(request: Request) -> Response:
    return JSONResponse(
        request.app.state.questions.state(row_id(request, "job")), headers={"cache-control": "no-store"}
    )


ROUTES = (
    Route("/api/corrections", _correct, methods=["POST"]),
    Route("/api/corrections/undo", _undo, methods=["POST"]),
    Route("/api/entities/{entity}/photos", _photo, methods=["POST"]),
    Route("/api/login", _login, methods=["POST"]),
    Route("/api/ask", _ask, methods=["POST"]),
    Route("/api/ask/{job}", _asked),
)
