"""The app's API: what it answers, and what it refuses."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from storyjax.app.guard import Access
from storyjax.app.server import Library, make_app
from storyjax.core.errors import StoryjaxError
from tests.app.app_story import ANA, BEN, SOMEBODY, make_app_story

HERE = "http://127.0.0.1:8765"
CHANGE = {"X-Storyjax": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_app_story(tmp_path_factory.mktemp("app"))


def client_of(story: Path, gallery: Path | None = None, access: Access | None = None) -> TestClient:
    return TestClient(make_app(Library(story, gallery), access or Access("127.0.0.1", 8765)), base_url=HERE)


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with client_of(folder) as made:
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a story of its own, which can be changed, and of a gallery."""
    with client_of(make_app_story(tmp_path), tmp_path / "gallery") as made:
        yield made


def test_the_library_and_the_film_are_told(client: TestClient) -> None:
    library = client.get("/api/library").json()
    assert [(f["name"], f["shots"], f["lines"], f["seen"]) for f in library["films"]] == [("clip", 2, 3, 4)]
    assert library["kinds"] == {"person": 3, "thing": 1}
    film = client.get("/api/films/1").json()
    assert film["counts"]["tracks"] == 4
    assert [e["name"] for e in film["entities"]] == ["Ana", "Ben", "Rex", "Person 1"]
    assert client.get("/api/entities?kind=thing").json()["rows"][0]["name"] == "Rex"
    assert client.get("/api/entities?limit=1&offset=1").json()["total"] == 4
    assert client.get(f"/api/entities/{ANA}").json()["films"] == [
        {"id": 1, "name": "clip", "seen": 6.0, "lines": 1, "first": 0.0}
    ]


def test_rows_come_in_windows_and_pages(client: TestClient) -> None:
    window = client.get("/api/films/1/tracks?start=0.5&end=0.9").json()
    assert [(t["entity"], t["kind"]) for t in window["rows"]] == [(ANA, "person"), (SOMEBODY, "person")]
    boxes = window["rows"][0]["boxes"]
    assert boxes[0] == [0.0, 0.1, 0.2, 0.2, 0.6]
    assert boxes[-1][0] == pytest.approx(1.8)
    assert client.get("/api/films/1/tracks?start=0&end=99999").json()["end"] == 60.0
    assert [s["shows"] for s in client.get("/api/films/1/shots").json()["rows"]] == [["garden"], ["100% kitchen"]]
    page = client.get("/api/films/1/utterances?offset=1&limit=1").json()
    assert (page["total"], [u["text"] for u in page["rows"]]) == (3, ["In the <b>garden</b>."])
    lanes = client.get("/api/films/1/lanes").json()
    assert lanes["total"] == 7
    assert ["said", 0, 4.5, 5.5] in lanes["rows"]


def test_search_looks_at_what_is_said_shown_and_named(client: TestClient) -> None:
    found = client.get("/api/search?q=garden").json()
    assert ([u["start"] for u in found["said"]], [s["start"] for s in found["shown"]]) == ([2.5], [0.0])
    assert [s["text"] for s in client.get("/api/search?q=100%25").json()["shown"]] == ["100% kitchen"]
    assert client.get("/api/search?q=%25").json()["shown"][0]["text"] == "100% kitchen"
    assert [e["name"] for e in client.get("/api/search?q=an&film=1").json()["names"]] == ["Ana"]
    assert client.get("/api/search?q=%00%22*").json()["said"] == []


