"""From a config to π-map's personalisation: tokens for the particular objects of a data set (thesis §5.3.2, §5.4).

    model.clip          storyjax.pi_map.towers.FrozenClip: the frozen CLIP
    model.pi            storyjax.pi_map.model.PiConfig
    model.loss          storyjax.pi_map.losses.LossConfig
    model.init_scheme   whether conditioning vectors start as §5.3.5 says, where π starts from scratch
    data                PersonalData: the data set, and how it is learnt from and asked about

π starts from `init.checkpoint`, a run of `configs/pi_map_imagenet.py`; without one, from scratch ("w/o Pre-Training").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from storyjax.core.config import from_config
from storyjax.core.params_io import unflatten
from storyjax.pi_map.data import Embed
from storyjax.pi_map.localise import BoxFile, Detector, GroundingDino
from storyjax.pi_map.losses import LossConfig
from storyjax.pi_map.model import PersonalClip, PiConfig, embed_in_batches
from storyjax.pi_map.towers import FrozenClip
from storyjax.train.precision import get_policy


@dataclass(frozen=True)
class ModelConfig:
    clip: FrozenClip
    pi: PiConfig = field(default_factory=PiConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    init_scheme: bool = True


def make_detector(source: str) -> Detector | Literal["data"] | None:
    """What `config.data.localise` names; see CollectionConfig."""
    if source in ("data", "none"):
        return "data" if source == "data" else None
    return BoxFile(source) if Path(source).suffix == ".json" else GroundingDino(source)


def make_model(config: Any, precision: str = "float32") -> tuple[PersonalClip, ModelConfig]:
    """The model that `config.model` describes; nothing is loaded but the architecture."""
    section = from_config(ModelConfig, config, "config.model")
    return PersonalClip(section.clip.config, section.pi, get_policy(precision).compute), section


def frozen_embed(model: PersonalClip, weights: Mapping[str, np.ndarray]) -> Embed:
    """f_v with the given weights, on numpy images in batches; for what is embedded once."""
    params = unflatten(dict(weights))
    jitted = jax.jit(model.images)
    return lambda pixels: embed_in_batches(lambda part: jitted(params, part), pixels)
