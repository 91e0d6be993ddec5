"""A TCR of a few thousand random weights on disk, towers and all, and short videos for it to be asked about."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import av
import jax
import numpy as np
from ml_collections import ConfigDict

from storyjax.core.params_io import flatten, save_tree
from storyjax.data.text import WordTokenizer
from storyjax.models.t5 import T5Config
from storyjax.models.vit import ViTConfig
from storyjax.storyworld.story.vocabulary import vocabulary
from storyjax.tcr.config import make_model

QUESTION, OPTIONS = "what did ana do right after ben danced ?", ["danced", "sang", "cried", "slept", "waved"]


def write_checkpoint(folder: Path, seed: int = 0, tcr: dict | None = None) -> Path:
    """Writes folder/{vision,llm,tcr} and returns folder/tcr, which a Predictor can load. `tcr`: sizes of its own."""
    tokenizer = WordTokenizer.from_words(vocabulary())
    vision = ViTConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2, mlp_width=32)
    llm = T5Config(
        vocab_size=tokenizer.vocab_size, d_model=24, d_kv=8, d_ff=32, num_heads=2, num_layers=1, num_decoder_layers=1
    )
    for name, architecture in (("vision", vision), ("llm", llm)):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps({name: dataclasses.asdict(architecture)}))
    tokenizer.save(folder / "llm" / "tokenizer.json")
    config = ConfigDict(
        {
            "experiment": "tcr",
            "precision": "float32",
            "model": {
                "vision": {"weights": str(folder / "vision")},
                "llm": {"weights": str(folder / "llm")},
                "tcr": {"width": 32, "heads": 4, "queries": 6, "max_prompt": 16, **(tcr or {})},
            },
            "data": {
                "tasks": {"nextqa": {"task": "nextqa", "root": "data/nextqa", "frames": 6, "condition_length": 12}}
            },
        }
    )
    rng = np.random.default_rng(seed)  # not the model's own initialisation, which takes seconds to compile
    shapes = flatten(jax.eval_shape(make_model(config.model).init, jax.random.key(0)))
    for name in ("vision", "llm", "tcr"):
        part = {path: leaf.shape for path, leaf in shapes.items() if path.startswith(f"{name}/")}
        weights = {path: rng.normal(path.endswith("scale"), 0.3, shape) for path, shape in part.items()}
        save_tree(folder / name / "model.safetensors", weights, dtype=np.float32)
    (folder / "tcr" / "config.json").write_text(config.to_json())
    return folder / "tcr"


def write_film(path: Path, frames: int = 24, fps: int = 4, size: tuple[int, int] = (64, 64), sound_only: bool = False):
    """A video whose colour changes with time, width by height pixels; or its sound alone."""
    with av.open(str(path), "w") as container:
        if sound_only:
            stream = container.add_stream("aac", rate=16000, layout="mono")
            for start in range(0, 16000, 1024):
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = 16000, start, Fraction(1, 16000)
                container.mux(stream.encode(sound))
        else:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for index in range(frames):
                pixels = np.full((size[1], size[0], 3), (10 * index % 256, 200 - 8 * index % 200, 90), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path
