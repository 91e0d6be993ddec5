"""Writes videos and sound of any codec and container with PyAV: the tracks of a file as they are given.

What this build of FFmpeg has no encoder for raises av.codec.codec.UnknownCodecError.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.storyworld.render.speech import RATE

FPS = 10
_DISPOSITION = av.stream.Disposition
# (a, b, c, d) of the display matrix by what it does to a stored image.
MATRICES = {
    "clockwise": (0, 1, -1, 0),
    "anticlockwise": (0, -1, 1, 0),
    "half turn": (-1, 0, 0, -1),
    "mirror": (-1, 0, 0, 1),
    "transpose": (0, 1, 1, 0),
}


@dataclass(frozen=True)
class VideoTrack:
    """A video track.

    Attributes:
        frames: RGB images.
        codec, pix_fmt, options: of the encoder.
        rate: frames per second.
        starts: of each frame in seconds, where they do not follow each other at `rate`.
        start: seconds by which all frames are later.
        aspect: of a pixel.
        default: whether the track has the default disposition.
        metadata: of the track.
    """

    frames: Sequence[UInt8[np.ndarray, "y x 3"]]
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    rate: int = FPS
    starts: Sequence[float] | None = None
    start: float = 0.0
    aspect: Fraction | None = None
    default: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SoundTrack:
    """A sound track: `wave` at `rate`, one row for each channel of `layout`, from `start` (seconds) on."""

    wave: Float32[np.ndarray, "c n"]
    codec: str = "aac"
    rate: int = RATE
    layout: str = "mono"
    start: float = 0.0
    default: bool = True
    options: Mapping[str, str] = field(default_factory=dict)


def write(
    path: Path,
    *tracks: VideoTrack | SoundTrack,
    form: str | None = None,
    mux: Mapping[str, str] | None = None,
    turn: str = "",
) -> Path:
    """Writes a file with these tracks, in their order.

    Args:
        path: of the file; its ending says the container, unless `form` does.
        tracks: at least one.
        form: FFmpeg's name of the container.
        mux: options of the muxer.
        turn: a name of MATRICES, for the display matrix of an mp4 or mov.
    """
    packets: list[av.Packet] = []
    with av.open(str(path), "w", format=form, options=dict(mux or {})) as container:
        streams = [_add(container, track) for track in tracks]
        container.start_encoding()
        for track, stream in zip(tracks, streams, strict=True):
            encode = _encode_video if isinstance(track, VideoTrack) else _encode_sound
            packets += encode(track, stream)
        packets.sort(key=lambda packet: (packet.dts if packet.dts is not None else -1) * packet.time_base)
        for packet in packets:
            container.mux(packet)
    if turn:
        path.write_bytes(with_matrix(path.read_bytes(), MATRICES[turn]))
    return path


def _add(container: av.container.OutputContainer, track: VideoTrack | SoundTrack) -> Any:
    if isinstance(track, SoundTrack):
        stream = container.add_stream(track.codec, rate=track.rate, layout=track.layout, options=dict(track.options))
    else:
        stream = container.add_stream(track.codec, rate=track.rate, options=dict(track.options))
        size = track.frames[0].shape if len(track.frames) else (96, 160)
        stream.height, stream.width = size[:2]
        stream.pix_fmt = track.pix_fmt
        stream.codec_context.time_base = Fraction(1, track.rate if track.starts is None else 1000)
        stream.codec_context.thread_count = 1
        if track.aspect is not None:
            stream.codec_context.sample_aspect_ratio = track.aspect
        stream.metadata.update(track.metadata)
    stream.disposition = _DISPOSITION.default if track.default else _DISPOSITION(0)
    return stream


def _encode_video(track: VideoTrack, stream: Any) -> list[av.Packet]:
    packets: list[av.Packet] = []
    time_base = stream.codec_context.time_base
    for number, image in enumerate(track.frames):
        start = number / track.rate if track.starts is None else track.starts[number]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        if track.pix_fmt != "rgb24":
            frame = frame.reformat(format=track.pix_fmt)
        frame.pts, frame.time_base = round((track.start + start) / time_base), time_base
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)] if len(track.frames) else []


def _encode_sound(track: SoundTrack, stream: Any) -> list[av.Packet]:
    packets: list[av.Packet] = []
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(track.wave, np.float32), "fltp", track.layout)
    frame.sample_rate, frame.pts, frame.time_base = track.rate, round(track.start * track.rate), Fraction(1, track.rate)
    size = None if "pcm" in track.codec else stream.codec_context.frame_size or None
    resampler = av.AudioResampler(stream.codec_context.format, track.layout, track.rate, size)
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        packets += stream.encode(part)
    return [*packets, *stream.encode(None)]


def copy(source: Path, path: Path, *, shift: float = 0.0, form: str | None = None, **mux: str) -> Path:
    """Writes the packets of a file into another container, `shift` seconds later (earlier, where it is below 0)."""
    with av.open(str(source)) as read, av.open(str(path), "w", format=form, options=mux) as made:
        streams = {stream.index: made.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is None:
                continue
            moved = round(shift / packet.time_base)
            packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
            packet.stream = streams[packet.stream.index]
            made.mux(packet)
    return path


def with_matrix(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """Returns an mp4 with another display matrix in its first track header."""
    made, at = bytearray(data), data.index(b"tkhd")
    at += 44 + (12 if data[at + 4] == 1 else 0)
    a, b, c, d = (value * 65536 for value in matrix)
    made[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    return bytes(made)


def overwritten(data: bytes, length: int, fraction: float = 0.5, seed: int = 1) -> bytes:
    """Returns the data with noise over so many bytes, from that fraction of its length on."""
    made, at = bytearray(data), int(len(data) * fraction)
    made[at : at + length] = np.random.default_rng(seed).bytes(length)
    return bytes(made)


def resampled(wave: Float32[np.ndarray, " n"], rate: int) -> Float32[np.ndarray, "1 m"]:
    """Returns sound at RATE at another rate."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave, np.float32)[None], "fltp", "mono")
    frame.sample_rate = RATE
    resampler = av.AudioResampler("fltp", "mono", rate)
    return np.concatenate([p.to_ndarray() for p in (*resampler.resample(frame), *resampler.resample(None))], 1)
