"""Exact frames from encoded video, on the host.

PyAV reads paths and bytes alike, and is exact on variable frame rate: frames are chosen by their own timestamps, never
by counting. Damaged frames are left out and a video that was cut short gives what is there, and both are reported (the
logger "storyjax.notes"); a decoder that conceals damage is not believed, because every decoded frame is asked whether
it is corrupt. What holds no frame at all gives one line (`VideoError`).
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from storyjax.data import containers
from storyjax.data.images import SUFFIXES, Area, ImageError, Square, read_image, square_area, whole_area
from storyjax.data.orientation import area_of, displayed_size, to_rgb
from storyjax.data.video_files import Source, VideoError, locate
from storyjax.data.video_track import JumpError, VideoTrack

STILL_S = 1.0  # how long an image lasts as a video


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is read.

    Attributes:
        duration_s: seconds from 0:00 to the end of its images; of one that was cut short, to where it was cut.
        fps: frames per second, the average; 0 where it is not known.
        width, height: in square pixels, as displayed: turned upright, anamorphic videos stretched.
        stored: width and height of the images as they are stored, not turned and not stretched.
    """

    duration_s: float
    fps: float
    width: int
    height: int
    stored: tuple[int, int] = (0, 0)


def sample_times(duration_s: float, n: int, rng: np.random.Generator | None = None) -> Float64[np.ndarray, " {n}"]:
    """Returns `n` ascending times (seconds) covering a video: one in each of `n` equal segments.

    Without `rng` the centre of each segment (evaluation); with it, uniform inside each segment (training).
    """
    inside = np.full(n, 0.5) if rng is None else rng.uniform(size=n)
    return (np.arange(n) + inside) * (duration_s / n)


def probe(source: Source, name: str | None = None, track: int | None = None) -> VideoInfo:
    """Returns length, rate and displayed size; decodes one frame, so that what it says can be believed.

    Args:
        source: path or encoded bytes.
        name: stands for the video in messages when `source` is bytes.
        track: the video track, from 1; None: see `containers.choose_track`.

    Raises:
        VideoError: missing, empty, not a video, encrypted, or without a frame that can be decoded.
    """
    if is_still(source):
        height, width = _still(source).shape[:2]
        return VideoInfo(STILL_S, 1 / STILL_S, width, height, (width, height))
    with opened(source, name, track) as video:
        frame = next(video.frames(), None)
        if frame is None:
            raise video.nothing()
        width, height = displayed_size(frame, video.aspect)
        return VideoInfo(float(video.end()), video.rate, width, height, (frame.width, frame.height))


def decode_frames(
    source: Source,
    times_s: np.ndarray | Sequence[float],
    size: int | None,
    name: str | None = None,
    track: int | None = None,
    keep_aspect: bool = False,
    whole: bool = False,
) -> tuple[UInt8[np.ndarray, "t y x 3"], Float32[np.ndarray, " t"]]:
    """Returns the frame on screen at each asked time.

    Args:
        source: path or encoded bytes (mp4, mkv, webm, avi and what else FFmpeg reads).
        times_s: (t,) seconds from 0:00, in any order. The frame shown is the last good one that starts at or before the
            time; before the first frame it is the first, after the last one the last.
        size: side in pixels of the square that frames are resized to (bicubic), or None for the size that the video is
            displayed in.
        name: stands for the video in messages when `source` is bytes.
        track: the video track, from 1; None: see `containers.choose_track`.
        keep_aspect: whether the square is the frame's central one, as CLIP takes it, or the whole frame without its
            aspect ratio, as BLIP-2 does.
        whole: whether `size` is the shorter side of the whole frame with its aspect ratio, instead of a square's.

    Returns:
        RGB images, and the start (seconds) of each frame shown. Two times inside one frame give it twice.

    Raises:
        VideoError: missing, empty, not a video, encrypted, without a frame that can be decoded, or cut short before all
            of the asked times.
    """
    times = np.asarray(times_s, np.float64)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise ValueError(f"times_s must be one row of finite numbers, not {times_s!r}")
    if not len(times):
        return np.zeros((0, size or 0, size or 0, 3), np.uint8), np.zeros(0, np.float32)
    fit = _fit(size, keep_aspect, whole)
    if is_still(source):
        still = _still(source, size, keep_aspect, whole)
        return np.repeat(still[None], len(times), 0), np.zeros(len(times), np.float32)
    try:
        return _decode(source, times, fit, name, track, jump=True)
    except JumpError:
        # Some files mark frames as fresh starts that are none. Reading every frame in turn settles whether it is so.
        return _decode(source, times, fit, name, track, jump=False)


def _fit(size: int | None, keep_aspect: bool, whole: bool) -> Callable[[tuple[int, int]], Area]:
    """How an image of (width, height) becomes what was asked for, as of `images.square_area`."""
    if size is None:
        return lambda own: (own, (0, 0, *own))
    return lambda own: whole_area(own, size) if whole else square_area(own, size, keep_aspect)


def is_still(source: Source) -> bool:
    """Returns whether a source is an image file by its name: a video of one frame, which is shown for a second."""
    return not isinstance(source, bytes) and Path(source).suffix.lower() in set(SUFFIXES) - {".gif", ".apng"}


