"""Precision policies: which type has what, and how far a policy's numbers are from float32's.

The deviations are those of the table in storyjax/weights/README.md.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.params_io import unflatten
from storyjax.models.qformer import QFormer, QFormerConfig
from storyjax.models.t5 import T5, T5Config
from storyjax.models.vit import ViT, ViTConfig
from storyjax.train.precision import POLICIES, get_policy
from storyjax.train.settings import Settings
from storyjax.weights.registry import BLIP2_FAMILY, Blip2Config

# BLIP-2's three parts in small, deep enough for errors to add up.
SMALL = Blip2Config(
    ViTConfig(image_size=28, patch_size=7, width=64, depth=4, heads=4, mlp_width=128),
    QFormerConfig(queries=8, width=48, depth=4, heads=4, mlp_width=96, vision_width=64, llm_width=64),
    T5Config(vocab_size=200, d_model=64, d_kv=16, d_ff=128, num_heads=4, num_layers=3, num_decoder_layers=2),
)


@functools.cache
def outputs(name: str) -> dict[str, np.ndarray]:
    """Visual tokens, query outputs and logits of the same weights and images under a policy, as float32."""
    policy = get_policy(name)
    rng = np.random.default_rng(0)
    params = {}
    for path, leaf in BLIP2_FAMILY.shapes(SMALL).items():
        fan_in = leaf.shape[-2] if len(leaf.shape) > 1 else 25
        array = rng.normal(path.endswith("scale"), fan_in**-0.5, leaf.shape)
        params[path] = jnp.asarray(array, policy.parameter_dtype(leaf.dtype, trains=False, path=path))
    images = jnp.asarray(rng.normal(size=(4, 28, 28, 3)), jnp.float32)
    ids = jnp.asarray(rng.integers(2, 200, (4, 5)))

    @jax.jit
    def run(params: dict) -> dict[str, jax.Array]:
        dtype = policy.compute_dtype
        tokens = ViT(SMALL.vision, dtype=dtype("vision")).apply({"params": params["vision"]}, images)
        queries = QFormer(SMALL.qformer, dtype("qformer")).apply({"params": params["qformer"]}, tokens)
        llm, variables = T5(SMALL.llm, dtype=dtype("llm")), {"params": params["llm"]}
        mask = jnp.ones(queries.shape[:2], bool)
        encoded = llm.apply(variables, queries, mask, method=T5.encode)
        logits = llm.apply(variables, ids, encoded, mask, method=T5.decode)
        return {"tokens": tokens, "queries": queries, "logits": logits}

    return {key: np.asarray(value.astype(jnp.float32)) for key, value in run(unflatten(params)).items()}


def deviation(name: str) -> dict[str, float]:
    """Root mean square of the difference from float32, as a share of float32's own."""
    ours, exact = outputs(name), outputs("float32")
    return {key: float(np.sqrt(np.mean((ours[key] - exact[key]) ** 2) / np.mean(exact[key] ** 2))) for key in exact}


# Largest deviations allowed: a third more than was measured.
@pytest.mark.parametrize(
    ("name", "tokens", "queries", "logits"),
    [("lavis", 1.4e-3, 4e-4, 1.2e-2), ("lavis_bfloat16", 1.1e-2, 4.5e-3, 1.2e-2), ("bfloat16", 1.1e-2, 1.1e-2, 1.4e-2)],
)
def test_deviation_from_float32(name: str, tokens: float, queries: float, logits: float) -> None:
    measured = deviation(name)
    for key, limit in (("tokens", tokens), ("queries", queries), ("logits", logits)):
        assert 1e-5 < measured[key] < limit, key


def test_half_a_tower_costs_the_queries_less_in_float16_and_least_outside_of_it() -> None:
    """What LAVIS's mixture is for: the resampler in float32 adds no error of its own to the tower's."""
    queries = {name: deviation(name)["queries"] for name in ("lavis", "lavis_bfloat16", "bfloat16")}
    assert queries["lavis"] < queries["lavis_bfloat16"] < queries["bfloat16"]


def test_types_by_module() -> None:
    policy = get_policy("lavis")
    types = {part: policy.parameter_dtype(jnp.float32, False, f"{part}/x") for part in ("vision", "qformer", "llm")}
    assert types == {"vision": jnp.float16, "qformer": jnp.float32, "llm": jnp.bfloat16}
    assert {part: policy.compute_dtype(part) for part in types} == types
    assert policy.compute_dtype("tcr") == jnp.float32
    assert policy.parameter_dtype(jnp.float32, True, "llm/x") == jnp.float32  # what trains is never halved
    assert policy.parameter_dtype(jnp.int32, False, "llm/x") == jnp.int32


@pytest.mark.parametrize("name", POLICIES)
def test_a_config_can_name_every_policy(name: str) -> None:
    from storyjax.core.config import from_config

    assert from_config(Settings, {"precision": name}).precision == name