def test_subtitles_pictures_and_pages_are_served(client: TestClient) -> None:
    text = client.get("/api/films/1/subtitles.vtt").text
    assert "<v Ben>In the &lt;b&gt;garden&lt;/b&gt;.</v>" in text
    still = client.get("/api/stills/1")
    assert still.headers["content-type"] == "image/jpeg"
    assert client.get("/api/stills/1", headers={"If-None-Match": still.headers["etag"]}).status_code == 304
    for path in ("/", "/film/1", "/login", "/static/film.js", "/static/style.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "<script>" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_corrections_are_made_and_undone(fresh: TestClient) -> None:
    def post(path: str, value: dict, status: int = 200) -> dict:
        answer = fresh.post(path, json=value, headers=CHANGE)
        assert answer.status_code == status, answer.text
        return answer.json()

    post("/api/corrections", {"action": "rename", "entity": SOMEBODY, "name": "Zoë"})
    names = [e["name"] for e in fresh.get("/api/films/1").json()["entities"]]
    assert "Zoë" in names
    assert "Person 1" not in names
    post("/api/corrections", {"action": "assign", "track": 1, "entity": BEN, "from": 2.0, "to": 4.0})
    tracks = fresh.get("/api/films/1/tracks?start=0&end=6").json()["rows"]
    assert [(t["start"], t["end"]) for t in tracks if t["source"] == "user" and t["entity"] == BEN] == [(2.0, 4.0)]
    post("/api/corrections", {"action": "reject", "utterance": 2})
    assert fresh.get("/api/films/1/utterances").json()["rows"][1]["label"] == "Unknown"
    for _ in range(3):
        post("/api/corrections/undo", {})
    assert "Person 1" in [e["name"] for e in fresh.get("/api/films/1").json()["entities"]]
    assert "no correction" in post("/api/corrections/undo", {}, 400)["error"]
    for wrong in ({}, {"action": "rename", "entity": 1}, {"action": "merge", "entity": 1, "into": 99}, {"action": 5}):
        assert "\n" not in post("/api/corrections", wrong, 400)["error"]


def test_photos_are_decoded_bounded_and_kept_small(fresh: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from storyjax.gallery.gallery import Gallery

    gallery = Gallery(fresh.app.state.library.gallery)
    fresh.post("/api/corrections", json={"action": "rename", "entity": SOMEBODY, "name": "Zoe"}, headers=CHANGE)
    (zoe,) = [e["id"] for e in fresh.get("/api/entities").json()["rows"] if e["name"] == "Zoe"]
    jpeg = fresh.get("/api/stills/1").content
    where = f"/api/entities/{zoe}/photos"
    before = len(gallery.pictures(gallery.get("Zoe")))
    assert fresh.post(where, content=jpeg, headers=CHANGE).status_code == 200
    pictures = gallery.pictures(gallery.get("Zoe"))
    assert len(pictures) == before + 1
    assert pictures[-1].read_bytes() != jpeg
    assert fresh.post(where, content=b"<svg onload=alert(1)>", headers=CHANGE).status_code == 400
    assert fresh.post(f"/api/entities/{ANA}/photos", content=jpeg, headers=CHANGE).status_code == 400

    large = {**CHANGE, "Content-Length": str(10 << 30)}
    assert fresh.post(where, content=b"x", headers=large).status_code == 413
    monkeypatch.setattr("storyjax.app.changes.MOST_PHOTOS", 0)
    assert "enough" in fresh.post(where, content=jpeg, headers=CHANGE).json()["error"]


def test_questions_are_answered_with_times(client: TestClient) -> None:
    asked = client.post("/api/ask", json={"question": 'Who says "where is the dog"?', "film": 1}, headers=CHANGE)
    for _ in range(200):
        state = client.get(f"/api/ask/{asked.json()['job']}").json()
        if state["state"] != "running":
            break
    assert state["answer"]["text"].startswith("Ana")
    assert state["answer"]["evidence"][0]["here"]
    assert client.get("/api/ask/999").status_code == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1:1", "127.0.0.1.evil.example:8765", "", "[::1", "localhost:x"],
)
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/library", headers={"Host": host}).status_code == 421


def test_this_machines_names_are_served(client: TestClient) -> None:
    for host in ("localhost:8765", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST:8765", "localhost"):
        assert client.get("/api/library", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Storyjax": "1", "Origin": "http://evil.example"},
        {"X-Storyjax": "1", "Origin": "null"},
        {"X-Storyjax": "1", "Origin": "http://127.0.0.1:9999"},
        {"X-Storyjax": "1", "Sec-Fetch-Site": "cross-site"},
        {"X-Storyjax": "1", "Sec-Fetch-Site": "same-site"},
        {"Origin": HERE, "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_other_sites_can_change_nothing(client: TestClient, headers: dict[str, str]) -> None:
    for path in ("/api/corrections", "/api/corrections/undo", "/api/entities/1/photos", "/api/ask", "/api/login"):
        assert client.post(path, json={"action": "merge", "entity": 1, "into": 2}, headers=headers).status_code == 403


def test_other_sites_can_embed_nothing(client: TestClient) -> None:
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    for path in ("/api/library", "/media/1", "/api/stills/1", "/static/film.js"):
        assert client.get(path, headers=cross).status_code == 403
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e%2fguard.py", "/static//etc/passwd"),
        *("/media/../../etc/passwd", "/media/%2e%2e%2f1", "/media/1/../../x", "/media/clip.mp4", "/api/stills/..%2f1"),
        *("/film/1/..%2f..", "/api/films/1%00", "/api/films/-1", "/api/films/99999999999999999999", "/api/films/１"),
    ],
)
def test_no_path_leads_anywhere_else(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 or (path.startswith("/film/") and answer.status_code == 200)
    assert "root:" not in answer.text
    assert "import " not in answer.text


def test_a_token_is_asked_of_everybody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("storyjax.app.guard.asyncio.sleep", sleep)
    with client_of(folder, access=Access("0.0.0.0", 8765, "correct horse battery")) as client:
        assert client.get("/api/library").status_code == 401
        assert client.get("/media/1").status_code == 401
        assert client.get("/", follow_redirects=False).headers["location"] == "/login"
        assert client.get("/static/style.css").status_code == 200
        assert client.get("/api/library", headers={"Cookie": "storyjax=wrong"}).status_code == 401
        assert client.post("/api/login", json={"token": "wrong"}, headers=CHANGE).status_code == 403
        assert slept == [1.0]
        assert client.post("/api/login", json={"token": "correct horse battery"}).status_code == 403
        answer = client.post("/api/login", json={"token": "correct horse battery"}, headers=CHANGE)
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=strict" in answer.headers["set-cookie"]
        assert client.get("/api/library").status_code == 200
        assert client.get("/api/library", headers={"Host": "192.168.1.7:8765"}).status_code == 200
        assert client.get("/api/library", headers={"Host": "evil.example:8765"}).status_code == 421


def test_only_the_analysed_file_is_served(tmp_path: Path) -> None:
    story = make_app_story(tmp_path)
    film = tmp_path / "films" / "clip.mp4"
    with client_of(story) as client:
        assert client.get("/media/1", headers={"Range": "bytes=0-3"}).status_code == 206
        moved = tmp_path / "elsewhere.mp4"
        os.rename(film, moved)
        assert "cannot be read" in client.get("/media/1").json()["error"]
        film.symlink_to(moved)  # the very file, elsewhere: its time tells
        assert client.get("/media/1").status_code == 200
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(moved.stat().st_size))
        film.unlink()
        film.symlink_to(secret)
        assert "link to another file" in client.get("/media/1").json()["error"]
        film.unlink()
        film.write_bytes(b"short")
        assert "no longer the one" in client.get("/media/1").json()["error"]
        film.unlink()
        os.mkfifo(film)
        assert client.get("/media/1").status_code == 400
        db = sqlite3.connect(story / "story.sqlite")
        db.execute("UPDATE films SET path = '/etc/passwd'")
        db.commit()
        db.close()
        assert client.get("/media/1").status_code == 400


def test_a_defect_is_told_in_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in the middle\nof it")

    monkeypatch.setattr("storyjax.story.page_data.library", broken)
    with client_of(folder) as client:
        answer = client.get("/api/library")
        assert answer.status_code == 500
        assert list(answer.json()) == ["error"]
        assert "Traceback" not in answer.text
        assert "middle" not in answer.text
        assert "content-security-policy" in answer.headers


def test_without_a_story_there_is_no_app(tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="no story in"):
        make_app(Library(tmp_path), Access("127.0.0.1", 8765))
