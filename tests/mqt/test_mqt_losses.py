"""The losses: known values, padding, and what each of them teaches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_mqt import DETR, make, pairs

from storyjax.mqt.config import MqtData
from storyjax.mqt.experiment import batch_shapes
from storyjax.mqt.losses import (
    TEMPERATURE,
    LossConfig,
    Losses,
    as_one_frame,
    box_loss,
    contrast,
    focal_loss,
    perturb,
)
from storyjax.mqt.matching import matched_queries
from storyjax.mqt.model import Mqt, MqtConfig
from storyjax.nn.boxes import iou

CONFIG = LossConfig(det_targets="all")


@pytest.fixture(scope="module")
def tracking():
    """The jitted value and gradient of the tracking loss, of the parameters that it was made with or of others."""
    model, drawn = make()
    # It runs a few dozen times on next to nothing: what takes time is the compiler.
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    function = jax.jit(jax.value_and_grad(Losses(model, CONFIG).tracking, has_aux=True), compiler_options=quick)

    def run(batch: dict, params: dict | None = None) -> tuple:
        return function(drawn if params is None else params, batch, jax.random.key(0))

    run.params = drawn
    return run


def test_padding_changes_neither_loss_nor_gradient(tracking) -> None:
    batch = pairs()
    (loss, scalars), gradient = tracking(batch)
    assert np.isfinite(loss)
    hidden = {name: np.array(array) for name, array in batch.items()}
    for frame in ("0", "1"):
        hidden[f"boxes{frame}"][~batch[f"present{frame}"]] = (0.4, 0.6, 0.3, 0.2)
    (other, _), other_gradient = tracking(hidden)
    assert float(other) == pytest.approx(float(loss), rel=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(other_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert set(scalars) >= {"contrast", "kept", "likeness", "track_iou", "det_iou"}


def test_every_part_of_the_model_learns(tracking) -> None:
    _, gradient = tracking(pairs())
    parts = (
        "pyramid",
        "encoder",
        "decoder",
        "queries",
        "box_query",
        "id_position",
        "appearance",
        "nothing",
        "aggregate",
    )
    for part in parts:
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient[part])) > 0, part


def test_a_few_steps_lower_the_loss(tracking) -> None:
    batch, params, optimizer = pairs(), tracking.params, optax.adam(3e-3)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    losses = []
    for _ in range(25):
        (loss, _), gradient = tracking(batch, params)
        losses.append(float(loss))
        updates, state = update(gradient, state)
        params = optax.apply_updates(params, updates)
    assert min(losses[-5:]) < 0.8 * losses[0]


def test_without_det_beside_tracks_only_those_of_the_first_frame_learn(tracking, monkeypatch) -> None:
    model = Mqt(MqtConfig(DETR, detect=False))
    losses, anchors = Losses(model, CONFIG), []
    monkeypatch.setattr("storyjax.mqt.losses.contrast", lambda *a: (anchors.append(a[0].shape[1]), contrast(*a))[1])
    rows = []
    once = losses._det_loss
    monkeypatch.setattr(losses, "_det_loss", lambda *a: (rows.append(a[1].det.box_logits.shape[2]), once(*a))[1])
    _, scalars = jax.eval_shape(losses.tracking, tracking.params, pairs(), jax.random.key(0))
    assert rows == [6, 0]
    assert anchors == [4 * 4]  # three kinds and their aggregate of each of four objects, none of a det query
    assert "det_iou" not in scalars


def test_frames_without_anything_are_no_trouble(tracking) -> None:
    batch = pairs()
    for name in ("present0", "present1"):
        batch[name] = np.zeros_like(batch[name])
    (loss, _), gradient = tracking(batch)
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_contrast_is_the_printed_loss() -> None:
    rng = np.random.default_rng(0)
    anchors, others = (rng.normal(size=(1, n, 5)).astype(np.float32) for n in (2, 4))
    unit = [array / np.linalg.norm(array, axis=-1, keepdims=True) for array in (anchors, others)]
    cosine = (unit[0] @ unit[1].transpose(0, 2, 1))[0] / TEMPERATURE
    objects = np.array([[0, 1]], np.int32), np.array([[1, 0, -1, 2]], np.int32)
    mask = np.array([[True, True, True, False]])
    for include in (True, False):
        config = dataclasses.replace(CONFIG, include_positive=include)
        arrays = (jnp.asarray(array) for array in (anchors, objects[0], others, objects[1], mask))
        total, count = contrast(*arrays, config)
        expected = 0.0
        for anchor, positive, negatives in ((0, 1, (0, 2)), (1, 0, (1, 2))):
            below = 0.1 * sum(np.exp(cosine[anchor, j]) for j in negatives)
            below += np.exp(cosine[anchor, positive]) if include else 0.0
            expected += np.log(below) - cosine[anchor, positive]
        assert float(total) == pytest.approx(expected, rel=1e-4)
        assert float(count) == 2


def test_negatives_may_come_from_the_whole_batch() -> None:
    """Two frames with the same numbers: object 0 of one is another than object 0 of the other."""
    rng = np.random.default_rng(0)
    anchors, others = (jnp.asarray(rng.normal(size=(2, n, 5)), jnp.float32) for n in (1, 2))
    objects = jnp.array([[0], [-1]]), jnp.array([[0, -1], [0, 1]])
    mask = jnp.array([[True, False], [True, True]])
    one = as_one_frame(anchors, objects[0], others, objects[1], mask)
    assert [array.shape[:2] for array in one] == [(1, 2), (1, 2), (1, 4), (1, 4), (1, 4)]
    total, count = contrast(*one, CONFIG)
    unit = [array / jnp.linalg.norm(array, axis=-1, keepdims=True) for array in (anchors[0], others.reshape(4, 5))]
    cosine = np.asarray(unit[0] @ unit[1].T)[0] / TEMPERATURE
    below = np.exp(cosine[0]) + CONFIG.negative_weight * (np.exp(cosine[2]) + np.exp(cosine[3]))
    assert float(total) == pytest.approx(np.log(below) - cosine[0], rel=1e-4)
    assert float(count) == 1


def test_an_object_without_another_output_is_left_out() -> None:
    vectors, nothing, some = jnp.ones((1, 2, 3)), jnp.array([[-1, 5]]), jnp.array([[-1, 0]])
    total, count = contrast(vectors, nothing, vectors, some, jnp.ones((1, 2), bool), CONFIG)
    assert (float(total), float(count)) == (0.0, 0.0)


def test_focal_and_box_losses_at_known_places() -> None:
    half = jnp.zeros(2)
    found = focal_loss(half, jnp.array([True, False]))
    np.testing.assert_allclose(found, np.log(2) * 0.25 * np.array([0.25, 0.75]), rtol=1e-5)
    box = jnp.array([[0.5, 0.5, 0.2, 0.2]])
    assert float(box_loss(box, box, jnp.array([True]))) == pytest.approx(0.0, abs=1e-5)
    assert float(box_loss(box, box + 0.1, jnp.array([False]))) == 0.0
    moved = float(box_loss(box, box + jnp.array([[0.2, 0, 0, 0]]), jnp.array([True])))
    assert moved == pytest.approx(5 * 0.2 + 2 * 1.0, rel=1e-4)


def test_assignments_the_other_way_round() -> None:
    assignment = jnp.array([[2, -1, 0]])
    np.testing.assert_array_equal(matched_queries(assignment, 4), [[2, -1, 0, -1]])


def test_perturbed_boxes_still_overlap() -> None:
    boxes = jnp.tile(jnp.array([0.5, 0.5, 0.2, 0.1]), (1, 50, 1))
    moved = perturb(boxes, jax.random.key(0), 0.1)
    overlap = np.asarray(iou(boxes, moved))
    assert overlap.min() > 0.5
    assert overlap.max() < 1.0


@pytest.mark.parametrize("mode", ["detection", "simulated"])
def test_images_with_padding_have_the_same_losses(mode: str) -> None:
    model, params = make()
    data = MqtData(dataset="coco", mode=mode, size=(64, 96), shorter=48, longer=80, max_objects=4)
    losses = Losses(model, CONFIG)
    batch = batch_shapes(data, 2)
    assert batch["extent0"].shape == (2, 2)
    loss = losses.detection if mode == "detection" else losses.tracking
    value, scalars = jax.eval_shape(loss, params, batch, jax.random.key(0))
    bare = {name: shape for name, shape in batch.items() if not name.startswith("extent")}
    without, others = jax.eval_shape(loss, params, bare, jax.random.key(0))
    assert (value.shape, set(scalars)) == (without.shape, set(others)) == ((), set(scalars))
