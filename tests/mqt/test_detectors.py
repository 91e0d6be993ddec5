"""The detectors of Table 2.8a beside an MQT: trained with it, or as they were published."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from small_mqt import DETR, SIZE

from storyjax.core.config import load_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.models.deformable_detr import DeformableDetr
from storyjax.mqt.detectors import _loss
from storyjax.mqt.experiment import build
from storyjax.train.experiment import Experiment
from storyjax.train.params import partition

CONFIG = str(Path(__file__).parents[2] / "configs/mqt_coco.py:embedded")


def experiment(detectors: dict, detr=DETR, **data) -> Experiment:
    config = load_config(CONFIG)
    with config.unlocked():
        config.model.mqt.detr = ConfigDict(dataclasses.asdict(detr))
        config.model.detectors = detectors
        config.data.update(size=SIZE, max_objects=3, **data)
    return build(config)


def batch() -> dict[str, np.ndarray]:
    boxes = np.array([[[0.3, 0.4, 0.2, 0.3], [0.7, 0.6, 0.2, 0.2], [0, 0, 0, 0]]] * 2, np.float32)
    present = np.array([[True, True, False]] * 2)
    made = {"images0": np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)}
    made |= {"boxes0": boxes, "present0": present, "kind": np.zeros((2, 3), np.int32)}
    return made | {"given_boxes": boxes, "given_mask": present}


def test_detectors_are_trained_beside_the_mqt_and_are_measured_with_their_proposals() -> None:
    made = experiment({"single_stage": None, "two_stage": None})
    params = jax.eval_shape(made.init, jax.random.key(0))
    assert not flatten(partition(params, made.trainable)[1])
    _, scalars = jax.eval_shape(made.tasks[0].loss, params, batch(), jax.random.key(0))
    assert {"single_stage", "two_stage", "det_boxes"} <= set(scalars)
    shapes = jax.eval_shape(made.evaluators[-1].eval_step, params, batch())
    assert {name: boxes.shape for name, (boxes, _) in shapes.items()} == dict.fromkeys(
        ("single_stage", "two_stage", "proposals"), (2, DETR.queries, 4)
    )


def test_proposals_outside_the_image_give_no_infinite_loss() -> None:
    truth = jnp.array([[[0.3, 0.4, 0.2, 0.3], [0.7, 0.6, 0.2, 0.2]]])

    def loss(logits: jax.Array) -> jax.Array:
        start = jnp.array([0.0, jnp.inf, 0.0])[None, None, :, None]
        return _loss(jax.nn.sigmoid(logits + start), logits[..., 0], truth, jnp.ones((1, 2), bool))

    value, gradient = jax.value_and_grad(loss)(jnp.zeros((1, 1, 3, 4)))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0, 0, [0, 2]]).max() > 0


def test_published_detectors_stay_as_they_are(tmp_path: Path) -> None:
    config = dataclasses.replace(DETR, two_stage=True, classes=5)
    module = DeformableDetr(config)
    shapes = flatten(jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, *SIZE, 3), np.float32))["params"])
    arrays = {path: np.full(leaf.shape, 0.01, np.float32) for path, leaf in shapes.items()}
    save_tree(tmp_path / "model.safetensors", arrays, {})
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    made = experiment({"two_stage": str(tmp_path)})
    params = jax.eval_shape(made.init, jax.random.key(0))
    frozen = flatten(partition(params, made.trainable)[1])
    assert frozen.keys() == {f"detectors/two_stage/{path}" for path in arrays}
    assert made.pretrained is not None
    given = made.pretrained()
    assert given.keys() == frozen.keys()
    assert all(np.array_equal(given[f"detectors/two_stage/{path}"], array) for path, array in arrays.items())
    _, scalars = jax.eval_shape(made.tasks[0].loss, params, batch(), jax.random.key(0))
    assert "two_stage" not in scalars
    with pytest.raises(StoryjaxError, match="has 2 stage"):
        experiment({"single_stage": str(tmp_path)})
    with pytest.raises(StoryjaxError, match="deformable-detr-r50-two-stage"):
        experiment({"two_stage": str(tmp_path / "nowhere")})


def test_what_makes_no_sense_is_refused_in_a_line() -> None:
    with pytest.raises(StoryjaxError, match=r"config\.model\.detectors"):
        experiment({"three_stage": None})
    with pytest.raises(StoryjaxError, match="mode 'detection'"):
        experiment({"single_stage": None}, mode="simulated")
    frozen = dataclasses.replace(DETR, backbone=dataclasses.replace(DETR.backbone, norm="batch"))
    with pytest.raises(StoryjaxError, match="batch norms"):
        experiment({"two_stage": None}, frozen)
