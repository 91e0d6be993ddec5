"""Sound of any file as mono float32 at 16 kHz, on the host: whole, or in blocks for videos of hours.

Sound lies on the file's clock: sample i is heard at i / 16000 s after 0:00 (`containers.seconds_of_start`, the same as
the images'), also where a track starts late, has holes, or ends before the images do. Damage is silent, lasts as long
as what is damaged, and is reported; a file that was cut short gives what is there.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from jaxtyping import Float32

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import atomic_path
from storyjax.core.notes import tell
from storyjax.data import containers

RATE = 16_000
# A track is laid where its timestamps say, but smaller steps of theirs (seconds) are rounding of the container's.
_JITTER_S = 0.04
# Channels whose mix has less than this fraction of the loudest one's power extinguish each other.
_EXTINGUISHED, _SOFTEST = 0.01, 1e-8
# The length (seconds) over which powers are averaged.
_POWER_S = 1.0
# Files that are packets and nothing else: times are counted, not read.
_BARE = {"aac", "mp3", "ac3", "eac3", "dts"}
# Errors of the container, in a row, after which reading on is given up.
_MOST_FAULTS = 8
# A hole that is longer than this, or that leads so far (seconds) beyond the file's end, is a broken timestamp.
_LONGEST_HOLE_S, _SLACK_S = 6 * 3600.0, 60.0


class AudioError(StoryjaxError):
    """A sound track that cannot be used: missing, damaged, or not there at all."""


class NoAudioError(AudioError):
    """The file can be read and holds no sound."""


def load_audio(path: str | os.PathLike[str], track: int | None = None) -> Float32[np.ndarray, " n"]:
    """Returns all sound of a file: mono float32 in [-1, 1] at 16 kHz; several channels are mixed down.

    Where channels in antiphase extinguish each other, the loudest one is taken instead of the mix.

    Args:
        path: of a video or a sound file.
        track: the sound track, from 1; None: see `containers.choose_track`.

    Raises:
        NoAudioError: it has no sound track.
        AudioError: none of it can be decoded.
    """
    blocks = list(stream_audio(path, track=track))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def stream_audio(
    path: str | os.PathLike[str], block_s: float = 30.0, track: int | None = None
) -> Iterator[Float32[np.ndarray, " n"]]:
    """Yields the sound of a file in blocks of `block_s` seconds (the last is shorter), as `load_audio` reads it."""
    size = round(block_s * RATE)
    held: list[np.ndarray] = []
    count = 0
    for piece in _mono(Path(path), track):
        held.append(piece)
        count += len(piece)
        while count >= size:
            joined = np.concatenate(held)
            yield joined[:size]
            held, count = [joined[size:]], count - size
    if count:
        yield np.concatenate(held)


def has_audio(path: str | os.PathLike[str], track: int | None = None) -> bool:
    """Returns whether a file has a sound track.

    Raises AudioError for a file that cannot be opened, or that has sound but not the `track` (from 1) asked for.
    """
    with _opened(Path(path)) as container:
        return _chosen(container, track, str(path)) is not None


def stream_channels(
    path: str | os.PathLike[str], rate: int, layout: str, track: int | None = None
) -> Iterator[Float32[np.ndarray, "c n"]]:
    """Yields the sound of a file from 0:00 on in pieces of any length, resampled, its channels mixed to a layout.

    Args:
        path: of the file.
        rate: samples per second.
        layout: FFmpeg's name: "mono", "stereo".
        track: as of `load_audio`.

    Raises NoAudioError and AudioError as `load_audio` does.
    """
    return _on_clock(Path(path), track, rate, lambda frame: [layout], lambda mixes: mixes[0])


def spool_audio(path: str | os.PathLike[str], out: str | os.PathLike[str], track: int | None = None) -> None:
    """Decodes a file's sound into raw 16-bit samples on disk, for `read_span`; whole or not at all."""
    with atomic_path(out) as partial, open(partial, "wb") as file:
        for block in stream_audio(path, track=track):
            file.write(np.round(np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())


@dataclass(frozen=True)
class Spool:
    """What `spool_audio` wrote, and of how many samples. It is read, not mapped: mapped pages count as memory taken.

    A slice is samples in memory, as of a wave, so that a network which takes a recording piece by piece may have this.
    """

    path: Path
    samples: int

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, part: slice) -> Float32[np.ndarray, " m"]:
        first, last, _ = part.indices(self.samples)
        count = max(0, last - first)
        return np.fromfile(self.path, "<i2", count, offset=2 * first).astype(np.float32)[:: part.step] / 32767


