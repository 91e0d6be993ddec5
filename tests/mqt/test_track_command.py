"""`storyjax track`: what it writes, what it makes of bad input, and that long videos cost no more than short ones."""

import array
import json
import os
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from following import Box, OverlapTracker, UserTracker, square, squares
from PIL import Image

from storyjax.cli import track as command
from storyjax.cli.main import run
from storyjax.data.audio import load_audio
from storyjax.data.mot_text import read_rows
from storyjax.data.video import every_frame
from storyjax.mqt.render import Painter, track_color, video_writer, zoom_of
from storyjax.mqt.track_files import track_to_files

LENGTH = 12


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, and trackers that need no model."""
    folder = tmp_path / "video"
    folder.mkdir()
    for number in range(1, LENGTH + 1):
        Image.fromarray(square(number)).save(folder / f"{number:06d}.png")
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str | None, str]] = []

    def load(checkpoint: str | None, protocol: str):
        asked.append((checkpoint, protocol))
        return UserTracker() if protocol == "user" else OverlapTracker()

    monkeypatch.setattr(command, "load_tracker", load)
    monkeypatch.setattr(command, "asked", asked, raising=False)
    return tmp_path


def det(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def init(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_tracks_and_a_video_come_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["track", "video", "--out", "new/tracks.txt", "--render", "new/tracked.mp4"]) == 0
    found = read_rows(here / "new" / "tracks.txt")
    assert found.frame.tolist() == list(range(1, LENGTH + 1))
    assert set(found.id) == {1}
    assert found.xywh_px[4].tolist() == [5, 8, 6, 6]
    assert "1 tracks, 12 boxes in 12 frames" in capsys.readouterr().out
    with av.open(str(here / "new" / "tracked.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == LENGTH
    assert images[0].shape == (480, 640, 3)
    # The box is drawn in the track's track_color round where the square is.
    tint = np.array(track_color(1))
    near = np.abs(images[6].astype(int) - tint).sum(-1) < 120
    rows_, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    assert abs(rows_[-1] - 14 * 20) < 12
    assert abs(columns[-1] - 13 * 20) < 12
    assert sorted(p.name for p in (here / "new").iterdir()) == ["tracked.mp4", "tracks.txt"]
    assert command.asked == [(None, "private")]


def test_nothing_that_was_read_is_written_over(here: Path, capsys) -> None:
    boxes = init(here / "i.json", [{"box": [57, 53, 20, 24]}])
    detections = det(here / "det.txt", "1,-1,2,9,6,6,0.9")
    with video_writer(here / "a.mp4", 10, (32, 24)) as made:
        for number in range(1, LENGTH + 1):
            made.add(square(number))
    (here / "link.mp4").symlink_to("a.mp4")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    for arguments in (
        ["a.mp4", "--render", "a.mp4"],
        ["a.mp4", "--out", "a.mp4"],
        ["link.mp4", "--render", "a.mp4"],
        ["video", "--detections", detections, "--out", detections],
        ["video", "--init", boxes, "--out", boxes],
        ["video", "--out", "video/000003.png"],
    ):
        failed(["track", *arguments], "a file that is read, which would be lost", capsys)
    failed(["track", "video", "--out", "t.mp4", "--render", "t.mp4"], "are the same file", capsys)
    failed(["track", "video", "--out", "/dev/full"], "is a device", capsys)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_a_colon_and_bytes_that_are_no_utf8_in_names(here: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    assert run(["track", "video", "--render", "12:30.mp4"]) == 0
    (here / "12:30.mp4").rename(here / f"{odd}.mp4")
    assert run(["track", f"{odd}.mp4", "--render", f"{odd}:2.mp4"]) == 0
    assert len(read_rows(here / f"{odd}.tracks.txt")) == LENGTH
    assert (here / f"{odd}:2.mp4").stat().st_size > 1000


def test_without_out_the_tracks_lie_here(here: Path) -> None:
    assert run(["track", "video"]) == 0
    assert (here / "video.tracks.txt").exists()


@pytest.mark.parametrize(
    ("further", "protocol"),
    [([], "private"), (["--detections"], "public"), (["--detections", "--detect"], "private_public")],
)
def test_what_is_given_chooses_the_protocol(here: Path, further: list[str], protocol: str) -> None:
    path = det(here / "det.txt", "1,-1,2,9,6,6,0.9", "2,-1,3,9,6,6,0.9")
    arguments = [part for flag in further for part in ((flag, path) if flag == "--detections" else (flag,))]
    assert run(["track", "video", "--checkpoint", "shipped:x", *arguments]) == 0
    assert command.asked == [("shipped:x", protocol)]


def test_a_user_gives_the_boxes(here: Path) -> None:
    boxes = [{"box": [1, 8, 6, 6], "id": 7, "name": "it"}, {"box": [28, 20, 60, 60], "frame": 3}]
    assert run(["track", "video", "--init", init(here / "boxes.json", boxes)]) == 0
    found = read_rows(here / "video.tracks.txt")
    assert [found.id[found.frame == frame].tolist() for frame in (1, 2, 3, 12)] == [[7], [7], [7, 2], [7, 2]]
    assert found.xywh_px[found.id == 2][0].tolist() == [28, 20, 4, 4]  # clipped to the image
    assert run(["track", "video", "--init", init(here / "boxes.json", {"boxes": [[1, 8, 6, 6]]})]) == 0
    assert set(read_rows(here / "video.tracks.txt").id) == {1}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([], "no list of boxes"),
        ({"boxes": "none"}, "no list of boxes"),
        ([{"box": [1, 2, 3]}], "four numbers"),
        ([{"box": [1, 2, "3", 4]}], "four numbers"),
        ([{"box": [1, 2, None, 4]}], "four numbers"),
        ([{"box": [1, 2, 0, 4]}], "0 × 4 pixels"),
        ([{"box": [1, 2, 4, -4]}], "4 × -4 pixels"),
        ([{"box": [40, 2, 4, 4]}], "lies outside the image of 32 × 24"),
        ([{"box": [-9, 2, 9, 4]}], "lies outside the image of 32 × 24"),
        ([{"box": [1, 2, 3, 4], "id": 0}], "the id 0"),
        ([{"box": [1, 2, 3, 4], "id": "seven"}], 'the id "seven"'),
        ([{"box": [1, 2, 3, 4], "id": 2}, {"box": [9, 2, 3, 4], "id": 2}], "the id 2 to two boxes"),
        ([{"box": [1, 2, 3, 4], "frame": 13}], "of frame 13, but video has 12"),
        ([{"box": [1, 2, 3, 4], "fram": 1}], "unknown 'fram'.*Did you mean 'frame'"),
    ],
)
def test_boxes_that_cannot_be_meant_are_an_error(here: Path, capsys, content: object, line: str) -> None:
    failed(["track", "video", "--init", init(here / "boxes.json", content)], line, capsys)
    assert command.asked == []


def failed(argv: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with exit code 2 and one line, and leaves no file."""
    import re

    before = sorted(Path.cwd().rglob("*"))
    assert run(argv) == 2
    output = capsys.readouterr().err.strip().splitlines()
    assert output[-1].startswith("storyjax: error: ")
    assert re.search(line, output[-1]), output[-1]
    assert not any("Traceback" in each for each in output)
    assert sorted(Path.cwd().rglob("*")) == before


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([], "det.txt holds no detections"),
        (["# nothing"], "det.txt holds no detections"),
        (["1,-1,2,9,0,6,0.9"], "line 1 has a box of 0 × 6"),
        (["1,-1,2,9,6,6,0.9", "2,-1,a,9,6,6"], "line 2 holds what is no number"),
        (["99,-1,2,9,6,6,0.9"], "detections in frame 99, but video has 12"),
        (["1,-1,500,500,6,6,0.9"], "all 1 boxes .* outside the image"),
    ],
)
def test_detections_that_cannot_be_used_are_an_error(here: Path, capsys, lines: list[str], line: str) -> None:
    failed(["track", "video", "--detections", det(here / "det.txt", *lines)], line, capsys)


