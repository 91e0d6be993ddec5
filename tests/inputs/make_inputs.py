"""Files of the kinds that people have: a row for each, with how it is made and what the commands make of it.

`Base` is what all are made of: a short sequence of StoryWorld with its true boxes, two spoken sentences, a photo.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from make_media import FPS, SoundTrack, VideoTrack, copy, overwritten, resampled, write
from PIL import Image

from storyjax.storyworld.draw.faces import photograph
from storyjax.storyworld.render.speech import RATE, Speaker, speak
from storyjax.storyworld.story.tracks import TrackStyle, Truth, plan_sequence, render_sequence

LENGTH, WIDTH, HEIGHT = 60, 160, 96
# (start in seconds, who, voice, number of the text in TEXTS)
LINES = ((0.5, "Ana", Speaker("slt", 1.1), 0), (4.5, "Leo", Speaker("rms", 0.95), 5))
SPEECH_S = 9.0
_HDR = "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
_KEY = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb"}
_DRM = _KEY | {"encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}


@dataclass(frozen=True)
class Base:
    """What all files are made of: RGB images, what is true of them, mono sound at RATE."""

    frames: list[np.ndarray]
    truth: list[Truth]
    speech: np.ndarray
    portrait: Image.Image

    def video(self, count: int = LENGTH, first: int = 0, **values: Any) -> VideoTrack:
        """Returns a video track of some of the frames."""
        return VideoTrack(self.frames[first : first + count], **values)

    def sound(self, **values: Any) -> SoundTrack:
        """Returns a sound track of the speech."""
        return SoundTrack(self.speech[None], **values)

    def silence(self, **values: Any) -> SoundTrack:
        """Returns a sound track that is as long and silent."""
        return SoundTrack(np.zeros_like(self.speech)[None], **values)


@functools.cache
def base() -> Base:
    """Returns the base of all files."""
    style = TrackStyle(WIDTH, HEIGHT, frames=(LENGTH, LENGTH), fps=FPS, movers=(3, 3), camera=0, meeting=0.0, blinds=0)
    images, truth = zip(*render_sequence(plan_sequence(3, style)), strict=True)
    speech = np.zeros(round(SPEECH_S * RATE), np.float32)
    for start, _, voice, text in LINES:
        said = speak(voice, text)
        speech[round(start * RATE) :][: len(said)] += said
    portrait = Image.fromarray(photograph("ana", np.random.default_rng(1))[0]).resize((120, 180))
    return Base(list(images), list(truth), speech, portrait)


@dataclass(frozen=True)
class Video:
    """A video.

    Attributes:
        name: of the file.
        make: writes it.
        frames: how many are tracked, or the least and the most.
        seconds: from 0:00 to the end of the images.
        same: how many of its frames are the base's as shown, from the first on.
        sound: seconds by which the speech is later than in the base; None: there is none to be heard.
        error: part of the line that says why it cannot be used.
    """

    name: str
    make: Callable[[Path, Base], Any]
    frames: int | tuple[int, int] = LENGTH
    seconds: float = LENGTH / FPS
    same: int = LENGTH
    sound: float | None = None
    error: str = ""


def _turned(k: int, turn: str, mirrored: bool = False) -> Callable[[Path, Base], Any]:
    """A video that is stored turned (and mirrored), with the matrix that makes it upright."""

    def make(path: Path, b: Base) -> None:
        stored = [np.rot90(image[:, ::-1] if mirrored else image, k) for image in b.frames]
        write(path, VideoTrack(stored), turn=turn)

    return make


def _of(mux: dict[str, str] | None = None, form: str | None = None, **values: Any) -> Callable[[Path, Base], Any]:
    """A video of the base's frames in some coding."""
    return lambda path, b: write(path, b.video(**values), mux=mux, form=form)


def _bytes(change: Callable[[bytes], bytes], source: Callable[[Path, Base], Any]) -> Callable[[Path, Base], Any]:
    """A file whose bytes are changed."""

    def make(path: Path, b: Base) -> None:
        source(path, b)
        path.write_bytes(change(path.read_bytes()))

    return make


def _copied(**values: Any) -> Callable[[Path, Base], Any]:
    """The packets of the base in another container."""

    def make(path: Path, b: Base) -> None:
        source = write(path.with_name(f".{path.name}.mp4"), b.video(options={"g": "20", "bf": "0"}))
        copy(source, path, **values)
        source.unlink()

    return make


