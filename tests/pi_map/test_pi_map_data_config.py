"""Configs of version 0.1 load with today's names, and what `config.data` may hold."""

from pathlib import Path

import numpy as np
import pytest

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.renames import modernise
from storyjax.data.images import Square
from storyjax.pi_map.config import DataConfig
from storyjax.pi_map.experiment import open_collection
from storyjax.pi_map.pretrain import PretrainData
from storyjax.storyworld.export.deepfashion2 import export_deepfashion2


def test_a_personalisation_of_version_0_1_loads() -> None:
    counts = {"instances": 15, "train": 12, "eval": 8, "test": 4}
    old = {
        "experiment": "pi_map",
        "data": {
            "dataset": "thisismy",
            "manual_dir": "w/thisismy",
            "data_dir": "w/prepared",
            "storyworld": counts,
            "pools": ["test", "eval"],
            "unseen_dir": "w/unseen",
            "unseen_storyworld": {**counts, "scenes": 1},
            "templates": 5,
        },
    }
    new = modernise(old)
    assert modernise(new) == new
    data = from_config(DataConfig, new["data"], "config.data")
    assert (data.root, data.cache_dir, data.unseen_root) == ("w/thisismy", "w/prepared", "w/unseen")
    assert data.eval_splits == ("test", "eval")
    assert data.synthetic == {"counts": counts}
    assert data.unseen_synthetic == {"counts": {**counts, "scenes": 1}}


def test_the_exporter_of_celebrities_in_action_takes_its_counts_as_they_are() -> None:
    old = {"experiment": "pi_map", "data": {"dataset": "cia", "storyworld": {"train": 200, "test": 200, "faces": 1}}}
    assert modernise(old)["data"]["synthetic"] == {"train": 200, "test": 200, "faces": 1}


def test_a_pretraining_of_version_0_1_loads() -> None:
    old = {
        "experiment": "pi_map.pretrain",
        "data": {"manual_dir": "w/imagenet", "data_dir": "w/prepared", "storyworld": {"train": 2000, "val": 100}},
    }
    data = from_config(PretrainData, modernise(old)["data"], "config.data")
    assert (data.root, data.cache_dir, data.synthetic) == (
        "w/imagenet",
        "w/prepared",
        {"counts": {"train": 2000, "val": 100}},
    )
    assert modernise({"experiment": "pi_map.pretrain", "data": {"storyworld": None}})["data"] == {"synthetic": None}


def test_the_context_queries_of_garments_are_their_short_or_their_detailed_captions(tmp_path: Path) -> None:
    counts = {"garments": 5, "train": 2, "eval": 1}
    root = export_deepfashion2(tmp_path / "garments", counts)

    def captions(kind: str) -> list[str]:
        options = {"root": str(root), "cache_dir": str(tmp_path / "prepared"), "localise": "none"}
        data = DataConfig(dataset="deepfashion2", query_captions=kind, **options)
        collection = open_collection(data, lambda x: np.ones((len(x), 2), np.float32), Square(2, True), seed=0)
        return [context.caption for context in collection.pools["test"].contexts]

    short, detailed = captions("short"), captions("detailed")
    assert len(short) == len(detailed) == 5
    assert all("*" in one and len(one) < len(other) for one, other in zip(short, detailed, strict=True))
    with pytest.raises(StoryjaxError, match="query_captions: thisismy has one kind of captions"):
        DataConfig(query_captions="detailed")


def test_only_this_is_my_has_an_evaluation_split() -> None:
    assert DataConfig(also_eval=True).also_eval
    with pytest.raises(StoryjaxError, match=r"take it out of config\.data\.eval_splits"):
        DataConfig(also_eval=True, eval_splits=("test", "eval"))
    with pytest.raises(StoryjaxError, match="also_eval: deepfashion2 has no evaluation split"):
        DataConfig(dataset="deepfashion2", also_eval=True)
