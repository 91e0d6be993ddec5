"""Runs the app: checks who may reach it, finds a port, says where it is, and opens the browser."""

import contextlib
import errno
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from storyjax.core.errors import StoryjaxError
from storyjax.story.store import Story

PORT = 8765
_TRIED_PORTS = 20
SHORTEST_TOKEN = 12


def serve(
    story: Path, gallery: Path | None, *, host: str, port: int | None, token: str | None, browser: bool
) -> None:  # pragma: no cover - ends with the process; its parts are tested
    """Serves a story until it is interrupted.

    Args:
        story: the story's folder.
        gallery: the gallery that corrections go into; None: see `gallery_of`.
        host: the address to listen on.
        port: its port; None: the first free one from 8765.
        token: what the login asks for; "new": one is drawn and printed.
        browser: whether the default browser is opened.

    Raises:
        StoryjaxError: the extra is not installed, there is no story, the port is taken, or others could reach the app
            without a token.
    """
    try:
        import uvicorn

        from storyjax.app.guard import Access
        from storyjax.app.server import Library, make_app
    except ImportError as error:
        raise StoryjaxError(f"the app needs {error.name}: pip install 'storyjax[app]'") from error
    token = checked_token(host, token)
    with bound(host, port) as listening:
        found = listening.getsockname()[1]
        access = Access(host, found, token)
        app = make_app(Library(story, gallery_of(story, gallery)), access)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else '[::1]' if host == '::' else shown}:{found}/"
        print(f"The story is at {address} (Ctrl-C ends it).", file=sys.stderr)
        if token is not None:
            print(f"The token is {token}", file=sys.stderr)
        if browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        settings = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(settings).run(sockets=[listening])


def gallery_of(story: Path, given: Path | None) -> Path:
    """Returns the gallery that corrections go into: the one given, the one that the story was made with, or the
    default of all commands."""
    if given is not None:
        return given
    with Story.open(story) as opened:
        told = opened.meta().get("gallery")
    return Path(os.path.normpath(story / told)) if told else Path("runs/gallery")


def checked_token(host: str, token: str | None) -> str | None:
    """Returns the token to use. Raises StoryjaxError: others could reach the app without one, or with a short one."""
    from storyjax.app.guard import is_loopback

    if token is None and not is_loopback(host):
        raise StoryjaxError(
            f"--host {host} lets other machines in: add --token new, or --token TOKEN of {SHORTEST_TOKEN} characters"
        )
    if token == "new":
        return secrets.token_urlsafe(18)
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise StoryjaxError(f"the token has {len(token)} characters: give {SHORTEST_TOKEN}, or --token new")
    return token


@contextlib.contextmanager
def bound(host: str, port: int | None) -> Iterator[socket.socket]:
    """Yields a socket that listens. Raises StoryjaxError: the address is not this machine's, or the port is taken."""
    try:
        family = socket.getaddrinfo(host or None, port or PORT, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    except (OSError, UnicodeError) as error:
        raise StoryjaxError(f"--host {host} is no address of this machine: leave it out, or give one") from error
    tried = [port] if port is not None else [*range(PORT, PORT + _TRIED_PORTS), 0]
    for number in tried:
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, number))
            listening.listen(128)
        except OSError as error:
            listening.close()
            if error.errno == errno.EADDRINUSE and number != tried[-1]:
                continue
            reason = error.strerror or error
            raise StoryjaxError(f"cannot listen on {host}, port {number} ({reason}): give another --port") from error
        with listening:
            yield listening
        return