def open_spool(path: str | os.PathLike[str]) -> Spool:
    """Returns what `spool_audio` wrote; only what is looked at is read."""
    return Spool(Path(path), os.path.getsize(path) // 2)


def read_span(spool: Spool, start_s: float, end_s: float) -> Float32[np.ndarray, " m"]:
    """Returns the samples from `start_s` to `end_s` (seconds), as far as there are any."""
    first, last = (max(0, round(seconds * RATE)) for seconds in (start_s, end_s))
    return spool[first:last]


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "is not there"
            raise AudioError(f"{path} {what}: give the path of a video or of a sound file")
        if path.stat().st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes): copy or download it again")
        container = containers.open_container(path)
    except av.FFmpegError as error:
        raise AudioError(
            f"{path} is neither video nor sound that can be read, or was cut short ({error.strerror or error}): copy"
            " or export it again"
        ) from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}): check it") from error
    with container:
        if container.format.name == "tty":  # FFmpeg draws any text file as a terminal would show it
            raise AudioError(f"{path} is text, not a video or a sound file: give one of these")
        yield container


def _mono(path: Path, track: int | None) -> Iterator[np.ndarray]:
    """All channels as one. A mix is silent where channels are in antiphase: there the loudest stands for all."""
    powers = np.zeros(2)  # of the mix, of the loudest channel; the last second or so

    def layouts(frame: av.AudioFrame) -> list[str]:
        return ["mono"] if frame.layout.nb_channels < 2 else ["mono", frame.layout.name]

    def mixed(mixes: Sequence[np.ndarray]) -> np.ndarray:
        mono = mixes[0][0]
        if len(mixes) == 1 or not mixes[1].shape[1]:
            return mono
        channels = mixes[1][:, : len(mono)]
        each = np.square(channels, dtype=np.float64).mean(axis=1)
        keep = max(0.0, 1 - len(mono) / (RATE * _POWER_S))
        now = np.array([np.square(mono, dtype=np.float64).mean(), each.max()])
        powers[:] = keep * powers + (1 - keep) * now
        if powers[1] > _SOFTEST and powers[0] < _EXTINGUISHED * powers[1]:
            return channels[int(each.argmax())]
        return mono

    for piece in _on_clock(path, track, RATE, layouts, mixed):
        yield piece[0] if piece.ndim == 2 else piece


