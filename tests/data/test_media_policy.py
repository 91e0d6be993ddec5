"""One clock, one picture, one choice of tracks, and one policy for damage, whoever reads a film."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import media
import numpy as np
import pytest

from storyjax.core import notes
from storyjax.data.audio import RATE, AudioError, load_audio
from storyjax.data.orientation import stretched
from storyjax.data.video import VideoError, decode_frames, every_frame, frame_starts, probe

_DISPOSITION = av.stream.Disposition


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    notes._TOLD.clear()


def film(
    path: Path,
    *,
    frames: int = 24,
    starts: float = 0.0,
    tones: tuple[tuple[float, float], ...] = (),
    codec: str = "libx264",
    sound_codec: str = "aac",
    mux: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Numbered frames at 12 a second from `starts` on, and a sound track for each (start in seconds, pitch in Hz)."""
    with av.open(str(path), "w", options=mux or {}) as container:
        stream = container.add_stream(codec, rate=12, options=options)
        stream.width = stream.height = 80
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        tracks = [container.add_stream(sound_codec, rate=RATE, layout="mono") for _ in tones]
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(media.numbered(number), format="rgb24")
            frame.pts, frame.time_base = round(starts * 12) + number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for track, (start, pitch) in zip(tracks, tones, strict=True):
            write_sound(container, track, tone(2.0, pitch), start)
    return path


