"""A model that streams is the model that looks at all frames at once, whatever the chunks, the patches and the mesh."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.tcr.frame_stream import Chunks, Packed, Streaming
from storyjax.tcr.interface import Prompt, Resampled, Video
from storyjax.tcr.model import VideoLanguageModel

B, T, K, LENGTH = 2, 8, 2, 3


def video(frames: int = T) -> dict:
    rng = np.random.default_rng(0)
    mask = np.ones((B, frames), bool)
    mask[1, 5:] = False  # padding behind a shorter video
    return {
        "frames": jnp.asarray(rng.integers(0, 256, (B, frames, 16, 16, 3)), jnp.uint8),
        "seconds": jnp.tile(jnp.arange(frames, dtype=jnp.float32) * 3.0, (B, 1)),
        "frame_mask": jnp.asarray(mask),
        "task": jnp.zeros((B, K), jnp.int32),
        "prompt": jnp.asarray(rng.integers(3, 60, (B, K, LENGTH)), jnp.int32),
        "prompt_mask": jnp.ones((B, K, LENGTH), bool).at[0, 1, 2:].set(False),
    }


def encode(model: VideoLanguageModel, params: dict, inputs: dict, key: jax.Array | None = None) -> Resampled:
    seen = Video(inputs["seconds"], inputs["frame_mask"], inputs.get("frames"), inputs.get("tokens"))
    return model.encode_video(params, seen, Prompt(inputs["task"], inputs["prompt"], inputs["prompt_mask"]), key)


def outcome(model: VideoLanguageModel, params: dict, inputs: dict, key: jax.Array | None, tokens: bool = False):
    """What the model makes of the video, and the gradients of a number that all of it has a say in."""

    def number(tcr: dict, inputs: dict):
        everything = {**params, "tcr": tcr}
        if tokens:
            rest = {name: value for name, value in inputs.items() if name != "frames"}
            whole = dataclasses.replace(model, streaming=Streaming()).encode_frames(params, inputs["frames"])
            resampled = encode(model, everything, {**rest, "tokens": whole}, key)
        else:
            resampled = encode(model, everything, inputs, key)
        weights = [jnp.cos(jnp.arange(part.size, dtype=jnp.float32)).reshape(part.shape) for part in resampled]
        return sum(jnp.sum(part * weight) for part, weight in zip(resampled, weights, strict=True)), resampled

    return jax.jit(jax.grad(number, has_aux=True))(params["tcr"], inputs)


def assert_same(first, second, atol: float = 1e-5) -> None:
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(np.asarray(one) / scale, np.asarray(other) / scale, atol=atol)


@pytest.mark.parametrize(
    ("frames", "streaming", "drops", "tokens"),
    [
        # Chunks that overlap, of which the tower sees two frames at a time; and a last frame without another.
        (9, Streaming(chunk_frames=4, vision_chunk_frames=3), True, False),
        (7, Streaming(chunk_frames=3), False, True),  # tokens that are there already
    ],
)
def test_streaming_changes_nothing(model, params, frames, streaming, drops, tokens) -> None:
    inputs, key = video(frames), jax.random.key(3) if drops else None
    at_once = outcome(model, params, inputs, key)
    streamed = outcome(dataclasses.replace(model, streaming=streaming), params, inputs, key, tokens)
    assert streamed[1].query_attention.shape == (B, K, frames)
    assert_same(streamed, at_once)


def test_the_tower_alone_can_take_its_time(model, params) -> None:
    frames = video(7)["frames"]
    slow = dataclasses.replace(model, streaming=Streaming(vision_chunk_frames=3))
    np.testing.assert_allclose(slow.encode_frames(params, frames), model.encode_frames(params, frames), atol=1e-5)


ON_EIGHT_DEVICES = """
import dataclasses, sys
import jax, numpy as np
from jax.sharding import Mesh
sys.path.insert(0, "tests/tcr")
from conftest import LANGUAGE, RESAMPLER, VISION
from test_frame_stream import assert_same, outcome, video
from storyjax.models.t5 import T5
from storyjax.models.vit import ViT
from storyjax.tcr.loader import FRAME_ARRAYS
from storyjax.tcr.model import Streaming, VideoLanguageModel
from storyjax.tcr.resampler import Tcr, TcrResampler
from storyjax.train.mesh import batch_sharding

