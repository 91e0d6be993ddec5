"""Alignment draws queries to the words of notes, and trains the resampler alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from storyjax.embedded.alignment_prompts import KINDS
from storyjax.embedded.tcr_alignment import AlignLoss, Alignment
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.train.experiment import Batch

B, K, T, Q = 2, 3, 4, 6
MARK = 5


@pytest.fixture
def batch(model: VideoLanguageModel) -> Batch:
    rng = np.random.default_rng(0)
    tokens = model.vision.config.num_tokens
    return {
        "visual_tokens": jnp.asarray(rng.normal(size=(B, T, tokens, 16)), jnp.float16),
        "seconds": jnp.tile(jnp.arange(T, dtype=jnp.float32), (B, 1)),
        "frame_mask": jnp.ones((B, T), bool),
        "task": jnp.ones((B, K), jnp.int32),
        "condition": jnp.asarray(rng.integers(3, 60, (B, K, 5)), jnp.int32),
        "condition_mask": jnp.ones((B, K, 5), bool),
        "prompt": jnp.asarray(rng.integers(3, 60, (B, K, 7)), jnp.int32),
        "prompt_mask": jnp.ones((B, K, 7), bool),
        "note": jnp.asarray(rng.integers(3, 60, (B, K, Q)), jnp.int32),
        "note_mask": jnp.ones((B, K, Q), bool),
        "target": jnp.asarray(rng.integers(3, 60, (B, K, 9)), jnp.int32),
        "moment": jnp.zeros((B, K, T), bool).at[..., 1].set(True),
        "named": jnp.zeros((B, K, T), bool).at[..., 2].set(True),
        "kind": jnp.zeros((B, K), jnp.int32),
        "record_valid": jnp.ones(B, bool),
    }


def test_a_query_on_a_marked_word_is_that_word(model: VideoLanguageModel, params: dict, batch: Batch) -> None:
    alignment = Alignment(model, AlignLoss(), MARK)
    table = params["llm"]["shared"]["embedding"]
    logits, _ = alignment.token_logits(params, table[batch["note"]] + table[MARK][None, None, None])
    assert (jnp.argmax(logits, -1) == batch["note"]).all()


def test_a_few_steps_lower_every_part_of_the_loss(model: VideoLanguageModel, params: dict, batch: Batch) -> None:
    alignment = Alignment(model, AlignLoss(caption=0.5), MARK)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(trainable: dict, state: optax.OptState) -> tuple:
        def loss(tcr: dict) -> tuple:
            return alignment.loss({**params, "tcr": tcr}, batch, jax.random.key(0))

        (_, parts), grads = jax.value_and_grad(loss, has_aux=True)(trainable)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(trainable, updates), state, parts

    trainable, state = params["tcr"], optimizer.init(params["tcr"])
    trainable, state, first = step(trainable, state)
    for _ in range(25):
        trainable, state, last = step(trainable, state)
    for part in ("tokens", "distance", "looking", "recognising", "caption"):
        assert last[part] < first[part], part
    assert last["right"] > first["right"]


def test_sums_count_requests_by_kind_and_leave_out_padding(
    model: VideoLanguageModel, params: dict, batch: Batch
) -> None:
    alignment = Alignment(model, AlignLoss(), MARK)
    batch["record_valid"] = jnp.array([True, False])
    batch["kind"] = jnp.zeros((B, K), jnp.int32).at[0, 2].set(3)
    sums = jax.jit(alignment.eval_step)(params, batch)
    expected = np.zeros(len(KINDS))
    expected[[0, 3]] = 2, 1
    np.testing.assert_allclose(sums["requests"], expected)


def test_no_gradient_reaches_a_frozen_tower(model: VideoLanguageModel, params: dict, batch: Batch) -> None:
    """The loop never asks for these gradients; that the tower's are zero shows that nothing is kept for them."""
    asks = QuestionAnswering(model, lambda: np.array([[7, 8, 1], [7, 9, 1]], np.int32))
    rng = np.random.default_rng(0)
    questions = {
        **batch,
        "frames": jnp.asarray(rng.integers(0, 256, (B, T, 16, 16, 3)), jnp.uint8),
        "target": jnp.tile(jnp.array([7, 8, 1], jnp.int32), (B, K, 1)),
    }
    grads = jax.jit(jax.grad(lambda p: asks.loss(p, questions, jax.random.key(0))[0]))(params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(grads["vision"]))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads["tcr"]))
    scores, seen = jax.jit(asks.scores)(params, questions)
    np.testing.assert_allclose(np.exp(scores).sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(seen.sum(-1), 1, rtol=1e-5)
