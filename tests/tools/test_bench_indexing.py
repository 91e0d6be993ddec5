"""Films put one after another for the benchmark of indexing."""

from pathlib import Path

import numpy as np

from storyjax.data.video import decode_frames, probe
from storyjax.storyworld.render.render import encode_mp4


def test_a_joined_film_shows_its_parts_again_and_again(tmp_path: Path, load_tool) -> None:
    bench = load_tool("bench_indexing")
    parts = []
    for number, grey in enumerate((40, 200)):
        parts.append(tmp_path / f"{number}.mp4")
        encode_mp4(np.full((8, 32, 32, 3), grey, np.uint8), parts[-1], 32, 4)
    film = tmp_path / "film" / "long.mp4"
    assert bench.join(parts, 0.12, film) == 8.0  # 7.2 seconds asked for, parts of two
    assert abs(probe(film).duration_s - 8.0) < 0.3
    frames, _ = decode_frames(film, np.array([1.0, 3.0, 5.0, 7.0]), 32)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [40, 200, 40, 200], atol=4)
