"""Every config of Chapter 2 trains: its embedded variant, on a handful of StoryWorld's images, lowers its loss.

And one stage goes on from another with the same frozen backbone.
"""

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
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, load_flat, save_tree
from storyjax.models.deformable_detr import DeformableDetr
from storyjax.mqt.config import init_parameters, make_model
from storyjax.mqt.experiment import build
from storyjax.mqt.predict import Tracker
from storyjax.train.experiment import Experiment
from storyjax.train.logging import read_metrics
from storyjax.train.loop import run

ROOT = Path(__file__).parents[2]
STEPS, BATCH = 24, 4
FROZEN = dataclasses.replace(DETR, backbone=dataclasses.replace(DETR.backbone, norm="batch"))
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


def resnet(folder: Path, value: float = 0.123) -> Path:
    """An imported ResNet of the frozen kind, all of whose numbers are `value`."""
    model = make_model({"mqt": {"detr": dataclasses.asdict(FROZEN)}})[0]
    backbone = jax.eval_shape(lambda key: init_parameters(model, SIZE, key), jax.random.key(0))["pyramid"]["backbone"]
    arrays = {f"backbone/{path}": np.full(leaf.shape, value, np.float32) for path, leaf in flatten(backbone).items()}
    save_tree(folder / "model.safetensors", arrays, {})
    return folder


def stage(name: str, world: Path, weights: Path | None, before: Path | None = None, **detr: Any) -> ConfigDict:
    """A config whose backbone is frozen, as the paper's, and which takes no steps."""
    config = small(name, world)
    with config.unlocked():
        config.model.mqt.detr = ConfigDict(dataclasses.asdict(dataclasses.replace(FROZEN, **detr)))
        config.model.weights = None if weights is None else str(weights)
        config.init = ConfigDict({"checkpoint": None if before is None else str(before)})
        config.train.steps = 0
    return config


def refusal(config: ConfigDict, workdir: Path) -> str:
    with pytest.raises(StoryjaxError) as caught:
        run(config, workdir, experiment=without_measuring(config), progress=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_frozen_parameters_are_the_same_in_every_stage(world: Path, tmp_path: Path) -> None:
    weights = resnet(tmp_path / "resnet")
    first, second = stage("mqt_coco", world, weights), stage("mqt_crowdhuman", world, weights, tmp_path / "coco")
    for config, workdir in ((first, "coco"), (second, "crowdhuman")):
        run(config, tmp_path / workdir, experiment=without_measuring(config), progress=False)
        params = flatten(Tracker.from_pretrained(tmp_path / workdir).params)
        for path in ("stem/conv/kernel", "stage_1_block_0/conv_0/norm/mean"):
            np.testing.assert_allclose(params[f"pyramid/backbone/{path}"], 0.123)
    # As the configs of all stages but the first were: nothing names the weights, and the checkpoint has no frozen ones.
    forgetful = stage("mqt_crowdhuman", world, None, tmp_path / "coco")
    message = refusal(forgetful, tmp_path / "forgetful")
    assert "frozen parameters (pyramid/backbone/" in message
    assert "storyjax import resnet-50" in message
    other = stage("mqt_crowdhuman", world, resnet(tmp_path / "another", 0.5), tmp_path / "coco")
    assert f"give --config.model.weights={weights}" in refusal(other, tmp_path / "other")
    wider = stage("mqt_crowdhuman", world, weights, tmp_path / "coco", mlp_width=24)
    message = refusal(wider, tmp_path / "wider")
    assert f"{tmp_path / 'coco'} are of another model" in message
    assert "(16, 16) for (16, 24)" in message


def test_weights_of_a_part_or_of_another_architecture_are_refused(world: Path, tmp_path: Path) -> None:
    weights = resnet(tmp_path / "resnet")
    arrays = load_flat(weights)
    save_tree(tmp_path / "part.safetensors", {path: arrays[path] for path in list(arrays)[1:]}, {})
    message = refusal(stage("mqt_coco", world, tmp_path / "part.safetensors"), tmp_path / "part")
    assert "covers only a part of pyramid/backbone: 1 of its" in message
    detector = DeformableDetr(dataclasses.replace(FROZEN, mlp_width=24, classes=3))
    image = jax.ShapeDtypeStruct((1, *SIZE, 3), np.float32)
    shapes = flatten(jax.eval_shape(detector.init, jax.random.key(0), image)["params"])
    save_tree(
        tmp_path / "detr.safetensors", {path: np.ones(leaf.shape, np.float32) for path, leaf in shapes.items()}, {}
    )
    message = refusal(stage("mqt_coco", world, tmp_path / "detr.safetensors"), tmp_path / "detr")
    assert "another architecture than config.model.mqt.detr" in message
    assert "(16, 24) for (16, 16)" in message
