"""Rendered videos of tracks: each in a colour of its own, with its number, its box and its trail."""

import colorsys
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import atomic_path
from storyjax.mqt.eval_tracking import TrackedBox

ImageArray = UInt8[np.ndarray, "y x 3"]
_TRAIL_LENGTH = 30  # frames
_MIN_WIDTH = 640  # pixels; smaller images are enlarged by an integer factor, so that numbers are legible
_MAX_RATE = 240


def track_color(number: int) -> tuple[int, int, int]:
    """Returns the RGB colour of a track; consecutive numbers are far apart in hue."""
    hue = (number * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if number % 2 else 0.6, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


class Painter:
    """Draws tracks into images; keeps only the last positions of the tracks that are still visible.

    Attributes:
        zoom: the factor by which images are enlarged.
        size: (width, height) of the rendered images.
    """

    def __init__(self, width: int, height: int):
        """Args: width, height: of the images, in pixels."""
        self.zoom = max(1, -(-_MIN_WIDTH // width)) if width < _MIN_WIDTH else 1
        # H.264 stores colours for blocks of two by two pixels.
        self.size = (width * self.zoom + width * self.zoom % 2, height * self.zoom + height * self.zoom % 2)
        self._trails: dict[int, deque[tuple[int, float, float]]] = {}
        self._font_size = max(10, self.size[1] // 32)
        self._font = ImageFont.load_default(self._font_size)
        self._blank = np.full((height, width, 3), 40, np.uint8)
        self._last = self._blank

    def paint(self, number: int, image: ImageArray | None, tracked: Sequence[TrackedBox]) -> UInt8[np.ndarray, "v u 3"]:
        """Returns frame `number` with its tracks; a missing image is replaced by the last one, darker."""
        frame = self._last // 2 if image is None else image
        self._last = self._last if image is None else image
        canvas = Image.new("RGB", self.size)
        height, width = frame.shape[:2]
        enlarged = (width * self.zoom, height * self.zoom)
        canvas.paste(Image.fromarray(frame).resize(enlarged, Image.Resampling.NEAREST))
        draw = ImageDraw.Draw(canvas)
        line = max(1, self.size[1] // 240)
        self._remember(number, tracked)
        for one in tracked:
            color = track_color(one.id)
            trail = [(x * self.zoom, y * self.zoom) for _, x, y in self._trails[one.id]]
            if len(trail) > 1:
                draw.line(trail, color, line)
            left, top, wide, tall = (v * self.zoom for v in one.xywh_px)
            # Pillow refuses corners in the wrong order, which a box narrower than a pixel would have.
            draw.rectangle((left, top, max(left, left + wide - 1), max(top, top + tall - 1)), outline=color, width=line)
            label = str(one.id)
            box = draw.textbbox((left + line, max(0.0, top - self._font_size - 2)), label, font=self._font)
            draw.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), fill=(0, 0, 0))
            draw.text((left + line, max(0.0, top - self._font_size - 2)), label, fill=color, font=self._font)
        return np.asarray(canvas)

    def _remember(self, number: int, tracked: Sequence[TrackedBox]) -> None:
        for one in tracked:
            left, top, width, height = one.xywh_px
            trail = self._trails.setdefault(one.id, deque(maxlen=_TRAIL_LENGTH))
            trail.append((number, left + width / 2, top + height / 2))
        for gone in [each for each, trail in self._trails.items() if trail[-1][0] <= number - _TRAIL_LENGTH]:
            del self._trails[gone]


@contextlib.contextmanager
def video_writer(path: str | Path, fps: float, size: tuple[int, int]) -> Iterator["VideoWriter"]:
    """Yields a writer of an H.264 mp4 of images of `size` (width, height), moved to `path` once it is complete.

    Raises StoryjaxError where it cannot be written.
    """
    path = Path(path)
    check_render(path)
    rate = Fraction(min(max(fps, 0.1), _MAX_RATE)).limit_denominator(1001)
    try:
        # "file:" keeps FFmpeg from reading "12:30.mp4" as a protocol.
        with atomic_path(path) as partial, av.open(f"file:{partial}", "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            writer = VideoWriter(container, stream)
            yield writer
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise StoryjaxError(f"can't write {path} ({error.strerror or error}): choose another place") from error


class VideoWriter:
    """A video that is being written."""

    def __init__(self, container: av.container.OutputContainer, stream: av.VideoStream):
        self._container, self._stream, self._count = container, stream, 0

    def add(self, image: ImageArray) -> None:
        """Appends a frame."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = self._count
        self._count += 1
        self._container.mux(self._stream.encode(frame))


def check_render(path: str | Path) -> None:
    """Raises StoryjaxError where the name of a rendered video is not one of an mp4 file."""
    if Path(path).suffix.lower() != ".mp4":
        raise StoryjaxError(f"{path} would hold an mp4 video: give it a name that ends in .mp4")
