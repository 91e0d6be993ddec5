"""Small videos whose frames carry their own number, so that a test can say which frame it was given."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 10


def numbered(number: int, size: int = 80) -> np.ndarray:
    """An image of upright bars, black or white: the bits of `number`, the highest on the left."""
    bits = [(number >> bit) & 1 for bit in reversed(range(BITS))]
    return np.repeat(np.repeat(np.array(bits, np.uint8)[None, :] * 255, size // BITS, 1), size, 0)[..., None].repeat(
        3, 2
    )


def number_of(image: np.ndarray) -> int:
    """The number that an image, of any size, carries."""
    height, width = image.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = image[height // 4 : 3 * height // 4, centres].mean((0, 2)) > 127
    return int("".join("01"[int(bit)] for bit in bits), 2)


def write_video(
    path: Path | str,
    frames: int = 48,
    *,
    fps: int = 24,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    size: int = 80,
    sound: bool = False,
    rotation: int = 0,
    mux: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Numbered frames at `fps`, or at `pts` in units of `time_base`."""
    time_base = time_base or Fraction(1, fps)
    with av.open(str(path), "w", options=mux or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1  # many threads on few cores are slow for such small frames
        if rotation:
            stream.set_display_rotation(rotation)
        voice = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered(number, size), format="rgb24")
            frame.pts, frame.time_base = (number if pts is None else pts[number]), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None:
            write_tone(container, voice, seconds=frames / fps)
    return Path(path)


def write_tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    wave = np.sin(np.arange(int(16000 * seconds)) * 0.1).astype(np.float32)[None]
    for start in range(0, wave.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1024]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
