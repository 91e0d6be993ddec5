"""Clips of a video: 2 s, 16 frames at 8 per second (§4.7.2), with thumbnails and faces; `indexing.py` stores them."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from storyjax.core.arrays import unit_norm
from storyjax.data.images import Square
from storyjax.data.stills import stream_stills

CLIP_S, CLIP_FPS, CLIP_FRAMES = 2.0, 8, 16
# The longer side of thumbnails, in pixels.
STILL_PIXELS = 320
# The longer side of a video's frames in which faces are found, at most.
FACE_PIXELS = 1280


def clip_starts(duration_s: float, every_s: float) -> list[float]:
    """Returns the starts of a video's clips in seconds: one every `every_s`, the last before the video's end.

    >>> clip_starts(5.0, 2.0)
    [0.0, 2.0, 4.0]
    """
    count = max(1, math.ceil(round(duration_s / every_s, 6)))
    return [index * every_s for index in range(count)]


def mean_pooled(frames: Float32[np.ndarray, "t d"]) -> Float32[np.ndarray, " d"]:
    """Returns the embedding of a clip: the mean of its frames' (§4.7.2), of unit length."""
    return unit_norm(frames.mean(axis=0), axis=None).astype(np.float32)


@dataclass
class Clip:
    """The frames of a clip, and by frame: thumbnails (JPEG) of its centre frame and of those at full seconds, and the
    faces in the latter (None: they are not looked for), in the same order."""

    start_s: float
    frames: UInt8[np.ndarray, "t y x 3"]
    stills: dict[int, bytes]
    faces: dict[int, np.ndarray | None]

    @property
    def centre(self) -> int:
        """The number of the centre frame."""
        return len(self.frames) // 2


def clips_of(
    path: Path,
    starts: Sequence[float],
    duration_s: float,
    square: Square,
    track: int | None,
    crop: Callable[[np.ndarray], np.ndarray] | None,
) -> Iterator[Clip]:
    """Yields the clips of a video one after another; the last one may be shorter.

    Args:
        path, track: of the video.
        starts: of the clips, and `duration_s`, in seconds.
        square: makes the frames that are embedded.
        crop: returns the faces in a frame; None: they are not looked for.

    Raises:
        VideoError: the video cannot be read.
    """
    counts = []
    for start in starts:
        remaining = math.ceil(round((duration_s - start) * CLIP_FPS, 6))
        counts.append(max(1, min(CLIP_FRAMES, remaining)))
    times = [start + i / CLIP_FPS for start, count in zip(starts, counts, strict=True) for i in range(count)]
    stills = stream_stills(path, times, track=track)
    for start, count in zip(starts, counts, strict=True):
        frames, thumbnails, faces = [], {}, {}
        for index in range(count):
            still = next(stills)
            frames.append(still.square(square.size, square.keep_aspect))
            if index % CLIP_FPS == 0 or index == count // 2:
                thumbnails[index] = jpeg(still.within(STILL_PIXELS))
            if index % CLIP_FPS == 0:
                faces[index] = crop(still.within(FACE_PIXELS)) if crop is not None else None
        yield Clip(start, np.stack(frames), thumbnails, faces)


def batches(clips: Iterator[Clip], count: int) -> Iterator[list[Clip]]:
    """Yields clips, `count` at a time; the last ones may be fewer."""
    batch: list[Clip] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def jpeg(image: UInt8[np.ndarray, "y x 3"]) -> bytes:
    """Returns an image as JPEG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
