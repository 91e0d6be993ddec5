"""Pre-training: the loss falls, and π starts as the thesis says."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.pi_map import pretrain
from storyjax.pi_map.predict import ThingFinder
from storyjax.storyworld.export.imagenet import export_imagenet
from storyjax.train import loop
from storyjax.train.settings import complete

WIDTH = 32  # of the random CLIP


@pytest.fixture
def config(tiny_clip: Path, tmp_path: Path) -> ConfigDict:
    world = export_imagenet(tmp_path / "world", {"train": 40, "val": 10})
    return ConfigDict(
        {
            "experiment": "pi_map.pretrain",
            "model": {"clip": {"weights": str(tiny_clip)}, "pi": {"width": WIDTH}},
            "data": {"root": str(world), "cache_dir": str(tmp_path / "data"), "text_length": 8},
            "train": {"steps": 20, "batch_size": 20},
            "optim": {"learning_rate": 1e-2},
            "eval": {"batch_size": 10},
            "log": {"tensorboard": False, "every": 1},
        }
    )


def test_pretraining_learns(config: ConfigDict, tmp_path: Path) -> None:
    results = loop.run(config, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    # The random CLIP hardly distinguishes its images: the loss starts at log(20) and falls slowly.
    assert losses[0] == pytest.approx(np.log(20), abs=0.1)
    assert losses[-1] < losses[0] - 0.08
    assert 0 <= results["imagenet/r1_in_batch"] <= 1
    # Its images have no captions, which negatives of an enrolment need.
    finder = ThingFinder.from_pretrained(tmp_path / "run")
    with pytest.raises(StoryjaxError, match=r"no bank of other things .*_imagenet\.py, whose images have no"):
        finder.enrol([np.zeros((32, 32, 3), np.uint8)], "dog")


def test_the_conditioning_vectors_start_as_the_thesis_says(config: ConfigDict) -> None:
    given = pretrain.build(complete(config)).pretrained()
    for layer in (0, 1):
        vector = given[f"pi/condition_{layer}"]
        assert vector.shape == (WIDTH,)
        assert vector.sum() == pytest.approx(1, abs=1e-5)
    assert np.argmin(given["pi/condition_0"]) != np.argmin(given["pi/condition_1"])
    config.model.init_scheme = False
    assert not [path for path in pretrain.build(complete(config)).pretrained() if path.startswith("pi/")]
