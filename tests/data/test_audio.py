"""Sound of every kind of file comes out as the same sound, at its time."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from storyjax.data.audio import (
    RATE,
    AudioError,
    NoAudioError,
    has_audio,
    load_audio,
    open_spool,
    read_span,
    spool_audio,
    stream_audio,
)


def tone(seconds: float, rate: int, pitch: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sound(
    path: Path, wave: np.ndarray, rate: int, layout: str = "mono", codec: str = "pcm_s16le", starts: float = 0.0
) -> Path:
    """The same wave in every channel."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        channels = stream.codec_context.layout.nb_channels
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, round(starts * rate)
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def write_video(path: Path, seconds: float, sound: np.ndarray | None, late: float = 0.0) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono") if sound is not None else None
        for _ in range(round(10 * seconds)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(video.encode())
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, round(late * RATE)
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def pitch_of(wave: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(wave)).argmax() * RATE / len(wave))


@pytest.mark.parametrize(
    ("name", "rate", "layout", "codec"),
    [
        ("phone.wav", 8000, "mono", "pcm_s16le"),
        ("studio.wav", 48000, "stereo", "pcm_s24le"),
        ("odd.flac", 44100, "mono", "flac"),
        ("cinema.mka", 48000, "5.1", "ac3"),
    ],
)
def test_any_rate_and_any_channels(tmp_path: Path, name: str, rate: int, layout: str, codec: str) -> None:
    wave = load_audio(write_sound(tmp_path / name, tone(2.0, rate), rate, layout, codec))
    assert wave.dtype == np.float32
    assert abs(len(wave) / RATE - 2.0) < 0.1
    assert pitch_of(wave[RATE // 2 : -RATE // 2]) == pytest.approx(440, abs=2)
    assert np.abs(wave).max() <= 1.0


def test_blocks_are_the_whole_cut_up(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(3.3, 8000), 8000)
    blocks = list(stream_audio(path, block_s=1.0))
    assert [len(block) for block in blocks[:-1]] == [RATE] * (len(blocks) - 1)
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio(path))


def test_a_spool_holds_what_was_decoded(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(2.0, RATE), RATE)
    spool_audio(path, tmp_path / "a.s16")
    spool = open_spool(tmp_path / "a.s16")
    np.testing.assert_allclose(read_span(spool, 0.5, 1.0), load_audio(path)[RATE // 2 : RATE], atol=1e-4)
    assert len(read_span(spool, 1.9, 5.0)) == RATE // 10
    assert not len(read_span(spool, 3.0, 5.0))


def test_sound_that_starts_late_stays_in_its_place(tmp_path: Path) -> None:
    wave = load_audio(write_video(tmp_path / "late.mp4", 4.0, tone(1.5, RATE), late=2.0))
    loud = np.flatnonzero(np.abs(wave) > 0.1) / RATE
    assert loud[0] == pytest.approx(2.0, abs=0.08)
    assert np.abs(wave[: round(1.8 * RATE)]).max() < 0.01


def test_sound_in_sync_with_the_images_is_not_shifted_by_the_codec(tmp_path: Path) -> None:
    sound = np.zeros(2 * RATE, np.float32)
    sound[RATE : RATE + 800] = tone(0.05, RATE)
    wave = load_audio(write_video(tmp_path / "click.mp4", 2.0, sound))
    middle = float(np.average(np.arange(len(wave)), weights=wave**2)) / RATE
    assert middle == pytest.approx(1.025, abs=0.004)


def test_no_track_and_silence_are_distinguished(tmp_path: Path) -> None:
    mute = write_video(tmp_path / "mute.mp4", 1.0, None)
    assert not has_audio(mute)
    with pytest.raises(NoAudioError, match=r"mute\.mp4 holds no sound"):
        load_audio(mute)
    silent = write_video(tmp_path / "silent.mp4", 1.0, np.zeros(RATE, np.float32))
    assert has_audio(silent)
    assert np.abs(load_audio(silent)).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.txt", b"hello there\n" * 40, "text|neither video nor sound|damaged"),
        ("noise.mp4", bytes(range(256)) * 20, "neither video nor sound"),
        (None, None, "is not there"),
    ],
)
def test_a_file_without_sound_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / (name or "nothing.mp4")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as error:
        load_audio(path)
    assert "\n" not in str(error.value)
    with pytest.raises(AudioError):
        load_audio(tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [((16000, "mono"), (48000, "stereo")), ((48000, "stereo"), (16000, "mono")), ((44100, "stereo"), (48000, "5.1"))],
)
def test_a_track_may_change_its_coding_midway(tmp_path: Path, before: tuple[int, str], after: tuple[int, str]) -> None:
    joined = b""
    for pitch, (rate, layout) in ((440.0, before), (880.0, after)):
        codec = "ac3" if "5.1" in (before[1], after[1]) else "mp2"
        joined += write_sound(tmp_path / f"part.{codec}", tone(2, rate, pitch), rate, layout, codec).read_bytes()
    path = tmp_path / f"joined.{codec}"
    path.write_bytes(joined)
    heard = load_audio(path)
    assert len(heard) == pytest.approx(4 * RATE, abs=0.2 * RATE)
    assert pitch_of(heard[: round(1.8 * RATE)]) == pytest.approx(440, abs=2)
    assert pitch_of(heard[round(2.4 * RATE) : round(3.8 * RATE)]) == pytest.approx(880, abs=2)


def test_more_channels_than_eight_are_mixed(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "stage.wav"), "wb") as file:
        file.setparams((12, 2, 48000, 0, "NONE", ""))
        file.writeframes(np.repeat(tone(1, 48000)[:, None] * 32767, 12, 1).astype("<i2").tobytes())
    heard = load_audio(tmp_path / "stage.wav")
    assert len(heard) == pytest.approx(RATE, abs=200)
    assert pitch_of(heard) == pytest.approx(440, abs=2)
