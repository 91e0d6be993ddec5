"""What goes over real sockets: parts of films, many at a time, and uploads without an end; and a fuzz of everything."""

import http.client
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from storyjax.app.guard import Access
from storyjax.app.media import asked_range
from storyjax.app.serve import bound, checked_token
from storyjax.app.server import Library, make_app
from storyjax.core.errors import StoryjaxError
from tests.app.app_story import make_app_story, served

CHANGE = {"X-Storyjax": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_app_story(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def film(folder: Path) -> bytes:
    return (folder.parent / "films" / "clip.mp4").read_bytes()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (0, 100)),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=99-", (99, 100)),
        ("bytes=100-", None),
        ("bytes=-0", None),
        ("bytes=20-10", (0, 100)),
        ("bytes=0-1,5-9", (0, 100)),
        ("bytes=a-b", (0, 100)),
        ("chapters=1-2", (0, 100)),
        ("bytes=-", (0, 100)),
        (f"bytes={'9' * 400}-", (0, 100)),
    ],
)
def test_ranges_are_read_as_the_standard_says(header: str | None, expected: tuple[int, int] | None) -> None:
    assert asked_range(header, 100) == expected


def test_a_hundred_ranges_at_once_are_right(folder: Path, film: bytes) -> None:
    with served(folder) as address:

        def read(number: int) -> bool:
            connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
            first = number * 31 % (len(film) - 50)
            connection.request("GET", "/media/1", headers={"Range": f"bytes={first}-{first + 49}"})
            answer = connection.getresponse()
            same = answer.read() == film[first : first + 50]
            said = answer.getheader("Content-Range") == f"bytes {first}-{first + 49}/{len(film)}"
            connection.close()
            return same and said and answer.status == 206

        with ThreadPoolExecutor(100) as pool:
            assert all(pool.map(read, range(100)))
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        for headers, status, length in (
            ({}, 200, len(film)),
            ({"Range": "bytes=-7"}, 206, 7),
            ({"Range": f"bytes={len(film)}-"}, 416, 0),
            ({"Range": "bytes=0-9", "If-Range": '"another"'}, 200, len(film)),
        ):
            connection.request("GET", "/media/1", headers=headers)
            answer = connection.getresponse()
            assert (answer.status, len(answer.read())) == (status, length)
        connection.request("HEAD", "/media/1")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Length"), answer.read()) == (200, str(len(film)), b"")
        connection.close()


def test_an_upload_without_an_end_is_cut_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storyjax.app.changes.MOST_PHOTO_BYTES", 1 << 20)
    with served(folder) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            head = f"POST /api/entities/1/photos HTTP/1.1\r\nHost: {host}:{port}\r\nX-Storyjax: 1\r\n"
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            sent, piece = 0, b"10000\r\n" + bytes(1 << 16) + b"\r\n"
            try:
                while sent < 200 << 20:
                    connection.sendall(piece)
                    sent += 1 << 16
            except OSError:
                pass
            assert sent < 50 << 20, sent  # what fits into the sockets' buffers, not 10 GB


TEXT = st.one_of(
    st.text(max_size=12), st.sampled_from(["1", "2", "-1", "0", "9" * 30, "nan", "inf", "1e400", "../..", "%00", "١"])
)
PATHS = st.sampled_from(
    [
        *("/", "/film/{}", "/login", "/static/{}", "/media/{}", "/api/library", "/api/entities", "/api/entities/{}"),
        *("/api/films/{}", "/api/films/{}/shots", "/api/films/{}/lanes", "/api/films/{}/utterances", "/api/search"),
        *("/api/films/{}/tracks", "/api/films/{}/subtitles.vtt", "/api/stills/{}", "/api/ask/{}", "/{}"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("action", "entity", "into", "name", "track", "utterance", "from", "to", "question", "film", "token")
CALLS = st.dictionaries(
    st.sampled_from(FIELDS), JSON | st.integers(0, 6) | st.sampled_from(["rename", "merge", "assign", "reject"])
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storyjax.app.guard.asyncio.sleep", _no_sleep)
        app = make_app(Library(make_app_story(folder), folder / "gallery"), Access("127.0.0.1", 8765))
        with TestClient(app, base_url="http://127.0.0.1:8765") as made:
            yield made


async def _no_sleep(_: float) -> None:
    pass


def _check(answer) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert list(answer.json()) == ["error"]
        assert "\n" not in answer.json()["error"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=PATHS,
    part=TEXT,
    query=st.dictionaries(st.sampled_from(["q", "film", "offset", "limit", "start", "end", "kind"]), TEXT),
)
def test_no_question_breaks_the_app(client: TestClient, path: str, part: str, query: dict[str, str]) -> None:
    _check(client.get(path.replace("{}", quote(part, safe="")), params=query))


@settings(max_examples=60, deadline=None)
@given(
    path=st.sampled_from(["/api/corrections", "/api/corrections/undo", "/api/ask", "/api/login"]), value=CALLS | JSON
)
def test_no_change_breaks_the_app(client: TestClient, path: str, value: object) -> None:
    try:
        answer = client.post(path, json=value, headers=CHANGE)
    except ValueError:  # nan is no JSON for httpx
        return
    _check(answer)


@settings(max_examples=20, deadline=None)
@given(path=st.sampled_from(["/api/corrections", "/api/entities/1/photos", "/api/login"]), body=st.binary(max_size=60))
def test_no_bytes_break_the_app(client: TestClient, path: str, body: bytes) -> None:
    _check(client.post(path, content=body, headers=CHANGE))


def test_ports_and_tokens_are_checked() -> None:
    again = pytest.raises(StoryjaxError, match="give another --port")
    with bound("127.0.0.1", 0) as first, again, bound("127.0.0.1", first.getsockname()[1]):
        pass
    with pytest.raises(StoryjaxError, match="no address of this machine"), bound("no such host.invalid", 0):
        pass
    with pytest.raises(StoryjaxError, match="--token new"):
        checked_token("0.0.0.0", None)
    with pytest.raises(StoryjaxError, match="12"):
        checked_token("127.0.0.1", "short")
    assert checked_token("localhost", None) is None
    assert len(checked_token("0.0.0.0", "new") or "") > 20
