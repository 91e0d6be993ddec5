"""Configs of version 0.1 still load: the shipped model's, and those of runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from storyjax.core.config import from_config, load_config, override
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import shipped
from storyjax.core.renames import modernise
from storyjax.mqt.config import MqtData, make_model
from storyjax.mqt.experiment import variant_of

ROOT = Path(__file__).parents[2]
# storyjax/weights/shipped/mqt_storyworld/config.json of version 0.1.
SHIPPED: dict[str, Any] = {
    "experiment": "mqt",
    "model": {
        "loss": {"batch_negatives": True, "det_targets": "all", "negative_weight": 1.0},
        "mqt": {
            "detr": {
                "backbone": {
                    "block": "basic",
                    "depths": [1, 1, 1, 1],
                    "norm": "group",
                    "stem_width": 16,
                    "widths": [24, 32, 48, 64],
                },
                "box_refine": True,
                "classes": 0,
                "decoder_layers": 2,
                "dropout": 0.0,
                "encoder_layers": 1,
                "groups": 8,
                "heads": 4,
                "levels": 3,
                "mlp_width": 128,
                "points": 4,
                "queries": 24,
                "size_bias": 0.0,
                "width": 64,
            },
            "isolate_det": True,
        },
        "tracker": {"agree": 0.1, "capacity": 16, "confirm": 0.45, "given": 16, "overlap": 0.4, "start": 0.6},
    },
    "data": {"size": [96, 160]},
}
# config.data of configs/mqt_mot17.py:storyworld of version 0.1.
DATA: dict[str, Any] = {
    "dataset": "mot20",
    "mode": "pairs",
    "measure": "mot17",
    "storyworld": {
        "mot17": {"counts": {"train": 60, "held_out": 8, "unseen": 8}},
        "mot20": {
            "counts": {"train": 1600, "held_out": 1, "unseen": 1},
            "seed": 3,
            "more_kinds": True,
            "odd_rides": True,
        },
    },
    "mot17_dir": "runs/storyworld/mot17",
    "mot20_dir": "runs/storyworld/many",
    "data_dir": "runs/storyworld/prepared_tracks",
    "held_out": ["*-8???"],
    "unseen": ["*-9???"],
    "size": [96, 160],
    "max_objects": 12,
    "max_gap": 5,
    "far_share": 0.6,
    "far_gap": 40,
    "turned_share": 0.3,
}


def test_the_old_config_of_the_shipped_model_becomes_the_one_that_ships() -> None:
    assert modernise(SHIPPED) == json.loads((shipped("mqt_storyworld") / "config.json").read_text("utf-8"))
    tracker = make_model(modernise(SHIPPED)["model"])[1].tracker
    assert (tracker.match_threshold, tracker.agreement_threshold, tracker.nms_iou) == (0.45, 0.1, 0.4)
    assert (tracker.birth_threshold, tracker.max_tracks, tracker.max_detections) == (0.6, 16, 16)


def test_the_old_data_of_a_run_become_todays() -> None:
    """A run of version 0.1 can be resumed: its config is the one that the same command makes today."""
    found = modernise({"experiment": "mqt", "data": DATA})["data"]
    today = load_config(f"{ROOT}/configs/mqt_mot17.py:storyworld").data.to_dict()
    assert found == json.loads(json.dumps(today))
    from_config(MqtData, found)


@pytest.mark.parametrize(
    ("measure", "splits"),
    [("coco", ["coco:val"]), ("gmot40", ["gmot40:test"]), ("tao", ["tao:validation"]), ("mot20", ["mot20:held_out"])],
)
def test_the_data_set_to_measure_on_becomes_its_splits(measure: str, splits: list[str]) -> None:
    data = {"measure": measure, "move": 0.1, "least_visible": 0.2}
    expected = {"eval_splits": splits, "max_shift": 0.1, "min_visibility": 0.2}
    assert modernise({"experiment": "mqt", "data": data})["data"] == expected


def test_old_keys_that_are_constants_now_are_dropped_at_their_values_and_refused_at_others() -> None:
    loss = {"l1": 5.0, "temperature": 0.1, "layers": True, "negative_weight": 1.0}
    mqt = {**SHIPPED["model"]["mqt"], "point_size": 0.1}
    config = {"experiment": "mqt", "model": {"loss": loss, "mqt": mqt}, "data": {"perturb": 0.1}}
    found = modernise(config)
    assert found["model"] == {"loss": {"negative_weight": 1.0}, "mqt": SHIPPED["model"]["mqt"]}
    assert found["data"] == {}
    with pytest.raises(StoryjaxError, match="has no key 'temperature'"):
        make_model(modernise({"experiment": "mqt", "model": {"loss": {"temperature": 0.2}}})["model"])


def test_old_options_of_a_sweep_get_todays_names() -> None:
    old = {"births": 2, "patience": 3, "presence": 0.1, "start_given": 0.2, "confirm_by": "class", "class_score": 0.4}
    config = {"experiment": "mqt", "model": {"sweep": {"more": old}, "mqt": SHIPPED["model"]["mqt"]}}
    model, section = make_model(modernise(config)["model"])
    tracker = variant_of(model, section.tracker, section.sweep["more"])[1]
    assert (tracker.min_hits, tracker.max_age, tracker.objectness_threshold) == (2, 3, 0.1)
    assert (tracker.given_birth_threshold, tracker.match_by, tracker.class_threshold) == (0.2, "class", 0.4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data.mot17_dir", "data.root.mot17"),
        ("data.measure", "data.eval_splits"),
        ("data.storyworld.mot17.counts.train", "data.synthetic.mot17.counts.train"),
        ("model.tracker.births", "model.tracker.min_hits"),
        ("model.sweep.more.confirm", "model.sweep.more.match_threshold"),
    ],
)
def test_an_old_key_on_the_command_line_is_answered_with_the_new_one(old: str, new: str) -> None:
    config = load_config(f"{ROOT}/configs/mqt_mot17.py:embedded")
    with pytest.raises(StoryjaxError, match=rf"config\.{old} is called config\.{new} now"):
        override(config, old, "1", ("model", "data"))
