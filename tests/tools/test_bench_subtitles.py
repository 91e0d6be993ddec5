"""The benchmark of naming joins videos whose images, sound and transcript stay together, and says what a run took."""

import json
from pathlib import Path

import numpy as np
import pytest

from storyjax.data.audio import RATE, load_audio
from storyjax.data.video import decode_frames, probe
from storyjax.storyworld.render.episode_video import write_video

GREYS = (40, 200)


@pytest.fixture(scope="module")
def bench(load_tool):
    return load_tool("bench_subtitles")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Two videos of two seconds, a dark and a bright one; sound is heard in the second half of each."""
    folder = tmp_path / "series"
    (folder / "video" / "Show").mkdir(parents=True)
    (folder / "truth").mkdir()
    for number, grey in enumerate(GREYS, 1):
        wave = np.concatenate([np.zeros(RATE), 0.3 * np.sin(np.arange(RATE) / 8)]).astype(np.float32)
        frames = (np.full((64, 64, 3), grey, np.uint8) for _ in range(50))
        write_video(frames, wave, folder / "video" / "Show" / f"Show_01x0{number}.mp4", 64)
        lines = [{"start": 1.0, "end": 2.0, "text": f"Line {number}."}]
        (folder / "truth" / f"Show_01x0{number}.json").write_text(json.dumps({"lines": lines}))
    (folder / "cast.json").write_text(json.dumps({"cast": [{"name": "Ana", "photos": []}]}))
    return folder


def test_videos_are_joined_without_moving_anything(bench, series: Path, tmp_path: Path) -> None:
    videos = sorted(series.glob("video/Show/*.mp4"))
    starts = bench.join(videos, tmp_path / "joined.mp4", 7.0)
    assert len(starts) == 4
    length = probe(str(tmp_path / "joined.mp4")).duration_s
    assert length == pytest.approx(8, abs=0.4)
    images, _ = decode_frames(str(tmp_path / "joined.mp4"), np.array(starts) + 1.0, 16)
    assert images.mean(axis=(1, 2, 3)) == pytest.approx(GREYS * 2, abs=8)
    sound = load_audio(tmp_path / "joined.mp4")
    for start in starts:
        quiet, loud = (sound[round((start + t) * RATE) :][: RATE // 2] for t in (0.25, 1.25))
        assert np.abs(quiet).max() < 0.02 < 0.2 < np.abs(loud).max()
    truths = sorted(series.glob("truth/*.json"))
    said = json.loads(bench.transcript(truths, starts, tmp_path / "said.json").read_text())["segments"]
    assert [row["text"] for row in said] == ["Line 1.", "Line 2."] * 2
    assert [row["start"] for row in said] == pytest.approx([start + 1.0 for start in starts])


def test_a_run_is_measured_and_a_failed_one_is_not(bench, series: Path, tmp_path: Path, capsys) -> None:
    """Nobody's voice is given and nobody's face is known, so the command ends at once, and badly."""
    arguments = ["--series", str(series), "--work", str(tmp_path / "work"), "--minutes", "0.1", "--no-episodes"]
    (series / "cast.json").write_text(json.dumps({"cast": []}))
    with pytest.raises(SystemExit, match="ended with 2"):
        bench.main(arguments)
    asked = []

    def measured(videos, cast, transcripts, work, cache, match) -> dict[str, float]:
        assert match == "query"
        asked.append([probe(str(video)).duration_s for video in videos])
        return dict.fromkeys(("video_s", "cpu_s", "wall_s", "times_real_cpu", "times_real_wall", "peak_mb"), 60.0)

    bench.measure = measured
    bench.main([*arguments, "--json", str(tmp_path / "numbers.json")])
    assert asked == [[pytest.approx(8, abs=2.2)]]
    assert set(json.loads((tmp_path / "numbers.json").read_text())) == {"a video of 0.1 minutes"}
    assert "peak 60 MB" in capsys.readouterr().out
    assert not list((tmp_path / "work").glob("*.mp4"))
