"""From a config to CLIP-PAD's models and experiment (thesis §4.3.1).

`config.model` names two frozen networks and the size of the adaptor between them:

    clip.weights, face.weights    a folder with config.json and model.safetensors (CLIP's also with its tokenizer), or
                                  "shipped:NAME" for one of the small ones that come with storyjax
    clip.preset, face.preset      the published architecture; the weights are then the published ones, as safetensors
                                  with their own names (transformers' CLIPModel; VGGFace2's senet50_128)
    adaptor_width                 §4.3.1: 256

`config.data` is `PadData`: which data sets, where they lie, what is trained on and what is measured.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from storyjax.clip_pad.model import ClipPad, PadConfig
from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, load_flat, weights_folder
from storyjax.data.text import HubTokenizer, Tokenizer, WordTokenizer
from storyjax.models.clip import CLIP_VIT_B32, ClipConfig
from storyjax.models.seresnet import SE_RESNET_50_128D, SEResNetConfig
from storyjax.train.precision import get_policy
from storyjax.weights.rules import CLIP, import_weights
from storyjax.weights.tables.face import seresnet_rules

CLIP_PRESETS = {"clip_vit_b32": CLIP_VIT_B32}
FACE_PRESETS = {"senet50_128": SE_RESNET_50_128D}
_WANTED = {
    "clip": "the weights and tokenizer of openai/clip-vit-base-patch32 (model.safetensors, tokenizer.json ... of the"
    " Hugging Face hub)",
    "face": "VGGFace2's senet50_128.pth (Visual Geometry Group, Oxford), saved as model.safetensors",
}


@dataclass(frozen=True)
class Part:
    """Where a frozen network's weights lie and, for a published one, which architecture it has."""

    weights: str
    preset: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    clip: Part
    face: Part
    adaptor_width: int = 256


def part_file(part: Part, name: str, kind: str) -> Path:
    """A file of a network's folder.

    Raises:
        StoryjaxError: it is not there; the message says what to get and where to put it.
    """
    path = weights_folder(part.weights) / name
    if not path.exists():
        raise StoryjaxError(
            f"config.model.{kind}.weights: {path} is not there; get {_WANTED[kind]} and put it into {path.parent}, or"
            " use the config's ':embedded' variant"
        )
    return path


def _shape(part: Part, cls: type, presets: Mapping[str, Any], kind: str) -> Any:
    if part.preset is not None:
        return presets[choose(part.preset, presets, f"config.model.{kind}.preset")]
    stored = json.loads(part_file(part, "config.json", kind).read_text())
    return from_config(cls, stored.get(kind, stored), f"{part.weights}/config.json")


def make_model(config: ConfigDict | Mapping[str, Any], precision: str = "float32") -> ClipPad:
    """The model that `config.model` describes; nothing is loaded but the architectures."""
    section = from_config(ModelConfig, config, "config.model")
    clip = _shape(section.clip, ClipConfig, CLIP_PRESETS, "clip")
    face = _shape(section.face, SEResNetConfig, FACE_PRESETS, "face")
    return ClipPad(PadConfig(clip, face, section.adaptor_width), get_policy(precision).compute)


def make_tokenizer(config: ConfigDict | Mapping[str, Any]) -> Tokenizer:
    """CLIP's tokenizer: a word list of ours (tokenizer.json alone), or the published one."""
    section = from_config(ModelConfig, config, "config.model")
    path = part_file(section.clip, "tokenizer.json", "clip")
    return WordTokenizer.load(path) if section.clip.preset is None else HubTokenizer(path.parent)


def pretrained(config: ConfigDict | Mapping[str, Any], model: ClipPad) -> dict[str, np.ndarray]:
    """All weights that training starts from, flat: "clip/...", "face/..." and, the text tower again, "original/..."."""
    section = from_config(ModelConfig, config, "config.model")
    tree = jax.eval_shape(model.init, jax.random.key(0))
    tables = {"clip": CLIP, "face": seresnet_rules(model.config.face)}
    flat = {}
    for kind, table in tables.items():
        part = getattr(section, kind)
        path = part_file(part, "model.safetensors", kind)
        weights = load_flat(path)
        if part.preset is not None:
            weights = flatten(import_weights(table, weights, tree[kind], str(path)))
        flat |= {f"{kind}/{name}": array for name, array in weights.items()}
    text = {name: array for name, array in flat.items() if name.startswith(("clip/text/", "clip/text_projection/"))}
    return flat | {name.replace("clip/", "original/", 1): array for name, array in text.items()}
