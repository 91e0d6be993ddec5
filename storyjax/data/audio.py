"""Sound of any file as mono float32 at 16 kHz, on the host: whole, or in blocks for videos of hours.

Sound lies on the file's clock: sample i is heard at i / 16000 s after the moment that players call 0:00, also where a
track starts late, has holes, or ends before the images do.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float32

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import atomic_path

RATE = 16_000
# A track is laid where its timestamps say, but smaller steps of theirs (seconds) are rounding of the container's.
_JITTER_S = 0.04
# What claims a longer hole than this (seconds) has broken timestamps, more likely than not.
_LONGEST_HOLE_S = 6 * 3600.0


class AudioError(StoryjaxError):
    """A sound track that cannot be used: missing, damaged, or not there at all."""


class NoAudioError(AudioError):
    """The file can be read and holds no sound."""


def load_audio(path: str | os.PathLike[str]) -> Float32[np.ndarray, " n"]:
    """Returns all sound of a file: mono float32 in [-1, 1] at 16 kHz; several channels are mixed down.

    Raises NoAudioError without a sound track, AudioError where it cannot be read.
    """
    blocks = list(stream_audio(path))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def stream_audio(path: str | os.PathLike[str], block_s: float = 30.0) -> Iterator[Float32[np.ndarray, " n"]]:
    """Yields the sound of a file in blocks of `block_s` seconds (the last is shorter), one after another."""
    size = round(block_s * RATE)
    held: list[np.ndarray] = []
    count = 0
    for piece in _pieces(Path(path)):
        held.append(piece)
        count += len(piece)
        while count >= size:
            joined = np.concatenate(held)
            yield joined[:size]
            held, count = [joined[size:]], count - size
    if count:
        yield np.concatenate(held)


def has_audio(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file has a sound track. Raises AudioError for a file that cannot be opened."""
    with _opened(Path(path)) as container:
        return bool(container.streams.audio)


def spool_audio(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Decodes a file's sound into raw 16-bit samples on disk, for `read_span`; whole or not at all."""
    with atomic_path(out) as partial, open(partial, "wb") as file:
        for block in stream_audio(path):
            file.write(np.round(np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())


@dataclass(frozen=True)
class Spool:
    """What `spool_audio` wrote, and of how many samples. It is read, not mapped: mapped pages count as memory taken."""

    path: Path
    samples: int

    def __len__(self) -> int:
        return self.samples


def open_spool(path: str | os.PathLike[str]) -> Spool:
    """Returns what `spool_audio` wrote; only what is looked at is read."""
    return Spool(Path(path), os.path.getsize(path) // 2)


def read_span(spool: Spool, start_s: float, end_s: float) -> Float32[np.ndarray, " m"]:
    """Returns the samples from `start_s` to `end_s` (seconds), as far as there are any."""
    first, last = (min(max(0, round(seconds * RATE)), len(spool)) for seconds in (start_s, end_s))
    if last <= first:
        return np.zeros(0, np.float32)
    return np.fromfile(spool.path, "<i2", last - first, offset=2 * first).astype(np.float32) / 32767


def _opened(path: Path) -> av.container.InputContainer:
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "is not there"
            raise AudioError(f"{path} {what}: give the path of a video or of a sound file")
        if path.stat().st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes): copy or download it again")
        container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except av.FFmpegError as error:
        raise AudioError(
            f"{path} is neither video nor sound that can be read ({error.strerror or error}): export it again"
        ) from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}): check it") from error
    if container.format.name == "tty":  # FFmpeg draws any text file as a terminal would show it
        container.close()
        raise AudioError(f"{path} is text, not a video or a sound file: give one of these")
    return container


def _pieces(path: Path) -> Iterator[np.ndarray]:
    """Decoded sound, piece by piece, with silence where the clock runs on without it."""
    with _opened(path) as container:
        tracks = container.streams.audio
        if not tracks:
            raise NoAudioError(f"{path} holds no sound: give a file with a sound track")
        stream = tracks[0]
        if stream.codec_context is None:
            raise AudioError(f"{path}: its sound is coded in an unknown way; export it again, with AAC")
        origin = _origin(container)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        written = 0
        try:
            for frame in container.decode(stream):
                gap, skip = _step(frame, origin, written, path)
                for silent in _silence(gap):
                    written += len(silent)
                    yield silent
                frame.pts = None  # the resampler would fill holes in its own way
                for part in resampler.resample(frame):
                    samples = _samples(part)[skip:]
                    skip = max(0, skip - part.samples)
                    written += len(samples)
                    yield samples
            for part in resampler.resample(None):
                yield _samples(part)
        except av.FFmpegError as error:
            raise AudioError(
                f"the sound of {path} is damaged ({error.strerror or error}): copy, download or export it again"
            ) from error


def _samples(part: av.AudioFrame) -> np.ndarray:
    """Channels that are mixed down can add up to more than full scale."""
    return np.clip(np.nan_to_num(part.to_ndarray()[0]), -1, 1).astype(np.float32)


def _origin(container: av.container.InputContainer) -> float:
    """The second on the container's clock that players call 0:00: that of the first image, or of the first sound."""
    cover = av.stream.Disposition.attached_pic
    starts = []
    for stream in (*container.streams.video, *container.streams.audio):
        if (
            stream.start_time is None
            or stream.time_base is None
            or (stream.type == "video" and stream.disposition & cover)
        ):
            continue
        starts.append(float(stream.start_time * stream.time_base))
        if stream.type == "video":
            break
    return max(0.0, min(starts)) if starts else 0.0


def _step(frame: av.AudioFrame, origin: float, written: int, path: Path) -> tuple[int, int]:
    """How many samples of silence belong before a frame, and how many of its own lie before 0:00."""
    if frame.time is None:
        return 0, 0
    behind = (frame.time - origin) - written / RATE
    if behind > _LONGEST_HOLE_S:
        raise AudioError(f"the sound of {path} claims a hole of {behind / 3600:.0f} h: export it again")
    if behind > _JITTER_S:
        return round(behind * RATE), 0
    if behind < -_JITTER_S and not written:  # priming of the encoder, before 0:00
        return 0, math.ceil(-behind * RATE)
    return 0, 0


def _silence(count: int) -> Iterator[np.ndarray]:
    while count > 0:
        yield np.zeros(min(count, 30 * RATE), np.float32)
        count -= 30 * RATE
