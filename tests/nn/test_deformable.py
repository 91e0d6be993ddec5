"""Deformable attention: what the parity test does not see. (tests/parity has PyTorch's numbers.)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.nn import deformable_attention as module
from storyjax.nn.deformable_attention import deformable_attention as attention

SHAPES = ((5, 7), (3, 4))


def attend(*arrays: jax.Array | np.ndarray) -> jax.Array:
    return attention(*(jnp.asarray(array) for array in arrays[:3]), SHAPES)


@pytest.fixture
def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 47, 2, 4)).astype(np.float32)
    locations = rng.uniform(-0.2, 1.2, size=(2, 9, 2, 2, 3, 2)).astype(np.float32)
    return values, locations, rng.uniform(size=(2, 9, 2, 2, 3)).astype(np.float32)


def gradients(inputs: tuple[np.ndarray, ...]) -> tuple[jax.Array, ...]:
    return jax.grad(lambda *arrays: (attend(*arrays) ** 2).sum(), argnums=(0, 1, 2))(*inputs)


def test_chunks_change_nothing(inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, slopes = attend(*inputs), gradients(inputs)
    monkeypatch.setattr(module, "_CHUNK_FLOATS", 4 * 4 * 6 * 4)  # four queries: the last chunk is filled up
    np.testing.assert_allclose(attend(*inputs), whole, atol=1e-6)
    for ours, before in zip(gradients(inputs), slopes, strict=True):
        np.testing.assert_allclose(ours, before, atol=1e-4)


def test_a_sample_in_the_middle_of_a_pixel_is_that_pixel() -> None:
    values = np.arange(47, dtype=np.float32).reshape(1, 47, 1, 1)
    locations = np.zeros((1, 1, 1, 2, 1, 2), np.float32)
    locations[..., 0, 0, :] = (2.5 / 7, 3.5 / 5)  # column 2, row 3 of the first level
    locations[..., 1, 0, :] = (0.5 / 4, 0.5 / 3)
    for level, expected in ((0, 3 * 7 + 2), (1, 35)):
        weights = np.zeros((1, 1, 1, 2, 1), np.float32)
        weights[..., level, 0] = 1
        assert float(attend(values, locations, weights)[0, 0, 0]) == pytest.approx(expected)


def test_far_outside_is_nothing_and_queries_do_not_mix(inputs) -> None:
    values, locations, weights = inputs
    far = locations.copy()
    far[:, 4] = 40.0
    moved, before = attend(values, far, weights), attend(*inputs)
    assert not np.asarray(moved[:, 4]).any()
    others = [i for i in range(9) if i != 4]
    np.testing.assert_array_equal(np.asarray(moved)[:, others], np.asarray(before)[:, others])


def test_half_precision_values_are_summed_in_full(inputs) -> None:
    values, locations, weights = inputs
    half = attend(jnp.asarray(values, jnp.bfloat16), locations, weights)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), attend(*inputs), atol=0.1)


def test_values_of_other_levels_are_refused(inputs) -> None:
    values, locations, weights = inputs
    with pytest.raises(ValueError, match="levels"):
        attend(values[:, :40], locations, weights)
