"""What every request passes before anything looks at it, and the headers that every answer carries.

A page of another site, open in the same browser, must be able neither to read a story nor to change it: the name that
the browser asked for is checked (so that no foreign name can be pointed here, DNS rebinding), and every change needs
this app's own origin and a header that no form can send (CSRF). Beyond this machine a token is needed besides.
"""

import asyncio
import hmac
import ipaddress
import json
import secrets
import socket
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storyjax.core.errors import first_line
from storyjax.core.notes import tell

COOKIE = "storyjax"
CHANGE_HEADER = b"x-storyjax"
_OPEN = ("/login", "/api/login")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_ANY = ("0.0.0.0", "::", "")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self';"
    " connect-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


def is_loopback(host: str) -> bool:
    """Returns whether an address, or a name, is this machine's own, which no other machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass
class Access:
    """Who may use the app.

    Attributes:
        host: the address that it listens on.
        port: its port.
        token: what has to be given at the login; None: nothing has.
        session: what the cookie of a login holds; drawn anew whenever the app starts.
    """

    host: str
    port: int
    token: str | None = None
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _login: asyncio.Lock = field(default_factory=asyncio.Lock)

    def knows_host(self, header: str) -> bool:
        """Returns whether a request's Host is one of this app's names."""
        name, port = _split(header)
        if port not in (None, self.port):
            return False
        if name in _LOCAL_NAMES or name == self.host.lower():
            return is_loopback(name) or not is_loopback(self.host)
        if is_loopback(self.host):
            return False
        if name in (socket.gethostname().lower(), socket.getfqdn().lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.host in _ANY  # an address is no name that could be pointed elsewhere

    def knows_session(self, cookie: str) -> bool:
        """Returns whether a Cookie header holds the session of a login; compared in constant time."""
        found = ""
        for part in cookie.split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                found = value
        return hmac.compare_digest(found.encode(), self.session.encode())

    async def logs_in(self, given: str) -> bool:
        """Returns whether a token is the right one. A wrong one costs a second, in which no other is looked at."""
        async with self._login:
            right = self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())
            if not right:
                await asyncio.sleep(1.0)
        return right


def _split(header: str) -> tuple[str, int | None]:
    """A Host header's name, lower-cased and without brackets, and its port; -1 where that is no number."""
    name, port = header.strip().lower(), None
    if name.startswith("["):
        name, closed, rest = name[1:].partition("]")
        given = rest.removeprefix(":") if rest or not closed else None
    else:
        name, colon, rest = name.partition(":")
        given = rest if colon else None
    if given is not None:
        port = int(given) if given.isascii() and given.isdigit() and len(given) < 6 else -1
    return name.removesuffix("."), port


class Guard:
    """The ASGI middleware that refuses what must not come in."""

    def __init__(self, app: ASGIApp, access: Access):
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a refusal, or hands the request on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await _answer(guarded, *refused)
            return
        try:
            await self.app(scope, receive, guarded)
        except Exception as error:  # a defect of the app: the terminal learns what, the browser only that
            tell(f"the app could not answer {scope['path'][:200]!r}: {type(error).__name__}: {first_line(error, 200)}")
            if not begun:
                await _answer(guarded, 500, "the app could not answer this; its terminal says why", None)

    def _refusal(self, scope: Scope) -> tuple[int, str, str | None] | None:
        """Status, message and where to go instead; None where a request may pass."""
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self.access.knows_host(hosts[0]):
            return 421, f"this is not the address of the app: open http://127.0.0.1:{self.access.port}/", None
        given = {name: value.decode("latin-1") for name, value in headers}
        site = given.get(b"sec-fetch-site", "same-origin")
        if scope["method"] in ("GET", "HEAD"):
            if site in ("cross-site", "same-site") and given.get(b"sec-fetch-mode") != "navigate":
                return 403, "another site asked for this: open the app itself", None
        elif (
            given.get(CHANGE_HEADER) != "1"
            or site != "same-origin"
            or given.get(b"origin", f"http://{hosts[0]}") not in (f"http://{hosts[0]}", f"https://{hosts[0]}")
        ):
            return 403, "changes are made by the app's own pages alone", None
        path = scope["path"]
        if self.access.token is None or path in _OPEN or path.startswith("/static/"):
            return None
        if self.access.knows_session(given.get(b"cookie", "")):
            return None
        if path.startswith(("/api/", "/media/")):
            return 401, "log in first: open the app and give its token", None
        return 303, "log in first", "/login"


async def _answer(send: Send, status: int, message: str, location: str | None) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"cache-control", b"no-store")] + ([(b"location", location.encode())] if location else [])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