def _on_clock(
    path: Path,
    track: int | None,
    rate: int,
    layouts: Callable[[av.AudioFrame], list[str]],
    mix: Callable[[Sequence[np.ndarray]], np.ndarray],
) -> Iterator[np.ndarray]:
    """Decoded sound, piece by piece, with silence where the clock runs on without it.

    `layouts` names those that the first frame is mixed to; `mix` makes a piece (… n) of the same samples in each (c n).
    """
    with _opened(path) as container:
        stream = _chosen(container, track, str(path))
        if stream is None:
            raise NoAudioError(f"{path} holds no sound: give a file with a sound track")
        if containers.is_encrypted(stream):
            raise AudioError(f"the sound of {path} is encrypted: give a copy without protection")
        if stream.codec_context is None:
            raise AudioError(f"{path}: its sound is coded in an unknown way; export it again, with AAC")
        origin = float(containers.seconds_of_start(container))
        faults = _Faults(path, stream, container)
        mixer, written = _Mixer(layouts, rate), 0
        for frame in _frames(container, stream, faults):
            behind = faults.checked(frame.time, origin, written / rate)
            frame.pts = None  # the resampler would fill holes in its own way
            try:
                pieces = mixer.push(frame)
            except av.FFmpegError as error:  # damage: channels or rates that no sound has
                faults.unusable(error)
                continue
            gap, skip = _step(behind, written, rate)
            while gap > 0:
                silent = min(gap, 30 * rate)
                yield mix(mixer.silence(silent))
                written, gap = written + silent, gap - silent
            for piece in pieces:
                samples = mix([part[:, skip:] for part in piece])
                skip = max(0, skip - piece[0].shape[1])
                written += samples.shape[-1]
                yield samples
        yield from map(mix, mixer.rest())
        faults.finish(written / rate, origin)


def _chosen(container: av.container.InputContainer, track: int | None, where: str) -> av.AudioStream | None:
    try:
        return cast("av.AudioStream | None", containers.choose_track(container, "audio", track, where))
    except StoryjaxError as error:
        raise AudioError(str(error)) from error


class _Faults:
    """What is damaged in a sound track."""

    def __init__(self, path: Path, stream: av.AudioStream, container: av.container.InputContainer):
        self.path, self.stream, self.container = path, stream, container
        self.bare = container.format.name in _BARE
        self.late = 0.0  # seconds by which what follows comes too early, as it is counted
        self.good_bytes = 0
        self.jump = 0.0  # seconds by which timestamps are wrong
        self.count = self.frames = 0
        self.first: float | None = None

    def met(self, packet: av.Packet | None, error: av.FFmpegError) -> None:
        """Counts an error. Raises AudioError where encryption is its reason."""
        if packet is not None and containers.is_encrypted(self.stream, packet):
            raise AudioError(f"the sound of {self.path} is encrypted: give a copy without protection") from error
        self.count += 1
        if self.first is None and packet is not None and packet.pts is not None:
            self.first = float(packet.pts * packet.time_base)
        if self.bare and packet is not None and packet.duration and self.good_bytes:
            # Damage makes one packet of several, and their times are counted: the bytes say how many they were.
            several = round(packet.size * self.frames / self.good_bytes)
            self.late += max(0, several - 1) * float(packet.duration * packet.time_base)

    def unusable(self, error: av.FFmpegError) -> None:
        """Counts a frame that was decoded into no sound."""
        self.frames -= 1
        self.met(None, error)

    def checked(self, time: float | None, origin: float, seconds: float) -> float:
        """Returns how many seconds after the sound that is written (so many `seconds`) a frame begins.

        A hole that leads beyond the file's end is a broken timestamp: the frame, and those after it, follow at once.
        """
        if time is None:
            return 0.0
        behind = time - origin + self.late - self.jump - seconds
        if self.jump and behind < -self.jump / 2:  # it was one timestamp alone
            self.jump, behind = 0.0, behind + self.jump
        duration = self.container.duration
        left = _LONGEST_HOLE_S if duration is None else max(0.0, duration / av.time_base - seconds) + _SLACK_S
        if behind > min(left, _LONGEST_HOLE_S):
            self.count += 1
            self.first = time if self.first is None else self.first
            self.jump += behind
            return 0.0
        return behind

    def finish(self, seconds: float, origin: float) -> None:
        """Tells what was met. Raises AudioError where nothing could be decoded."""
        if not self.frames and self.count:
            raise AudioError(f"the sound of {self.path} is damaged: none of it can be decoded; export it again")
        if self.count:
            places = "in one place" if self.count == 1 else f"in {self.count} places"
            at = "" if self.first is None else f", first at {max(0.0, self.first - origin):.1f} s"
            line = f"the sound of {self.path} is damaged {places}{at}: nothing is heard there"
            tell(line, (str(self.path), "sound damaged"))
        declared = containers.tagged_end(self.stream)
        if declared is None and self.stream.duration and self.stream.start_time is not None and self.stream.time_base:
            declared = float((self.stream.start_time + self.stream.duration) * self.stream.time_base)
        if declared is not None and declared - origin > seconds + 0.5:
            line = f"the sound of {self.path} was cut short: {seconds:.1f} of {declared - origin:.1f} s are there"
            tell(line + ", and are used", (str(self.path), "sound cut"))


