"""Every variant of every config is one that the loop accepts, at full size in shape and at small size in deed."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import SHIPPED, flatten
from storyjax.embedded import t5
from storyjax.mqt import published_weights
from storyjax.tcr import config as tcr_config
from storyjax.train.experiment import Experiment, build_experiment
from storyjax.train.params import matching, partition, refuse_drawn
from storyjax.train.settings import complete, read_settings
from storyjax.weights.pretrained import KINDS, Pretrained
from storyjax.weights.registry import PUBLISHED

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.py"))


def load(path: Path, variant: str) -> ConfigDict:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return complete(module.get_config(variant))


def variants() -> list:
    """Every config with each of its variants."""
    found = []
    for path in CONFIGS:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert {"paper", "embedded"} <= set(module.VARIANTS)
        found += [pytest.param(path, variant, id=f"{path.stem}-{variant}") for variant in module.VARIANTS]
    return found


def ones(shapes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Parameters that take no memory."""
    return {path: np.broadcast_to(np.float32(1), leaf.shape) for path, leaf in shapes.items()}


@functools.cache
def network(kind: str, architecture: Any) -> dict[str, np.ndarray]:
    """A published network's parameters, by path below its own name."""
    for source in KINDS[kind].sources:
        if source.whole is not None:
            whole = source.whole(architecture)
            found = ones(source.family.shapes(whole))
            own = {path.removeprefix(f"{kind}/"): a for path, a in found.items() if path.startswith(f"{kind}/")}
            return own if hasattr(whole, kind) else found
    raise AssertionError(kind)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person has imported whom the paper's configs ask to: every network in its published size, of ones."""
    shipped = Pretrained.parameters

    def parameters(self: Pretrained, kind: str) -> dict[str, Any]:
        return shipped(self, kind) if self.weights.startswith(SHIPPED) else network(kind, self.architecture(kind))

    @functools.cache
    def imported(name: str) -> dict[str, np.ndarray]:
        return ones(PUBLISHED[name].family.shapes(PUBLISHED[name].config))

    monkeypatch.setattr(Pretrained, "parameters", parameters)
    monkeypatch.setattr(published_weights, "load_flat", lambda file: imported(file.parent.name))
    for name in ("resnet-50", "deformable-detr-r50-refine"):
        (tmp_path / "weights" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def check_frozen(experiment: Experiment, trainable: dict[str, Any], frozen: dict[str, Any]) -> None:
    """No frozen parameter is random unless it is declared to be; without what is given the start is refused."""
    given = set(experiment.pretrained()) if experiment.pretrained is not None else set()
    assert given <= set(trainable) | set(frozen)
    rest = (frozen, experiment.drawn, experiment.name, experiment.frozen_from)
    refuse_drawn(given, *rest)
    if experiment.name == "embedded.t5":  # whose words keep the vectors that its seed drew
        assert matching(frozen, experiment.drawn)
        return
    assert experiment.drawn is None
    if frozen:
        with pytest.raises(StoryjaxError, match=rf"nothing gives {len(frozen)} of the {len(frozen)} frozen"):
            refuse_drawn(set(), *rest)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("path", "variant"), variants())
def test_every_variant_has_shapes_and_trains_something(
    path: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(path, variant)
    read_settings(config)
    if config.experiment == "embedded.clip":
        config.data.train_stories = config.data.val_stories = 0  # shapes need no videos
    if "init_scheme" in config.model:
        config.model.init_scheme = False  # of trained parameters, from images
    experiment = build_experiment(config)
    shapes = jax.eval_shape(experiment.init, jax.random.key(0))
    trainable, frozen = partition(shapes, experiment.trainable)
    # The stage before leaves its trainable parameters: here those of the same model.
    for module, name in ((tcr_config, "load_trainable"), (t5, "load_saved")):
        monkeypatch.setattr(module, name, lambda place: ones(flatten(shapes)))
    check_frozen(experiment, flatten(trainable), flatten(frozen))
    assert experiment.evaluators
    if config.experiment == "subtitles":  # all its networks are given, and one number is searched for
        assert not experiment.tasks
        return
    assert jax.tree.leaves(trainable)
    assert experiment.tasks
    if config.experiment in ("tcr", "embedded.tcr_alignment"):
        assert set(trainable) == {"tcr"}
        assert set(frozen) == {"vision", "llm"}
    elif config.experiment.startswith("tcr"):  # without a language model (§3.2.2, stage (i); §3.6.3)
        assert "head" in trainable
        assert set(trainable) | set(frozen) == {"vision", "tcr", "head"}


def test_the_paper_variant_is_table_3_7() -> None:
    config = load(ROOT / "configs" / "tcr_nextqa.py", "paper")
    assert (config.train.batch_size, config.train.epochs) == (128, 40)
    assert (config.optim.learning_rate, config.optim.warmup_steps, config.optim.clip_norm) == (1e-5, 2000, 1.0)
    assert (config.data.tasks.nextqa.frames, config.model.tcr.queries) == (92, 128)
    short = load(ROOT / "configs" / "tcr_nextqa.py", "short")
    assert (short.train.batch_size, short.train.epochs) == (64, 10)
    assert (short.optim.learning_rate, short.optim.warmup_steps) == (5e-5, 1000)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_tells_how_to_use_it(path: Path) -> None:
    text = path.read_text()
    assert f"--config=configs/{path.name}" in text
    assert "--workdir=" in text
