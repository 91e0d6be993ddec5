"""T5: padding, causality, precision, its start from scratch and greedy decoding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.models.t5 import T5, T5Config, generate, shift_right

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
    encoded, mask = jax.random.normal(jax.random.key(0), (1, 3, 32)), jnp.ones((1, 3), bool)
    ids = jnp.arange(10, 16)[None]  # all different, so that the gradient of a row of the embedding is that of a place

    def states(table: jax.Array, encoded: jax.Array) -> jax.Array:
        variables = {"params": {**params, "shared": {"embedding": table}}}
        return T5(CONFIG).apply(variables, ids, encoded, mask, method=T5.decode_states)[0].sum(-1)

    own, cross = jax.jit(jax.jacobian(states, (0, 1)))(params["shared"]["embedding"], encoded)
    influence = jnp.abs(own).max(-1)[:, 10:16] > 0  # (state, token)
    np.testing.assert_array_equal(influence, np.tri(6, dtype=bool))
    # Attention to the encoder is not causal.
    assert (jnp.abs(cross[:, 0]).max(-1) > 0).all()


def test_initial_deviations_are_those_of_mesh_tensorflow(params):
    block = params["decoder"]["block_0"]
    for attention in (block["attention"], block["cross_attention"]):
        deviations = {name: float(part["kernel"].std()) for name, part in attention.items()}
        expected = {"query": (32 * 8) ** -0.5, "key": 32**-0.5, "value": 32**-0.5, "out": 32**-0.5}
        assert deviations == pytest.approx(expected, rel=0.1)
    deviations = {name: float(part["kernel"].std()) for name, part in block["mlp"].items()}
    assert deviations == pytest.approx({"gate": 32**-0.5, "up": 32**-0.5, "down": 48**-0.5}, rel=0.1)
    assert float(params["shared"]["embedding"].std()) == pytest.approx(1, rel=0.1)


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
