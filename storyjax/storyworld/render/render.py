"""From a story to images and to H.264 video. A moment of a story has the same pixels whenever it is asked for."""

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from jaxtyping import Int16, UInt8

from storyjax.storyworld.draw.scenery import MARGIN
from storyjax.storyworld.draw.sprites import Sprite, background, draw_passer_by, figure
from storyjax.storyworld.story.stage import Shot, corner, shot_at
from storyjax.storyworld.story.story import Story

_NOISE = 2.0  # standard deviation of the sensor noise, in grey levels


def render_frames(story: Story, times: Sequence[float], size: int = 96) -> UInt8[np.ndarray, "t y x 3"]:
    """Returns the images of a story at the given times (seconds), without a codec."""
    frames = np.empty((len(times), size, size, 3), np.uint8)
    for index, seconds in enumerate(times):
        frames[index] = _frame(story, float(seconds), size)
    return frames


def frame_times(story: Story, fps: int) -> list[float]:
    """Returns the times of the frames of a story's video: frame i is shown from i / fps on."""
    return [i / fps for i in range(round(story.duration * fps))]


def _frame(story: Story, seconds: float, size: int) -> UInt8[np.ndarray, "y x 3"]:
    shot = shot_at(story, seconds)
    scene = background(shot.event.place, shot.road, size)
    margin = round(MARGIN * size)
    left = margin + max(-margin, min(margin, round(shot.pan[0] * size)))
    top = margin + max(-margin, min(margin, round(shot.pan[1] * size)))
    frame = scene[top : top + size, left : left + size].copy()
    if shot.passer is not None:
        p = shot.passer
        sprite = draw_passer_by(p.kind, p.beat, max(4, round(p.width * size)))
        paste(frame, sprite, round(p.x * size) - sprite.size[0] // 2, round(p.y * size))
    for f in shot.figures:
        x, y, width = corner(shot, f, size)
        done = f.performance
        paste(frame, figure(done.person, done.action, done.thing, f.colour, f.beat, width, f.mirror), x, y)
    return _seen(frame, shot, story.seed)


def paste(frame: UInt8[np.ndarray, "y x 3"], sprite: Sprite, left: int, top: int) -> None:
    """Pastes a sprite into a frame, in place; what lies outside is clipped."""
    width, height = sprite.size
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(frame.shape[1], left + width), min(frame.shape[0], top + height)
    if x0 >= x1 or y0 >= y1:
        return
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    under = frame[y0:y1, x0:x1]
    under[:] = ((under * sprite.clear[part]) >> 8) + sprite.ink[part]


@lru_cache(maxsize=8)
def _noise(size: int) -> Int16[np.ndarray, "y x 3"]:
    """A field of noise larger than an image; every frame sees another part of it."""
    return np.round(np.random.default_rng(0x401).normal(0, _NOISE, (size + 64, size + 64, 3))).astype(np.int16)


def _seen(frame: UInt8[np.ndarray, "y x 3"], shot: Shot, seed: int) -> UInt8[np.ndarray, "y x 3"]:
    """What a sensor makes of an image: the light of the scene, and noise."""
    size = frame.shape[0]
    ticket = (round(shot.seconds * 1000) * 2654435761 + seed * 40503) & 0xFFFFFFFF
    dx, dy = (ticket >> 8) % 64, (ticket >> 18) % 64
    lit = (frame.astype(np.int16) * np.int16(round(shot.light * 64))) >> 6
    lit += _noise(size)[dy : dy + size, dx : dx + size]
    return np.clip(lit, 0, 255).astype(np.uint8)


def render_story(story: Story, path: str | Path, size: int = 96, fps: int = 4) -> int:
    """Writes a story as H.264 mp4 of `size` x `size` pixels; returns the number of frames.

    The file appears whole or not at all.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    times = frame_times(story, fps)
    try:
        encode_mp4((_frame(story, seconds, size) for seconds in times), partial, size, fps)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return len(times)


def encode_mp4(frames: Iterable[UInt8[np.ndarray, "y x 3"]], path: Path, size: int, fps: int) -> None:
    """Writes square images of `size` pixels as H.264 mp4, straight to `path`."""
    # A key frame at least every second, to seek by. Macroblock trees would make the file differ from run to run.
    options = {"preset": "veryfast", "crf": "22", "g": str(fps), "x264-params": "no-mbtree=1"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, fps)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
