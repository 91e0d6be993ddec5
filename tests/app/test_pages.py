"""The app's pages in a headless Chromium: what is seen, done by keyboard, and never run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.story.export.html_page import export_html
from storyjax.story.store import Story
from tests.app.app_story import BEN, SIZE, SOMEBODY, ana_at, make_app_story, served
from tests.app.chromium import Watched, chromium

MARKUP = {BEN: '<img src=x onerror="window.pwned=1">', SOMEBODY: "דנה </script><script>window.pwned=1</script>"}
# The left end of what is drawn in Ana's colour, as a fraction of the picture's width.
LEFT_OF_BOX = """(colour) => {
  const canvas = document.getElementById("overlay"), { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  let left = width;
  for (let i = 0; i < pixels.length; i += 4) {
    const same = [0, 1, 2].every((c) => Math.abs(pixels[i + c] - colour[c]) < 12) && pixels[i + 3] > 240;
    if (same) left = Math.min(left, (i / 4) % width);
  }
  const side = Math.min(width, height);
  return (left - (width - side) / 2) / side;
}"""
BLUE = [0x7F, 0xB2, 0xEE]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    with served(make_app_story(folder), folder / "gallery") as address:
        yield address


@pytest.fixture
def watched(browser: Any, app: str) -> Iterator[Watched]:
    made = Watched(browser)
    yield made
    made.close()
    assert made.wrong == []
    assert all(url.startswith((app, "data:", "blob:")) for url in made.asked)


def seek(page: Any, time: float) -> str:
    """Goes to a time and returns who is in the picture, as it is read out."""
    page.evaluate("(time) => { document.getElementById('video').currentTime = time; }", time)
    page.wait_for_function("() => !document.getElementById('video').seeking")
    page.wait_for_timeout(60)
    return page.get_attribute("#overlay", "aria-label")


def test_the_library_shows_films_people_and_things(app: str, watched: Watched) -> None:
    page = watched.open(app)
    assert page.inner_text("#films h3") == "clip"
    assert page.inner_text("#counts") == "1 film · 6 s · 3 people · 1 thing"
    assert [one.inner_text() for one in page.query_selector_all("#people .name")] == ["Ana", "Ben", "Person 1"]
    page.keyboard.press("/")
    page.keyboard.type("garden")
    page.wait_for_selector("#results mark")
    page.click("#results a")
    page.wait_for_selector("html[data-ready=true]")
    assert page.evaluate("document.getElementById('video').currentTime") == pytest.approx(2.5, abs=0.1)


def test_boxes_follow_the_film(app: str, watched: Watched) -> None:
    page = watched.open(f"{app}/film/1")
    page.wait_for_function("() => document.getElementById('video').readyState >= 2")
    assert page.evaluate("document.getElementById('video').videoWidth") == SIZE
    for time in (0.5, 2.5, 5.0):
        assert "Ana" in seek(page, time)
        assert page.evaluate(LEFT_OF_BOX, BLUE) == pytest.approx(ana_at(time), abs=0.03)
    assert seek(page, 5.0) == "In the picture: Ana, Ben"
    assert seek(page, 1.5) == "In the picture: Ana, Person 1, Rex"
    page.set_viewport_size({"width": 700, "height": 700})
    page.wait_for_timeout(150)
    assert page.evaluate(LEFT_OF_BOX, BLUE) == pytest.approx(ana_at(1.5), abs=0.03)
    assert page.inner_text("#cue") == "Ana Good morning, where is the dog?"
    seek(page, 3.0)
    assert page.inner_text("#cue") == "Ben In the <b>garden</b>."


def test_lanes_lines_and_keys_lead_to_their_times(app: str, watched: Watched) -> None:
    page = watched.open(f"{app}/film/1")
    now = "document.getElementById('video').currentTime"
    box = page.locator("#time").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 90)
    assert page.evaluate(now) == pytest.approx(3.0, abs=0.1)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(now) == pytest.approx(4.5, abs=0.01)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(now) == 0
    page.get_by_role("button", name="In the <b>garden</b>").click()
    assert page.evaluate(now) == pytest.approx(2.5, abs=0.01)
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("kitchen")
    page.wait_for_selector(".shown")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert "play or pause" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    names = [one.inner_text() for one in page.query_selector_all("#names .name")]
    assert names == ["Ana", "Ben", "Rex", "Person 1", "Unknown"]
    unnamed = """() => [...document.querySelectorAll("button, input, a")].filter((one) =>
      !(one.innerText.trim() || one.getAttribute("aria-label") || one.labels?.length)).map((one) => one.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_a_correction_by_keyboard_stays_and_is_undone(app: str, watched: Watched) -> None:
    page = watched.open(f"{app}/film/1")
    seek(page, 5.0)
    page.keyboard.press("c")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Enter")  # Ana is the first of those in the picture
    page.wait_for_selector("dialog[open] input")
    page.keyboard.type("Zoe")
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast")
    page = watched.open(f"{app}/film/1")
    assert seek(page, 5.0) == "In the picture: Zoe, Ben"
    page.keyboard.press("u")
    page.wait_for_function("() => document.querySelector('.toast')?.textContent.startsWith('undone')")
    page = watched.open(f"{app}/film/1")
    assert seek(page, 5.0) == "In the picture: Ana, Ben"


def test_who_it_is_not_is_said_with_a_click(app: str, watched: Watched) -> None:
    page = watched.open(f"{app}/film/1")
    seek(page, 5.0)
    page.keyboard.press("c")
    page.locator("dialog").get_by_role("button", name="Ana").click()
    page.get_by_role("button", name="This is not Ana").click()
    page.wait_for_selector(".toast")
    page.wait_for_function("() => document.getElementById('overlay').ariaLabel === 'In the picture: Unknown, Ben'")
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("() => document.getElementById('overlay').ariaLabel === 'In the picture: Ana, Ben'")


def test_a_question_is_answered_beside_the_film(app: str, watched: Watched) -> None:
    page = watched.open(f"{app}/film/1")
    page.get_by_role("tab", name="Ask").click()
    page.get_by_role("textbox", name="Question").fill('Who says "where is the dog"?')
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer .text")
    assert page.inner_text(".answer .text").startswith("Ana")
    page.click(".answer .chip")
    assert page.evaluate("document.getElementById('video').currentTime") == pytest.approx(0.5, abs=0.1)


def test_names_are_never_markup(browser: Any, tmp_path: Path) -> None:
    with served(make_app_story(tmp_path, MARKUP)) as address:
        watched = Watched(browser)
        for path in ("/", "/film/1"):
            page = watched.open(address + path)
            assert page.evaluate("window.pwned") is None
            assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
        seek(page, 3.5)
        assert MARKUP[BEN] in page.inner_text("#cue")
        page.get_by_role("tab", name="People").click()
        assert MARKUP[BEN] in page.inner_text("#panel")
        page.keyboard.press("c")
        page.wait_for_selector("dialog[open]")
        assert page.evaluate("window.pwned") is None
        assert watched.wrong == []
        watched.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_pages_fit_phones_and_the_dark(browser: Any, app: str, width: int) -> None:
    watched = Watched(browser, viewport={"width": width, "height": 740}, color_scheme="dark")
    for path in ("/", "/film/1"):
        page = watched.open(app + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(int(value) for value in re.findall(r"\d+", ground)) < 60
    assert watched.wrong == []
    watched.close()


def test_the_login_lets_in_who_has_the_token(browser: Any, tmp_path: Path) -> None:
    with served(make_app_story(tmp_path), token="correct horse battery") as address:
        watched = Watched(browser)
        watched.page.goto(address)
        watched.page.keyboard.type("correct horse battery")
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_selector("#films h3")
        assert watched.wrong == []
        watched.close()


def test_an_exported_page_opens_without_a_server(browser: Any, tmp_path: Path) -> None:
    story = make_app_story(tmp_path, MARKUP)
    film = tmp_path / "films" / "clip.mp4"
    with Story.open(story) as opened:
        export_html(opened, tmp_path / "page")
        assert (tmp_path / "page" / "film.mp4").read_bytes() == film.read_bytes()
        export_html(opened, tmp_path / "linked", media="link")
        with pytest.raises(StoryjaxError, match="--media"):
            export_html(opened, tmp_path / "x", media="move")
    assert not list((tmp_path / "linked").glob("*.mp4"))
    for folder in ("page", "linked"):
        watched = Watched(browser)
        page = watched.open((tmp_path / folder / "index.html").as_uri())
        page.wait_for_function("() => document.getElementById('video').readyState >= 2")
        assert seek(page, 5.0) == f"In the picture: Ana, {MARKUP[BEN]}"
        assert page.evaluate(LEFT_OF_BOX, BLUE) == pytest.approx(ana_at(5.0), abs=0.03)
        seek(page, 1.0)
        assert page.inner_text("#cue") == "Ana Good morning, where is the dog?"
        page.keyboard.press("/")
        page.keyboard.type("garden")
        page.wait_for_selector("mark")
        assert page.evaluate("window.pwned") is None
        assert [one.inner_text() for one in page.query_selector_all("#tabs button")] == [
            "What is said",
            "People and things",
        ]
        assert all(url.startswith("file:") for url in watched.asked)
        assert watched.wrong == []
        watched.close()


def test_an_export_replaces_nothing_that_is_read(tmp_path: Path) -> None:
    story = make_app_story(tmp_path)
    (tmp_path / "films" / "film.mp4").symlink_to("clip.mp4")
    with Story.open(story) as opened, pytest.raises(StoryjaxError, match="a file that is read"):
        export_html(opened, tmp_path / "films")
