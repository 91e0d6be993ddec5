"""A CLIP-PAD so small that it runs at once, and a world to match."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np

from storyjax.clip_pad.data import Sizes
from storyjax.clip_pad.model import ClipPad, PadConfig
from storyjax.core.params_io import flatten, save_tree
from storyjax.data.text import WordTokenizer
from storyjax.models.clip import ClipConfig, ClipTextConfig
from storyjax.models.seresnet import SEResNetConfig
from storyjax.models.vit import ViTConfig
from storyjax.storyworld.story.descriptions import generic_vocabulary

TOKENIZER = WordTokenizer.from_words(generic_vocabulary())
CLIP = ClipConfig(
    ViTConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2, mlp_width=16),
    ClipTextConfig(
        vocab_size=TOKENIZER.vocab_size,
        max_length=20,
        width=16,
        depth=1,
        heads=2,
        mlp_width=16,
        eos_id=TOKENIZER.eos_id,
        init_std=0.3,
    ),
    projection_dim=8,
)
FACE = SEResNetConfig(
    image_size=16,
    stem_width=8,
    stem_kernel=3,
    widths=(8,),
    depths=(1,),
    expansion=2,
    reduction=4,
    embedding_dim=6,
    norm="group",
    pixel_scale=64.0,
)
MODEL = ClipPad(PadConfig(CLIP, FACE, adaptor_width=12))
SIZES = Sizes(clip=16, face=16, frames=2, text_length=20, query_photos=2, ending=" .")


def random_params(seed: int = 0) -> dict:
    """Random weights, as of a start; compiling the initialisers would take far longer."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "scale":
            return np.ones(leaf.shape, np.float32)
        fan_in = leaf.shape[-2] if len(leaf.shape) > 1 else 16
        return rng.normal(size=leaf.shape, scale=fan_in**-0.5).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(MODEL.init, jax.random.key(0)))


def checkpoint(folder: Path) -> Path:
    """A folder that a PersonFinder can be loaded from, with the frozen networks beside it."""
    flat = flatten(random_params())
    towers = {"clip": dataclasses.asdict(CLIP), "face": dataclasses.asdict(FACE)}
    for kind, shape in towers.items():
        part = {name.removeprefix(f"{kind}/"): a for name, a in flat.items() if name.startswith(f"{kind}/")}
        save_tree(folder / kind / "model.safetensors", part)
        (folder / kind / "config.json").write_text(json.dumps(shape))
    TOKENIZER.save(folder / "clip" / "tokenizer.json")
    trained = ("adaptor/", "clip/text/", "clip/text_projection/")
    save_tree(folder / "pad" / "model.safetensors", {n: a for n, a in flat.items() if n.startswith(trained)})
    config = {
        "model": {
            "clip": {"weights": str(folder / "clip"), "preset": None},
            "face": {"weights": str(folder / "face"), "preset": None},
            "adaptor_width": 12,
        },
        "data": {"text_length": 20, "ending": " .", "face_crop": 1.0, "frames": 2},
    }
    (folder / "pad" / "config.json").write_text(json.dumps(config))
    return folder / "pad"
