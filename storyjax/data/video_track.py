"""The frames of one opened video on its clock: frames in order of showing, found by their own timestamps.

Damage never stops a video: what cannot be decoded, or was decoded with errors, is left out, counted and reported, and
of a video that was cut short there is what is there. `storyjax.data.video` is the door to it.
"""

import contextlib
import heapq
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell
from storyjax.data import containers
from storyjax.data.video_files import VideoError

# Gaps longer than this (seconds) are jumped over through the file's index; shorter ones cost less to read through.
_FAR_S = 4.0
# Encoders round: a file may promise this much (seconds) more than its last frame before it counts as cut short.
_SLACK_S = 0.5
# Containers that keep no presentation times, so that a frame is known only by its place in decoding order.
_WITHOUT_TIMES = {"avi"}
# Containers whose length FFmpeg takes from what is at the file's end, so that they promise nothing.
_PROMISE_NOTHING = {"mpegts", "mpeg"}
# Frames that are missing within so many packets after an error are its work; others were never to be shown.
_AFTERMATH = 64
# Errors of the container, in a row, after which reading on is given up.
_MOST_FAULTS = 8
_FASTEST = 1000  # frames per second that a file may claim


class JumpError(Exception):
    """Damage met after skipping part of the file: perhaps the skipping is to blame."""


