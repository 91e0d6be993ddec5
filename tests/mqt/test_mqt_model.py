"""MQT's one decoder pass: padding, order, and which queries see which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_mqt import DETR, SIZE, make

from storyjax.core.errors import StoryjaxError
from storyjax.mqt.config import make_model
from storyjax.mqt.model import DecoderOutput, Mqt, MqtConfig, Tracks

ROWS, GIVEN = 4, 3


@pytest.fixture(scope="module")
def passed():
    """The jitted pass of a model, all of whose shapes are the same in every test."""
    model, params = make()

    @jax.jit
    def run(image: jax.Array, given_boxes: jax.Array, given_mask: jax.Array, tracks: Tracks) -> DecoderOutput:
        return model.apply({"params": params}, image, given_boxes, given_mask, tracks)

    return run


@pytest.fixture
def inputs() -> tuple:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    boxes = rng.uniform(0.2, 0.6, (1, ROWS + GIVEN, 4)).astype(np.float32)
    vectors = rng.normal(size=(2, 1, ROWS, 16)).astype(np.float32)
    tracks = Tracks(boxes[:, :ROWS], vectors[0], vectors[1], np.array([[True, True, True, False]]))
    return image, boxes[:, ROWS:], np.array([[True, True, False]]), tracks


def test_shapes_and_what_is_padding_has_no_say(passed, inputs) -> None:
    image, given_boxes, given_mask, tracks = inputs
    found = passed(image, given_boxes, given_mask, tracks)
    assert found.det.box_logits.shape == (1, 1, 6, 4)
    assert found.kinds.state.shape == (1, 1, ROWS, 3, 16)
    assert found.tracks.appearance.shape == (1, ROWS, 16)
    noise = jax.tree.map(lambda array: jnp.asarray(array), tracks)
    noise = noise.replace(
        boxes=noise.boxes.at[0, 3].set(0.9),
        state=noise.state.at[0, 3].set(7.0),
        appearance=noise.appearance.at[0, 3].set(5.0),
    )
    other = passed(image, jnp.asarray(given_boxes).at[0, 2].set(0.1), given_mask, noise)
    for before, after in zip(found.tracks, other.tracks, strict=True):
        np.testing.assert_allclose(after[:, :3], before[:, :3], atol=1e-5)
    np.testing.assert_allclose(other.given.box_logits[:, :, :2], found.given.box_logits[:, :, :2], atol=1e-5)


def test_order_of_tracks_is_only_an_order(passed, inputs) -> None:
    image, given_boxes, given_mask, tracks = inputs
    order = np.array([2, 0, 1, 3])
    moved = Tracks(*(getattr(tracks, name)[:, order] for name in ("boxes", "appearance", "state", "mask")))
    before, after = passed(image, given_boxes, given_mask, tracks), passed(image, given_boxes, given_mask, moved)
    for ours, other in zip(after.tracks, before.tracks, strict=True):
        np.testing.assert_allclose(ours[:, :3], np.asarray(other)[:, order[:3]], atol=1e-5)


def test_isolated_det_queries_do_not_see_the_others_but_tracks_see_each_other(passed, inputs) -> None:
    image, given_boxes, given_mask, tracks = inputs
    before = passed(image, given_boxes, given_mask, tracks)
    fewer = tracks.replace(mask=np.array([[True, False, False, False]]))
    after = passed(image, given_boxes, np.zeros_like(given_mask), fewer)
    np.testing.assert_allclose(after.det.state, before.det.state, atol=1e-6)
    assert np.abs(np.asarray(after.tracks.state - before.tracks.state)[0, 0]).max() > 1e-4


def test_det_queries_that_are_off_are_in_no_pass_that_has_tracks(inputs) -> None:
    image, given_boxes, given_mask, tracks = inputs
    model = Mqt(MqtConfig(DETR, detect=False))

    def rows(*more) -> int:
        found, _ = jax.eval_shape(lambda *arrays: model.init_with_output(jax.random.key(0), *arrays), image, *more)
        return found.det.box_logits.shape[2]

    assert rows(given_boxes, given_mask, tracks) == 0
    assert rows(given_boxes, given_mask) == 6  # in the first frame something must begin
    with pytest.raises(StoryjaxError, match="nothing can follow"):
        MqtConfig(DETR, kinds=(), detect=False)


def test_queries_use_what_they_are_made_of(passed, inputs) -> None:
    """pos knows the box alone, id the appearance alone; both the state and the box. (Before they meet in attention, so
    of a track by itself: only its own three queries are there to be seen.)"""
    image, given_boxes, given_mask, tracks = inputs
    before = passed(image, given_boxes, given_mask, tracks)
    for name, change in (("boxes", 0.05), ("appearance", 0.5), ("state", 0.5)):
        value = np.array(getattr(tracks, name))
        value[0, 0, 0] += change
        after = passed(image, given_boxes, given_mask, tracks.replace(**{name: value}))
        assert np.abs(np.asarray(after.tracks.state - before.tracks.state)[0, 0]).max() > 1e-5, name


def test_nothing_here_is_far_from_presence() -> None:
    model, params = make()
    nothing = params["nothing"][None]
    logits = model.apply({"params": params}, jnp.concatenate([nothing, -nothing]), method=Mqt.objectness)
    assert float(logits[0]) < float(logits[1])


def test_two_stages_are_refused_in_a_line() -> None:
    with pytest.raises(StoryjaxError, match="two_stage"):
        make_model({"mqt": {"detr": {"two_stage": True}}})
