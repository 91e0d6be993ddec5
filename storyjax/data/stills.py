"""Frames of long videos one after another, so that an hour of video needs the memory of one frame.

`storyjax.data.video.decode_frames` gives all asked frames at once, which is right for a training example and too much
for a video; this gives the same frames, by the same rules, one at a time and at the sizes asked for.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from storyjax.data.images import square_area
from storyjax.data.orientation import area_of, displayed_size, to_rgb
from storyjax.data.video import opened
from storyjax.data.video_files import Source
from storyjax.data.video_track import JumpError


class Still:
    """One frame of a video, valid until the next is asked for: the frame on screen at the asked `time_s` (seconds)."""

    def __init__(
        self, time_s: float, frame: av.VideoFrame, reformatter: VideoReformatter, aspect: Fraction | None = None
    ):
        self.time_s, self._aspect = time_s, aspect
        self._frame, self._reformatter = frame, reformatter

    def square(self, size: int, keep_aspect: bool = False) -> UInt8[np.ndarray, "{size} {size} 3"]:
        """Returns upright RGB of `size` x `size` pixels; `keep_aspect` and filter as of `decode_frames`."""
        own = displayed_size(self._frame, self._aspect)
        return area_of(self._frame, square_area(own, size, keep_aspect), self._reformatter)

    def within(self, side: int) -> UInt8[np.ndarray, "y x 3"]:
        """Returns upright RGB in its own aspect ratio, its longer side at most `side` pixels."""
        width, height = displayed_size(self._frame, self._aspect)
        scale = min(1.0, side / max(width, height))
        return to_rgb(self._frame, (max(1, round(width * scale)), max(1, round(height * scale))), self._reformatter)


def stream_stills(
    source: Source, times_s: Sequence[float] | np.ndarray, name: str | None = None, track: int | None = None
) -> Iterator[Still]:
    """Yields the frame on screen at each asked time (seconds, ascending), one at a time, as `decode_frames` chooses
    them.

    What lies before the first asked time is skipped, so a video can be continued in its middle. Args and errors as of
    `decode_frames`.
    """
    times = np.asarray(times_s, np.float64)
    if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError("times_s must be one ascending row of finite numbers")
    done = 0
    for jump in (True, False):
        # Some files mark frames as fresh starts that are none: then every frame is read in turn, from where we were.
        try:
            for still in _stream(source, times[done:], name, track, jump):
                yield still
                done += 1
            return
        except JumpError:
            assert jump, "only jumping can go wrong by jumping"


def _stream(source: Source, times: np.ndarray, name: str | None, track: int | None, jump: bool) -> Iterator[Still]:
    if not len(times):
        return
    reformatter = VideoReformatter()  # one for all frames: its filter tables cost more than a resize
    with opened(source, name, track) as video:
        for time, (frame, _) in zip(times, video.shown(video.ticks(times), jump), strict=True):
            yield Still(float(time), frame, reformatter, video.aspect)
