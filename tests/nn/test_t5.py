"""T5: padding, causality, precision, its start from scratch and greedy decoding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.models.answer_scoring import ANSWERS_AT_ONCE, score_answers, sequence_log_likelihood
from storyjax.models.t5 import T5, T5Config, shift_right
from storyjax.models.t5_decoding import generate

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


def test_steps_with_a_cache_give_the_logits_of_whole_answers_that_share_a_text(params):
    model, each = T5(CONFIG), 3
    encoded, mask = jax.random.normal(jax.random.key(4), (2, 5, 32)), jnp.arange(5)[None] < jnp.array([[5], [3]])
    ids = random_ids(5, 2 * each, 6)
    apply = functools.partial(model.apply, {"params": params})
    repeated = [jnp.repeat(x, each, axis=0) for x in (encoded, mask)]
    whole = jax.jit(lambda: apply(ids, *repeated, method=T5.decode))()

    @jax.jit
    def in_steps() -> jax.Array:
        attended = apply(encoded, method=T5.keys_values)
        assert attended[0].keys.shape[0] == 2  # nothing of the encoder is repeated
        shared = apply(ids, attended, mask, method=T5.decode)

        def step(cache, position):
            logits, cache = apply(ids[:, position], cache, position, attended, mask, method=T5.decode_step)
            return cache, logits

        _, logits = jax.lax.scan(step, model.empty_cache(2 * each, 6), jnp.arange(6))
        return shared, jnp.swapaxes(logits, 0, 1)

    shared, stepped = in_steps()
    np.testing.assert_allclose(shared, whole, atol=1e-5)
    np.testing.assert_allclose(stepped, whole, atol=1e-5)


def test_a_token_costs_the_same_however_long_the_answer_may_become(params):
    """Without a cache a step of 64 tokens would cost eight times one of 8."""
    encoded, mask = jnp.zeros((2, 4, 32)), jnp.ones((2, 4), bool)

    def flops(length: int) -> float:
        program = jax.jit(lambda *args: generate(T5(CONFIG), *args, length)).lower(params, encoded, mask)
        return program.compile().cost_analysis()["flops"]  # of a loop: of its body, once

    assert flops(64) < 1.5 * flops(8)


def test_many_answers_are_scored_in_the_memory_of_a_few(params):
    encoded, mask = jax.random.normal(jax.random.key(6), (2, 5, 32)), jnp.arange(5)[None] < jnp.array([[5], [3]])
    answers = random_ids(7, 5 * ANSWERS_AT_ONCE + 1, 3)
    answers = answers.at[::2, 2].set(CONFIG.pad_id)  # some are shorter

    def program(count: int) -> jax.stages.Compiled:
        scores = jax.jit(lambda *args: score_answers(T5(CONFIG), *args))
        return scores.lower(params, encoded, mask, answers[:count]).compile()

    few, many = program(ANSWERS_AT_ONCE), program(len(answers))
    few_bytes, many_bytes = (one.memory_analysis().temp_size_in_bytes for one in (few, many))
    assert many_bytes < 1.5 * few_bytes
    repeated = [jnp.repeat(x, len(answers), axis=0) for x in (encoded, mask)]
    one_by_one, _ = jax.jit(lambda *args: sequence_log_likelihood(T5(CONFIG), params, *args))(
        *repeated, jnp.tile(answers, (2, 1))
    )
    expected = jax.nn.log_softmax(one_by_one.reshape(2, -1), axis=-1)
    np.testing.assert_allclose(many(params, encoded, mask, answers), expected, atol=1e-5)
