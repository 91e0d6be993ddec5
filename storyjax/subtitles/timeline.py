"""The audio-visual timeline that the stages work on, its words and its segments, the unit of speech.

Sound is decoded once, into 16-bit samples on disk, and read in pieces, so that a video of two hours needs no more
memory than one of a minute. Images are decoded where they are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.data.audio import RATE, NoAudioError, Spool, has_audio, open_spool, read_span, spool_audio
from storyjax.data.video import VideoError, decode_frames, probe

FPS = 25  # of the synchronisation network (§6.1.4)


@dataclass(frozen=True)
class Word:
    """A recognised word.

    Attributes:
        text: as it is written, with punctuation.
        start, end: in seconds.
        probability: that it was said.
        language: Whisper's code of its language; None: unknown.
        space: whether a space is between the word before and it.
    """

    text: str
    start: float
    end: float
    probability: float = 1.0
    language: str | None = None
    space: bool = True


@dataclass(frozen=True)
class Segment:
    """A sentence, the unit of everything that follows (§6.1.2): its time in seconds and its text."""

    start: float
    end: float
    text: str


@dataclass
class Timeline:
    """A video, or a sound file, on its clock; times are seconds after 0:00.

    Attributes:
        path: of the file.
        duration: of its sound.
        has_video: whether it has images.
        video_end: when the images end (sound may go on).
        video_track: the one that was asked for, from 1; None: none was.
    """

    path: Path
    duration: float
    has_video: bool
    video_end: float
    _spool: Spool = field(repr=False)
    video_track: int | None = None

    @classmethod
    def open(
        cls, path: Path, spool: Path, video_track: int | None = None, audio_track: int | None = None
    ) -> "Timeline":
        """Returns the timeline of a file; its sound is decoded into the file `spool`, unless that is there already.

        Args:
            path: of the file.
            spool: for its sound.
            video_track, audio_track: from 1; None: see `storyjax.data.containers.choose_track`.

        Raises:
            StoryjaxError: the file is missing, cannot be read, or has no sound.
        """
        silent = f"{path} has no sound track, so nobody can be heard: give the version with sound"
        # Before anything is told of the images, which are of no use alone.
        if not spool.exists() and not has_audio(path, audio_track):
            raise StoryjaxError(silent)
        has_video, video_end = _video_end(path, video_track)
        if not spool.exists():
            try:
                spool_audio(path, spool, audio_track)
            except NoAudioError as error:
                raise StoryjaxError(silent) from error
        samples = open_spool(spool)
        return cls(path, len(samples) / RATE, has_video, video_end, samples, video_track)

    def sound(self, start: float, end: float) -> Float32[np.ndarray, " n"]:
        """Returns mono sound at 16 kHz, −1..1, from `start` to `end`, as far as there is any."""
        return read_span(self._spool, start, end)

    @property
    def recording(self) -> Spool:
        """All of the sound, at 16 kHz; a slice of it is in memory."""
        return self._spool

    def quietest(self, start: float, end: float, window: float = 0.3) -> float:
        """Returns the middle of the quietest `window` seconds between two times: where sound is best cut."""
        sound, hop = self.sound(start, end), round(window * RATE / 3)
        if len(sound) < 4 * hop:
            return end
        power = (sound[: len(sound) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1)
        smooth = np.convolve(power, np.ones(3) / 3, "valid")
        return start + (int(smooth.argmin()) + 1.5) * hop / RATE

    def frames(
        self, times: Sequence[float] | Float64[np.ndarray, " t"], size: int | None, whole: bool = False
    ) -> UInt8[np.ndarray, "t y x 3"]:
        """Returns the images at the given times.

        Args:
            times: in seconds.
            size: of the squares that they are resized to, in pixels; None: as they are.
            whole: whether `size` is the shorter side instead, and the aspect ratio is kept.

        Raises:
            VideoError: the video cannot be decoded.
        """
        at = np.asarray(times, np.float64)
        return decode_frames(str(self.path), at, size, track=self.video_track, whole=whole)[0]


def _video_end(path: Path, track: int | None) -> tuple[bool, float]:
    """Whether a file has images, and when they end; a song's cover is none."""
    try:
        info = probe(str(path), track=track)
    except VideoError as error:
        if "no video" in str(error):  # sound alone will do where voices are known
            return False, 0.0
        raise
    return True, info.duration_s