class VideoTrack:
    """One opened video track. Times inside are integer ticks of the track's time base.

    Attributes:
        damaged: frames that were left out so far because they are damaged.
        jumped: whether part of the file was skipped so far.
    """

    def __init__(self, where: str, container: av.container.InputContainer, length: int, number: int | None = None):
        """Args: where: its name, for messages; length: of the file in bytes; number: the track asked for, from 1.

        Raises:
            VideoError: it holds no video, is encrypted, or coded in an unknown way.
        """
        self.where, self.container, self.length = where, container, length
        self.jumped = False
        self.damaged = 0
        self._first_damage: float | None = None
        self._calm = _AFTERMATH  # packets since the last error
        self._cut: tuple[float, float] | None = None
        self._first_dts: int | None = None
        self.fresh_from: int | None = None  # after a jump: the key frame that must come out first
        kind = container.format.name
        if kind == "tty":  # FFmpeg draws any text file as a terminal would show it
            raise self.error("is text, not a video", "give a video file")
        if kind.startswith("image2") or kind.endswith("_pipe"):
            raise self.error("is an image, not a video", "give a video file")
        try:
            stream = cast("av.VideoStream | None", containers.choose_track(container, "video", number, where))
        except StoryjaxError as error:
            raise VideoError(str(error)) from error
        if stream is None:
            has_sound = "holds sound but no video" if container.streams.audio else "holds no video track"
            raise self.error(has_sound, "give a file with a video track")
        if containers.is_encrypted(stream):
            raise self._encrypted()
        if stream.codec_context is None or stream.time_base is None:
            raise self.error("uses an unknown way of coding video", "export it again, as mp4 with H.264")
        self.stream = stream
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1  # videos are decoded in parallel, not the frames of one
        self.index_read = not kind.startswith("matroska")
        self.timed = kind not in _WITHOUT_TIMES
        self.base: Fraction = stream.time_base
        # A tick that is not after 0:00, for frames are looked for by whole ticks.
        self._start = containers.seconds_of_start(container)
        self.origin = math.floor(self._start / self.base)
        self._residue = float(self._start - self.origin * self.base)

    def error(self, what: str, remedy: str) -> VideoError:
        """Returns a VideoError that names the file."""
        return VideoError(f"{self.where} {what}: {remedy}")

    def _encrypted(self) -> VideoError:
        return self.error("is encrypted", "give a copy without protection")

    def _short(self, reached: float, declared: float) -> VideoError:
        detail = f"{reached:.1f} of {declared:.1f} s are there"
        return self.error(f"was cut short ({detail})", "copy, download or export it again")

    @property
    def aspect(self) -> Fraction | None:
        """The width of a pixel over its height, or None where the file does not say."""
        return self.stream.sample_aspect_ratio or None

    @property
    def rate(self) -> float:
        """Frames per second: the average where it is sane, else what FFmpeg guesses; 0 where nothing is known."""
        for rate in (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate):
            if rate and 0 < rate <= _FASTEST:
                return float(rate)
        return 0.0

    def ticks(self, times_s: np.ndarray) -> list[int]:
        """Returns the tick at or before each time; a time that float32 rounded down still meets the frame that it
        names."""
        rounding = 1e-6 + np.abs(times_s) * 2.0**-23
        return [self.origin + math.floor((t + self._residue) / self.base) for t in times_s + rounding]

    def seconds(self, ticks: int) -> float:
        """Returns the seconds from 0:00 of a tick."""
        return float(ticks * self.base - self._start)

    def interval(self) -> int:
        """Ticks from frame to frame, where only the declared rate is known."""
        return max(1, round(1 / Fraction(self.rate or 25) / self.base))

    def declared_end(self) -> float | None:
        """Returns where the container says that the track ends (seconds from 0:00), if it says so."""
        if not self.timed and self.stream.frames:  # of a cut avi, FFmpeg guesses the length from the bytes left
            return float(self.stream.frames * self.interval() * self.base)
        if (tagged := containers.tagged_end(self.stream)) is not None:
            return tagged - float(self._start)
        start = self.stream.start_time if self.stream.start_time is not None else self.origin
        if self.stream.duration is not None and self.stream.duration > 0:
            return self.seconds(start + self.stream.duration)
        if self.container.duration is not None and not self.container.streams.audio:
            return self.container.duration / av.time_base
        return None

    def end(self) -> float:
        """Returns where the track ends (seconds from 0:00): where a cut file was cut, which is reported.

        Reads on to the file's end where only that shows it.
        """
        declared = self.declared_end()
        if declared is None:  # a live recording: only its packets know
            return self._last_packet_end()
        reached = self._packets_end(declared)
        if reached is None:
            return declared
        if declared > reached + _SLACK_S:
            self._cut = reached, declared
            return reached
        return max(declared, reached)

    def _packets_end(self, declared: float) -> float | None:
        """Where the packets end that are in the file, or None where this need not be doubted."""
        kind, entries, near = self.container.format.name, self.stream.index_entries, declared
        if kind in _PROMISE_NOTHING:
            return None
        if "mp4" in kind and self.stream.frames and len(entries) >= self.stream.frames:  # the index knows them all
            if entries[-1].pos + entries[-1].size > self.length:
                whole = [entry.timestamp for entry in entries if entry.pos + entry.size <= self.length]
                near = self.seconds(max(whole, default=self.origin))
            elif self.stream.average_rate == self.stream.guessed_rate:
                return None  # where the rate varies, some declare less than they have
        with contextlib.suppress(av.FFmpegError, OverflowError):  # without an index: reads on from where it is
            # Not before the first frame: GIF has no such place, and what was read to probe it would stay read.
            target = max(self.origin, math.floor((float(self._start) + near - 1) / self.base))
            self.container.seek(target, stream=self.stream)
        return self._last_packet_end()

    def _last_packet_end(self) -> float:
        """The end of the last frame (seconds), by reading all further packets and decoding none."""
        end = self.origin
        for packet in self.packets():
            if packet.size and not packet.is_discard and not packet.is_corrupt:
                at = packet.pts if packet.pts is not None and self.timed else packet.dts
                end = max(end, (end if at is None else at) + (packet.duration or self.interval()))
        return self.seconds(end)

    def finish(self) -> None:
        """Tells what was found wrong."""
        if self.damaged:
            frames = "a frame is" if self.damaged == 1 else f"{self.damaged} frames are"
            at = "" if self._first_damage is None else f", the first at {max(0.0, self._first_damage):.1f} s"
            line = f"{self.where} is damaged: {frames} left out{at}; the frame before is shown instead"
            tell(line, (self.where, "damaged"))
        if self._cut is not None:
            reached, declared = self._cut
            line = f"{self.where} was cut short: {reached:.1f} of {declared:.1f} s are there, and are used"
            tell(line, (self.where, "cut"))

    def packets(self) -> Iterator[av.Packet]:
        """Yields the track's packets; errors of the container are stepped over, a few in a row at most."""
        faults = 0
        while faults < _MOST_FAULTS:
            try:
                for packet in containers.demux(self.container, self.stream):
                    yield packet
                    faults = 0
                return
            except av.FFmpegError:
                if self.jumped:
                    raise JumpError from None
                faults += 1
                self._count_damage(None)
        last = av.Packet()  # an empty one, for what the decoder still holds
        last.stream = self.stream
        yield last

    def _count_damage(self, tick: int | None) -> None:
        self.damaged += 1
        self._calm = 0
        if self._first_damage is None and tick is not None:
            self._first_damage = self.seconds(tick)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yields all good frames in order of showing."""
        for packet in self.packets():
            yield from self._feed(packet)

    def _feed(self, packet: av.Packet) -> Iterator[av.VideoFrame]:
        """The good frames that come out when a packet goes in."""
        if not packet.size and packet.dts is not None:
            return  # an empty place (the frame before stays on screen), not the end
        self._calm += 1
        at = packet.pts if packet.pts is not None else packet.dts
        if packet.size and self._first_dts is None:
            self._first_dts = packet.dts
        try:
            made = packet.decode()
        except av.FFmpegError as error:
            if containers.is_encrypted(self.stream, packet):
                raise self._encrypted() from error
            if self.jumped:
                raise JumpError from error
            self._count_damage(at)
            return
        for frame in made:
            if self.fresh_from is not None and frame.pts is not None:
                if frame.pts < self.fresh_from:
                    continue  # leans on frames that were skipped, and is not asked for
                if frame.pts > self.fresh_from:
                    raise JumpError  # the key frame itself never came out
                self.fresh_from = None
            if frame.is_corrupt:
                if self.jumped:
                    raise JumpError
                self._count_damage(frame.pts if frame.pts is not None else at)
                continue
            yield frame

    def nothing(self) -> VideoError:
        """Returns the error of a track of which no frame could be decoded."""
        if self.damaged:
            return self.error("is damaged: none of its frames can be decoded", "copy, download or export it again")
        return self.error("holds no video frame", "export it again")

    def every_frame(self) -> Iterator[tuple[av.VideoFrame | None, int]]:
        """Yields each frame with its tick, in order of showing; None in the place of one that is damaged."""
        fed: list[int] = []  # ticks of the packets whose frames have not come out
        last: int | None = None

        def frames() -> Iterator[av.VideoFrame]:
            for packet in self.packets():
                at = packet.pts if self.timed and packet.pts is not None else packet.dts
                if packet.size and not packet.is_discard and at is not None:
                    heapq.heappush(fed, at)
                yield from self._feed(packet)

        for frame, at, _ in self._timed(frames()):
            while fed and fed[0] < at:
                lost = heapq.heappop(fed)
                if self._calm < _AFTERMATH and (last is None or lost > last):
                    yield None, lost
                    last = lost
            if fed and fed[0] == at:
                heapq.heappop(fed)
            if last is not None and at <= last and self.damaged:
                continue  # came too late, out of order: damage, and its place was given
            yield frame, at
            last = at
        while fed:
            lost = heapq.heappop(fed)
            if self._calm < _AFTERMATH and (last is None or lost > last):
                yield None, lost
                last = lost

    def shown(self, targets: list[int], jump: bool) -> Iterator[tuple[av.VideoFrame, int]]:
        """For each tick of `targets` (ascending), the last good frame that starts at or before it, and its tick.

        Raises VideoError where no frame is there, or where the file was cut short before all of the targets.
        """
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
            if self.jumped:
                raise JumpError
            raise self.nothing()
        self._check_end(targets, end)
        for _ in targets[done:]:
            yield last

    def _timed(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Each frame with the ticks of its start and end."""
        offset, end = None, self.origin
        for frame in frames:
            at = frame.pts if self.timed else frame.dts
            if not self.timed and at is not None:  # decoding order starts late by the depth of reordering
                offset = at - (self._first_dts or 0) if offset is None else offset
                at -= offset
            if at is None:  # a bare elementary stream: frames follow each other at the declared rate
                at = end
            end = at + (frame.duration or self.interval())
            yield frame, at, end

    def _check_end(self, targets: list[int], end: int) -> None:
        """After the last frame: less than what the container promised means a file cut short."""
        declared, reached = self.declared_end(), self.seconds(end)
        if declared is None or declared <= reached + _SLACK_S or self.seconds(targets[-1]) <= reached:
            return
        if self.jumped:
            raise JumpError
        if self.seconds(targets[0]) > reached + _SLACK_S:
            raise self._short(reached, declared)
        self._cut = reached, declared

    def _needed_frames(self, target: "_Target") -> Iterator[av.VideoFrame]:
        """Frames in order of showing, leaving out those that no target needs.

        Packets wait until one arrives that comes after the target. Should a key frame at or before the target arrive
        first, those waiting are never decoded. Long gaps are jumped over by seeking.
        """
        waiting: list[av.Packet] = []
        far = round(_FAR_S / self.base)
        packets = self.packets()
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
            raise JumpError
        return packet

    def _land(self, tick: int, packets: Iterator[av.Packet]) -> tuple[av.Packet, int]:
        """The key frame's packet that a seek to the tick lands at, and the tick from which it is shown."""
        self.jumped = True
        self.container.seek(tick, stream=self.stream)
        landed = next(packets, None)
        if landed is None or landed.pts is None or not landed.is_keyframe:
            raise JumpError
        self.fresh_from = landed.pts
        return landed, landed.pts


class _Target:
    """The tick that is looked for, moved on by the consumer of the frames."""

    def __init__(self, tick: int):
        self.tick = tick
        self.sought: int | None = None  # the last tick for which the index was asked
