"""From a config to an experiment: what starts from published weights, what trains, what is measured."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from small_mqt import DETR, SIZE

from storyjax.core.config import load_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.models.deformable_detr import DeformableDetr
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.config import init_parameters, make_model, tracker_config, trainable
from storyjax.mqt.published_weights import published_parameters
from storyjax.train.params import partition, validate_params

FROZEN = dataclasses.replace(DETR, backbone=dataclasses.replace(DETR.backbone, norm="batch"))


def model_of(detr: object):
    return make_model({"mqt": {"detr": dataclasses.asdict(detr)}})[0]


def shapes(model) -> dict:
    return jax.eval_shape(lambda key: init_parameters(model, SIZE, key), jax.random.key(0))


def test_a_detector_gives_what_both_have(tmp_path: Path) -> None:
    model = model_of(FROZEN)
    detector = DeformableDetr(dataclasses.replace(FROZEN, classes=3, queries=9))
    image = jax.ShapeDtypeStruct((1, *SIZE, 3), np.float32)
    abstract = flatten(jax.eval_shape(detector.init, jax.random.key(0), image)["params"])
    save_tree(
        tmp_path / "model.safetensors", {path: np.ones(leaf.shape, np.float32) for path, leaf in abstract.items()}, {}
    )
    given = published_parameters(str(tmp_path), model)
    own = flatten(shapes(model))
    validate_params(given, own, set(), "the detector")
    missing = {path.split("/")[0] for path in own if path not in given}
    assert missing == {
        "queries", "kind", "box_query", "box_position", "id_position", "appearance", "nothing", "nothing_scale",
        "nothing_bias", "aggregate",
    }  # fmt: skip


def test_a_resnet_gives_the_backbone(tmp_path: Path) -> None:
    model = model_of(FROZEN)
    parts = {
        f"backbone/{path}": np.ones(leaf.shape, np.float32)
        for path, leaf in flatten(shapes(model)["pyramid"]["backbone"]).items()
    }
    save_tree(tmp_path / "model.safetensors", parts, {})
    assert set(published_parameters(str(tmp_path), model)) == {f"pyramid/{path}" for path in parts}


def test_missing_or_foreign_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="storyjax import"):
        published_parameters(str(tmp_path / "nowhere"), model_of(FROZEN))
    save_tree(tmp_path / "model.safetensors", {"llm/shared": np.ones((2, 2), np.float32)}, {})
    with pytest.raises(StoryjaxError, match="neither"):
        published_parameters(str(tmp_path), model_of(FROZEN))


def test_published_norms_and_first_layers_stay_as_they_are() -> None:
    model = model_of(FROZEN)
    frozen = flatten(partition(shapes(model), trainable(model))[1])
    assert all(path.startswith("pyramid/backbone/") for path in frozen)
    assert "pyramid/backbone/stem/conv/kernel" in frozen
    assert "pyramid/backbone/stage_1_block_0/conv_0/norm/mean" in frozen
    assert "pyramid/backbone/stage_1_block_0/conv_0/conv/kernel" not in frozen
    assert not flatten(partition(shapes(model_of(DETR)), trainable(model_of(DETR)))[1])


def test_tracker_options_are_fields() -> None:
    assert tracker_config(TrackerConfig(), {"hypotheses": 5}).hypotheses == 5
    with pytest.raises(StoryjaxError, match="private"):
        tracker_config(TrackerConfig(), {"protocol": "secret"})


@pytest.mark.parametrize("name", ["coco", "coco:pairs", "crowdhuman", "gmot40", "mot17", "mot20", "tao", "tao:person"])
def test_the_papers_configs_have_the_thesiss_tracker_and_det_queries_that_see_no_truth(name: str) -> None:
    config, _, variant = name.partition(":")
    path = str(Path(__file__).parents[2] / "configs" / f"mqt_{config}.py")
    model, section = make_model(load_config(f"{path}:{variant or 'paper'}").model)
    assert model.config.isolate_det
    # Who does not see the tracks cannot know which objects are taken.
    assert section.loss.det_targets == "all"
    tracker = section.tracker
    assert (tracker.hypotheses, tracker.multi_query) == (5, True)  # Table 2.6b
    assert (tracker.memory_first, tracker.memory_last, tracker.distance) == (1, 5, "min")  # Table 2.6a
    assert tracker.min_hits == (1 if tracker.protocol in ("user", "public") else 2)  # §2.6.2
    assert tracker.max_tracks > (246 if config in ("mot20", "gmot40") else 100)  # people in a frame of MOT20


def test_labels_name_every_class_or_none() -> None:
    detr = {**dataclasses.asdict(DETR), "classes": 2}
    assert make_model({"mqt": {"detr": detr}, "labels": ("person", "thing")})[1].labels == ("person", "thing")
    with pytest.raises(StoryjaxError, match=r"labels has 1 names, and config.model.mqt.detr.classes is 2"):
        make_model({"mqt": {"detr": detr}, "labels": ("person",)})
