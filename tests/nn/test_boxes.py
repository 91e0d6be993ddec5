"""Boxes: known overlaps, and nothing that is not a number where there is no area."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.nn.boxes import (
    clip_to_image,
    giou,
    inverse_sigmoid,
    iou,
    pairwise_giou,
    pairwise_iou,
    pairwise_l1,
    to_centres,
    to_corners,
)

UNIT = jnp.array([0.5, 0.5, 1.0, 1.0])


@pytest.mark.parametrize(
    ("other", "overlap", "generalised"),
    [
        ((0.5, 0.5, 1.0, 1.0), 1.0, 1.0),
        ((1.0, 0.5, 1.0, 1.0), 1 / 3, 1 / 3),
        ((2.5, 0.5, 1.0, 1.0), 0.0, -1 / 3),  # a third of the hull lies between them
        ((0.5, 0.5, 0.5, 0.5), 0.25, 0.25),
    ],
)
def test_overlaps_that_are_known(other: tuple[float, ...], overlap: float, generalised: float) -> None:
    assert float(iou(UNIT, jnp.array(other))) == pytest.approx(overlap)
    assert float(giou(UNIT, jnp.array(other))) == pytest.approx(generalised)


@pytest.mark.parametrize("box", [(0.3, 0.3, 0.0, 0.0), (0.5, 0.5, 0.2, 0.0), (0.5, 0.5, -0.2, 0.1)])
def test_boxes_without_area_overlap_nothing_and_have_gradients(box: tuple[float, ...]) -> None:
    degenerate = jnp.array(box)
    for other in (UNIT, degenerate):
        assert float(iou(degenerate, other)) == 0.0
        value, gradient = jax.value_and_grad(lambda a, b=other: giou(a, b) + iou(a, b))(degenerate)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_corners_and_back() -> None:
    boxes = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 4)), jnp.float32)
    np.testing.assert_allclose(to_centres(to_corners(boxes)), boxes, atol=1e-6)
    np.testing.assert_allclose(to_corners(UNIT), [0, 0, 1, 1])


def test_what_lies_outside_is_cut() -> None:
    np.testing.assert_allclose(clip_to_image(jnp.array([0.0, 0.5, 0.4, 2.0])), [0.1, 0.5, 0.2, 1.0], atol=1e-6)
    outside = clip_to_image(jnp.array([3.0, 0.5, 0.4, 0.4]))
    assert float(outside[2]) == 0.0


def test_pairs_are_those_of_single_boxes() -> None:
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.uniform(size=(2, n, 4)), jnp.float32) for n in (3, 4))
    for pairwise, single in ((pairwise_iou, iou), (pairwise_giou, giou)):
        np.testing.assert_allclose(pairwise(a, b)[1, 2, 3], single(a[1, 2], b[1, 3]), atol=1e-6)
    np.testing.assert_allclose(pairwise_l1(a, b)[0, 1, 2], jnp.abs(a[0, 1] - b[0, 2]).sum(), atol=1e-6)


def test_logits_of_shares() -> None:
    fractions = jnp.array([0.0, 0.2, 0.5, 1.0, 1.5])
    logits = inverse_sigmoid(fractions)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(jax.nn.sigmoid(logits)[1:3], fractions[1:3], atol=1e-6)
