"""Stage (i): the halves of the resampler, and the objectives that they are trained by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.tcr.halves import TextAlone, VideoQueries
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.pretrain import Initialisation


@pytest.fixture(scope="module")
def objective(model: VideoLanguageModel) -> Initialisation:
    return Initialisation(model)


@pytest.fixture(scope="module")
def whole(objective: Initialisation) -> dict:
    return jax.jit(objective.init)(jax.random.key(0))


def make_batch(seed: int = 0, b: int = 3, t: int = 2) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "frames": rng.integers(0, 256, (b, t, 16, 16, 3)).astype(np.uint8),
        "seconds": np.tile(np.arange(t, dtype=np.float32), (b, 1)),
        "frame_mask": np.ones((b, t), bool),
        "task": np.full((b, 1), 2, np.int32),
        "condition": rng.integers(3, 60, (b, 1, 8)).astype(np.int32),
        "condition_mask": np.arange(8)[None, None] < rng.integers(3, 6, (b, 1, 1)),
        "valid": np.ones((b, 1), bool),
        "record_valid": np.ones(b, bool),
    }


def test_text_alone_does_not_see_its_padding(objective: Initialisation, whole: dict) -> None:
    config, batch = objective.model.tcr.config, make_batch()
    embed = jax.jit(lambda ids, mask: TextAlone(config).apply({"params": whole["tcr"]}, ids, mask))
    ids, mask = batch["condition"][:, 0], batch["condition_mask"][:, 0]
    first = embed(ids, mask)
    np.testing.assert_allclose(first, embed(np.where(mask, ids, 7), mask), atol=1e-5)
    changed = ids.copy()
    changed[:, 0] = (ids[:, 0] + 5) % 60
    assert np.abs(np.asarray(embed(changed, mask) - first)).max() > 1e-3


def test_queries_are_those_of_the_whole_resampler_without_other_rows(objective: Initialisation, whole: dict) -> None:
    """One resampler, by hand: what its blocks make of the queries alone."""
    config = objective.model.tcr.config
    batch = {name: jnp.asarray(value) for name, value in make_batch().items()}
    video = objective.see(whole, batch, None)
    queries = VideoQueries(config).apply({"params": whole["tcr"]}, *video)
    assert queries.shape == (3, config.queries, config.width)
    masked = (video[0], video[1], video[2] & (np.arange(video[2].shape[1]) % 2 == 0)[None])
    junk = (jnp.where(masked[2][..., None], video[0], 99.0), video[1], masked[2])
    first, again = (VideoQueries(config).apply({"params": whole["tcr"]}, *one) for one in (masked, junk))
    np.testing.assert_allclose(first, again, atol=1e-4)
    assert np.abs(np.asarray(first - queries)).max() > 1e-4


def test_both_objectives_move_what_they_are_to_move(objective: Initialisation, whole: dict) -> None:
    batch = make_batch()
    step = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (loss, parts), gradient = step(whole, batch, jax.random.key(1))
    assert float(loss) == pytest.approx(float(parts["contrastive"] + parts["matching"]))
    for part in ("queries", "vocabulary", "task_tokens", "visual_projection"):
        leaves = jax.tree.leaves(gradient["tcr"][part])
        assert max(float(jnp.abs(leaf).max()) for leaf in leaves) > 0, part
    assert float(jnp.abs(gradient["head"]["match"]["kernel"]).max()) > 0
    assert float(jnp.abs(gradient["head"]["log_scale"])) > 0
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient["vision"])) == 0
    # A few steps on one batch: pairs are found again.
    params = whole
    for number in range(30):
        (_, parts), gradient = step(params, batch, jax.random.key(number))
        params = jax.tree.map(lambda p, g: p - 0.02 * jnp.sign(g) * (jnp.abs(g) > 0), params, gradient)
    assert float(parts["contrastive"]) < 0.5
    assert float(parts["retrieved"]) == 1.0


def test_padding_changes_no_sum(objective: Initialisation, whole: dict) -> None:
    measure = jax.jit(objective.measure)
    batch = make_batch()
    batch["record_valid"] = np.array([True, True, False])
    sums = measure(whole, batch)
    assert float(sums["videos"]) == 2.0
    assert float(sums["retrieved"]) <= 2.0
