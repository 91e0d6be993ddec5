"""Attention: masks, and what padding must never do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.nn.attention import MultiHeadAttention, attention_weights, dot_product_attention
from storyjax.nn.transformer import Encoder, activation


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.fixture
def cross_attention(random_variables) -> tuple[MultiHeadAttention, dict, jax.Array, jax.Array]:
    module = MultiHeadAttention(num_heads=2, features=10, qkv_features=12)
    x_q, x_kv = normal(0, 2, 3, 8), normal(1, 2, 5, 6)
    return module, random_variables(module, x_q, x_kv), x_q, x_kv


def test_shapes_and_weights(cross_attention):
    module, variables, x_q, x_kv = cross_attention
    mask = jnp.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], bool)[:, None, None]
    out, weights = module.apply(variables, x_q, x_kv, mask, return_weights=True)
    assert out.shape == (2, 3, 10)
    assert weights.shape == (2, 2, 3, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert not weights[~jnp.broadcast_to(mask, weights.shape)].any()
    np.testing.assert_array_equal(out, module.apply(variables, x_q, x_kv, mask))


def test_masked_keys_change_nothing(cross_attention):
    module, variables, x_q, x_kv = cross_attention
    mask = jnp.array([1, 1, 0, 1, 0], bool)[None, None, None]
    out = module.apply(variables, x_q, x_kv, mask)
    changed = module.apply(variables, x_q, jnp.where(mask[0, 0, 0][None, :, None], x_kv, 1e4), mask)
    np.testing.assert_array_equal(out, changed)
    shorter = module.apply(variables, x_q, x_kv[:, jnp.array([0, 1, 3])])
    np.testing.assert_allclose(out, shorter, atol=1e-6)


def test_a_query_with_nothing_to_attend_to_gives_zeros_and_finite_gradients():
    q, k, v = normal(0, 1, 2, 1, 4), normal(1, 1, 3, 1, 4), normal(2, 1, 3, 1, 4)
    mask = jnp.array([[True, False, True], [False, False, False]])[None, None]

    def total(q, k, v):
        return dot_product_attention(q, k, v, mask, scale=1.0).sum()

    out = dot_product_attention(q, k, v, mask, scale=1.0)
    assert out[0, 0].any()
    assert not out[0, 1].any()
    for gradient in jax.grad(total, (0, 1, 2))(q, k, v):
        assert jnp.isfinite(gradient).all()


def test_softmax_runs_in_float32_under_bfloat16():
    # 1,024 equal weights of 2^-10 sum to one only if the sum is not kept in bfloat16.
    q, k = jnp.zeros((1, 1, 1, 4), jnp.bfloat16), jnp.zeros((1, 1024, 1, 4), jnp.bfloat16)
    weights = attention_weights(q, k, scale=1.0)
    assert weights.dtype == jnp.float32
    assert weights.sum() == 1
    # Logits that bfloat16 cannot distinguish (256 and 257) must still differ.
    close = attention_weights(
        jnp.full_like(q, 8), jnp.array([8, 8.0625], jnp.bfloat16)[None, :, None, None] + k[:, :2], scale=1.0
    )
    assert close[0, 0, 0, 1] > 2 * close[0, 0, 0, 0]


def test_recomputing_blocks_changes_no_gradient(random_variables):
    x = normal(0, 1, 4, 8)
    modules = [Encoder(depth=2, num_heads=2, mlp_width=12, remat=remat) for remat in (False, True)]
    variables = random_variables(modules[0], x)
    gradients = [jax.jit(jax.grad(lambda v, m=m: (m.apply(v, x) ** 2).sum())) for m in modules]
    assert ["differentiated=True" in str(gradient.trace(variables).jaxpr) for gradient in gradients] == [False, True]
    plain, recomputed = (gradient(variables) for gradient in gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, recomputed)


def test_unknown_activation_names_the_nearest():
    with pytest.raises(StoryjaxError, match="Did you mean 'quick_gelu'"):
        activation("quickgelu")