def tone(seconds: float, pitch: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def write_sound(container: av.container.OutputContainer, track: av.AudioStream, wave: np.ndarray, start: float) -> None:
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE, round(start * RATE)
    resampler = av.AudioResampler(format=track.codec_context.format, layout="mono", rate=RATE)
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(track.encode(part))
    container.mux(track.encode(None))


def onset(wave: np.ndarray) -> float:
    return float(np.flatnonzero(np.abs(wave) > 0.1)[0] / RATE)


def pitch_of(wave: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(wave)).argmax() * RATE / len(wave))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("picture", "sound"), [(2.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_pictures_and_sound_have_one_beginning(tmp_path: Path, suffix: str, picture: float, sound: float) -> None:
    path = film(tmp_path / f"a.{suffix}", starts=picture, tones=((sound, 440.0),))
    starts = [frame.start_s for frame in every_frame(path)]
    assert starts[0] == pytest.approx(picture, abs=0.07)
    assert starts == pytest.approx(frame_starts(path).tolist())
    assert onset(load_audio(path)) == pytest.approx(sound, abs=0.07)
    images, shown = decode_frames(path, [0.0, starts[0] + 0.1, starts[14] + 0.01], None)
    assert [media.number_of(image) for image in images] == [0, 1, 14]
    assert shown[[0, 2]] == pytest.approx([starts[0], starts[14]], abs=1e-4)
    assert probe(path).duration_s == pytest.approx(picture + 2.0, abs=0.1)


@pytest.mark.parametrize(("codec", "bf"), [("mpeg4", "2"), ("libx264", "3")])
def test_no_good_frame_of_an_avi_is_called_damaged(tmp_path: Path, codec: str, bf: str) -> None:
    path = film(tmp_path / "a.avi", frames=60, codec=codec, bf=bf)
    found = list(every_frame(path))
    assert [media.number_of(frame.image) for frame in found if frame.image is not None] == list(range(60))
    assert [frame.start_s for frame in found] == pytest.approx([number / 12 for number in range(60)])


def damaged(path: Path, indices: tuple[int, ...], kind: str = "video") -> Path:
    """The same file with zeros in place of some packets."""
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(getattr(container.streams, kind)[0]) if p.size]
    data = bytearray(path.read_bytes())
    for index in indices:
        at, size = packets[index]
        data[at + 12 : at + size] = bytes(size - 12)  # behind the head of Matroska's blocks
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4")])
def test_damaged_frames_are_left_out_counted_and_told(tmp_path: Path, caplog, suffix: str, codec: str) -> None:
    path = damaged(film(tmp_path / f"a.{suffix}", frames=30, codec=codec, g="1"), (7, 8, 12))
    found = list(every_frame(path))
    assert [number for number, frame in enumerate(found) if frame.image is None] == [7, 8, 12]
    assert [media.number_of(frame.image) for frame in found if frame.image is not None][-1] == 29
    images, shown = decode_frames(path, [8.5 / 12, 13.5 / 12], None)
    assert [media.number_of(image) for image in images] == [6, 13]  # the frame before stands for a damaged one
    assert shown == pytest.approx([6 / 12, 13 / 12], abs=1e-3)
    assert len(caplog.messages) == 1
    assert "a." in caplog.text
    assert "is damaged: 3 frames are left out, the first at 0.6 s" in caplog.text


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.aac", "aac"), ("a.mp3", "libmp3lame")])
def test_bad_bytes_of_sound_lose_themselves(tmp_path: Path, caplog, name: str, codec: str) -> None:
    wave = np.concatenate([tone(3.0), np.zeros(RATE, np.float32), tone(1.0, 880.0)])
    with av.open(str(tmp_path / name), "w") as container:
        write_sound(container, container.add_stream(codec, rate=RATE, layout="mono"), wave, 0.0)
    whole = load_audio(tmp_path / name)
    data = bytearray((tmp_path / name).read_bytes())
    at = int(len(data) * 0.3)
    data[at : at + 400] = np.random.default_rng(1).integers(0, 256, 400, np.uint8).tobytes()
    (tmp_path / name).write_bytes(data)
    heard = load_audio(tmp_path / name)
    assert abs(len(heard) - len(whole)) < 0.2 * RATE
    late = (slice(round(4.3 * RATE), round(4.7 * RATE)),)
    assert pitch_of(heard[late]) == pytest.approx(880, abs=4)
    assert np.abs(heard[round(3.3 * RATE) : round(3.7 * RATE)]).max() < 0.05  # what follows stays at its time
    assert f"the sound of {tmp_path / name} is damaged" in caplog.text


def test_an_encrypted_film_is_called_so(tmp_path: Path) -> None:
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb"}
    kid = {"encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}
    path = film(tmp_path / "a.mp4", tones=((0.0, 440.0),), mux=key | kid)
    for read in (probe, lambda path: decode_frames(path, [0.5], 32), lambda path: list(every_frame(path))):
        with pytest.raises(VideoError, match=r"a\.mp4 is encrypted"):
            read(path)


def two_tracks(path: Path, first: dict, second: dict) -> Path:
    """A film with two video tracks (frames 0.. and 100..) and two sound tracks (440 and 880 Hz)."""
    with av.open(str(path), "w") as container:
        videos = [container.add_stream("libx264", rate=12) for _ in range(2)]
        sounds = [container.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        for stream, sound, told in zip(videos, sounds, (first, second), strict=True):
            stream.width = stream.height = 80
            stream.pix_fmt = "yuv420p"
            stream.disposition = sound.disposition = told.get("disposition", _DISPOSITION(0))
            sound.metadata.update(told.get("metadata", {}))
        for stream, number, told in zip(videos, (0, 100), (first, second), strict=True):
            for index in range(told.get("frames", 24)):
                frame = av.VideoFrame.from_ndarray(media.numbered(number + index), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 12)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        for sound, pitch in zip(sounds, (440.0, 880.0), strict=True):
            write_sound(container, sound, tone(2.0, pitch), 0.0)
    return path


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"frames": 1}, {"disposition": _DISPOSITION.default}),
        ({}, {"disposition": _DISPOSITION.default}),
        ({"disposition": _DISPOSITION.default | _DISPOSITION.comment}, {}),
    ],
    ids=["preview", "default", "commentary"],
)
def test_the_track_that_counts(tmp_path: Path, caplog, first: dict, second: dict) -> None:
    path = two_tracks(tmp_path / "a.mkv", first, second)
    images, _ = decode_frames(path, [0.0], None)
    assert media.number_of(images[0]) == 100
    assert pitch_of(load_audio(path)) == pytest.approx(880, abs=2)
    assert len(caplog.messages) == 2
    assert "has 2 video tracks (1: h264, 80 × 80; 2: h264, 80 × 80): 2 is used; --video-track chooses" in caplog.text
    assert "has 2 audio tracks (1: aac; 2: aac): 2 is used; --audio-track chooses" in caplog.text
    images, _ = decode_frames(path, [0.0], None, track=1)
    assert media.number_of(images[0]) == 0
    assert pitch_of(load_audio(path, track=1)) == pytest.approx(440, abs=2)
    with pytest.raises(VideoError, match=r"has no video track 3: --video-track can be 1: h264"):
        probe(path, track=3)
    with pytest.raises(AudioError, match=r"has no audio track 3: --audio-track can be 1: aac"):
        load_audio(path, track=3)


def test_a_coding_that_nobody_knows_is_passed_over(tmp_path: Path) -> None:
    path = two_tracks(tmp_path / "a.mov", {"disposition": _DISPOSITION.default}, {})
    data = path.read_bytes()
    first = data.index(b"mp4a")
    path.write_bytes(data[:first] + b"apac" + data[first + 4 :])
    assert pitch_of(load_audio(path)) == pytest.approx(880, abs=2)
    with pytest.raises(AudioError, match="audio track 1 is coded in an unknown way"):
        load_audio(path, track=1)