def test_detections_beside_the_image_are_left_out_and_counted(here: Path, capsys) -> None:
    path = det(here / "det.txt", "1,-1,2,9,6,6,0.9", "1,-1,90,9,6,6,0.9", "1,-1,30,20,50,50,0.9")
    assert run(["track", "video", "--detections", path]) == 0
    assert "1 boxes outside the image are left out, the first in frame 1" in capsys.readouterr().err
    found = read_rows(here / "video.tracks.txt")
    assert found.xywh_px.tolist() == [[1, 8, 6, 6], [29, 19, 3, 5]]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["track", "nowhere.mp4"], "nowhere.mp4 is not there"),
        (["track", "video", "--render", "tracked.avi"], "ends in .mp4"),
        (["track", "video", "--out", "video"], "video is a folder"),
        (["track", "video", "--init", "boxes.json"], "cannot be read as JSON"),
        (["track", "video", "--detect"], "besides --detections"),
        (["track", "video", "--init", "a", "--detections", "b"], "leave --detections"),
        (["track", "video", "--detectoins", "b"], "Did you mean '--detections'"),
    ],
)
def test_mistakes_are_one_line(here: Path, capsys, argv: list[str], line: str) -> None:
    failed(argv, line, capsys)


def test_a_broken_frame_is_reported_and_tracking_continues(here: Path, capsys) -> None:
    (here / "video" / "000005.png").write_bytes(b"broken")
    (here / "video" / "000008.png").unlink()
    assert run(["track", "video", "--render", "tracked.mp4"]) == 0
    output = capsys.readouterr()
    assert "frame 5 is left out" in output.err
    assert "frame 8 is left out" in output.err
    found = read_rows(here / "video.tracks.txt")
    assert found.frame.tolist() == [1, 2, 3, 4, 6, 7, 9, 10, 11, 12]
    assert set(found.id) == {1}
    with av.open(str(here / "tracked.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == LENGTH


def test_nothing_half_written_stays_when_tracking_fails(here: Path) -> None:
    class Failing(OverlapTracker):
        def step(self, image, detections=None):
            if len(self.seen) == 5:
                raise RuntimeError("a defect")
            return super().step(image, detections)

    (here / "old.txt").write_text("kept")
    with pytest.raises(RuntimeError, match="a defect"):
        track_to_files(Failing(), squares(9), here / "old.txt", here / "new.mp4")
    assert (here / "old.txt").read_text() == "kept"
    assert sorted(p.name for p in here.iterdir()) == ["old.txt", "video"]


def test_ten_thousand_frames_cost_no_more_each_than_a_hundred(tmp_path: Path) -> None:
    class Busy(OverlapTracker):
        """A new track every third frame, so that all that is kept of tracks has the chance to grow."""

        def step(self, image, detections=None):
            self.count = getattr(self, "count", 0) + 1
            left = float(self.count // 3 * 7 % 26)
            return [Box(self.count // 3 + 1, (left, 2.0, 5.0, 5.0), 1.0)]

    memory, clock = [], array.array("d", bytes(8 * 10_000))
    count = 0

    def note() -> None:
        nonlocal count
        clock[count] = time.thread_time()
        count += 1
        if count == 8000:
            tracemalloc.start()
        if count in (8100, 9000):
            memory.append(tracemalloc.get_traced_memory()[0])
        if count == 9000:
            tracemalloc.stop()

    done = track_to_files(Busy(), squares(10_000, missing=(4000,)), tmp_path / "t.txt", after_frame=note)
    assert (done.frames, done.missing, done.tracks) == (10_000, 1, 3334)
    steps = np.diff(clock)
    assert np.median(steps[-900:]) < 2 * np.median(steps[100:1000])
    assert memory[1] - memory[0] < 900 * 10  # bytes a frame; a bit for each track is all that may grow
    assert len((tmp_path / "t.txt").read_text().splitlines()) == done.boxes == 10_000


def test_a_painter_remembers_only_what_is_seen() -> None:
    painter = Painter(31, 23)
    assert painter.size == (31 * 21 + 31 * 21 % 2, 23 * 21 + 23 * 21 % 2)
    tracker = OverlapTracker()
    tracker.start(31, 23)
    for number in range(1, 200):
        box = np.array([[number * 7 % 20, 2, 5, 5]], np.float32)
        painter.paint(number, square(number, 31, 23), tracker.step(square(number), box))
    assert len(painter._trails) <= 30
    assert painter.paint(200, None, []).shape == (*painter.size[::-1], 3)


def test_neighbours_have_colours_of_their_own(tmp_path: Path) -> None:
    tints = np.array([track_color(number) for number in range(1, 13)])
    apart = np.abs(tints[:, None] - tints[None]).sum(-1)[~np.eye(12, dtype=bool)]
    assert apart.min() > 40
    with video_writer(tmp_path / "v.mp4", 0.0, (32, 32)) as video:
        video.add(np.zeros((32, 32, 3), np.uint8))
    assert (tmp_path / "v.mp4").stat().st_size > 0


def test_the_scores_of_given_boxes_are_used(here: Path, monkeypatch, capsys) -> None:
    """A tracker takes so many of a frame: those with the highest scores, and none below --min-score."""
    given: list[np.ndarray] = []

    class Watcher(OverlapTracker):
        def step(self, image, detections=None):
            given.append(detections)
            return super().step(image, detections)

    monkeypatch.setattr(command, "load_tracker", lambda checkpoint, protocol: Watcher())
    lines = [f"1,-1,{2 + k},9,6,6,{score}" for k, score in enumerate((0.1, 0.9, -0.4, 0.5))]
    detections = det(here / "det.txt", *lines)
    assert run(["track", "video", "--detections", detections]) == 0
    assert given[0][:, 0].tolist() == [2, 4, 1, 3]
    given.clear()
    assert run(["track", "video", "--detections", detections, "--min-score", "0.5"]) == 0
    assert given[0][:, 0].tolist() == [2, 4]
    failed(["track", "video", "--detections", detections, "--min-score", "2"], "the highest score in", capsys)
    failed(["track", "video", "--min-score", "2"], "--min-score is for the boxes of --detections", capsys)


def test_an_id_of_1_0_is_1(here: Path, capsys) -> None:
    boxes = init(here / "i.json", [{"box": [1, 8, 6, 6], "id": 7.0, "frame": 1.0}])
    assert run(["track", "video", "--init", boxes]) == 0
    assert set(read_rows(here / "video.tracks.txt").id) == {7}
    for wrong in (1.5, True, "1", None, float("nan")):
        failed(["track", "video", "--init", init(here / "i.json", [{"box": [1, 8, 6, 6], "id": wrong}])], "id", capsys)


def film(path: Path, times: list[float], sound_s: float = 0.0, aspect: Fraction | None = None) -> Path:
    """A film of the moving square, its frames at the given times (seconds), with a tone from 0:00 on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        voice = container.add_stream("aac", rate=16000, layout="mono") if sound_s else None
        for number, time_s in enumerate(times, 1):
            frame = av.VideoFrame.from_ndarray(square(number), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if voice is not None:
            wave = (0.3 * np.sin(np.arange(round(16000 * sound_s)) * 0.2)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, 0
            for part in av.AudioResampler("fltp", "mono", 16000, frame_size=1024).resample(frame):
                container.mux(voice.encode(part))
            container.mux(voice.encode(None))
    return path


def test_a_rendered_film_keeps_the_times_and_the_sound_of_its_source(here: Path, capsys) -> None:
    times = [2.0 + 0.1 * k for k in range(10)] + [3.0 + 0.4 * k for k in range(5)]  # pictures late, at a varying rate
    film(here / "film.mp4", times, sound_s=3.0, aspect=Fraction(2))
    assert run(["track", "film.mp4", "--render", "tracked.mp4"]) == 0
    assert "pixels are not square: images and boxes are of 64 × 24 pixels" in capsys.readouterr().err
    made = list(every_frame(here / "tracked.mp4"))
    assert [frame.start_s for frame in made] == pytest.approx(times, abs=1e-3)
    assert made[0].image is not None
    assert made[0].image.shape == (240, 640, 3)
    assert len(load_audio(here / "tracked.mp4")) == pytest.approx(3 * 16000, abs=1600)
    assert np.abs(load_audio(here / "tracked.mp4")[1600:32000]).max() > 0.2
    assert run(["track", "film.mp4", "--render", "tracked.mp4", "--audio-track", "2"]) == 2
    assert "has no audio track 2" in capsys.readouterr().err
    assert run(["track", "film.mp4", "--video-track", "0"]) == 2


@pytest.mark.parametrize("size", [(2, 2000), (1, 1), (3, 700), (7680, 4320), (20000, 10), (640, 480), (320, 240)])
def test_rendered_images_are_of_bounded_size(size: tuple[int, int]) -> None:
    zoom = zoom_of(*size)
    made = [max(1, round(side * zoom)) for side in size]
    assert max(made) <= 4096
    assert made[0] * made[1] <= 3840 * 2160
    assert zoom <= 640
    assert zoom >= 1 or max(size) > 4096


def test_a_strip_of_two_pixels_is_rendered(tmp_path: Path) -> None:
    painter = Painter(2, 2000)
    with video_writer(tmp_path / "strip.mp4", 10, painter.size) as writer:
        writer.add(painter.paint(1, np.zeros((2000, 2, 3), np.uint8), [Box(1, (0.0, 5.0, 1.0, 5.0), 1.0)]))
    assert painter.size == (2, 2000)
    assert len(list(every_frame(tmp_path / "strip.mp4"))) == 1
