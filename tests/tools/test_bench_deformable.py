"""The benchmark of deformable attention runs, on an image that takes no time."""

import json

import pytest

pytest.importorskip("torch")


def test_a_comparison_in_small(tmp_path, capsys, load_tool) -> None:
    bench = load_tool("bench_deformable")
    out = tmp_path / "numbers.json"
    bench.main(["--size", "64", "96", "--repeats", "2", "--threads", "1", "--json", str(out)])
    numbers = json.loads(out.read_text())
    assert numbers["tokens"] == 8 * 12 + 4 * 6 + 2 * 3 + 2
    for row in numbers["rows"].values():
        assert row["ours"] > 0 < row["theirs"]
    assert "theirs / ours" in capsys.readouterr().out
