"""The pictures of README.md, drawn from StoryWorld by the models that ship.

    python tools/make_pictures.py --out docs/pictures              all of them; a minute or two on two CPU cores
    python tools/make_pictures.py --out docs/pictures --only tracked

attention  what a TCR looked at to answer a question        tracked    a frame with the tracks of an MQT
found      what CLIP-PAD finds by five photos of a face     subtitles  a frame with a line that names the speaker
"""

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs, write_atomically
from storyjax.core.runtime import prepare_runtime
from storyjax.main import report_errors

MAX_BYTES = 60_000  # of a picture
WIDTH = 800  # pixels
_QUESTION = "what did leo do right after tom carried the box ?"
_OPTIONS = ("hugged the dog", "painted the fence", "ate the apple", "flew the plane", "kicked the ball")
_INK, _GREY, _PAPER = (28, 30, 36), (110, 114, 124), (255, 255, 255)
_RIGHT, _WRONG = (26, 127, 55), (198, 40, 40)


def attention(work: Path) -> Image.Image:
    """Returns the figure of an answer: the options, and the frames as opaque as the attention that they got."""
    import storyjax
    from storyjax.storyworld.export.nextqa import export_nextqa
    from storyjax.tcr.figure import draw

    export_nextqa(work / "world", {"train": 1, "val": 1, "test": 2})
    answer = storyjax.load("tcr").ask(work / "world/NExTVideo/2000/2102000000.mp4", _QUESTION, _OPTIONS)
    figure = draw(answer)
    return figure.resize((WIDTH, WIDTH * figure.height // figure.width), Image.Resampling.LANCZOS)


def tracked(work: Path) -> Image.Image:
    """Returns a frame of a held-out sequence with its tracks."""
    import storyjax
    from storyjax.mqt.render import Painter
    from storyjax.storyworld.export.tracks_mot import export_mot17

    export_mot17(work / "tracks", counts={"train": 1, "held_out": 1, "unseen": 1})
    folder = next((work / "tracks").rglob("*8001-SDP")) / "img1"
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())[:40]]
    tracker = storyjax.load("mqt")
    height, width = images[0].shape[:2]
    tracker.start(width, height)
    painter = Painter(width, height)
    for number, image in enumerate(images, 1):
        painted = painter.paint(number, image, tracker.step(image))
    return Image.fromarray(painted)


def found(work: Path) -> Image.Image:
    """Returns the photos of somebody and the scenes that they find, framed green where that is right."""
    import storyjax
    from storyjax.data.images import Square
    from storyjax.data.video import decode_frames
    from storyjax.search.query import clock
    from storyjax.storyworld.export.album import export_album

    export_album(work / "album")
    finder = storyjax.load("clip_pad")
    photos = [_read(path) for path in sorted((work / "album/photos/ben").iterdir())]
    square = Square(finder.image_size, keep_aspect=False)
    frames, captions, right = [], [], []
    for name, parts in json.loads((work / "album/truth.json").read_text()).items():
        if name.startswith("story"):
            times = [(part["start_s"] + part["end_s"]) / 2 for part in parts]
            frames += list(decode_frames(work / "album/films" / name, times, None)[0])
            captions += [f"{clock(part['start_s'])}  {name}" for part in parts]
            right += ["ben" in part["who"] for part in parts]
    query = finder.embed_query("an image of <ben>", {"ben": finder.enrol(photos)})
    scores = finder.embed_images(np.stack([square(frame) for frame in frames])) @ query
    best = np.argsort(-scores)[:5]
    sheet = Image.new("RGB", (WIDTH, 400), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((16, 12), "five photos of Ben, and what “an image of <ben>” finds", _INK, ImageFont.load_default(20))
    for i, photo in enumerate(photos[:5]):
        sheet.paste(Image.fromarray(photo).resize((96, 96)), (16 + 156 * i, 52))
    for rank, i in enumerate(best):
        pen.rectangle((12 + 156 * rank, 172, 163 + 156 * rank, 323), _RIGHT if right[i] else _WRONG)
        sheet.paste(Image.fromarray(frames[i]).resize((144, 144)), (16 + 156 * rank, 176))
        pen.text((16 + 156 * rank, 326), f"{rank + 1}.  {scores[i]:.2f}", _INK, ImageFont.load_default(16))
        pen.text((16 + 156 * rank, 350), captions[i], _GREY, ImageFont.load_default(13))
    return sheet


def subtitles(work: Path) -> Image.Image:
    """Returns a frame of an episode with the line that is spoken there, and its speaker's name."""
    from storyjax.data.video import decode_frames
    from storyjax.storyworld.export.series import export_series
    from storyjax.subtitles.config import BY_PHOTOS
    from storyjax.subtitles.predict import Subtitler
    from storyjax.subtitles.writers import cues

    export_series(work / "series", episodes=1, seconds=60.0)
    (episode,) = (work / "series/video/StoryWorld").iterdir()
    subtitler = Subtitler.from_pretrained(**BY_PHOTOS)
    (made,) = subtitler.subtitle(episode, work / "series/cast.json", cache_dir=work / "stages", progress=False)
    line = next(cue for cue in cues(made) if cue.name in made.exemplars)
    frame = Image.fromarray(decode_frames(episode, [(line.start + line.end) / 2], None)[0][0])
    frame = frame.resize((640, 640 * frame.height // frame.width), Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(frame), ImageFont.load_default(20)
    at = (frame.width / 2, frame.height - 24)
    text = f"{line.name}: {line.text}"
    pen.text(at, text, "white", font, anchor="ms", stroke_width=2, stroke_fill="black")
    return frame


PICTURES: dict[str, Callable[[Path], Image.Image]] = {
    "attention": attention,
    "tracked": tracked,
    "found": found,
    "subtitles": subtitles,
}


def _read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def encode(image: Image.Image) -> bytes:
    """Returns a PNG of at most MAX_BYTES, in as many colours as fit.

    Raises:
        StoryjaxError: it does not fit in eight colours.
    """
    for colors in (256, 128, 64, 32, 16, 8):
        file = io.BytesIO()
        image.convert("RGB").quantize(colors).save(file, "PNG", optimize=True)
        if file.tell() <= MAX_BYTES:
            return file.getvalue()
    raise StoryjaxError(f"a picture of {image.width} × {image.height} pixels takes more than {MAX_BYTES:,} bytes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder of the pictures")
    parser.add_argument("--only", nargs="+", choices=list(PICTURES), default=list(PICTURES), metavar="NAME")
    given = parser.parse_args(arguments)
    os.environ.setdefault("STORYJAX_MODELS", "off")
    prepare_runtime()

    def act() -> int:
        targets = {name: given.out / f"{name}.png" for name in given.only}
        check_outputs([("--out", target) for target in targets.values()], make_folders=True)
        with tempfile.TemporaryDirectory() as folder:
            for name, target in targets.items():
                write_atomically(target, encode(PICTURES[name](Path(folder))))
                print(f"{target}: {target.stat().st_size:,} bytes")
        return 0

    return report_errors(act, "interrupted; the pictures that were named are there")


if __name__ == "__main__":
    sys.exit(main())
