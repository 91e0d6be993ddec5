"""Layers that run as a loop are the layers that run one after another."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.config import load_config
from storyjax.models.deformable_detr import DeformableDetr, DeformableDetrConfig, Detections
from storyjax.models.resnet import ResNetConfig
from storyjax.mqt.config import make_model
from storyjax.nn.layer_loop import loop_layers
from storyjax.plan.full_size import full_size_variants

BACKBONE = ResNetConfig(stem_width=8, widths=(8, 8), depths=(1, 1), block="basic", outputs=(0, 1), norm="group")
IMAGES = jax.random.normal(jax.random.key(7), (2, 32, 48, 3))


def small(**options: Any) -> DeformableDetrConfig:
    sizes: dict[str, Any] = {"width": 16, "mlp_width": 16, "heads": 2, "points": 2, "levels": 2, "groups": 2}
    return DeformableDetrConfig(
        backbone=BACKBONE, encoder_layers=2, decoder_layers=2, queries=5, classes=3, **sizes, **options
    )


def moved(params: Any) -> Any:
    """Parameters away from where training starts, where all layers are alike in what they do."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), params)


@pytest.mark.parametrize("box_refine", [False, True])
def test_a_loop_of_layers_gives_what_the_layers_give(box_refine: bool) -> None:
    config = small(box_refine=box_refine)
    one_by_one = DeformableDetr(config)
    loop = DeformableDetr(dataclasses.replace(config, loop_layers=True))
    params = one_by_one.init(jax.random.key(0), IMAGES)
    assert jax.tree.map(jnp.shape, loop.init(jax.random.key(0), IMAGES)) == jax.tree.map(jnp.shape, params)
    params = moved(params)

    def measured(model: DeformableDetr) -> Any:
        def total(params: Any) -> tuple[jax.Array, Detections]:
            found: Any = model.apply(params, IMAGES)
            return (found.logits**2).sum() + (found.boxes**2).sum(), found

        (_, found), slopes = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
        return found.logits, found.boxes, slopes

    ours, before = measured(loop), measured(one_by_one)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(before[2]))
    for mine, other in zip(ours[:2], before[:2], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    for mine, other in zip(jax.tree.leaves(ours[2]), jax.tree.leaves(before[2]), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5 * largest)


def test_each_layer_draws_its_own_dropout() -> None:
    def step(carry: Any, layer: jax.Array, rngs: dict[str, jax.Array]) -> tuple[Any, jax.Array]:
        return carry + layer, jax.random.bits(rngs["dropout"], (4,))

    for remat in (False, True):
        total, draws = loop_layers(step, jnp.zeros(()), jnp.arange(3.0), jax.random.key(0), remat)
        assert float(total) == 3
        assert len(np.unique(draws)) == 12
    model = DeformableDetr(small(loop_layers=True, dropout=0.5))
    params = moved(model.init(jax.random.key(0), IMAGES))

    def logits(key: int) -> jax.Array:
        found: Any = model.apply(params, IMAGES, deterministic=False, rngs={"dropout": jax.random.key(key)})
        return found.logits

    np.testing.assert_array_equal(logits(1), logits(1))
    assert float(jnp.abs(logits(1) - logits(2)).max()) > 1e-3


def test_every_mqt_of_full_size_runs_its_layers_as_loops() -> None:
    for spec, _ in full_size_variants("mqt_*", None):
        config = load_config(spec)
        assert make_model(config.model, config.precision)[0].config.detr.loop_layers, spec
