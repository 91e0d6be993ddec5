"""A CLIP of a few thousand random parameters, and a small world of particular things."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.params_io import save_tree
from storyjax.data.text import WordTokenizer
from storyjax.models.clip import Clip, ClipConfig
from storyjax.storyworld.draw import personal_objects
from storyjax.storyworld.export.thisismy import export_thisismy
from storyjax.storyworld.story.cast import PLACES

WIDTH = 32
COUNTS = {"instances": 5, "train": 3, "eval": 1, "test": 2}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random CLIP and a tokenizer that knows the words of belongings."""
    folder = tmp_path_factory.mktemp("clip")
    words = [*personal_objects.words(), *personal_objects.PERSONAL_KINDS, *personal_objects.NEIGHBOURS, *PLACES]
    tokenizer = WordTokenizer.from_words(words)
    sizes = {"width": WIDTH, "depth": 1, "heads": 2, "mlp_width": 64}
    text = {**sizes, "max_length": 24, "vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
    vision = {**sizes, "image_size": 32, "patch_size": 16}
    config = from_config(ClipConfig, {"vision": vision, "text": text, "projection_dim": WIDTH})
    images, ids = jnp.zeros((1, 32, 32, 3)), jnp.full((1, 2), tokenizer.eos_id, jnp.int32)
    save_tree(folder / "model.safetensors", Clip(config).init(jax.random.key(0), images, ids)["params"])
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    tokenizer.save(folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small StoryWorld in the layout of this-is-my."""
    return export_thisismy(tmp_path_factory.mktemp("worlds") / "thisismy", COUNTS)


@pytest.fixture
def thisismy_config(tiny_clip: Path, world: Path, tmp_path: Path) -> ConfigDict:
    """A run of seconds."""
    return ConfigDict(
        {
            "experiment": "pi_map",
            "seed": 0,
            "model": {"clip": {"weights": str(tiny_clip)}, "pi": {"width": WIDTH}},
            "data": {
                "dataset": "thisismy",
                "root": str(world),
                "cache_dir": str(world.parent / "prepared"),
                "frames": 2,
                "context": "a photo of {caption}",
                "text_length": 20,
                "eval_splits": ("test", "eval"),
            },
            "train": {"steps": 3, "batch_size": 4},
            "eval": {"batch_size": 4},
            "log": {"tensorboard": False},
        }
    )
