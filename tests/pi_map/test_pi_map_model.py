"""π itself: its start, its conditioning vectors, and what may learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.models.clip import ClipConfig
from storyjax.pi_map.model import PersonalClip, PiConfig, PiMap, conditioning_start, embed_in_batches

WIDTH = 8


def reference(params: dict, x: np.ndarray) -> np.ndarray:
    """π by hand."""

    def gelu(v: np.ndarray) -> np.ndarray:
        return np.asarray(jax.nn.gelu(jnp.asarray(v), approximate=False))

    for layer in (0, 1):
        dense = params[f"layer_{layer}"]
        x = x + params[f"condition_{layer}"] * gelu(x @ dense["kernel"] + dense["bias"])
    return x + x @ params["layer_2"]["kernel"] + params["layer_2"]["bias"]


def test_pi_is_three_residual_layers_and_two_vectors() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, WIDTH)).astype(np.float32)
    module = PiMap(PiConfig(width=WIDTH))
    params = module.init(jax.random.key(0), jnp.asarray(x))["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), params)
    assert set(params) == {"layer_0", "layer_1", "layer_2", "condition_0", "condition_1"}
    given = jax.tree.map(np.asarray, params)
    np.testing.assert_allclose(
        module.apply({"params": params}, jnp.asarray(x)), reference(given, x), rtol=1e-5, atol=1e-6
    )


def test_the_start_of_the_conditioning_vectors() -> None:
    images = np.array([[0.5, 0.0, 0.1, 0.2], [0.7, 0.0, 0.1, 0.2]], np.float32)
    texts = np.array([[0.0, -0.4, 0.1, 0.1], [0.0, -0.4, 0.1, 0.1]], np.float32)
    # The differences are 0.6, 0.4, 0 and 0.1.
    first, second = conditioning_start(images, texts)
    np.testing.assert_allclose(first, np.exp([0, 0.4, 0, 0.1]) / np.exp([0, 0.4, 0, 0.1]).sum(), rtol=1e-5)
    np.testing.assert_allclose(second, np.exp([0.6, 0, 0, 0.1]) / np.exp([0.6, 0, 0, 0.1]).sum(), rtol=1e-5)


def test_a_clip_whose_widths_differ_is_refused() -> None:
    sizes = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16}
    clip = from_config(ClipConfig, {"vision": sizes, "text": sizes, "projection_dim": 32})
    with pytest.raises(StoryjaxError, match="needs them equal"):
        PersonalClip(clip, PiConfig(width=32))


def test_batches_do_not_change_embeddings() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 2, 2, 3), dtype=np.uint8)

    def embed(part: np.ndarray) -> np.ndarray:
        return part.reshape(len(part), -1).astype(np.float32)

    np.testing.assert_array_equal(embed_in_batches(embed, pixels, batch=2), embed(pixels))
