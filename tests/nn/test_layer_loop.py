"""Layers that run as a loop are the layers that run one after another."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from storyjax.core.config import load_config
from storyjax.models.deformable_detr import Decoder, DeformableDetrConfig, Encoder
from storyjax.mqt.config import make_model
from storyjax.nn.deformable_layers import Pyramid
from storyjax.nn.layer_loop import loop_layers
from storyjax.plan.full_size import full_size_variants

SMALL = DeformableDetrConfig(
    width=8, mlp_width=8, encoder_layers=2, decoder_layers=2, heads=2, points=1, levels=1, box_refine=True
)


def draw(number: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(number), shape)


PYRAMID = Pyramid(draw(0, 1, 12, 8), draw(1, 1, 12, 8), jnp.ones((1, 12), bool), jnp.ones((1, 1, 2)), ((3, 4),))
QUERIES = (draw(2, 1, 5, 8), draw(3, 1, 5, 8), jax.nn.sigmoid(draw(4, 1, 5, 4)), jnp.zeros((1, 5), bool))


def outputs_and_gradients(run: Callable[[Any], Any], params: Any) -> tuple[list[jax.Array], list[jax.Array]]:
    def total(params: Any) -> tuple[jax.Array, Any]:
        leaves = jax.tree.leaves(run(params))
        return sum((leaf**2).sum() for leaf in leaves), leaves

    slopes, out = jax.jit(jax.grad(total, has_aux=True))(params)
    return out, jax.tree.leaves(slopes)


def same(loop: Any, one_by_one: Any, *inputs: Any) -> None:
    """Parameters, outputs and gradients of a module in both forms."""
    params = one_by_one.init(jax.random.key(0), *inputs)
    made = loop.init(jax.random.key(0), *inputs)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, params)
    # Away from where training starts, where all layers do the same.
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), params)
    ours = outputs_and_gradients(lambda params: loop.apply(params, *inputs), params)
    before = outputs_and_gradients(lambda params: one_by_one.apply(params, *inputs), params)
    for some, others in zip(ours, before, strict=True):
        largest = max(float(jnp.abs(leaf).max()) for leaf in others)
        for mine, other in zip(some, others, strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-5 * max(1.0, largest))


def test_an_encoder_of_a_loop_is_the_encoder() -> None:
    same(Encoder(dataclasses.replace(SMALL, loop_layers=True)), Encoder(SMALL), PYRAMID)


def test_a_decoder_of_a_loop_is_the_decoder() -> None:
    """With boxes that each layer refines by a head of its own, and with one head for all."""
    memory = draw(5, 1, 12, 8)
    same(Decoder(dataclasses.replace(SMALL, loop_layers=True)), Decoder(SMALL), *QUERIES, memory, PYRAMID)
    plain = dataclasses.replace(SMALL, box_refine=False)
    same(Decoder(dataclasses.replace(plain, loop_layers=True)), Decoder(plain), *QUERIES, memory, PYRAMID)


def test_each_layer_draws_its_own_dropout() -> None:
    def step(carry: Any, layer: jax.Array, rngs: dict[str, jax.Array]) -> tuple[Any, jax.Array]:
        return carry + layer, jax.random.bits(rngs["dropout"], (4,))

    for remat in (False, True):
        total, draws = loop_layers(step, jnp.zeros(()), jnp.arange(3.0), jax.random.key(0), remat)
        assert float(total) == 3
        assert len(np.unique(draws)) == 12
    model = Encoder(dataclasses.replace(SMALL, loop_layers=True, dropout=0.5))
    params = model.init(jax.random.key(0), PYRAMID)

    def tokens(key: int) -> jax.Array:
        out: Any = model.apply(params, PYRAMID, deterministic=False, rngs={"dropout": jax.random.key(key)})
        return out

    np.testing.assert_array_equal(tokens(1), tokens(1))
    assert float(jnp.abs(tokens(1) - tokens(2)).max()) > 1e-3


def test_every_mqt_of_full_size_runs_its_layers_as_loops() -> None:
    for spec, _ in full_size_variants("mqt_*", None):
        config = load_config(spec)
        assert make_model(config.model, config.precision)[0].config.detr.loop_layers, spec
