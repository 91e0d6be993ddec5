"""Films as the browser's player wants them: any part of a file, read while it is sent."""

import contextlib
import os
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from storyjax.core.errors import StoryjaxError
from storyjax.story.rows import Film
from storyjax.story.store import Story

_CHUNK = 1 << 18
_TYPES = {
    **{".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".mkv": "video/webm"},
    **{".ogv": "video/ogg", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".mp3": "audio/mpeg", ".m4a": "audio/mp4"},
    **{".wav": "audio/wav", ".flac": "audio/flac", ".aac": "audio/aac"},
}


def open_film(story: Story, film: Film) -> tuple[int, os.stat_result]:
    """Opens a film's file for reading; only the file that the story was made of.

    Returns:
        A file descriptor, which the caller closes, and what the system says of the file.

    Raises:
        StoryjaxError: it is gone, changed, no file, or a link that leads out of the film's folder to another file.
    """
    path = story.media(film)
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise StoryjaxError(
            f"the file of '{film.name}' cannot be read ({error.strerror}): is its disk there?"
        ) from error
    try:
        facts = os.fstat(number)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != film.size:
            raise StoryjaxError(
                f"the file of '{film.name}' is no longer the one that was analysed: run 'storyjax story'"
            )
        if _leaves(path) and facts.st_mtime_ns != film.mtime_ns:
            raise StoryjaxError(f"the file of '{film.name}' is a link to another file than the one that was analysed")
    except BaseException:
        os.close(number)
        raise
    return number, facts


def _leaves(path: Path) -> bool:
    """Whether a link leads out of the folder that it is in."""
    real = Path(os.path.realpath(path))
    return path.is_symlink() and not real.is_relative_to(os.path.realpath(path.parent))


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Returns the bytes that a Range header asks for: the first, and the one after the last.

    Args:
        header: such as "bytes=0-99", "bytes=100-", "bytes=-50"; what is no such header, or asks for several ranges,
            means the whole file, as the standard allows.
        size: of the file, in bytes.

    Returns:
        None where nothing in the file satisfies it.
    """
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", header or "", re.IGNORECASE | re.ASCII)
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        length = int(found[2])
        return (max(0, size - length), size) if length and size else None
    first, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if last < first and found[2]:
        return 0, size  # no range at all
    return (first, min(last + 1, size)) if first < size else None


async def film_response(request: Request, story: Story, film: Film) -> Response:
    """Returns the answer to a request for a film's file: 200, 206, 304 or 416. Raises StoryjaxError as `open_film`."""
    number, facts = await run_in_threadpool(open_film, story, film)
    tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
    headers = {
        "accept-ranges": "bytes",
        "etag": tag,
        "cache-control": "private, no-cache",
        "content-type": _TYPES.get(Path(film.path).suffix.lower(), "application/octet-stream"),
    }
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, number)
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        header = request.headers.get("range")
        if request.headers.get("if-range", tag) != tag:
            header = None
        span = asked_range(header, facts.st_size)
        if span is None:
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{facts.st_size}"})
        first, stop = span
        headers["content-length"] = str(stop - first)
        partial = (first, stop) != (0, facts.st_size) or (header or "").replace(" ", "").lower() in ("bytes=0-",)
        if partial:
            headers["content-range"] = f"bytes {first}-{stop - 1}/{facts.st_size}"
        status = 206 if partial else 200
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        stack.pop_all()
        return _Streamed(number, first, stop, status, headers)


class _Streamed(StreamingResponse):
    """A part of an open file, which is closed however the answer ends."""

    def __init__(self, number: int, first: int, stop: int, status: int, headers: dict[str, str]):
        super().__init__(_parts(number, first, stop), status_code=status, headers=headers)
        self.number = number

    async def __call__(self, scope, receive, send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self.number)


async def _parts(number: int, first: int, stop: int) -> AsyncIterator[bytes]:
    while first < stop:
        part = await run_in_threadpool(os.pread, number, min(_CHUNK, stop - first), first)
        if not part:
            return  # the file became shorter; the browser sees that bytes are missing
        first += len(part)
        yield part
