"""Videos of what was tracked: each track in a colour of its own, with its number, its box and where it has been."""

import colorsys
import contextlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from storyjax.core.errors import StoryjaxError
from storyjax.mqt.eval_tracking import Tracked

Picture = UInt8[np.ndarray, "y x 3"]
_TRAIL = 30  # frames that a trail goes back
_LEAST_WIDTH = 640  # smaller pictures are enlarged by a whole number, so that numbers can be read
_MOST_RATE = 240


def colour(number: int) -> tuple[int, int, int]:
    """The colour of a track; neighbours in number are far apart in hue."""
    hue = (number * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if number % 2 else 0.6, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


class Painter:
    """Draws tracks into pictures; remembers the last few places of each track that is still seen, and no more."""

    def __init__(self, width: int, height: int):
        """Args: of the pictures, in pixels."""
        self.zoom = max(1, -(-_LEAST_WIDTH // width)) if width < _LEAST_WIDTH else 1
        # H.264 stores colours for blocks of two by two pixels.
        self.size = (width * self.zoom + width * self.zoom % 2, height * self.zoom + height * self.zoom % 2)
        self._trails: dict[int, deque[tuple[int, float, float]]] = {}
        self._font = ImageFont.load_default(max(10, self.size[1] // 32))
        self._blank = np.full((height, width, 3), 40, np.uint8)
        self._last = self._blank

    def paint(self, number: int, picture: Picture | None, tracked: Sequence[Tracked]) -> UInt8[np.ndarray, "v u 3"]:
        """The picture of frame `number` with its tracks; a missing one is shown as the last one, darker."""
        shown = self._last // 2 if picture is None else picture
        self._last = self._last if picture is None else picture
        image = Image.new("RGB", self.size)
        height, width = shown.shape[:2]
        image.paste(Image.fromarray(shown).resize((width * self.zoom, height * self.zoom), Image.Resampling.NEAREST))
        draw = ImageDraw.Draw(image)
        line = max(1, self.size[1] // 240)
        self._remember(number, tracked)
        for one in tracked:
            tint = colour(one.id)
            trail = [(x * self.zoom, y * self.zoom) for _, x, y in self._trails[one.id]]
            if len(trail) > 1:
                draw.line(trail, tint, line)
            left, top, wide, high = (v * self.zoom for v in one.xywh_px)
            # Pillow refuses corners in the wrong order, which a box thinner than a line may have.
            draw.rectangle((left, top, max(left, left + wide - 1), max(top, top + high - 1)), outline=tint, width=line)
            label = str(one.id)
            box = draw.textbbox((left + line, max(0.0, top - self._font.size - 2)), label, font=self._font)
            draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), fill=(0, 0, 0))
            draw.text((left + line, max(0.0, top - self._font.size - 2)), label, fill=tint, font=self._font)
        return np.asarray(image)

    def _remember(self, number: int, tracked: Sequence[Tracked]) -> None:
        for one in tracked:
            left, top, width, height = one.xywh_px
            trail = self._trails.setdefault(one.id, deque(maxlen=_TRAIL))
            trail.append((number, left + width / 2, top + height / 2))
        for gone in [each for each, trail in self._trails.items() if trail[-1][0] <= number - _TRAIL]:
            del self._trails[gone]


@contextlib.contextmanager
def video_writer(path: str | Path, fps: float, size: tuple[int, int]) -> Iterator["VideoWriter"]:
    """Writes an H.264 mp4 of pictures of `size` (width, height), which appears at `path` whole or not at all.

    Raises StoryjaxError where it cannot be written.
    """
    path = Path(path)
    check_writable(path, (".mp4",))
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    rate = Fraction(min(max(fps, 0.1), _MOST_RATE)).limit_denominator(1001)
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            writer = VideoWriter(container, stream)
            yield writer
            container.mux(stream.encode())
        partial.replace(path)
    except (av.FFmpegError, OSError) as error:
        raise StoryjaxError(f"can't write {path} ({error.strerror or error}): choose another place") from error
    finally:
        partial.unlink(missing_ok=True)


class VideoWriter:
    """An open video."""

    def __init__(self, container: av.container.OutputContainer, stream: av.VideoStream):
        self._container, self._stream, self._count = container, stream, 0

    def add(self, picture: Picture) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = self._count
        self._count += 1
        self._container.mux(self._stream.encode(frame))


def check_writable(path: str | Path, suffixes: tuple[str, ...] = ()) -> None:
    """Raises StoryjaxError where a file cannot be made, before hours are spent on what should go into it."""
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise StoryjaxError(f"{path} would hold an mp4 video: give it a name that ends in {suffixes[0]}")
    if path.is_dir():
        raise StoryjaxError(f"{path} is a folder: give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoryjaxError(f"can't make the folder {path.parent} ({error.strerror}): choose another place") from error
    if not os.access(path.parent, os.W_OK):
        raise StoryjaxError(f"{path.parent} can't be written into: choose another place")
