"""Exact frames from encoded video, on the host.

PyAV reads paths and bytes alike, and is exact on variable frame rate: frames are chosen by their own timestamps, never
by counting. Files cut short, damaged or not video at all give one line (`VideoError`); a decoder that conceals damage
is not believed, because every decoded frame is asked whether it is corrupt.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from storyjax.data.images import SUFFIXES, ImageError, read_image
from storyjax.data.video_files import Source, VideoError, locate

# Gaps longer than this (seconds) are jumped over through the file's index; shorter ones cost less to read through.
_FAR_S = 4.0
# Encoders round: a file may promise this much (seconds) more than its last frame before it counts as cut short.
_SLACK_S = 0.5
STILL_S = 1.0  # how long an image lasts as a video
# Containers that keep no presentation times, so that a frame is known only by its place in decoding order.
_WITHOUT_TIMES = {"avi"}


@dataclass(frozen=True)
class VideoInfo:
    """What the file says of itself; `width` and `height` in pixels as displayed (phone videos turned upright)."""

    duration_s: float
    fps: float
    width: int
    height: int


def sample_times(duration_s: float, n: int, rng: np.random.Generator | None = None) -> Float64[np.ndarray, " {n}"]:
    """Returns `n` ascending times (seconds) covering a video: one in each of `n` equal segments.

    Without `rng` the centre of each segment (evaluation); with it, uniform inside each segment (training).
    """
    inside = np.full(n, 0.5) if rng is None else rng.uniform(size=n)
    return (np.arange(n) + inside) * (duration_s / n)


def probe(source: Source, name: str | None = None) -> VideoInfo:
    """Length, rate and displayed size; decodes one frame, so that what it says can be believed.

    `name` stands for the video in errors when `source` is bytes. Raises VideoError.
    """
    if is_still(source):
        height, width = _still(source).shape[:2]
        return VideoInfo(STILL_S, 1 / STILL_S, width, height)
    with _opened(source, name) as video:
        frame = next(video.frames(), None)
        if frame is None:
            raise video.error("holds no video frame", "export it again")
        height, width = frame.height, frame.width
        if frame.rotation % 180 == 90:
            height, width = width, height
        rate = video.stream.average_rate or video.stream.guessed_rate
        duration = video.declared_end()
        if duration is None:  # a live recording: only its packets know
            duration = video.last_packet_end()
        return VideoInfo(float(duration), float(rate) if rate else 0.0, width, height)


def decode_frames(
    source: Source, times_s: np.ndarray | Sequence[float], size: int | None, name: str | None = None
) -> tuple[UInt8[np.ndarray, "t y x 3"], Float32[np.ndarray, " t"]]:
    """Returns the frame on screen at each asked time.

    Args:
        source: path or encoded bytes (mp4, mkv, webm, avi and what else FFmpeg reads).
        times_s: (t,) seconds from the start, in any order. The frame shown is the last one that starts at or before the
            time; before the first frame it is the first, after the last one the last.
        size: side in pixels of the square that frames are resized to (bicubic, aspect ratio not kept, as BLIP-2 does),
            or None for the video's own size.
        name: stands for the video in errors when `source` is bytes.

    Returns:
        RGB images, and the start (seconds) of each frame shown. Two times inside one frame give it twice.

    Raises:
        VideoError: missing, empty, not a video, without frames, damaged, or cut short before an asked time.
    """
    times = np.asarray(times_s, np.float64)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise ValueError(f"times_s must be one row of finite numbers, not {times_s!r}")
    if not len(times):
        return np.zeros((0, size or 0, size or 0, 3), np.uint8), np.zeros(0, np.float32)
    if is_still(source):
        return np.repeat(_still(source, size)[None], len(times), 0), np.zeros(len(times), np.float32)
    try:
        return _decode(source, times, size, name, jump=True)
    except _JumpError:
        # Some files mark frames as fresh starts that are none. Reading every frame in turn settles whether it is so.
        return _decode(source, times, size, name, jump=False)


def is_still(source: Source) -> bool:
    """Returns whether a source is an image file by its name: a video of one frame, which is shown for a second."""
    return not isinstance(source, bytes) and Path(source).suffix.lower() in set(SUFFIXES) - {".gif", ".apng"}


def _still(source: Source, size: int | None = None) -> UInt8[np.ndarray, "y x 3"]:
    """The image of a file, resized as frames are. Raises VideoError."""
    assert not isinstance(source, bytes)
    locate(source, None)
    try:
        image = read_image(source)
    except ImageError as error:
        raise VideoError(str(error)) from error
    if size is None:
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def _decode(source: Source, times: np.ndarray, size: int | None, name: str | None, jump: bool):
    images, shown = None, np.empty(len(times), np.float32)
    reformatter = VideoReformatter()  # one for all frames: its filter tables cost more than a resize
    order = np.argsort(times, kind="stable")
    with _opened(source, name) as video:
        previous = None
        for slot, (frame, ticks) in zip(order, video.shown(video.ticks(times[order]), jump), strict=True):
            if previous is None or frame is not previous[0]:
                previous = (frame, _to_rgb(frame, size, images, reformatter))
            if images is None:
                images = np.empty((len(times), *previous[1].shape), np.uint8)
            images[slot] = previous[1]
            shown[slot] = video.seconds(ticks)
    return images, shown


def _to_rgb(
    frame: av.VideoFrame, size: int | None, images: np.ndarray | None, reformatter: VideoReformatter
) -> np.ndarray:
    """One frame as (y, x, 3) uint8, upright; the size of the first frame holds for all, should the video change it."""
    turns = round(frame.rotation / 90) % 4
    if size is not None:
        height = width = size
    elif images is None:
        height, width = frame.height, frame.width
    else:
        height, width = images.shape[1:3] if turns % 2 == 0 else images.shape[2:0:-1]
    rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
    return np.rot90(rgb, turns) if turns else rgb


class _JumpError(Exception):
    """Damage met after skipping part of the file: perhaps the skipping is to blame."""


@contextmanager
def _opened(source: Source, name: str | None) -> Iterator["_Video"]:
    """The video track of `source`; whatever goes wrong inside leaves as a VideoError naming the file."""
    where, file, length = locate(source, name)
    video = None
    try:
        # Metadata in old encodings must not stop a good video; a playlist must not make us open other places.
        options = {"protocol_whitelist": "file"}
        with av.open(file, "r", metadata_errors="replace", options=options) as container:
            video = _Video(where, container, length)
            yield video
    except av.FFmpegError as error:
        if video is not None and video.jumped:
            raise _JumpError from error
        what = "is damaged" if video is not None else "is not a video that can be read, or was cut short"
        raise VideoError(f"{where} {what} ({error.strerror or error}): copy, download or export it again") from error


class _Video:
    """One opened video track. Times inside are integer ticks of the track's time base."""

    def __init__(self, where: str, container: av.container.InputContainer, length: int):
        self.where, self.container, self.length = where, container, length
        self.jumped = False
        self.fresh_from: int | None = None  # after a jump: the key frame that must come out first
        kind = container.format.name
        if kind == "tty":  # FFmpeg draws any text file as a terminal would show it
            raise self.error("is text, not a video", "give a video file")
        if kind.startswith("image2") or kind.endswith("_pipe"):
            raise self.error("is an image, not a video", "give a video file")
        cover = av.stream.Disposition.attached_pic  # the image on a song is no video
        tracks = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not tracks:
            has_sound = "holds sound but no video" if container.streams.audio else "holds no video track"
            raise self.error(has_sound, "give a file with a video track")
        self.stream = tracks[0]
        if self.stream.codec_context is None or self.stream.time_base is None:
            raise self.error("uses an unknown way of coding video", "export it again, as mp4 with H.264")
        self.stream.thread_type = "NONE"
        self.stream.codec_context.thread_count = 1  # videos are decoded in parallel, not the frames of one
        self.index_read = not kind.startswith("matroska")
        self.timed = kind not in _WITHOUT_TIMES
        self.base: Fraction = self.stream.time_base
        self.origin = self._origin()
        self._check_index()

    def error(self, what: str, remedy: str) -> VideoError:
        """Returns a VideoError that names the file."""
        return VideoError(f"{self.where} {what}: {remedy}")

    def _origin(self) -> int:
        """The tick that players call 0:00. Sound may start a little earlier than 0 (priming), which does not count."""
        if not self.timed or self.stream.start_time is None:
            return 0
        start = self.stream.start_time
        if self.container.start_time is not None:
            start = min(start, max(0, round(Fraction(self.container.start_time, av.time_base) / self.base)))
        return start

    def _check_index(self) -> None:
        """An mp4's index says where its frames lie: beyond the end of the file means that the file was cut."""
        entries = self.stream.index_entries
        if "mp4" in self.container.format.name and len(entries):
            end = entries[-1].pos + entries[-1].size
            if end > self.length:
                raise self._short(f"{self.length:,} of at least {end:,} bytes are there")

    def _short(self, detail: str) -> VideoError:
        return self.error(f"was cut short ({detail})", "copy, download or export it again")

    def ticks(self, times_s: np.ndarray) -> list[int]:
        """Returns the tick at or before each time; a time that float32 rounded down still meets the frame that it
        names."""
        rounding = 1e-6 + np.abs(times_s) * 2.0**-23
        return [self.origin + math.floor(t / self.base) for t in times_s + rounding]

    def seconds(self, ticks: int) -> float:
        """Returns the seconds from 0:00 of a tick."""
        return float((ticks - self.origin) * self.base)

    def declared_end(self) -> float | None:
        """Returns where the container says that the track ends (seconds), if it says so."""
        if not self.timed and self.stream.frames:  # of a cut avi, FFmpeg guesses the length from the bytes left
            return float(self.stream.frames * self.interval() * self.base)
        start = self.stream.start_time if self.stream.start_time is not None else self.origin
        if self.stream.duration is not None and self.stream.duration > 0:
            return float((start + self.stream.duration - self.origin) * self.base)
        # Matroska's muxers write the end of each track as a tag: "00:01:02.500000000".
        stamp = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self.stream.metadata.get("DURATION", ""))
        if stamp:
            hours, minutes, seconds = map(float, stamp.groups())
            return 3600 * hours + 60 * minutes + seconds - float(self.origin * self.base)
        if self.container.duration is not None and not self.container.streams.audio:
            return self.container.duration / av.time_base
        return None

    def last_packet_end(self) -> float:
        """Returns the end of the last frame (seconds), by reading all packets and decoding none."""
        end = self.origin
        for packet in self.container.demux(self.stream):
            if packet.size:
                at = packet.pts if packet.pts is not None else packet.dts
                end = max(end, (end if at is None else at) + (packet.duration or self.interval()))
        return self.seconds(end)

    def interval(self) -> int:
        """Ticks from frame to frame, where only the declared rate is known."""
        return round(1 / (self.stream.guessed_rate or 25) / self.base)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yields all frames in order of showing; a corrupt one is an error."""
        for packet in self.container.demux(self.stream):
            yield from self._feed(packet)

    def _feed(self, packet: av.Packet) -> Iterator[av.VideoFrame]:
        if packet.is_corrupt:
            raise self.error("is damaged", "copy, download or export it again")
        for frame in packet.decode():
            if self.fresh_from is not None and frame.pts is not None:
                if frame.pts < self.fresh_from:
                    continue  # leans on frames that were skipped, and is not asked for
                if frame.pts > self.fresh_from:
                    raise _JumpError  # the key frame itself never came out
                self.fresh_from = None
            if frame.is_corrupt:
                if self.jumped:
                    raise _JumpError
                raise self.error("is damaged", "copy, download or export it again")
            yield frame

    def shown(self, targets: list[int], jump: bool) -> Iterator[tuple[av.VideoFrame, int]]:
        """For each tick of `targets` (ascending), the last frame that starts at or before it, and its tick."""
        target = _Target(targets[0])
        frames = self._needed_frames(target) if jump and self.timed else self.frames()
        done, last, end = 0, None, 0
        for frame, at, until in self._timed(frames):
            while targets[done] < at:
                yield last or (frame, at)
                done += 1
                if done == len(targets):
                    return
                target.tick = targets[done]
            last, end = (frame, at), until
        if last is None:
            raise self.error("holds no video frame", "export it again")
        self._check_end(targets[-1], end)
        for _ in targets[done:]:
            yield last

    def _timed(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Each frame with the ticks of its start and end."""
        offset, end = None, self.origin
        for frame in frames:
            at = frame.pts if self.timed else frame.dts
            if not self.timed and at is not None:  # decoding order starts late by the depth of reordering
                offset = at - self.origin if offset is None else offset
                at -= offset
            if at is None:  # a bare elementary stream: frames follow each other at the declared rate
                at = end
            end = at + (frame.duration or self.interval())
            yield frame, at, end

    def _check_end(self, target: int, end: int) -> None:
        """After the last frame: silence instead of the frames that the container promised means a file cut short."""
        self._check_index()  # of a fragmented mp4, all is known only now
        declared, reached = self.declared_end(), self.seconds(end)
        if declared is not None and declared > reached + _SLACK_S and self.seconds(target) > reached:
            if self.jumped:
                raise _JumpError
            raise self._short(f"{reached:.1f} of {declared:.1f} s are there")

    def _needed_frames(self, target: "_Target") -> Iterator[av.VideoFrame]:
        """Frames in order of showing, leaving out those that no target needs.

        Packets wait until one arrives that comes after the target. Should a key frame at or before the target arrive
        first, those waiting are never decoded. Long gaps are jumped over by seeking.
        """
        waiting: list[av.Packet] = []
        far = round(_FAR_S / self.base)
        packets = self.container.demux(self.stream)
        for packet in packets:
            if packet.dts is not None and target.tick - packet.dts > far and target.tick != target.sought:
                target.sought = target.tick
                landed = self._seek(target.tick, packet, packet.dts, packets)
                if landed is not packet:
                    packet, waiting = landed, []
            if waiting and packet.is_keyframe and packet.pts is not None and packet.pts <= target.tick:
                self.stream.codec_context.flush_buffers()
                self.jumped, self.fresh_from, waiting = True, packet.pts, []
            waiting.append(packet)
            if packet.dts is None or packet.dts > target.tick:
                for ready in waiting:
                    yield from self._feed(ready)
                waiting = []

    def _seek(self, tick: int, packet: av.Packet, here: int, packets: Iterator[av.Packet]) -> av.Packet:
        """The packet of the last key frame at or before `tick`, or `packet`, at the tick `here`, if the index has none
        later than it."""
        entries = self.stream.index_entries
        if not self.index_read:  # Matroska reads its index at the first seek: to where we are
            self.index_read = True
            packet, shown_at = self._land(here, packets)
            here = shown_at if packet.dts is None else packet.dts
        # The index is in decoding time, ahead of the time of showing by the depth of reordering: go back until before.
        at = tick
        while (found := entries.search_timestamp(at)) >= 0 and entries[found].timestamp > here:
            landed, shown_at = self._land(entries[found].timestamp, packets)
            if shown_at <= tick:
                return landed
            at = entries[found].timestamp - 1
        if at != tick:  # went too far every time
            raise _JumpError
        return packet

    def _land(self, tick: int, packets: Iterator[av.Packet]) -> tuple[av.Packet, int]:
        """The key frame's packet that a seek to the tick lands at, and the tick from which it is shown."""
        self.jumped = True
        self.container.seek(tick, stream=self.stream)
        landed = next(packets, None)
        if landed is None or landed.pts is None or not landed.is_keyframe:
            raise _JumpError
        self.fresh_from = landed.pts
        return landed, landed.pts


class _Target:
    """The tick that is being looked for, moved on by the consumer of the frames."""

    def __init__(self, tick: int):
        self.tick = tick
        self.sought: int | None = None  # the last tick for which the index was asked
