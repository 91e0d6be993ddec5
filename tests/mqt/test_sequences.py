"""Sequences from folders and videos: every frame has its number, whatever is missing, broken or of another size."""

from pathlib import Path

import av
import numpy as np
import pytest
from following import square
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.mqt.sequences import open_sequence


def write_folder(folder: Path, numbers: range, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(square(number)).save(folder / f"{number:06d}{suffix}")
    return folder


def write_video(path: Path, length: int, every_frame_whole: bool = False) -> Path:
    options = {"crf": "1", "g": "1" if every_frame_whole else "250", "bf": "2", "preset": "ultrafast"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(1, length + 1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(square(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def place(image: np.ndarray) -> int:
    """Where the square begins."""
    return int(np.flatnonzero((image.max(-1) > 128).any(0))[0])


def test_a_folder_of_images_counts_from_its_first(tmp_path: Path) -> None:
    video = open_sequence(write_folder(tmp_path / "video", range(5, 10)))
    frames = list(video.frames())
    assert (video.length, video.width, video.height) == (5, 32, 24)
    assert [number for number, _ in frames] == [1, 2, 3, 4, 5]
    assert [place(image) for _, image in frames] == [5, 6, 7, 8, 9]


def test_missing_and_broken_images_are_reported_and_the_rest_is_given(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "video", range(1, 7))
    (folder / "000003.png").unlink()
    (folder / "000005.png").write_bytes((folder / "000005.png").read_bytes()[:60])
    lines: list[str] = []
    frames = list(open_sequence(folder).frames(lines.append))
    assert [image is not None for _, image in frames] == [True, True, False, True, False, True]
    assert ["frame 3" in lines[0], "missing" in lines[0], "frame 5" in lines[1]] == [True] * 3
    assert len(lines) == 2


def test_another_size_is_brought_to_the_first_and_reported_once(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "video", range(1, 5))
    for number in (3, 4):
        Image.fromarray(square(number)).resize((64, 48)).save(folder / f"{number:06d}.png")
    lines: list[str] = []
    frames = list(open_sequence(folder).frames(lines.append))
    assert {image.shape for _, image in frames} == {(24, 32, 3)}
    assert place(frames[3][1]) == 4
    assert len(lines) == 1
    assert "64 × 48" in lines[0]


def test_names_that_do_not_count_are_taken_in_their_order(tmp_path: Path) -> None:
    folder = tmp_path / "video"
    folder.mkdir()
    for name, number in (("a", 1), ("b", 2), ("c", 3)):
        Image.fromarray(square(number)).save(folder / f"{name}.png")
    assert [place(image) for _, image in open_sequence(folder).frames()] == [1, 2, 3]


def test_motchallenges_layout_says_how_many_frames_there_should_be(tmp_path: Path) -> None:
    write_folder(tmp_path / "S" / "img1", range(2, 4))
    (tmp_path / "S" / "seqinfo.ini").write_text(
        "[Sequence]\nname=S\nimDir=img1\nframeRate=30\nseqLength=4\nimWidth=32\nimHeight=24\nimExt=.png\n"
    )
    video = open_sequence(tmp_path / "S")
    assert (video.length, video.fps) == (4, 30)
    assert [image is not None for _, image in video.frames()] == [False, True, True, False]


@pytest.mark.parametrize("length", [1, 2, 23])
def test_every_frame_of_a_video_is_given_in_order(tmp_path: Path, length: int) -> None:
    video = open_sequence(write_video(tmp_path / "video.mp4", length))
    frames = list(video.frames())
    assert video.length == length
    assert video.fps == pytest.approx(10)
    assert [number for number, _ in frames] == list(range(1, length + 1))
    assert [place(image) for _, image in frames] == [number % 26 for number in range(1, length + 1)]


def test_broken_frames_in_the_middle_of_a_video_are_reported_and_it_goes_on(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", 20, every_frame_whole=True)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for index in (7, 8, 12):
        at, size = packets[index]
        data[at : at + size] = bytes(size)
    path.write_bytes(bytes(data))
    lines: list[str] = []
    frames = list(open_sequence(path).frames(lines.append))
    assert [number for number, _ in frames] == list(range(1, 21))
    assert [number for number, image in frames if image is None] == [8, 9, 13]
    assert [place(image) for _, image in frames if image is not None][-1] == 20
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda p: None, "is not there"),
        (lambda p: p.mkdir(), "holds no images"),
        (lambda p: p.write_text("no video at all" * 99), "video"),
        (lambda p: [p.mkdir(), (p / "1.png").write_bytes(b"no image")], "none of the 1 images"),
    ],
)
def test_what_is_no_sequence_is_said_in_one_line(tmp_path: Path, make, line: str) -> None:
    make(tmp_path / "video")
    with pytest.raises(StoryjaxError, match=line) as error:
        open_sequence(tmp_path / "video")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "names",
    [
        [f"{1403636579763555584 + k * 100_000_000}" for k in range(5)],
        ["20261231_235958", "20261231_235959", "20270101_000000", "20270101_000001", "20270101_000002"],
        [f"frame{k * 10:05d}" for k in range(5)],
        ["8", "9", "10", "11", "12"],
        ["shot 8", "shot 9", "shot 10", "shot 11 (2)", "shot 12"],
    ],
    ids=lambda names: names[0],
)
def test_numbers_that_are_no_frames_are_an_order(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "video"
    folder.mkdir()
    for number, name in enumerate(names, 1):
        Image.fromarray(square(number)).save(folder / f"{name}.png")
    video = open_sequence(folder)
    assert video.length == 5
    assert [place(image) for _, image in video.frames()] == [1, 2, 3, 4, 5]


def test_an_order_is_noted_and_a_few_missing_frames_stay_missing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tenth", range(10, 50, 10))
    assert "taken as an order" in open_sequence(folder).notes[0]
    folder = write_folder(tmp_path / "video", range(1, 9))
    for number in (3, 4, 7):
        (folder / f"{number:06d}.png").unlink()
    video = open_sequence(folder)
    assert (video.length, video.notes) == (8, ())


def test_what_macos_leaves_beside_images_is_no_image(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "video", range(1, 4))
    (folder / "._000001.png").write_bytes(b"\0\5\x16\7junk")
    (folder / "Thumbs.db").write_bytes(b"x")
    video = open_sequence(folder)
    assert [place(image) for _, image in video.frames()] == [1, 2, 3]


def test_a_folder_of_motchallenge_that_counts_from_zero_loses_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path / "S" / "img1", range(0, 4))
    (tmp_path / "S" / "seqinfo.ini").write_text(
        "[Sequence]\nname=S\nimDir=img1\nframeRate=30\nseqLength=4\nimWidth=32\nimHeight=24\nimExt=.png\n"
    )
    (tmp_path / "det.txt").write_text("".join(f"{n},-1,1,1,5,5,0.9\n" for n in range(4)))
    video = open_sequence(tmp_path / "S", tmp_path / "det.txt")
    frames = list(video.frames())
    assert [number for number, _ in frames] == [1, 2, 3, 4]
    assert [place(image) for _, image in frames] == [0, 1, 2, 3]
    assert video.detections["given"].frame.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_no_good_frame_of_an_avi_with_b_frames_is_called_damaged(tmp_path: Path, codec: str) -> None:
    with av.open(str(tmp_path / "video.avi"), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"bf": "2", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        stream.bit_rate = 2_000_000
        for number in range(1, 31):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(square(number), format="rgb24")))
        container.mux(stream.encode())
    lines: list[str] = []
    video = open_sequence(tmp_path / "video.avi")
    frames = list(video.frames(lines.append))
    assert not lines
    assert [number for number, _ in frames] == list(range(1, 31)) == list(range(1, video.length + 1))
    assert [place(image) for _, image in frames] == [number % 26 for number in range(1, 31)]
    assert [video.time_of(number) for number, _ in frames] == pytest.approx([k / 10 for k in range(30)])


def test_a_film_that_was_cut_short_is_tracked_as_far_as_it_goes(tmp_path: Path, caplog) -> None:
    path = write_video(tmp_path / "video.mkv", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames = [place(image) for _, image in open_sequence(path).frames() if image is not None]
    assert 10 < len(frames) < 50
    # Of the last group of frames, those that were stored behind the cut are missing.
    assert frames[:-3] == [number % 26 for number in range(1, len(frames) - 2)]
    assert "video.mkv was cut short" in caplog.text
