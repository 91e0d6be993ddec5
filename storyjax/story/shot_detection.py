"""Finding cuts while a film is decoded, by PySceneDetect's adaptive detector: a cut stands out of what moves around it.

Brandon Castellano's PySceneDetect (BSD-3) compares hue, saturation and brightness of neighbouring images, and takes a
change that is several times that of the images around it for a cut, so that a moving camera is none.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.data.video import LazyFrame

SHORTEST_S = 0.5
NAME = "scenedetect adaptive 1"  # of what finds cuts, for keys of stages
_SIDE = 128  # pixels: the longer side of the images that are compared
_AROUND = 2  # images before and after


def cut_frames(frames: Iterator[LazyFrame], fps: float) -> Iterator[tuple[LazyFrame, bool]]:
    """Yields each frame and whether a shot begins with it; a few frames later than they are given.

    Args:
        frames: of a film, in order.
        fps: their number in a second, the average.

    Raises:
        StoryjaxError: PySceneDetect is not installed.
    """
    detector, timecode = _detector()
    rate = fps or 25.0
    waiting: deque[tuple[int, LazyFrame]] = deque()
    cuts: set[int] = {0}
    for number, frame in enumerate(frames):
        waiting.append((number, frame))
        if not frame.damaged:
            small = frame.image(_small(frame.size))[:, :, ::-1]
            cuts |= {one.frame_num for one in detector.process_frame(timecode(number, rate), small.copy())}
        while len(waiting) > 2 * _AROUND:
            at, ready = waiting.popleft()
            yield ready, at in cuts
    for at, ready in waiting:
        yield ready, at in cuts


def _small(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _SIDE / max(size))
    return max(8, round(size[0] * scale)), max(8, round(size[1] * scale))


def _detector() -> tuple[Any, Any]:
    try:
        from scenedetect.common import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector
    except ImportError as error:
        raise StoryjaxError("finding shots needs PySceneDetect: pip install 'storyjax[story]'") from error
    return AdaptiveDetector(min_scene_len=SHORTEST_S, window_width=_AROUND), FrameTimecode