def _still(
    source: Source, size: int | None = None, keep_aspect: bool = False, whole: bool = False
) -> UInt8[np.ndarray, "y x 3"]:
    """The image of a file, resized as frames are. Raises VideoError."""
    assert not isinstance(source, bytes)
    locate(source, None)
    try:
        image = read_image(source)
    except ImageError as error:
        raise VideoError(str(error)) from error
    if size is None:
        return image
    if whole:
        wide = whole_area((image.shape[1], image.shape[0]), size)[0]
        return np.asarray(Image.fromarray(image).resize(wide, Image.Resampling.BICUBIC))
    return Square(size, keep_aspect)(image)


def _decode(
    source: Source,
    times: np.ndarray,
    fit: Callable[[tuple[int, int]], Area],
    name: str | None,
    track: int | None,
    jump: bool,
):
    images, shown = None, np.empty(len(times), np.float32)
    reformatter = VideoReformatter()  # one for all frames: its filter tables cost more than a resize
    order = np.argsort(times, kind="stable")
    with opened(source, name, track) as video:
        previous = None
        for slot, (frame, ticks) in zip(order, video.shown(video.ticks(times[order]), jump), strict=True):
            if images is None:  # the size of the first frame holds for all, should the video change it
                area = fit(displayed_size(frame, video.aspect))
                images = np.empty((len(times), area[1][3] - area[1][1], area[1][2] - area[1][0], 3), np.uint8)
            if previous is None or frame is not previous[0]:
                previous = (frame, area_of(frame, area, reformatter))
            images[slot] = previous[1]
            shown[slot] = video.seconds(ticks)
    return images, shown


@dataclass(frozen=True)
class FilmFrame:
    """A frame in its turn: its start in seconds from 0:00, and its image as displayed, or None if it is damaged."""

    start_s: float
    image: UInt8[np.ndarray, "y x 3"] | None


def every_frame(source: Source, name: str | None = None, track: int | None = None) -> Iterator[FilmFrame]:
    """Yields all frames in order of showing, one at a time, each in its own displayed size; damaged ones as None.

    Args and errors as of `decode_frames`.
    """
    reformatter = VideoReformatter()
    with opened(source, name, track) as video:
        seen = False
        for frame, tick in video.every_frame():
            image = None if frame is None else to_rgb(frame, displayed_size(frame, video.aspect), reformatter)
            seen = seen or image is not None
            yield FilmFrame(video.seconds(tick), None if image is None else np.ascontiguousarray(image))
        if not seen:
            raise video.nothing()


class LazyFrame:
    """A frame in its turn, which becomes an image only where one is asked for.

    Attributes:
        start_s: seconds from 0:00.
        size: width and height in pixels as displayed; (0, 0) of a damaged one.
    """

    def __init__(self, start_s: float, frame: av.VideoFrame | None, aspect: Fraction | None, made: VideoReformatter):
        self.start_s, self._frame, self._reformatter = start_s, frame, made
        self.size = (0, 0) if frame is None else displayed_size(frame, aspect)

    @property
    def damaged(self) -> bool:
        """Whether there is no image."""
        return self._frame is None

    def image(self, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "y x 3"]:
        """Returns the RGB image, of `size` (width, height) or as displayed. Raises ValueError: it is damaged."""
        if self._frame is None:
            raise ValueError(f"the frame at {self.start_s:.2f} s is damaged")
        return np.ascontiguousarray(to_rgb(self._frame, size or self.size, self._reformatter))


def lazy_frames(source: Source, name: str | None = None, track: int | None = None) -> Iterator[LazyFrame]:
    """Yields all frames in order of showing as `every_frame` does, without making images of them.

    Args and errors as of `decode_frames`.
    """
    reformatter = VideoReformatter()
    with opened(source, name, track) as video:
        seen = False
        for frame, tick in video.every_frame():
            seen = seen or frame is not None
            yield LazyFrame(video.seconds(tick), frame, video.aspect, reformatter)
        if not seen:
            raise video.nothing()


def frame_starts(source: Source, name: str | None = None, track: int | None = None) -> "array[float]":
    """Returns the start (seconds from 0:00) of each frame that has a packet in the file, ascending; decodes none.

    Args and errors as of `decode_frames`.
    """
    with opened(source, name, track) as video:
        starts: list[float] = []
        for packet in video.packets():
            if packet.size and not packet.is_discard:
                at = packet.pts if packet.pts is not None and video.timed else packet.dts
                starts.append(video.seconds(at) if at is not None else len(starts) / (video.rate or 25))
    return array("d", sorted(starts))


@contextmanager
def opened(source: Source, name: str | None, track: int | None = None) -> Iterator[VideoTrack]:
    """Yields the video track of `source`; whatever goes wrong inside leaves as a VideoError naming the file."""
    where, _, length = locate(source, name)
    video = None
    try:
        with containers.open_container(source) as container:
            video = VideoTrack(where, container, length, track)
            try:
                yield video
            except GeneratorExit:  # whoever reads frame by frame has enough of them
                video.finish()
                raise
            video.finish()
    except av.FFmpegError as error:
        if video is not None and video.jumped:
            raise JumpError from error
        what = "is damaged" if video is not None else "is not a video that can be read, or was cut short"
        raise VideoError(f"{where} {what} ({error.strerror or error}): copy, download or export it again") from error
