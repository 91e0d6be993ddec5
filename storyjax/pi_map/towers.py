"""The frozen CLIP that π-map stands between, with its tokenizer, as `config.model.clip` names it.

weights   a folder with config.json, model.safetensors and the tokenizer, or "shipped:NAME"
preset    the published architecture, where the folder does not say it itself
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import load_flat, weights_folder
from storyjax.data.text import HubTokenizer, Tokenizer, WordTokenizer, encode_spliced
from storyjax.models.clip import CLIP_VIT_B16, CLIP_VIT_B32, CLIP_VIT_L14, ClipConfig

PRESETS = {"clip_vit_b16": CLIP_VIT_B16, "clip_vit_b32": CLIP_VIT_B32, "clip_vit_l14": CLIP_VIT_L14}


@dataclass(frozen=True)
class FrozenClip:
    """Where a CLIP lies; its parts are read when they are first asked for."""

    weights: str
    preset: str | None = None

    @property
    def folder(self) -> Path:
        return weights_folder(self.weights)

    def file(self, name: str) -> Path:
        """A file of the folder; StoryjaxError, saying what to get, where it is not there."""
        path = self.folder / name
        if not path.exists():
            raise StoryjaxError(
                f"config.model.clip.weights: {path} is not there; get a published CLIP (OpenAI's"
                f" 'clip-vit-base-patch16' on the Hugging Face hub for the paper's), convert it to storyjax's layout"
                f" and put model.safetensors and the tokenizer into {path.parent}, or use the config's ':embedded'"
            )
        return path

    @cached_property
    def config(self) -> ClipConfig:
        if self.preset is not None:
            return PRESETS[choose(self.preset, PRESETS, "config.model.clip.preset")]
        return from_config(ClipConfig, json.loads(self.file("config.json").read_text("utf-8")), f"{self.weights}")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        path = self.file("tokenizer.json")
        return WordTokenizer.load(path) if self.preset is None else HubTokenizer(path.parent)

    def parameters(self) -> dict[str, np.ndarray]:
        """All weights, flat, under "clip/"."""
        return {f"clip/{path}": array for path, array in load_flat(self.file("model.safetensors")).items()}

    def encode(self, text: str, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and slots (length,) of a prompt in which each "*" stands for a token embedding."""
        return encode_spliced(self.tokenizer, text, length, marker="*")
