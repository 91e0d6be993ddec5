"""BLIP-2's Q-Former in the TCR's place: clips that are averaged, and what cannot be."""

import dataclasses

import jax
import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.models.qformer import QFormer, QFormerConfig
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.qformer_baseline import CLIP, ClipAverage, QFormerResampler, answering

ANSWERS = np.array([[5, 1], [6, 1]], np.int32)


@pytest.fixture(scope="module")
def baseline(model: VideoLanguageModel) -> VideoLanguageModel:
    widths = {"vision_width": model.vision.config.width, "llm_width": model.llm.config.d_model}
    sizes = QFormerConfig(queries=3, width=16, depth=2, heads=2, mlp_width=16, **widths)
    return dataclasses.replace(model, resampler=QFormerResampler(QFormer(sizes), model.resampler.sizes))


def make_batch(t: int) -> dict:
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 256, (1, t, 16, 16, 3)).astype(np.uint8),
        "seconds": np.arange(t, dtype=np.float32)[None],
        "frame_mask": np.ones((1, t), bool),
        "task": np.zeros((1, 1), np.int32),
        **{name: np.full((1, 1, 4), 9, np.int32) for name in ("condition", "prompt")},
        **{f"{name}_mask": np.ones((1, 1, 4), bool) for name in ("condition", "prompt")},
        "target": ANSWERS[None, :1],
    }


@pytest.mark.parametrize(("frames", "advice"), [(9, "frames=8 or 16"), (92, "frames=88 or 96")])
def test_frames_are_cut_into_whole_clips(
    baseline: VideoLanguageModel, model: VideoLanguageModel, frames: int, advice: str
) -> None:
    with pytest.raises(StoryjaxError, match=f"config.model.qformer: {frames} frames.*{advice}"):
        answering(baseline, frames, lambda: ANSWERS)
    assert type(answering(model, frames, lambda: ANSWERS)) is QuestionAnswering
    assert type(answering(baseline, CLIP - 2, lambda: ANSWERS)) is QuestionAnswering


def test_what_is_said_word_by_word_is_not_averaged(baseline: VideoLanguageModel, model: VideoLanguageModel) -> None:
    alone = "config.model.qformer: only choices.*frames=8"
    with pytest.raises(StoryjaxError, match=alone):
        answering(baseline, 2 * CLIP, lambda: ANSWERS, choices=False)
    assert type(answering(baseline, CLIP, lambda: ANSWERS, choices=False)) is QuestionAnswering
    assert type(answering(model, 2 * CLIP, lambda: ANSWERS, choices=False)) is QuestionAnswering
    # An evaluator that generates would have all frames seen at once.
    average, params = ClipAverage(baseline, lambda: ANSWERS), jax.eval_shape(baseline.init, jax.random.key(0))
    for asked in (average.encode, average.encode_video):
        with pytest.raises(StoryjaxError, match=alone):
            jax.eval_shape(lambda params, batch, asked=asked: asked(params, batch, None), params, make_batch(2 * CLIP))


def test_clips_of_stored_tokens_are_averaged_as_those_of_frames(baseline: VideoLanguageModel) -> None:
    params, batch = jax.jit(baseline.init)(jax.random.key(0)), make_batch(2 * CLIP)
    stored = {name: value for name, value in batch.items() if name != "frames"}
    stored["visual_tokens"] = np.asarray(jax.jit(baseline.encode_frames)(params, batch["frames"]))
    average = answering(baseline, 2 * CLIP, lambda: ANSWERS)
    scores = jax.jit(lambda batch: average.scores(params, batch, False)[0])
    np.testing.assert_allclose(scores(stored), scores(batch), rtol=1e-4)
    loss = jax.jit(lambda batch, key: average.loss(params, batch, key)[0])
    key = jax.random.key(1)
    np.testing.assert_allclose(loss(stored, key), loss(batch, key), rtol=1e-4)


def test_passes_of_the_tcr_over_parts_of_a_video_are_averaged(model: VideoLanguageModel) -> None:
    """Table 3.3, 92 × 2."""
    params, batch = jax.jit(model.init)(jax.random.key(0)), make_batch(4)
    twice = answering(model, 4, lambda: ANSWERS, passes=2)
    scores = jax.jit(lambda batch: twice.scores(params, batch, False)[0])(batch)
    cut = ("frames", "seconds", "frame_mask")
    halves = [{**batch, **{name: batch[name][:, part] for name in cut}} for part in (slice(0, 2), slice(2, 4))]
    once = jax.jit(lambda batch: answering(model, 2, lambda: ANSWERS).scores(params, batch, False)[0])
    expected = np.log(np.mean([np.exp(once(half)) for half in halves], axis=0))
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    for wrong in ({"passes": 3}, {"passes": 0}, {"passes": 2, "choices": False}):
        with pytest.raises(StoryjaxError, match=r"passes over 4 frames"):
            answering(model, 4, lambda: ANSWERS, **wrong)
