"""Every variant of every config is one that the loop accepts, at full size in shape and at small size in deed."""

import importlib.util
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from storyjax.train.experiment import build_experiment
from storyjax.train.params import partition
from storyjax.train.settings import complete, read_settings

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


@pytest.mark.parametrize(("path", "variant"), variants())
def test_every_variant_has_shapes_and_trains_something(path: Path, variant: str) -> None:
    config = load(path, variant)
    read_settings(config)
    if config.experiment == "embedded.clip":
        config.data.train_stories = config.data.val_stories = 0  # shapes need no videos
    experiment = build_experiment(config)
    shapes = jax.eval_shape(experiment.init, jax.random.key(0))
    trainable, frozen = partition(shapes, experiment.trainable)
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
