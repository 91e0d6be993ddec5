"""Who is whose negative, and the contrastive loss."""

import jax
import jax.numpy as jnp
import numpy as np
import small

from storyjax.clip_pad.data import FACE, WORD
from storyjax.clip_pad.losses import PersonContrast, answers, symmetric_contrast

ANY, NOBODY = -1, -2


def test_a_clip_answers_when_one_performer_does_all_that_is_asked():
    # Clip 0: 3 does 5, 4 does 6, in place 1. Clip 1: 3 does 6 in place 2.
    facts = jnp.array([[[3, 5], [4, 6]], [[3, 6], [NOBODY, NOBODY]]])
    place = jnp.array([1, 2])
    for (actor, action, where), expected in {
        (3, ANY, ANY): [True, True],
        (3, 5, ANY): [True, False],
        (3, 6, ANY): [False, True],  # in clip 0 somebody else does 6
        (4, 6, 1): [True, False],
        (4, 6, 2): [False, False],
        (3, ANY, 2): [False, True],
        (9, ANY, ANY): [False, False],
    }.items():
        found = answers(jnp.array([[actor, action]]), jnp.array([where]), facts, place)
        assert found[0].tolist() == expected, (actor, action, where)


def test_pairs_that_are_alike_are_no_negatives():
    logits = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    alike = np.eye(3, dtype=bool)
    alike[0, 1] = alike[1, 0] = True

    def nll(row: np.ndarray, own: int, kept: list[int]) -> float:
        return float(np.log(np.exp(row[kept]).sum()) - row[own])

    expected = nll(logits[0], 0, [0, 2]) + nll(logits[1], 1, [1, 2]) + nll(logits[2], 2, [0, 1, 2])
    expected += nll(logits[:, 0], 0, [0, 2]) + nll(logits[:, 1], 1, [1, 2]) + nll(logits[:, 2], 2, [0, 1, 2])
    loss = symmetric_contrast(jnp.asarray(logits), jnp.asarray(alike))
    np.testing.assert_allclose(loss, expected / 6, rtol=1e-5)
    gradient = jax.grad(lambda x: symmetric_contrast(x, jnp.asarray(alike)))(jnp.asarray(logits))
    assert gradient[0, 1] == gradient[1, 0] == 0 != gradient[0, 2]


def a_batch() -> dict[str, jax.Array]:
    """Two queries for person 7 and one for 8, by face."""
    rng = np.random.default_rng(0)
    facts = np.full((3, 4, 2), NOBODY, np.int32)
    facts[:, 0, 0] = (7, 7, 8)
    batch = {
        "frames": rng.integers(0, 256, (3, 1, 16, 16, 3), dtype=np.uint8),
        "faces": rng.integers(0, 256, (3, 2, 16, 16, 3), dtype=np.uint8),
        "face_valid": np.ones((3, 2), bool),
        "ids": np.array([[3, 0, 1]] * 3),
        "slots": np.array([[-1, 0, -1]] * 3),
        "query_facts": np.array([[7, ANY], [7, ANY], [8, ANY]]),
        "query_place": np.full(3, ANY),
        "facts": facts,
        "place": np.full(3, ANY),
    }
    return {name: jnp.asarray(array) for name, array in batch.items()}


def test_the_same_person_twice_in_a_batch_changes_nothing_for_the_others():
    batch, loss, params = a_batch(), PersonContrast(small.MODEL), small.random_params()
    both, scalars = loss(params, batch, jax.random.key(0))
    strangers = {**batch, "query_facts": jnp.array([[7, ANY], [9, ANY], [8, ANY]])}
    strangers["facts"] = batch["facts"].at[1, 0, 0].set(9)
    apart, _ = loss(params, strangers, jax.random.key(0))
    assert both < apart  # one negative fewer for two of the three
    assert 0 <= scalars["r1"] <= 1


def test_an_unknown_name_is_another_word_each_time():
    loss, params = PersonContrast(small.MODEL), small.random_params()
    named = {**a_batch(), "slots": jnp.array([[WORD, FACE, -1]] * 3)}
    losses = [float(loss(params, batch, jax.random.key(k))[0]) for batch in (named, a_batch()) for k in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert losses[3] == losses[5]  # nothing else is drawn
    words = np.asarray(small.MODEL.unknown_words(jax.random.key(0), 500))
    assert words.shape == (500, 1, 16)
    fresh = jax.nn.initializers.truncated_normal(small.CLIP.text.init_std)(jax.random.key(1), (500, 16))
    np.testing.assert_allclose(words.std(), fresh.std(), rtol=0.05)
