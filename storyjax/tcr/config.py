"""From a config to TCR's models and experiment: NExT-QA fine-tuning (thesis §3.3.2, Table 3.7).

`config.model` names two frozen towers and the sizes of the resampler between them:

    vision.weights, llm.weights   a folder with config.json, model.safetensors (and tokenizer.json for the LLM), or
                                  "shipped:NAME" for one of the small ones that come with the package
    vision.preset, llm.preset     the published architecture, where the folder is not there yet to say it itself
    tcr.*                         storyjax.tcr.resampler.TcrConfig
    streaming.*                   storyjax.tcr.frame_stream.Streaming: how many frames are in the works at once
    qformer.*                     storyjax.tcr.qformer_baseline: BLIP-2's Q-Former in the place of the TCR
    llm_remat                     recompute the LLM's blocks in the backward pass rather than keep their activations

`config.data` is `QaData`: where the data set lies and what a batch holds of it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder
from storyjax.data.text import HubTokenizer, Tokenizer, WordTokenizer
from storyjax.models.qformer import QFormer, QFormerConfig
from storyjax.models.t5 import FLAN_T5_XL, T5, T5Config
from storyjax.models.vit import VIT_G14_BLIP2, ViT, ViTConfig
from storyjax.tcr.frame_stream import Streaming
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.qformer_baseline import QFormerBaseline, QFormerSection
from storyjax.tcr.resampler import Tcr, TcrConfig
from storyjax.tcr.vision_features import Tower
from storyjax.train.precision import get_policy
from storyjax.weights.tensor_files import StoredTensor, stored_tensors

VISION_PRESETS = {"vit_g14_blip2": VIT_G14_BLIP2}
LLM_PRESETS = {"flan_t5_xl": FLAN_T5_XL}


@dataclass(frozen=True)
class TowerConfig:
    """Where a frozen tower's weights lie and, optionally, which published architecture it has."""

    weights: str
    preset: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    vision: TowerConfig
    llm: TowerConfig
    tcr: dict[str, Any] = field(default_factory=dict)
    streaming: Streaming = field(default_factory=Streaming)
    llm_remat: bool = False
    qformer: QFormerSection | None = None


def tower_file(tower: TowerConfig, name: str, part: str) -> Path:
    """A file of a tower's folder.

    Raises:
        StoryjaxError: it is not there; the message says what to get, from whom and where to put it.
    """
    path = weights_folder(tower.weights) / name
    if not path.exists():
        what = f"the weights of {tower.preset or part}"
        raise StoryjaxError(
            f"config.model.{part}.weights: {path} is not there; get {what} by"
            f" 'storyjax import blip2-flan-t5-xl --from Salesforce/blip2-flan-t5-xl --out {path.parent}' (or from where"
            " you downloaded it to), or use the config's ':embedded' variant"
        )
    return path


def _architecture(tower: TowerConfig, cls: type, presets: dict[str, Any], part: str) -> Any:
    if tower.preset is not None:
        return presets[choose(tower.preset, presets, f"config.model.{part}.preset")]
    stored = json.loads(tower_file(tower, "config.json", part).read_text())
    if part not in stored:
        raise StoryjaxError(
            f"{weights_folder(tower.weights)}/config.json describes {', '.join(stored)}, no '{part}' tower"
        )
    return from_config(cls, stored[part], f"{tower.weights}/config.json {part}")


def make_model(config: ConfigDict, precision: str = "float32") -> VideoLanguageModel:
    """The model that `config.model` describes; nothing is loaded but the architectures."""
    section = from_config(ModelConfig, config, "config.model")
    dtype = get_policy(precision).compute_dtype
    vision = _architecture(section.vision, ViTConfig, VISION_PRESETS, "vision")
    llm = _architecture(section.llm, T5Config, LLM_PRESETS, "llm")
    sizes = {**section.tcr, "vocab_size": llm.vocab_size, "llm_width": llm.d_model}
    tcr = from_config(TcrConfig, sizes, "config.model.tcr")
    parts = (
        ViT(vision, dtype=dtype("vision")),
        Tcr(tcr, dtype=dtype("tcr")),
        T5(llm, section.llm_remat, dtype("llm")),
        section.streaming,
    )
    if section.qformer is None:
        return VideoLanguageModel(*parts)
    widths = {"vision_width": vision.width, "llm_width": llm.d_model}
    baseline = from_config(QFormerConfig, {**section.qformer.sizes, **widths}, "config.model.qformer.sizes")
    return QFormerBaseline(*parts, QFormer(baseline, dtype("qformer")))


def make_tokenizer(config: ConfigDict) -> Tokenizer:
    """The LLM's tokenizer: a word list of ours (tokenizer.json alone), or a published one."""
    section = from_config(ModelConfig, config, "config.model")
    words = tower_file(section.llm, "tokenizer.json", "llm")
    # Published tokenizers say in a second file what kind they are.
    if section.llm.preset is None and not (words.parent / "tokenizer_config.json").exists():
        return WordTokenizer.load(words)
    return HubTokenizer(words.parent)


def frozen_towers(config: ConfigDict, parts: tuple[str, ...] = ("vision", "llm")) -> dict[str, StoredTensor]:
    """The weights of both towers, or of one, flat, under "vision/" and "llm/"; one folder may have both. They are read
    where they are needed, one after another."""
    section = from_config(ModelConfig, config, "config.model")
    weights = {}
    for part in parts:
        weights |= stored_tensors(tower_file(getattr(section, part), "model.safetensors", part), f"{part}/")
    if section.qformer is not None and section.qformer.weights is not None:  # BLIP-2's own, which is trained on
        stored = TowerConfig(section.qformer.weights, "blip2")
        weights |= stored_tensors(tower_file(stored, "model.safetensors", "qformer"), "qformer/")
    return weights


def make_tower(config: ConfigDict) -> Tower:
    """The vision tower of a whole config, with its weights, to compute features with."""
    weights = frozen_towers(config.model, ("vision",))
    return Tower(make_model(config.model, config.precision), weights, get_policy(config.precision))
