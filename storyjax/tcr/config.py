"""From a config to TCR's models and experiment.

`config.model` names two frozen towers and the sizes of the resampler between them:

    vision.weights, llm.weights   a folder with config.json, model.safetensors (and tokenizer.json for the LLM), or
                                  "shipped:NAME" for one of the small ones that come with the package
    vision.preset, llm.preset     the published architecture, where the folder is not there yet to say it itself
    tcr.*                         storyjax.tcr.model.TcrConfig
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from storyjax.configuration import choose, from_config
from storyjax.data.text import HubTokenizer, Tokenizer, WordTokenizer
from storyjax.errors import StoryjaxError
from storyjax.nn.t5 import FLAN_T5_XL, T5, T5Config
from storyjax.nn.vit import VIT_G14_BLIP2, ViT, ViTConfig
from storyjax.tcr.model import Tcr, TcrConfig, VideoLanguageModel
from storyjax.train.precision import get_policy
from storyjax.weights.tree_io import load_flat, shipped

VISION_PRESETS = {"vit_g14_blip2": VIT_G14_BLIP2}
LLM_PRESETS = {"flan_t5_xl": FLAN_T5_XL}
SHIPPED = "shipped:"


@dataclass(frozen=True)
class Tower:
    """Where a frozen tower's weights lie and, optionally, which published architecture it has."""

    weights: str
    preset: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    vision: Tower
    llm: Tower
    tcr: dict[str, Any] = field(default_factory=dict)


def folder(weights: str) -> Path:
    """The folder that a `weights` entry names."""
    return shipped(weights.removeprefix(SHIPPED)) if weights.startswith(SHIPPED) else Path(weights)


def tower_file(tower: Tower, name: str, part: str) -> Path:
    """A file of a tower's folder.

    Raises:
        StoryjaxError: it is not there; the message says what to get, from whom and where to put it.
    """
    path = folder(tower.weights) / name
    if not path.exists():
        what = f"the weights of {tower.preset or part}"
        raise StoryjaxError(
            f"config.model.{part}.weights: {path} is not there; get {what} (published by Salesforce as"
            " 'blip2-flan-t5-xl' on the Hugging Face hub), convert them to storyjax's layout and put config.json,"
            f" model.safetensors and the tokenizer into {path.parent}, or use the config's ':embedded' variant"
        )
    return path


def _architecture(tower: Tower, cls: type, presets: dict[str, Any], part: str) -> Any:
    if tower.preset is not None:
        return presets[choose(tower.preset, presets, f"config.model.{part}.preset")]
    stored = json.loads(tower_file(tower, "config.json", part).read_text())
    if part not in stored:
        raise StoryjaxError(f"{folder(tower.weights)}/config.json describes {', '.join(stored)}, no '{part}' tower")
    return from_config(cls, stored[part], f"{tower.weights}/config.json {part}")


def make_model(config: ConfigDict, precision: str = "float32") -> VideoLanguageModel:
    """The model that `config.model` describes; nothing is loaded but the architectures."""
    section = from_config(ModelConfig, config, "config.model")
    dtype = get_policy(precision).compute
    vision = _architecture(section.vision, ViTConfig, VISION_PRESETS, "vision")
    llm = _architecture(section.llm, T5Config, LLM_PRESETS, "llm")
    sizes = {**section.tcr, "vocab_size": llm.vocab_size, "llm_width": llm.d_model}
    tcr = from_config(TcrConfig, sizes, "config.model.tcr")
    return VideoLanguageModel(ViT(vision, dtype=dtype), Tcr(tcr, dtype=dtype), T5(llm, dtype=dtype))


def make_tokenizer(config: ConfigDict) -> Tokenizer:
    """The LLM's tokenizer: a word list of ours (tokenizer.json alone), or a published one."""
    section = from_config(ModelConfig, config, "config.model")
    if section.llm.preset is None:
        return WordTokenizer.load(tower_file(section.llm, "tokenizer.json", "llm"))
    return HubTokenizer(tower_file(section.llm, "tokenizer.json", "llm").parent)


def frozen_towers(config: ConfigDict) -> dict[str, np.ndarray]:
    """The weights of both towers, flat, under "vision/" and "llm/"."""
    section = from_config(ModelConfig, config, "config.model")
    weights = {}
    for part in ("vision", "llm"):
        flat = load_flat(tower_file(getattr(section, part), "model.safetensors", part))
        weights.update({key: value for key, value in flat.items() if key.startswith(f"{part}/")})
    return weights
