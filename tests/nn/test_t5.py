"""T5: padding, causality, precision, its start from scratch and greedy decoding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.nn.t5 import T5, T5Config, generate, shift_right

CONFIG = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_heads=4, num_layers=1, num_decoder_layers=1)


@pytest.fixture(scope="module")
def params() -> dict:
    ids = jnp.zeros((1, 3), jnp.int32)
    return jax.jit(T5(CONFIG).init)(jax.random.key(0), ids, ids == 0, ids)["params"]


def random_ids(seed: int, *shape: int) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), shape, 2, CONFIG.vocab_size)


def test_padding_of_the_input_changes_no_logit(params):
    ids, decoder_ids = random_ids(0, 2, 5), random_ids(1, 2, 4)
    apply = jax.jit(T5(CONFIG).apply)
    plain = apply({"params": params}, ids, jnp.ones((2, 5), bool), decoder_ids)
    padded = jnp.concatenate([ids, random_ids(2, 2, 3)], axis=1)
    mask = jnp.broadcast_to(jnp.arange(8) < 5, (2, 8))
    np.testing.assert_allclose(apply({"params": params}, padded, mask, decoder_ids), plain, atol=1e-5)


def test_a_decoder_state_depends_on_no_later_token(params):
    model = T5(CONFIG)
    encoded, mask = jax.random.normal(jax.random.key(0), (1, 3, 32)), jnp.ones((1, 3), bool)

    def states(embedded: jax.Array) -> jax.Array:
        causal = jnp.tri(6, dtype=bool)[None, None]
        return model.apply(
            {"params": params}, embedded, causal, encoded, mask[:, None, None], method=lambda m, *x: m.decoder(*x)
        )

    jacobian = jax.jit(jax.jacobian(lambda x: states(x)[0].sum(-1)))(jax.random.normal(jax.random.key(1), (1, 6, 32)))
    influence = jnp.abs(jacobian[:, 0]).max(-1) > 0  # (state, token)
    np.testing.assert_array_equal(influence, np.tri(6, dtype=bool))
    # The encoder is not causal: every decoder state sees every encoder state.
    ids = random_ids(2, 1, 6)

    def cross(encoded: jax.Array) -> jax.Array:
        return model.apply({"params": params}, ids, encoded, mask, method=T5.decode_states)[0].sum(-1)

    seen = jax.jit(jax.jacobian(cross))(encoded)
    assert (jnp.abs(seen[:, 0]).max(-1) > 0).all()


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_loss_is_that_of_knowing_nothing(tied, params):
    model = T5(dataclasses.replace(CONFIG, tie_word_embeddings=tied))
    ids, labels = random_ids(0, 4, 9), random_ids(1, 4, 8)
    inputs = ids, jnp.ones_like(ids, bool), shift_right(labels, CONFIG)
    if tied:
        params = {name: tree for name, tree in params.items() if name != "lm_head"}
    logits = jax.jit(model.apply)({"params": params}, *inputs)
    loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1).mean()
    assert abs(loss - np.log(CONFIG.vocab_size)) < 1


def test_bfloat16_computes_close_to_float32_and_gives_float32_logits(params):
    inputs = random_ids(0, 2, 5), jnp.ones((2, 5), bool), random_ids(1, 2, 4)
    exact = jax.jit(T5(CONFIG).apply)({"params": params}, *inputs)
    # As frozen weights are kept: parameters in bfloat16 as well.
    rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    half = jax.jit(T5(CONFIG, dtype=jnp.bfloat16).apply)({"params": rounded}, *inputs)
    assert half.dtype == jnp.float32
    # Not values that were rounded to bfloat16 on their way.
    assert (half != half.astype(jnp.bfloat16).astype(jnp.float32)).any()
    np.testing.assert_allclose(half, exact, atol=0.1)


def test_shift_right_starts_and_drops_the_last():
    labels = jnp.array([[5, 6, 1], [7, 1, 0]])
    config = dataclasses.replace(CONFIG, decoder_start_id=9)
    np.testing.assert_array_equal(shift_right(labels, config), [[9, 5, 6], [9, 7, 1]])


def test_decoding_pads_after_the_end_and_stops_at_the_limit(params):
    encoded, mask = jax.random.normal(jax.random.key(3), (6, 3, 32)), jnp.ones((6, 3), bool)

    def decoded(eos_id: int) -> np.ndarray:
        model = T5(dataclasses.replace(CONFIG, eos_id=eos_id))
        return np.asarray(jax.jit(lambda *args: generate(model, *args, 5))(params, encoded, mask))

    free = decoded(-1)
    end = int(free[0, 1])
    ended = decoded(end)
    for row, until in zip(ended, free, strict=True):
        length = list(until).index(end) + 1 if end in until else 5
        np.testing.assert_array_equal(row[:length], until[:length])
        assert not row[length:].any()
    assert not ended[0, 2:].any()
    assert ended[:, -1].any()
