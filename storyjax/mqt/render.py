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

from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import atomic_path
from storyjax.core.notes import tell
from storyjax.data.audio import has_audio, stream_channels
from storyjax.mqt.eval_tracking import TrackedBox

ImageArray = UInt8[np.ndarray, "y x 3"]
_TRAIL_LENGTH = 30  # frames
_MIN_WIDTH = 640  # pixels; smaller images are enlarged by an integer factor, so that numbers are legible
# Larger images (pixels of a side, of all) are scaled down, and smaller ones enlarged up to the first at most.
_MAX_ENLARGED, _MAX_SIDE, _MAX_AREA = 1920, 4096, 3840 * 2160
_MAX_RATE = 240
_TICKS = 90_000  # per second: exact for the usual rates
_SOUND_RATE, _AAC_FRAME = 48_000, 1024


def track_color(number: int) -> tuple[int, int, int]:
    """Returns the RGB colour of a track; consecutive numbers are far apart in hue."""
    hue = (number * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if number % 2 else 0.6, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def zoom_of(width: int, height: int) -> float:
    """Returns the factor by which images of so many pixels are enlarged (a whole number) or scaled down for rendering.

    >>> zoom_of(320, 240), zoom_of(1920, 1080), zoom_of(2, 2000), zoom_of(7680, 4320)
    (2, 1, 1, 0.5)
    """
    if width < _MIN_WIDTH and max(width, height) * 2 <= _MAX_ENLARGED:
        return min(-(-_MIN_WIDTH // width), _MAX_ENLARGED // max(width, height))
    shrunk = min(_MAX_SIDE / max(width, height), (_MAX_AREA / (width * height)) ** 0.5)
    return 1 if shrunk >= 1 else shrunk


class Painter:
    """Draws tracks into images; keeps only the last positions of the tracks that are still visible.

    Attributes:
        zoom: the factor by which images are enlarged, or scaled down.
        size: (width, height) of the rendered images.
    """

    def __init__(self, width: int, height: int):
        """Args: width, height: of the images, in pixels."""
        self.zoom: float = zoom_of(width, height)
        self._enlarged = (max(1, round(width * self.zoom)), max(1, round(height * self.zoom)))
        # H.264 stores colours for blocks of two by two pixels.
        self.size = (self._enlarged[0] + self._enlarged[0] % 2, self._enlarged[1] + self._enlarged[1] % 2)
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
        way = Image.Resampling.NEAREST if self.zoom >= 1 else Image.Resampling.BILINEAR
        canvas.paste(Image.fromarray(frame).resize(self._enlarged, way))
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
            label = f"{one.id} {getattr(one, 'label', '')}".rstrip()
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
def video_writer(
    path: str | Path,
    fps: float,
    size: tuple[int, int],
    sound_of: Path | None = None,
    audio_track: int | None = None,
) -> Iterator["VideoWriter"]:
    """Yields a writer of an H.264 mp4, moved to `path` once it is complete.

    Args:
        path: of the mp4.
        fps: frames per second, for frames that are added without a time.
        size: (width, height) of the images, even numbers.
        sound_of: a video whose sound, if it has any, goes into the mp4 at its time (AAC).
        audio_track: of that video, from 1; None: see `storyjax.data.containers.choose_track`.

    Raises StoryjaxError where it cannot be written.
    """
    path = place(path)
    check_render(path)
    rate = Fraction(min(max(fps, 0.1), _MAX_RATE)).limit_denominator(1001)
    try:
        # "file:" keeps FFmpeg from reading "12:30.mp4" as a protocol.
        with atomic_path(path) as partial, av.open(f"file:{partial}", "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _TICKS)
            sound = None
            if sound_of is not None and has_audio(sound_of, audio_track):
                sound = _Sound(container, sound_of, audio_track)
            writer = VideoWriter(container, stream, rate, sound)
            yield writer
            container.mux(stream.encode())
            if sound is not None:
                sound.finish()
    except (av.FFmpegError, OSError) as error:
        raise StoryjaxError(f"can't write {path} ({error.strerror or error}): choose another place") from error


class VideoWriter:
    """A video that is being written."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        stream: av.VideoStream,
        rate: Fraction,
        sound: "_Sound | None" = None,
    ):
        self._container, self._stream, self._rate, self._sound = container, stream, rate, sound
        self._count, self._next = 0, 0

    def add(self, image: ImageArray, time_s: float | None = None) -> None:
        """Appends a frame, shown from `time_s` seconds on (not before the frame before it); None: at the fixed rate."""
        at = round((self._count / self._rate if time_s is None else time_s) * _TICKS)
        self._count += 1
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = max(at, self._next), Fraction(1, _TICKS)
        self._next = frame.pts + 1
        self._container.mux(self._stream.encode(frame))
        if self._sound is not None:
            self._sound.until(frame.pts / _TICKS)


class _Sound:
    """The sound of a video on its way into another, a little ahead of the images."""

    def __init__(self, container: av.container.OutputContainer, path: Path, track: int | None):
        self._container = container
        self._stream = container.add_stream("aac", rate=_SOUND_RATE, layout="stereo")
        self._pieces = stream_channels(path, _SOUND_RATE, "stereo", track)
        self._held, self._done = np.zeros((2, 0), np.float32), 0
        self._ended = False

    def until(self, seconds: float) -> None:
        """Writes the sound up to a time, as far as there is any."""
        while not self._ended and self._done < seconds * _SOUND_RATE:
            try:
                piece = next(self._pieces, None)
            except StoryjaxError as error:  # none of it can be decoded: the images are worth having without
                tell(f"the video has no sound: {error}")
                piece = None
            if piece is None:
                self._ended = True
                self._write(self._held.shape[1])
                return
            self._held = np.concatenate([self._held, piece], 1)
            while self._held.shape[1] >= _AAC_FRAME:
                self._write(_AAC_FRAME)

    def _write(self, count: int) -> None:
        if not count:
            return
        part, self._held = np.ascontiguousarray(self._held[:, :count]), self._held[:, count:]
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = _SOUND_RATE, self._done, Fraction(1, _SOUND_RATE)
        self._done += count
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Writes what is left."""
        self.until(float("inf"))
        self._container.mux(self._stream.encode(None))


def check_render(path: str | Path) -> None:
    """Raises StoryjaxError where the name of a rendered video is not one of an mp4 file."""
    if Path(path).suffix.lower() != ".mp4":
        raise StoryjaxError(f"{path} would hold an mp4 video: give it a name that ends in .mp4")
