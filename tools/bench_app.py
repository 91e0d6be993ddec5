"""Measures the app in a headless Chromium: a film of two hours with 10,000 rows, and a hundred ranges at once.

    python tools/bench_app.py            # needs chromium, and pip install playwright 'storyjax[app]'

Prints when the first pixels of the library and of the film's page are painted, when they are ready to be used, and how
long a hundred parallel range requests of 64 kB take.
"""

import http.client
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from storyjax.story.rows import DONE, Appearance, Caption, Entity, Film, Shot, Track, Utterance
from storyjax.story.store import Story, add_boxes

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.app.app_story import make_app_story, served

SECONDS, SHOTS, TRACKS, SEEN, LINES, PEOPLE = 7200.0, 1500, 4000, 2500, 2000, 20
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def make_long_story(folder: Path) -> Path:
    """Writes a story with one film of two hours: 1,500 shots, 4,000 tracks, 2,500 appearances, 2,000 sentences."""
    rng = np.random.default_rng(0)
    place = make_app_story(folder)
    with Story.open(place) as story, story.transaction() as db:
        (clip,) = story.films()
        still = db.execute("SELECT id FROM stills").fetchone()[0]
        film = story.add(
            db,
            Film(0, "long", clip.path, clip.size, clip.mtime_ns, "e" * 64, SECONDS, 1920, 800, 25.0, True, True, DONE),
        )
        people = [story.add(db, Entity(0, "person", f"Somebody {n}", None, f"{n:032x}")) for n in range(PEOPLE)]
        length = SECONDS / SHOTS
        shots = [story.add(db, Shot(0, film, n, n * length, (n + 1) * length, still)) for n in range(SHOTS)]
        for shot in shots[::3]:
            story.add(db, Caption(0, film, shot, "place", "a street at night", 0.9, {}, "clip"))
        for number in range(TRACKS):
            shot = int(rng.integers(SHOTS))
            who = people[int(rng.integers(PEOPLE))]
            start, end = shot * length, (shot + 1) * length
            track = story.add(
                db, Track(0, film, number, shots[shot], "person", None, start, end, who, 0.9, model="mqt")
            )
            add_boxes(db, track, [(t, 0.3, 0.2, 0.2, 0.6, 0.9) for t in np.arange(start, end, 0.2)])
        for _ in range(SEEN):
            start = float(rng.uniform(0, SECONDS - 10))
            who = people[int(rng.integers(PEOPLE))]
            story.add(db, Appearance(0, film, who, start, start + 6.0, 0.9, model="mqt"))
        for number in range(LINES):
            start = number * SECONDS / LINES
            who = people[int(rng.integers(PEOPLE))]
            text = f"Sentence {number} of a film that goes on and on for two whole hours."
            story.add(db, Utterance(0, film, number, start, start + 2.5, text, who, "Somebody", 0.9, model="voices"))
    return place


def pages(address: str) -> None:
    """Prints the times of the library and of the film's page, of three visits each."""
    from playwright.sync_api import sync_playwright

    program = next(path for name in ("chromium", "chromium-browser") if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, path in (("library", "/"), ("film of two hours", "/film/2")):
            for _ in range(3):
                page = browser.new_page()
                begun = time.perf_counter()
                page.goto(address + path)
                page.wait_for_selector("html[data-ready=true]")
                ready = time.perf_counter() - begun
                print(f"{name}: first paint {page.evaluate(PAINT) / 1000:.2f} s, ready {ready:.2f} s")
                page.close()
        browser.close()


def ranges(address: str, size: int) -> None:
    """Prints how long a hundred range requests take together."""

    def read(number: int) -> int:
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        first = number * 997 % max(1, size - (1 << 16))
        connection.request("GET", "/media/1", headers={"Range": f"bytes={first}-{first + (1 << 16) - 1}"})
        got = len(connection.getresponse().read())
        connection.close()
        return got

    begun = time.perf_counter()
    with ThreadPoolExecutor(100) as pool:
        total = sum(pool.map(read, range(100)))
    print(f"100 ranges: {time.perf_counter() - begun:.2f} s, {total / 1e6:.1f} MB")


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as scratch:
        story = make_long_story(Path(scratch))
        with served(story) as address:
            pages(address)
            ranges(address, (Path(scratch) / "films" / "clip.mp4").stat().st_size)


if __name__ == "__main__":
    main()
