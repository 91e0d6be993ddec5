"""The benchmark of deformable attention runs, on an image that takes no time."""

import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

TOOL = Path(__file__).parents[2] / "tools" / "bench_deformable.py"


def test_a_comparison_in_small(tmp_path, capsys) -> None:
    spec = importlib.util.spec_from_file_location("bench_deformable", TOOL)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    out = tmp_path / "numbers.json"
    bench.main(["--size", "64", "96", "--repeats", "2", "--threads", "1", "--json", str(out)])
    numbers = json.loads(out.read_text())
    assert numbers["tokens"] == 8 * 12 + 4 * 6 + 2 * 3 + 2
    for row in numbers["rows"].values():
        assert row["ours"] > 0 < row["theirs"]
    assert "theirs / ours" in capsys.readouterr().out
