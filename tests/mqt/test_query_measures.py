"""What is measured of queries by themselves, and of one model with several trackers."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import pytest
from following import OverlapTracker, squares
from jax.interpreters import partial_eval as pe
from small_mqt import DETR, SIZE, make

from storyjax.data.streams import StreamSpec
from storyjax.mqt import experiment
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.config import ModelConfig, MqtData
from storyjax.mqt.datasets import Sources
from storyjax.mqt.eval_detection import detection_evaluator
from storyjax.mqt.eval_queries import queries_evaluator
from storyjax.mqt.experiment import Evaluations
from storyjax.mqt.losses import LossConfig, Losses
from storyjax.mqt.model import Mqt, MqtConfig
from storyjax.storyworld.export.tracks_mot import encode_jpeg

DATA = MqtData(dataset="coco", mode="simulated", eval_splits=("coco:val",), size=SIZE, max_objects=3)


class Pictures:
    """Three images with two boxes each."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict:
        pixels = np.random.default_rng(index).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        boxes = np.array([[5, 6, 12, 10], [25, 12, 9, 14]], np.float32)
        return {
            "image": encode_jpeg(pixels),
            "name": str(index),
            "boxes": boxes,
            "kinds": np.zeros(2, np.int32),
            "crowd": np.zeros(2, bool),
        }


class Few(Sources):
    """Data sets that need no files."""

    def split(self, dataset: str, name: str):
        return Pictures()

    def sequences(self, dataset: str, split: str):
        return [squares(3)]


@pytest.fixture(scope="module")
def made():
    return make()


def test_every_kind_of_query_is_measured_by_itself(made) -> None:
    model, params = made
    evaluator = queries_evaluator(model, Few(DATA), "coco", "val")
    measure = jax.jit(evaluator.eval_step)
    stream = evaluator.data(StreamSpec(2, 0))
    accumulated = None
    for batch in stream:
        measured = jax.device_get(measure(params, batch))
        assert set(measured) == {"init", "aggregated", "det", "pos", "id", "both"}
        assert measured["pos"][0].shape == (2, 3, 4)
        # Fed by itself a kind does not give what it gives beside the others.
        assert not np.allclose(measured["pos"][0], measured["aggregated"][0])
        accumulated = evaluator.accumulate(accumulated, measured, batch)
    stream.close()
    assert len(accumulated["truth"]) == 3
    kinds = {f"coco/{kind}_tracking_ap" for kind in ("pos", "id", "both", "det")}
    results = evaluator.compute(accumulated)
    assert set(results) == {"coco/init_ap", "coco/aggregated_ap", *kinds}
    # Whoever gives the truth is right.
    perfect = {**accumulated, "pos": accumulated["truth"], "init": accumulated["truth_init"]}
    results = evaluator.compute(perfect)
    assert results["coco/pos_tracking_ap"] == results["coco/init_ap"] == pytest.approx(1)


def depends(function: Callable[[dict], dict], batch: dict) -> dict[str, set[str]]:
    """By output, the arrays of a batch that it is computed from, as the traced program has them."""
    closed = jax.make_jaxpr(function)(batch)
    names, outputs = sorted(batch), jax.tree_util.tree_flatten_with_path(jax.eval_shape(function, batch))[0]
    used: dict[str, set[str]] = {}
    for index, (path, _) in enumerate(outputs):
        _, inputs = pe.dce_jaxpr(closed.jaxpr, [i == index for i in range(len(outputs))])
        used.setdefault(path[0].key, set()).update(name for name, u in zip(names, inputs, strict=True) if u)
    return used


def test_det_is_measured_in_a_pass_without_anything_of_the_truth(made) -> None:
    _, params = made
    # Without isolation: det queries would attend to whatever is there.
    model = Mqt(MqtConfig(DETR, isolate_det=False))
    boxes, mask = np.full((2, 3, 4), 0.5, np.float32), np.ones((2, 3), bool)
    batch = {"images0": np.zeros((2, *SIZE, 3), np.uint8), "boxes0": boxes, "present0": mask}
    alone = detection_evaluator(model, Few(DATA), "coco", "val").eval_step
    used = depends(lambda b: alone(params, b), {**batch, "given_boxes": boxes, "given_mask": mask})
    assert used["det"] == {"images0"}
    assert used["pos"] == {"images0", "given_boxes", "given_mask"}
    assert used["true"] == {"images0", "boxes0", "present0"}
    tracked = queries_evaluator(model, Few(DATA), "coco", "val").eval_step
    used = depends(lambda b: tracked(params, b), {**batch, "images1": batch["images0"]})
    assert used["det"] == {"images1"}
    assert used["aggregated"] == {"images0", "images1", "boxes0", "present0"}


def test_one_run_measures_several_trackers_and_the_offline_enhancements(made, monkeypatch) -> None:
    model, params = made
    asked = []

    class Asked(OverlapTracker):
        def __init__(self, model, params, size, config, fit):
            super().__init__()
            asked.append((model.config.aggregation, model.config.box_kind, config.min_hits))

    monkeypatch.setattr(experiment, "Tracker", Asked)
    sweep = {"sure": {"min_hits": 1}, "heuristic": {"aggregation": "heuristic", "box_kind": "both"}}
    section = ModelConfig(tracker=TrackerConfig(min_hits=2), sweep=sweep, offline=True)
    data = dataclasses.replace(DATA, dataset="mot17", mode="pairs", eval_splits=("gmot40:test",))
    evaluators = list(Evaluations(Losses(model, LossConfig()), Few(data), section).all())
    assert [each.name for each in evaluators] == ["gmot40", "gmot40_sure", "gmot40_heuristic", "gmot40_offline"]
    results = {}
    for evaluator in evaluators:
        results |= evaluator.run(params, lambda: None)
    assert asked == [("gating", "pos", 2), ("gating", "pos", 1), ("heuristic", "both", 2), ("gating", "pos", 2)]
    assert results["gmot40_sure/mota"] == 1
    assert {name.split("/")[1] for name in results if "offline" in name} == {
        "online", "b2f_track", "b2f_id", "b2f_id_tf", "tf",
    }  # fmt: skip