@pytest.mark.parametrize(("left", "right"), [(1.0, -1.0), (1.0, 1.0), (1.0, 0.0)])
def test_antiphase_is_not_silence(tmp_path: Path, left: float, right: float) -> None:
    wave = tone(2.0)
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            (np.stack([left * wave, right * wave], 1).reshape(1, -1) * 32767).astype(np.int16), "s16", "stereo"
        )
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    heard = load_audio(tmp_path / "a.wav")
    expected = 1.0 if right < 0 else (left + right) * 0.5**0.5  # of a mix, FFmpeg keeps the power
    assert np.sqrt((heard**2).mean() / (wave**2).mean()) == pytest.approx(expected, abs=0.02)


MATRICES = {
    # (a, b, c, d) of the display matrix -> what it does to an image
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
    (0, 1, 1, 0): lambda image: image.swapaxes(0, 1),
    (0, -1, -1, 0): lambda image: np.rot90(image, 2).swapaxes(0, 1),
}


def with_matrix(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """An mp4 with another display matrix in its first track header."""
    made, at = bytearray(data), data.index(b"tkhd")
    at += 44 + (12 if data[at + 4] == 1 else 0)
    a, b, c, d = (int(value * 65536) for value in matrix)
    made[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    return bytes(made)


def test_turned_and_mirrored_films_are_seen_as_they_are_shown(tmp_path: Path) -> None:
    path, corner = tmp_path / "a.mp4", np.zeros((48, 64, 3), np.uint8)
    corner[:16, :32] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corner, format="rgb24")))
        container.mux(stream.encode(None))
    for matrix, as_shown in MATRICES.items():
        source, expected = with_matrix(path.read_bytes(), matrix), as_shown(corner)
        image = decode_frames(source, [0.0], None)[0][0]
        assert image.shape == expected.shape, matrix
        assert np.abs(image.astype(int) - expected).mean() < 12, matrix
        info = probe(source)
        assert (info.height, info.width) == expected.shape[:2]
        assert info.stored == (64, 48)
        small = decode_frames(source, [0.0], 32)[0][0]
        assert small[4, 4].mean() > 200 or expected[4, 4].mean() < 50


def test_anamorphic_films_are_seen_in_their_width(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", frames=2)
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width = stream.height = 80
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 9)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(media.numbered(5), format="rgb24")))
        container.mux(stream.encode(None))
    assert (probe(path).width, probe(path).height) == (80, 80)
    info = probe(tmp_path / "b.mp4")
    assert (info.width, info.height, info.stored) == (142, 80, (80, 80))
    (frame,) = every_frame(tmp_path / "b.mp4")
    assert frame.image is not None
    assert frame.image.shape == (80, 142, 3)
    assert media.number_of(frame.image) == 5
    turned = with_matrix((tmp_path / "b.mp4").read_bytes(), (0, 1, -1, 0))
    assert decode_frames(turned, [0.0], None)[0].shape == (1, 142, 80, 3)
    assert stretched(80, 80, Fraction(0)) == stretched(80, 80, Fraction(100)) == (80, 80)


def test_every_reader_uses_what_is_there_and_says_what_is_not(tmp_path: Path, caplog) -> None:
    from storyjax.mqt.sequences import open_sequence
    from storyjax.subtitles.timeline import Timeline

    path = film(tmp_path / "a.mp4", frames=36, tones=((0.0, 440.0),), g="1")
    damaged(damaged(path, (7, 8, 12)), (5, 6), "audio")

    def said() -> tuple[bool, bool]:
        lines, frames, sound = caplog.text, "3 frames are left out", "the sound of"
        caplog.clear()
        notes._TOLD.clear()
        return frames in lines, sound in lines

    assert decode_frames(path, np.arange(36) / 12, 32)[0].shape == (36, 32, 32, 3)  # as ask and the data sets do
    assert said() == (True, False)
    assert [image is None for _, image in open_sequence(path).frames()].count(True) == 3
    assert said() == (True, False)
    timeline = Timeline.open(path, tmp_path / "sound.s16")
    assert timeline.video_end == pytest.approx(3.0, abs=0.05)
    assert timeline.frames(np.arange(36) / 12, 32).shape == (36, 32, 32, 3)
    assert pitch_of(timeline.sound(0.8, 1.8)) == pytest.approx(440, abs=2)
    assert said() == (True, True)
