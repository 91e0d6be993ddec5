"""The five aggregations: alone unchanged, what is missing has no say, weights sum to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.mqt.aggregation import SCHEMES, Aggregation, Outputs, Scheme


def outputs(seed: int = 0) -> Outputs:
    rng = np.random.default_rng(seed)
    return Outputs(*(rng.normal(size=(2, 3, 3, width)).astype(np.float32) for width in (8, 4, 8)))


def aggregate(scheme: Scheme, kinds: Outputs, mask: np.ndarray, appearance_kind: int = 1) -> Outputs:
    kinds, mask = jax.tree.map(jnp.asarray, (kinds, mask))
    module = Aggregation(scheme, box_kind=0, appearance_kind=appearance_kind)
    variables = module.init(jax.random.key(0), kinds, mask)
    # Away from where training starts, at which gates and weights are all alike.
    variables = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape), variables)
    return module.apply(variables, kinds, mask)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_missing_kind_has_no_say(scheme: Scheme) -> None:
    mask = np.ones((2, 3, 3), bool)
    mask[0, :, 1] = False
    kinds = outputs()
    changed = Outputs(*(np.where(mask[..., None], array, 100.0).astype(np.float32) for array in kinds))
    for ours, other in zip(aggregate(scheme, kinds, mask), aggregate(scheme, changed, mask), strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-5)
    everything = aggregate(scheme, kinds, np.ones_like(mask))
    differs = [np.abs(a - b).max() for a, b in zip(everything, aggregate(scheme, kinds, mask), strict=True)]
    assert max(differs) > 1e-3


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "concat"])
def test_a_kind_alone_passes_unchanged(scheme: Scheme) -> None:
    kinds, mask = outputs(), np.zeros((2, 3, 3), bool)
    mask[..., 2] = True
    for ours, array in zip(aggregate(scheme, kinds, mask), kinds, strict=True):
        np.testing.assert_allclose(ours, array[:, :, 2], atol=1e-6)


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "concat"])
def test_kinds_that_agree_stay_what_they_are(scheme: Scheme) -> None:
    """Weights that did not sum to one would show in the boxes."""
    alike = Outputs(*(np.repeat(array[:, :, :1], 3, axis=2) for array in outputs()))
    found = aggregate(scheme, alike, np.ones((2, 3, 3), bool))
    np.testing.assert_allclose(found.box_logits, alike.box_logits[:, :, 0], atol=1e-5)


def test_the_heuristic_takes_each_from_its_kind() -> None:
    kinds = outputs()
    found = aggregate("heuristic", kinds, np.ones((2, 3, 3), bool), appearance_kind=2)
    np.testing.assert_allclose(found.box_logits, kinds.box_logits[:, :, 0], atol=1e-6)
    np.testing.assert_allclose(found.appearance, kinds.appearance[:, :, 2], atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_frame_without_tracks_gives_none(scheme: Scheme) -> None:
    """The first frame of a pair has none, in training too."""
    empty = Outputs(*(np.zeros((2, 0, 3, width), np.float32) for width in (8, 4, 8)))
    found = aggregate(scheme, empty, np.zeros((2, 0, 3), bool))
    assert [array.shape for array in found] == [(2, 0, 8), (2, 0, 4), (2, 0, 8)]