def _small(b: Base, image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((WIDTH // 2, HEIGHT // 2)))


def _preview(path: Path, b: Base) -> None:
    write(path, VideoTrack([_small(b, b.frames[0])], default=False), b.video())


def _sizes(path: Path, b: Base) -> None:
    small = VideoTrack([_small(b, image) for image in b.frames[30:]], start=3.0)
    first, second = path.with_name(".1.ts"), path.with_name(".2.ts")
    write(first, b.video(30))
    write(second, small)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    first.unlink()
    second.unlink()


def _resized(width: int, height: int, count: int = LENGTH, **values: Any) -> Callable[[Path, Base], Any]:
    """The base's frames in another size."""

    def make(path: Path, b: Base) -> None:
        images = [np.asarray(Image.fromarray(image).resize((width, height))) for image in b.frames[:count]]
        write(path, VideoTrack(images, **values))

    return make


def _two_sounds(path: Path, b: Base, good_first: bool = False, flags: bool = True) -> None:
    first, second = (b.sound, b.silence) if good_first else (b.silence, b.sound)
    write(path, b.video(), first(default=not flags), second(default=flags))


def _unknown_sound(which: int, good_first: bool) -> Callable[[Path, Base], Any]:
    """Two sound tracks, one of which is said to be coded in a way that nobody knows."""

    def change(data: bytes) -> bytes:
        at = data.index(b"mp4a") if which == 0 else data.rindex(b"mp4a")
        return data[:at] + b"apac" + data[at + 4 :]

    return _bytes(change, lambda path, b: _two_sounds(path, b, good_first, flags=False))


def _rate(count: int) -> list[float]:
    return [k / FPS if k < 30 else (30 + 4 * (k - 30)) / FPS for k in range(count)]


def _variable(path: Path, b: Base) -> None:
    write(path, VideoTrack([*b.frames[:30], *b.frames[30::4]], starts=_rate(38)))


def _mpeg2(path: Path, b: Base) -> None:
    frames = [b.frames[min(LENGTH - 1, k * 10 // 25)] for k in range(150)]
    options = {"flags": "+ildct+ilme", "top": "1", "b": "1000000"}
    write(path, VideoTrack(frames, codec="mpeg2video", rate=25, options=options), mux={"muxrate": "2000000"})


def _without_index(data: bytes) -> bytes:
    return data[: data.rindex(b"idx1")]


_FAST = {"movflags": "faststart"}
_AVI = _of(codec="mpeg4", options={"bf": "2", "b": "500000"})
_VP9 = _of(codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"})
VIDEOS = (
    Video("base.mp4", _of(options={"g": "20"})),
    Video("rot90.mp4", _turned(1, "clockwise")),
    Video("rot270.mp4", _turned(-1, "anticlockwise")),
    Video("rot180.mp4", _turned(2, "half turn")),
    Video("hflip.mp4", _turned(0, "mirror", mirrored=True)),
    Video("transposed.mp4", _turned(1, "transpose", mirrored=True)),
    Video("vfr.mp4", _variable, 38, 6.2, same=0),
    Video("editlist.mp4", _copied(shift=-1.25), (47, 60), 4.75, same=0),
    Video("good_sound.mp4", lambda p, b: write(p, b.video(), b.sound()), sound=0.0),
    Video("video_late.mp4", lambda p, b: write(p, b.video(start=2.0), b.sound()), seconds=8.0, same=0, sound=0.0),
    Video("audio_late.mp4", lambda p, b: write(p, b.video(), b.sound(start=2.0)), sound=2.0),
    Video("preview_first.mkv", _preview),
    Video("twosound.mkv", _two_sounds, sound=0.0),
    Video("twosound_first.mp4", lambda p, b: _two_sounds(p, b, good_first=True, flags=False), sound=0.0),
    Video("apac_first.mp4", _unknown_sound(0, good_first=False), sound=0.0),
    Video("apac_second.mp4", _unknown_sound(1, good_first=True), sound=0.0),
    Video("hevc10.mp4", _of(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": "log-level=none"})),
    Video("av1.mp4", _of(codec="libsvtav1", options={"preset": "10"})),
    Video("vp9.webm", _VP9),
    Video("vp8alt.webm", _of(codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16", "b": "300000"})),
    Video("prores.mov", _of(count=30, codec="prores", pix_fmt="yuv422p10le"), 30, 3.0),
    Video("mpeg2i.mpg", _mpeg2, 150, same=0),
    Video("wmv2.wmv", _of(codec="wmv2", options={"b": "500000"})),
    Video("mpeg4b.avi", _AVI),
    Video("h264b.avi", _of(options={"bf": "3"})),
    Video("mjpeg.avi", _of(codec="mjpeg", pix_fmt="yuvj420p")),
    Video("ffv1.mkv", _of(count=20, codec="ffv1"), 20, 2.0),
    Video("theora.ogv", _of(codec="libtheora")),
    Video("anim.gif", _of(count=20, codec="gif", pix_fmt="rgb8"), 20, 2.0),
    Video("qtrle_alpha.mov", _of(count=10, codec="qtrle", pix_fmt="argb"), 10, 1.0),
    Video("alpha.webm", _of(count=20, codec="libvpx-vp9", pix_fmt="yuva420p", options={"cpu-used": "8"}), 20, 2.0),
    Video("phone.3gp", _of(codec="mpeg4", options={"b": "300000"})),
    Video("one.mp4", _of(count=1), 1, 0.1),
    Video("tiny1x1.mkv", _resized(1, 1, 10, codec="libx264rgb", pix_fmt="rgb24"), 10, 1.0, same=0),
    Video("odd.mp4", _resized(WIDTH - 1, HEIGHT - 1, pix_fmt="yuv444p")),
    Video("big8k.mp4", _resized(7680, 4320, 3, options={"preset": "ultrafast", "crf": "35"}), 3, 0.3),
    Video("strip.mkv", _resized(2, 2000, 10, codec="ffv1", pix_fmt="bgr0"), 10, 1.0, same=0),
    Video("anamorph.mp4", _resized(HEIGHT, HEIGHT, aspect=Fraction(WIDTH, HEIGHT))),
    Video("ts_late.ts", _of({"output_ts_offset": "95440"})),
    Video("wrap.ts", _of({"output_ts_offset": "95440.7"}, options={"g": "10"})),
    Video("zero.mp4", _of(count=0), error="holds no video track"),
    Video("sizes.ts", _sizes, seconds=5.8, same=30),
    Video("live.webm", _of({"live": "1"}, codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"})),
    Video("frag.mp4", _of({"movflags": "frag_keyframe+empty_moov"})),
    Video("pipe.flv", _of({"flvflags": "no_duration_filesize"})),
    Video("hdr.mp4", _of(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": _HDR}), same=0),
    Video("drm.mp4", _of(_DRM), error="is encrypted"),
    Video("tmcd.mov", _of(metadata={"timecode": "01:00:00:00"})),
    Video("damaged.mp4", _bytes(lambda data: overwritten(data, 3000), _of()), (20, 60)),
    Video("cut.mp4", _bytes(lambda data: data[: len(data) // 2], _of()), error="cut short"),
    Video("cut_fast.mp4", _bytes(lambda data: data[: len(data) * 6 // 10], _of(_FAST)), (20, 50), 3.2),
    Video("noindex.avi", _bytes(_without_index, _AVI)),
    Video("cut.avi", _bytes(lambda data: data[: len(data) // 2], _AVI), (20, 40), 2.6),
    Video("cut.webm", _bytes(lambda data: data[: len(data) * 6 // 10], _VP9), (20, 50), 3.6),
)


@dataclass(frozen=True)
class Audio:
    """A sound file: by how much the speech is late, how many of its two lines are heard, or why it cannot be used."""

    name: str
    make: Callable[[Path, Base], Any]
    heard: tuple[int, ...] = (0, 1)
    exact: bool = True
    error: str = ""


def _lying(path: Path, b: Base) -> None:
    write(path, b.sound(codec="pcm_s16le"))
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + b"\xff" * 4 + data[at + 4 : len(data) // 2])


def _of_wave(change: Callable[[Base], np.ndarray], rate: int, layout: str = "mono", codec: str = "pcm_s16le") -> Any:
    return lambda path, b: write(path, SoundTrack(change(b), codec, rate, layout))


def _center(b: Base) -> np.ndarray:
    wave = resampled(b.speech, 48000)
    channels = np.zeros((6, wave.shape[1]), np.float32)
    channels[2] = wave[0]
    return channels


def _tone(b: Base) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * 440 * np.arange(8 * RATE) / RATE)).astype(np.float32)[None]


def _spoken(codec: str, form: str | None = None) -> Callable[[Path, Base], Any]:
    return lambda path, b: write(path, b.sound(codec=codec, options={"b": "64000"}), form=form)


_NOISE = functools.partial(overwritten, length=1500, seed=2)
SOUNDS = (
    Audio("speech.wav", _spoken("pcm_s16le")),
    Audio("speech.mp3", _spoken("libmp3lame")),
    Audio("speech.m4a", _spoken("aac")),
    Audio("speech.aac", _spoken("aac", "adts")),
    Audio("damaged_speech.m4a", _bytes(_NOISE, _spoken("aac")), exact=False),
    Audio("damaged_speech.aac", _bytes(_NOISE, _spoken("aac", "adts")), exact=False),
    Audio("tel8k.wav", _of_wave(lambda b: resampled(b.speech, 8000), 8000, codec="pcm_mulaw"), exact=False),
    Audio("center51.mkv", _of_wave(_center, 48000, "5.1", "ac3")),
    Audio("antiphase.wav", _of_wave(lambda b: resampled(b.speech, 44100) * [[1], [-1]], 44100, "stereo")),
    Audio("short.wav", _of_wave(lambda b: b.speech[None, : RATE // 50], RATE), heard=()),
    Audio("silence.wav", _of_wave(lambda b: np.zeros((1, 5 * RATE), np.float32), RATE), heard=()),
    Audio("tone.wav", _of_wave(_tone, RATE), heard=()),
    Audio("header_lies.wav", _lying, heard=(0,), exact=False),
)
