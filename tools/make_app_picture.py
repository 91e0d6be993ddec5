"""Makes the documentation's picture of the app: a film's page in a headless Chromium.

    python tools/make_app_picture.py STORY --film NAME --time SECONDS --out docs/pictures/app.png
    python tools/make_app_picture.py --episode runs/app_picture --time 44 --out docs/pictures/app.png

With --episode a story is made first, of an episode of StoryWorld's held-out series that is drawn larger than usual,
with the networks that ship and the cast list. Needs chromium, and pip install playwright 'storyjax[app]'. The picture
has 256 colours, so that it stays small.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image

from storyjax.core.files import check_outputs, write_atomically
from storyjax.core.runtime import prepare_runtime
from storyjax.story.options import StoryOptions
from storyjax.story.pipeline import make_story
from storyjax.story.schema import FILE
from storyjax.story.store import Story
from storyjax.storyworld.export.series import episode_name, export_series, held_out_episode
from storyjax.storyworld.render.episode_video import write_episode_video

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.app.app_story import served

_COLOURS = 256
_PIXELS = 384  # of the episode's sides
_VIEW = {"width": 1240, "height": 800}


def main() -> None:
    """Makes the picture."""
    prepare_runtime()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("story", type=Path, nargs="?")
    parser.add_argument("--episode", type=Path, metavar="FOLDER", help="makes a story of an episode in this folder")
    parser.add_argument("--film", default=episode_name(1))
    parser.add_argument("--time", type=float, default=0.0, help="the moment that is shown, in seconds")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.episode is not None:
        given.story = episode_story(given.episode)
    if given.story is None:
        parser.error("give a story, or --episode FOLDER")
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


def episode_story(folder: Path) -> Path:
    """Makes the story of an episode, where it is not made yet, and returns its folder."""
    series = export_series(folder / "series", episodes=1)
    film = folder / f"{episode_name(1)}.mp4"
    if not film.exists():
        write_episode_video(held_out_episode(1), film, size=_PIXELS)
    options = StoryOptions(cast=series / "cast.json", places=("garden", "park", "street", "kitchen", "harbour"))
    make_story([film], folder / "story", options)
    return folder / "story"


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
