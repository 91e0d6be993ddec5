"""The benchmark runs, on sizes that take no time, and its counts of operations are those of the compiler."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from storyjax.nn.vit import ViT, ViTConfig

pytest.importorskip("torch")

TOOL = Path(__file__).parents[2] / "tools" / "bench_tcr.py"
SMALL = ["--tokens=5", "--width=64", "--tcr", "width=32", "heads=4", "queries=8", "--repeats=2"]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_tcr", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_comparison_in_small(bench, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(bench.os, "sched_setaffinity", lambda *arguments: None)  # this process has more tests to run
    out = tmp_path / "numbers.json"
    bench.main(["--frames", "2", "--reference", "same", "--json", str(out), *SMALL])
    row = json.loads(out.read_text())["rows"]["2"]
    for name in ("forward", "forward + backward"):
        assert row[name]["ours"] > 0 < row[name]["theirs"]
    assert row["memory"]["ours"]["peak"] > 2**26 < row["memory"]["theirs"]["peak"]
    table = capsys.readouterr().out
    assert "| frames | forward | forward + backward | memory grown by |" in table
    assert "\n| 2 | " in table


def test_what_the_thesis_implies_for_memory(bench) -> None:
    published = bench.implied_memory_ratio(bench.parse([]))
    assert published == pytest.approx((1408 + 5 * 512) / (1408 + 12 * 768))


def test_operations_are_counted_as_the_compiler_does(bench) -> None:
    def counted(function, *arguments) -> float:
        return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]

    config = ViTConfig(image_size=64, patch_size=8, width=128, depth=2, heads=4, mlp_width=512)
    vit = ViT(config)
    images = jnp.zeros((1, 64, 64, 3))
    params = jax.eval_shape(vit.init, jax.random.key(0), images)
    assert bench.vit_flops(config) == pytest.approx(counted(vit.apply, params, images), rel=0.1)