def _frames(container: av.container.InputContainer, stream: av.AudioStream, faults: _Faults) -> Iterator[av.AudioFrame]:
    """All that can be decoded; errors of single packets, and a few in a row of the container, are stepped over."""
    row = 0
    while row < _MOST_FAULTS:
        try:
            for packet in containers.demux(container, stream):
                row = 0
                if not packet.size and packet.dts is not None:
                    continue  # empty, but not the end
                try:
                    made = cast("list[av.AudioFrame]", packet.decode())
                except av.FFmpegError as error:
                    faults.met(packet, error)
                    continue
                faults.frames += len(made)
                faults.good_bytes += packet.size
                yield from made
            return
        except av.FFmpegError as error:
            row += 1
            faults.met(None, error)


class _Mixer:
    """Resamples frames to a rate and mixes them to several layouts, also where a track's coding changes midway."""

    def __init__(self, layouts: Callable[[av.AudioFrame], list[str]], rate: int):
        """Args: layouts: names those that a track is mixed to, by its first frame; rate: samples per second."""
        self.layouts, self.rate = layouts, rate
        self.targets: list[av.AudioLayout] = []
        self._coding: tuple[str, str, int] | None = None
        self._resamplers: list[av.AudioResampler] = []

    def push(self, frame: av.AudioFrame) -> list[list[np.ndarray]]:
        """Returns pieces in each of the layouts (c n). Raises av.FFmpegError where a frame cannot be resampled."""
        before: list[list[np.ndarray]] = []
        coding = frame.format.name, frame.layout.name, frame.sample_rate
        targets = self.targets or [av.AudioLayout(name) for name in self.layouts(frame)]
        if coding != self._coding:
            before = self.rest()
            # Packed samples: of planar ones PyAV reads past the end where there are more than eight channels.
            self._resamplers = [av.AudioResampler("flt", layout, self.rate) for layout in targets]
            self._coding = None
        pieces = [resampler.resample(frame) for resampler in self._resamplers]
        self.targets, self._coding = targets, coding
        return before + self._read(pieces)

    def rest(self) -> list[list[np.ndarray]]:
        """Returns what the resamplers still hold."""
        return self._read([resampler.resample(None) for resampler in self._resamplers]) if self._coding else []

    def silence(self, samples: int) -> list[np.ndarray]:
        """Returns zeros in each of the layouts."""
        return [np.zeros((layout.nb_channels, samples), np.float32) for layout in self.targets]

    def _read(self, parts: Sequence[Sequence[av.AudioFrame]]) -> list[list[np.ndarray]]:
        """Those that are mixed down can add up to more than full scale."""
        pieces = zip(*parts, strict=True)
        return [
            [
                np.clip(np.nan_to_num(part.to_ndarray().reshape(-1, layout.nb_channels).T), -1, 1)
                for part, layout in zip(piece, self.targets, strict=True)
            ]
            for piece in pieces
        ]


def _step(behind: float, written: int, rate: int) -> tuple[int, int]:
    """How many samples of silence belong before a frame that comes so many seconds after those that were written, and
    how many of its own lie before 0:00."""
    if behind > _JITTER_S:
        return round(behind * rate), 0
    if behind < -_JITTER_S and not written:  # priming of the encoder, before 0:00
        return 0, math.ceil(-behind * rate)
    return 0, 0
