"""Every config of Chapter 2 trains: its embedded variant, on a handful of StoryWorld's images, lowers its loss."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict
from small_mqt import DETR, SIZE

from storyjax.core.config import load_config
from storyjax.mqt.experiment import build
from storyjax.train.experiment import Experiment
from storyjax.train.logging import read_metrics
from storyjax.train.loop import run

ROOT = Path(__file__).parents[2]
STEPS, BATCH = 24, 4
COUNTS: dict[str, dict[str, Any]] = {
    **{name: {"counts": {"train": 1, "held_out": 1, "unseen": 1}} for name in ("mot17", "mot20")},
    "gmot40": {"counts": {"kinds": 1, "sequences": 1}},
    "tao": {"counts": {"train": 1, "validation": 1}},
    "coco": {"counts": {"train": BATCH, "val": BATCH}},
    "crowdhuman": {"counts": {"train": BATCH, "val": BATCH}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all runs find their images; and their programs, of which there are only two."""
    folder = tmp_path_factory.mktemp("tracks")
    options = {"jax_compilation_cache_dir": str(folder / "programs"), "jax_persistent_cache_min_compile_time_secs": 1.0}
    before = {name: getattr(jax.config, name) for name in options}
    for settings in (options, before):
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if settings is options:
            yield folder


def small(name: str, world: Path) -> ConfigDict:
    """The embedded variant with a model that compiles in seconds, four images to learn from, and from scratch."""
    config = load_config(f"{ROOT / 'configs' / name}.py:embedded")
    sets = sorted({config.data.dataset, *(split.partition(":")[0] for split in config.data.eval_splits)})
    with config.unlocked():
        config.model.mqt.detr = ConfigDict(dataclasses.asdict(DETR))
        config.data.synthetic = ConfigDict({each: COUNTS[each] for each in sets})
        config.data.root = ConfigDict({each: str(world / each) for each in sets})
        config.data.cache_dir = str(world / "prepared")
        config.data.update(size=SIZE, jitter=0.0, flip=0.0, max_objects=6)
        config.init = ConfigDict()
        config.train = ConfigDict({"steps": STEPS, "batch_size": BATCH})
        config.optim = ConfigDict({"learning_rate": 5e-3, "schedule": "constant", "warmup_steps": 1})
        config.eval = ConfigDict({"every": 0, "batch_size": BATCH})
        config.checkpoint = ConfigDict({"every": 0})
        config.log = ConfigDict({"every": 1})
    return config


def without_measuring(config: ConfigDict) -> Experiment:
    """What is measured has tests of its own (test_tracking_evaluation.py). A task's name is part of its program."""
    experiment = build(config)
    tasks = tuple(dataclasses.replace(task, name="task") for task in experiment.tasks)
    return dataclasses.replace(experiment, tasks=tasks, evaluators=())


@pytest.mark.parametrize("name", ["mqt_coco", "mqt_crowdhuman", "mqt_gmot40", "mqt_mot17", "mqt_mot20", "mqt_tao"])
def test_training_lowers_the_loss(name: str, world: Path, tmp_path: Path) -> None:
    config = small(name, world)
    run(config, tmp_path, experiment=without_measuring(config), progress=False)
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl") if line["kind"] == "train"]
    assert len(losses) == STEPS
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])
