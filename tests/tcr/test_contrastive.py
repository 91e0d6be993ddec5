"""Stage (i): the halves of the resampler, and the objectives that they are trained by."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.core.config import load_config
from storyjax.core.errors import StoryjaxError
from storyjax.tcr.contrastive import Initialisation, build
from storyjax.tcr.frame_stream import Streaming
from storyjax.tcr.interface import Video, VisualTokens
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.unimodal import TextOnly, VideoQueries


@pytest.fixture(scope="module")
def objective(model: VideoLanguageModel) -> Initialisation:
    return Initialisation(model, model.resampler.module)


@pytest.fixture(scope="module")
def whole(objective: Initialisation) -> dict:
    return jax.jit(objective.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def step(objective: Initialisation) -> Callable:
    return jax.jit(jax.value_and_grad(objective.loss, has_aux=True))


@pytest.fixture(scope="module")
def measure(objective: Initialisation) -> Callable:
    return jax.jit(objective.eval_step)


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
    config, batch = objective.tcr.config, make_batch()
    embed = jax.jit(lambda ids, mask: TextOnly(config).apply({"params": whole["tcr"]}, ids, mask))
    ids, mask = batch["condition"][:, 0], batch["condition_mask"][:, 0]
    first = embed(ids, mask)
    np.testing.assert_allclose(first, embed(np.where(mask, ids, 7), mask), atol=1e-5)
    changed = ids.copy()
    changed[:, 0] = (ids[:, 0] + 5) % 60
    assert np.abs(np.asarray(embed(changed, mask) - first)).max() > 1e-3


def test_queries_are_those_of_the_whole_resampler_without_other_rows(objective: Initialisation, whole: dict) -> None:
    """One resampler, by hand: what its blocks make of the queries alone."""
    config = objective.tcr.config
    batch = {name: jnp.asarray(value) for name, value in make_batch().items()}
    video = objective.model.visual(whole, Video(batch["seconds"], batch["frame_mask"], batch["frames"]), None)
    queries = VideoQueries(config).apply({"params": whole["tcr"]}, video)
    assert queries.shape == (3, config.queries, config.width)
    masked = (video[0], video[1], video[2] & (np.arange(video[2].shape[1]) % 2 == 0)[None])
    junk = (jnp.where(masked[2][..., None], video[0], 99.0), video[1], masked[2])
    first, again = (VideoQueries(config).apply({"params": whole["tcr"]}, VisualTokens(*one)) for one in (masked, junk))
    np.testing.assert_allclose(first, again, atol=1e-4)
    assert np.abs(np.asarray(first - queries)).max() > 1e-4


def trained_a_little(step: Callable, params: dict, batch: dict) -> tuple[dict, dict]:
    """Parameters after a few steps on one batch, and what the last of them measured."""
    for number in range(30):
        (_, parts), gradient = step(params, batch, jax.random.key(number))
        params = jax.tree.map(lambda p, g: p - 0.02 * jnp.sign(g) * (jnp.abs(g) > 0), params, gradient)
    return params, parts


def test_both_objectives_move_what_they_are_to_move(step: Callable, whole: dict) -> None:
    batch = make_batch()
    (loss, parts), gradient = step(whole, batch, jax.random.key(1))
    assert float(loss) == pytest.approx(float(parts["contrastive"] + parts["matching"]))
    for part in ("queries", "vocabulary", "task_tokens", "visual_projection"):
        leaves = jax.tree.leaves(gradient["tcr"][part])
        assert max(float(jnp.abs(leaf).max()) for leaf in leaves) > 0, part
    assert float(jnp.abs(gradient["head"]["match"]["kernel"]).max()) > 0
    assert float(jnp.abs(gradient["head"]["log_scale"])) > 0
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient["vision"])) == 0
    _, parts = trained_a_little(step, whole, batch)  # pairs are found again
    assert float(parts["contrastive"]) < 0.5
    assert float(parts["retrieved"]) == 1.0


def rows(batch: dict, places: list[int], real: list[bool]) -> dict:
    """The batch of these rows of another, of which some are `real`."""
    return {**{name: value[places] for name, value in batch.items()}, "record_valid": np.array(real)}


def test_filling_changes_no_sum(step: Callable, measure: Callable, whole: dict) -> None:
    """Two pairs have one negative each, so nothing is drawn at random between them."""
    batch = make_batch()
    params, _ = trained_a_little(step, whole, batch)
    alone = {name: float(value) for name, value in measure(params, rows(batch, [0, 1], [True] * 2)).items()}
    assert (alone["videos"], alone["retrieved"]) == (2.0, 2.0)
    filled = {
        "a last batch's filling": ([0, 1, 0, 0], [True, True, False, False]),
        "broken records before good ones": ([0, 0, 1, 0], [False, True, True, False]),
        "what is like no other": ([2, 0, 2, 1], [False, True, False, True]),
    }
    for why, chosen in filled.items():
        sums = {name: float(value) for name, value in measure(params, rows(batch, *chosen)).items()}
        assert sums == pytest.approx(alone, abs=1e-4), why
    # Were they real, they would count.
    assert float(measure(params, rows(batch, [0, 1, 0, 0], [True] * 4))["contrastive"]) > alone["contrastive"] + 1


def test_a_pair_without_negatives_is_its_own(measure: Callable, whole: dict) -> None:
    batch = make_batch()
    alone = measure(whole, rows(batch, [1], [True]))
    filled = measure(whole, rows(batch, [0, 1, 0, 2], [False, True, False, False]))
    for name, value in alone.items():
        assert float(value) == pytest.approx(float(filled[name]), abs=1e-4), name
    assert float(alone["contrastive"]) == 0.0


def test_a_stream_gives_the_same_losses_and_gradients(objective: Initialisation, step: Callable, whole: dict) -> None:
    """Negatives too: their keys are exchanged chunk by chunk."""
    batch, key = make_batch(t=5), jax.random.key(2)
    batch["frame_mask"][1, 3:] = False
    streaming = Streaming(chunk_frames=2, vision_chunk_frames=1)
    streamed = dataclasses.replace(objective, model=dataclasses.replace(objective.model, streaming=streaming))
    results = [one(whole, batch, key) for one in (step, jax.jit(jax.value_and_grad(streamed.loss, has_aux=True)))]
    for first, second in zip(*map(jax.tree.leaves, results), strict=True):
        scale = max(1.0, float(np.abs(first).max()))
        np.testing.assert_allclose(np.asarray(second) / scale, np.asarray(first) / scale, atol=1e-5)


def test_the_qformer_is_not_initialised() -> None:
    config = load_config("configs/tcr_ytt_init.py:embedded")
    sizes = {"queries": 8, "width": 32, "depth": 2, "heads": 2, "mlp_width": 64}
    with config.unlocked():
        config.model.qformer = ConfigDict({"sizes": sizes})
    with pytest.raises(StoryjaxError, match=r"config\.model\.qformer: stage \(i\)"):
        build(config)
