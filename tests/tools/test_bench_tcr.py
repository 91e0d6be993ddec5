"""The benchmark runs, on sizes that take no time, and its counts of operations are those of the compiler."""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from storyjax.models.vit import VIT_G14_BLIP2, ViT
from storyjax.tcr.interface import Prompt, VisualTokens
from storyjax.tcr.resampler import Tcr, init_tcr

pytest.importorskip("torch")

SMALL = ["--tokens=5", "--width=64", "--tcr", "width=32", "heads=4", "queries=8", "--repeats=2"]


@pytest.fixture(scope="module")
def bench(load_tool):
    return load_tool("bench_tcr")


def test_a_comparison_in_small(bench, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(bench.os, "sched_setaffinity", lambda *arguments: None)  # this process has more tests to run
    out = tmp_path / "numbers.json"
    bench.main(["--frames", "2", "--reference", "same", "--json", str(out), *SMALL])
    row = json.loads(out.read_text())["rows"]["2"]
    for name in ("forward", "forward + backward"):
        assert row[name]["ours"] > 0 < row[name]["theirs"]
    assert row["memory"]["ours"]["peak"] > 2**26 < row["memory"]["theirs"]["peak"]
    table = capsys.readouterr().out
    assert "| frames | forward | forward + backward | peak memory |" in table
    assert "\n| 2 | " in table


def test_what_the_thesis_implies_for_memory(bench) -> None:
    published = bench.implied_memory_ratio(bench.parse([]))
    assert published == pytest.approx((1408 + 5 * 512) / (1408 + 12 * 768))


def multiplied(jaxpr: Any) -> int:
    """Floating-point operations of the matrix products and convolutions in a traced program."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel[:-1])
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                total += times * multiplied(inner) if hasattr(inner, "eqns") else 0
    return total


def test_operations_are_those_of_the_traced_model(bench) -> None:
    vit = ViT(VIT_G14_BLIP2)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    params = jax.eval_shape(vit.init, jax.random.key(0), images)
    assert bench.vit_flops(VIT_G14_BLIP2) == multiplied(jax.make_jaxpr(vit.apply)(params, images).jaxpr)
    config = bench.tcr_config(bench.parse([]))
    visual, row, one = 4 * 257, bench.PROMPT, jax.ShapeDtypeStruct
    arguments = (
        *(one((1, visual, 1408), jnp.float32), one((1, visual), jnp.int32), one((1, visual), bool)),
        *(one((1, 1), jnp.int32), one((1, 1, row), jnp.int32), one((1, 1, row), bool)),
    )
    tcr = Tcr(config)

    def apply(params: dict, *arrays: jax.Array) -> jax.Array:
        return tcr.apply({"params": params}, VisualTokens(*arrays[:3]), Prompt(*arrays[3:])).queries

    params = jax.eval_shape(lambda key: init_tcr(tcr, key, 1408), jax.random.key(0))
    counted = multiplied(jax.make_jaxpr(apply)(params, *arguments).jaxpr)
    # The program may do more than it has to: it embeds the time of a frame once for each of its tokens.
    assert bench.tcr_flops(config, 1408, visual) <= counted < 1.3 * bench.tcr_flops(config, 1408, visual)