model = VideoLanguageModel(ViT(VISION), TcrResampler(Tcr(RESAMPLER)), T5(LANGUAGE), Streaming(chunk_frames=2))
shapes = jax.eval_shape(model.init, jax.random.key(0))
rng = np.random.default_rng(0)
params = jax.tree.map(lambda leaf: np.asarray(rng.normal(0, 0.2, leaf.shape), leaf.dtype), shapes)
key, inputs = jax.random.key(3), video(8)
plain = outcome(dataclasses.replace(model, streaming=Streaming()), params, inputs, key)
assert len(jax.devices()) == 8
for shape in ((1, 1, 4), (1, 2, 4)):
    devices = np.array(jax.devices()[: int(np.prod(shape))]).reshape(shape)
    mesh = Mesh(devices, ("data", "fsdp", "seq"))
    laid = {
        name: jax.device_put(array, batch_sharding(mesh, sequence=name in FRAME_ARRAYS))
        for name, array in inputs.items()
    }
    with jax.set_mesh(mesh):
        assert_same(outcome(model, params, laid, key), plain)
print("the same on every mesh")
"""


def test_a_video_cut_over_devices_is_the_same_video() -> None:
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ON_EIGHT_DEVICES],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "the same on every mesh", done.stderr[-3000:]


@pytest.mark.parametrize(
    ("frames", "parts", "at_most", "paired"),
    [(92, 1, 16, True), (10, 1, 3, True), (22, 1, 8, True), (10, 2, 3, False), (6, 1, 9, True)],
)
def test_chunks_show_every_frame_once(frames: int, parts: int, at_most: int, paired: bool) -> None:
    chunks = Chunks.of(frames, parts, at_most, paired)
    assert chunks.size <= max(at_most, 2)
    numbers = jnp.arange(frames, dtype=jnp.int32)[None]
    shown, by_chunk = [], []
    for index in range(chunks.count):
        chunk = chunks.read(numbers, jnp.int32(index))
        fresh = chunks.fresh(jnp.int32(index))
        assert not paired or (np.asarray(chunk)[..., 0] % 2 == 0).all()
        shown += np.asarray(chunk)[..., np.asarray(fresh)].ravel().tolist()
        by_chunk.append(chunk)
    assert sorted(shown) == list(range(frames))
    np.testing.assert_array_equal(chunks.join(jnp.stack(by_chunk)), numbers)


def test_a_video_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(StoryjaxError, match=r"92 frames cannot be cut over 8 devices .*multiple of 16"):
        Chunks.of(92, 8, 16, paired=True)
    with pytest.raises(StoryjaxError, match=r"features is 'int8'.*chunk_frames"):
        Streaming(features="int8")


def test_tokens_kept_in_eight_bits_are_off_by_half_a_step(model) -> None:
    tokens = jax.random.normal(jax.random.key(0), (5, 16)) * jnp.array([[1e-3], [1.0], [10.0], [1e3], [0.0]])
    packed = Packed.of(tokens, "int8")
    assert packed.values.dtype == jnp.int8
    step = np.abs(tokens).max(-1, keepdims=True) / 127
    assert (np.abs(packed.tokens() - tokens) <= 0.5001 * step + 1e-12).all()
    assert Streaming(4, features="int8").token_bytes(16, jnp.float32) == packed.values.shape[-1] + 4


def test_int8_features_give_nearly_the_same_video(model, params) -> None:
    inputs = video()
    plain = encode(model, params, inputs)
    eight = encode(dataclasses.replace(model, streaming=Streaming(4, features="int8")), params, inputs)
    assert 0 < np.abs(eight.queries - plain.queries).max() < 0.02 * np.abs(plain.queries).max()
