"""Frames of long videos one after another, so that an hour of video needs the memory of one frame.

`storyjax.data.video.decode_frames` gives all asked frames at once, which is right for a training example and too much
for a video; this gives the same frames, by the same rules, one at a time and at the sizes asked for.
"""

from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from storyjax.data.video import Source, _JumpError, _opened, _to_rgb


class Still:
    """One frame of a video, valid until the next is asked for: the frame on screen at the asked `time_s` (seconds)."""

    def __init__(self, time_s: float, frame: av.VideoFrame, reformatter: VideoReformatter):
        self.time_s = time_s
        self._frame, self._reformatter = frame, reformatter

    def square(self, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
        """Returns upright RGB of `size` x `size` pixels; the aspect ratio is not kept (bicubic, as `decode_frames`)."""
        return _to_rgb(self._frame, size, None, self._reformatter)

    def within(self, side: int) -> UInt8[np.ndarray, "y x 3"]:
        """Returns upright RGB in its own aspect ratio, its longer side at most `side` pixels."""
        frame = self._frame
        scale = min(1.0, side / max(frame.width, frame.height))
        width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.rot90(rgb, turns) if turns else rgb


def stream_stills(source: Source, times_s: Sequence[float] | np.ndarray, name: str | None = None) -> Iterator[Still]:
    """Yields the frame on screen at each asked time (seconds, ascending), one at a time, as `decode_frames` chooses
    them.

    What lies before the first asked time is skipped, so a video can be continued in its middle. Raises VideoError
    where `decode_frames` would, when it comes to the damage: what was given before is good.
    """
    times = np.asarray(times_s, np.float64)
    if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError("times_s must be one ascending row of finite numbers")
    done = 0
    for jump in (True, False):
        # Some files mark frames as fresh starts that are none: then every frame is read in turn, from where we were.
        try:
            for still in _stream(source, times[done:], name, jump):
                yield still
                done += 1
            return
        except _JumpError:
            assert jump, "only jumping can go wrong by jumping"


def _stream(source: Source, times: np.ndarray, name: str | None, jump: bool) -> Iterator[Still]:
    if not len(times):
        return
    reformatter = VideoReformatter()  # one for all frames: its filter tables cost more than a resize
    with _opened(source, name) as video:
        for time, (frame, _) in zip(times, video.shown(video.ticks(times), jump), strict=True):
            yield Still(float(time), frame, reformatter)
