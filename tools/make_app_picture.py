"""Makes the documentation's picture of the app: a film's page in a headless Chromium.

    python tools/make_app_picture.py STORY --film NAME --time SECONDS --out docs/pictures/app.png

Needs chromium, and pip install playwright 'storyjax[app]'. The picture has 256 colours, so that it stays small.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image

from storyjax.core.files import check_outputs, write_atomically
from storyjax.story.schema import FILE
from storyjax.story.store import Story

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.app.app_story import served

_COLOURS = 256
_VIEW = {"width": 1240, "height": 800}


def main() -> None:
    """Makes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("story", type=Path)
    parser.add_argument("--film", required=True)
    parser.add_argument("--time", type=float, default=0.0, help="the moment that is shown, in seconds")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    check_outputs([("--out", given.out)], [given.story / FILE], make_folders=True)
    with Story.open(given.story) as story:
        number = story.film(given.film).id
    with served(given.story) as address:
        png = photograph(f"{address}/film/{number}#t={given.time}", given.dark)
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    write_atomically(given.out, data.getvalue())
    print(f"{given.out}: {len(data.getvalue()) / 1000:.0f} kB")


def photograph(address: str, dark: bool) -> bytes:
    """Returns a page of the app as PNG."""
    from playwright.sync_api import sync_playwright

    program = next(path for name in ("chromium", "chromium-browser") if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=_VIEW, color_scheme="dark" if dark else "light")
        page.goto(address)
        page.wait_for_selector("html[data-ready=true]")
        page.wait_for_function("() => !document.getElementById('video').seeking")
        page.wait_for_timeout(1500)
        made = page.screenshot()
        browser.close()
    return made


if __name__ == "__main__":
    main()
