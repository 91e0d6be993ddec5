"""The resampler does what §3.2 says, and what is masked does not matter."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.tcr.interface import Prompt, Video, VisualTokens
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.patch_dropout import all_patches, drop_patches
from storyjax.tcr.resampler import TASK_TOKENS, Tcr, TcrConfig, TcrResampler, time_to_bin, time_tokens

B, T, K, LENGTH = 2, 4, 3, 5


@pytest.fixture
def inputs() -> dict:
    rng = np.random.default_rng(0)
    return {
        "frames": jnp.asarray(rng.integers(0, 256, (B, T, 16, 16, 3)), jnp.uint8),
        "seconds": jnp.tile(jnp.arange(T, dtype=jnp.float32) * 3.0, (B, 1)),
        "frame_mask": jnp.ones((B, T), bool),
        "task": jnp.zeros((B, K), jnp.int32),
        "prompt": jnp.asarray(rng.integers(3, 60, (B, K, LENGTH)), jnp.int32),
        "prompt_mask": jnp.ones((B, K, LENGTH), bool),
    }


def resample(model: VideoLanguageModel, params: dict, inputs: dict, key: jax.Array | None = None):
    tokens = model.encode_frames(params, inputs["frames"])
    video = Video(inputs["seconds"], inputs["frame_mask"], tokens=tokens)
    prompt = Prompt(inputs["task"], inputs["prompt"], inputs["prompt_mask"])
    return model.encode_video(params, video, prompt, key)[:2]


def test_shapes_and_attention_over_frames(model: VideoLanguageModel, params: dict, inputs: dict) -> None:
    queries, seen = resample(model, params, inputs)
    assert queries.shape == (B, K, 6, 24)
    np.testing.assert_allclose(seen.sum(-1), 1, atol=1e-5)


def test_masked_frames_and_prompt_tokens_do_not_matter(model: VideoLanguageModel, params: dict, inputs: dict) -> None:
    inputs["frame_mask"] = inputs["frame_mask"].at[:, -1].set(False)
    inputs["prompt_mask"] = inputs["prompt_mask"].at[..., -2:].set(False)
    before, seen = resample(model, params, inputs)
    inputs["frames"] = inputs["frames"].at[:, -1].set(7)
    inputs["seconds"] = inputs["seconds"].at[:, -1].set(100.0)
    inputs["prompt"] = inputs["prompt"].at[..., -2:].set(9)
    after, _ = resample(model, params, inputs)
    np.testing.assert_allclose(before, after, atol=1e-6)
    np.testing.assert_allclose(seen[..., -1], 0)


def test_no_video_at_all_is_finite(model: VideoLanguageModel, params: dict, inputs: dict) -> None:
    queries, seen = resample(model, params, {**inputs, "frame_mask": jnp.zeros((B, T), bool)})
    assert np.isfinite(queries).all()
    np.testing.assert_allclose(seen, 0)


def test_order_of_frames_is_in_their_times_alone(model: VideoLanguageModel, params: dict, inputs: dict) -> None:
    order = jnp.array([2, 0, 3, 1])
    moved = {**inputs, "frames": inputs["frames"][:, order], "seconds": inputs["seconds"][:, order]}
    before, _ = resample(model, params, inputs)
    np.testing.assert_allclose(before, resample(model, params, moved)[0], atol=1e-5)
    only_frames = {**inputs, "frames": inputs["frames"][:, order]}
    assert np.abs(before - resample(model, params, only_frames)[0]).max() > 1e-3


def test_questions_on_one_video_do_not_see_each_other(model: VideoLanguageModel, params: dict, inputs: dict) -> None:
    together, _ = resample(model, params, inputs)
    alone = {**inputs, **{name: inputs[name][:, 1:2] for name in ("task", "prompt", "prompt_mask")}}
    np.testing.assert_allclose(together[:, 1:2], resample(model, params, alone)[0], atol=1e-5)


def test_task_token_and_prompt_condition_the_output(model: VideoLanguageModel, params: dict, inputs: dict) -> None:
    base, _ = resample(model, params, inputs)
    other_task = {**inputs, "task": inputs["task"] + TASK_TOKENS.index("CPN")}
    other_prompt = {**inputs, "prompt": inputs["prompt"].at[..., 0].add(1) % 60}
    timed = {**inputs, "prompt": inputs["prompt"].at[..., 0].set(60 + 6)}
    outputs = [base, *(resample(model, params, changed)[0] for changed in (other_task, other_prompt, timed))]
    for first, second in itertools.combinations(outputs, 2):
        assert np.abs(first - second).max() > 1e-3


def test_without_task_tokens_all_tasks_are_one(model: VideoLanguageModel, params: dict, inputs: dict) -> None:
    """§3.3.5: the same parameters, none of which says the task."""
    module = model.resampler.module
    off = dataclasses.replace(
        model, resampler=TcrResampler(Tcr(dataclasses.replace(module.config, task_tokens=False), module.dtype))
    )
    base, other = (resample(off, params, {**inputs, "task": inputs["task"] + task})[0] for task in (0, 1))
    np.testing.assert_array_equal(base, other)
    assert np.abs(base - resample(model, params, inputs)[0]).max() > 1e-3


def test_cross_attention_is_in_blocks_0_and_2_before_self_attention(params: dict) -> None:
    blocks = {name: set(tree) for name, tree in params["tcr"].items() if name.startswith("block_")}
    assert {name for name, parts in blocks.items() if "cross_attention" in parts} == {"block_0", "block_2"}
    assert len(blocks) == 4
    # A one-block TCR's text attends to the video before text and queries see each other: with a self-attention of
    # zero output, what a query takes from the video does not depend on the prompt.
    tiny = Tcr(TcrConfig(vocab_size=60, llm_width=24, width=32, heads=4, queries=6, blocks=1, max_prompt=8))
    tokens, ids = jax.random.normal(jax.random.key(1), (1, 5, 16)), jnp.zeros((1, 5), jnp.int32)
    prompt = jnp.full((1, 1, 2), 4, jnp.int32)
    visual = VisualTokens(tokens, ids, ids == 0)
    variables = tiny.init(jax.random.key(0), visual, Prompt(prompt[..., 0] * 0, prompt, prompt > 0))
    out = variables["params"]["block_0"]["self_attention"]["out"]
    out["kernel"] = jnp.zeros_like(out["kernel"])
    first, second = (
        tiny.apply(variables, visual, Prompt(prompt[..., 0] * 0, ids, prompt > 0)).queries
        for ids in (prompt, prompt + 1)
    )
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_every_other_frame_loses_half_of_its_patches_but_no_class_token() -> None:
    tokens = jnp.arange(2 * 4 * 9, dtype=jnp.float32).reshape(2, 4, 9, 1)
    kept, frame_of = drop_patches(jax.random.key(0), tokens, 0.5)
    assert kept.shape == (2, 2 * 9 + 2 * 5, 1)
    counts = [[int((row == frame).sum()) for frame in range(4)] for row in frame_of]
    assert counts == [[9, 5, 9, 5]] * 2
    for video in range(2):
        values = set(np.asarray(kept[video, :, 0]).tolist())
        assert len(values) == 28
        assert set(np.asarray(tokens[video, :, 0, 0]).tolist()) <= values
        # Each token goes with its own frame.
        np.testing.assert_array_equal((np.asarray(kept[video, :, 0]) // 9) % 4, np.asarray(frame_of[video]))
    other, _ = drop_patches(jax.random.key(1), tokens, 0.5)
    assert np.abs(np.asarray(other) - np.asarray(kept)).max() > 0
    assert all_patches(tokens)[0].shape == (2, 36, 1)


def test_times_are_binned_by_half_seconds_and_end_in_the_last_bin() -> None:
    config = TcrConfig(vocab_size=60, llm_width=24)
    bins = time_to_bin(jnp.array([0.0, 0.49, 0.5, 3.0, 1e6]), config)
    assert bins.tolist() == [0, 0, 1, 6, 2047]
    assert time_tokens((3.0, 1e6), config) == [66, 60 + 2047]


def test_the_thesis_sizes_are_the_defaults() -> None:
    config = TcrConfig(vocab_size=32128, llm_width=2048)
    shapes = jax.eval_shape(
        lambda: Tcr(config).init(
            jax.random.key(0),
            VisualTokens(jnp.zeros((1, 3, 1408)), jnp.zeros((1, 3), jnp.int32), jnp.ones((1, 3), bool)),
            Prompt(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, 4), jnp.int32), jnp.ones((1, 1, 4), bool)),
        )
    )["params"]
    assert (config.width, config.blocks, config.heads, config.queries) == (512, 4, 8, 128)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # The thesis states 69 and 76 million; what it describes adds up to this (storyjax/tcr/README.md).
    assert count == 33_301_760
