"""Frames one at a time are the frames that decoding them together gives, from any place on."""

from pathlib import Path

import numpy as np
import pytest
from media import number_of, write_video

from storyjax.data.stills import stream_stills
from storyjax.data.video import decode_frames


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_the_same_frames_as_together(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a.{suffix}", frames=480, bf="0" if suffix == "avi" else "2")
    times = np.arange(0, 20, 1 / 8)
    together, _ = decode_frames(path, times, 40)
    for start in (0, 1, 77, 159):
        stills = [still.square(40).copy() for still in stream_stills(path, times[start:])]
        assert np.array_equal(np.stack(stills), together[start:])
    assert [number_of(still.square(80)) for still in stream_stills(path, [1.0, 1.0, 5.5])] == [24, 24, 132]
    assert list(stream_stills(path, [])) == []


def test_keeps_the_shape_and_stands_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4, size=80, rotation=90)
    still = next(stream_stills(path, [0.0]))
    assert still.time_s == 0.0
    assert still.within(40).shape == (40, 40, 3)
    assert still.within(1000).shape == (80, 80, 3)
    assert np.array_equal(still.within(80), still.square(80))


def test_a_truncated_file_gives_what_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.mkv", frames=480)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    given = [number_of(still.square(80)) for still in stream_stills(path, np.arange(0, 20, 0.5))]
    there = given.index(given[-1])
    assert given[:there] == list(range(0, 12 * there, 12))
    assert 10 < there < 30
    assert "a.mkv was cut short" in caplog.text


def test_times_must_ascend(tmp_path: Path) -> None:
    for times in ([1.0, 0.5], [float("nan")], np.zeros((1, 1))):
        with pytest.raises(ValueError, match="ascending"):
            list(stream_stills(tmp_path / "none.mp4", times))
