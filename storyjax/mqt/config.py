"""From a config to MQT's experiments (thesis §2.3.2, §2.6.1).

    model.mqt        storyjax.mqt.model.MqtConfig: the detector and the queries
    model.loss       storyjax.mqt.losses.LossConfig
    model.tracker    storyjax.mqt.association.TrackerConfig: protocol, thresholds, memory; what is measured with
    model.sweep      by name, fields of the tracker or of the queries to measure with besides (Tables 2.6, 2.10)
    model.offline    whether the enhancements of §2.6.4 are measured (Table 2.11)
    model.weights    a folder that `storyjax import` wrote (a Deformable DETR of the same sizes, or a ResNet): where the
                     parts start that it has; None: from scratch
    model.search     values of τ_conf to be tried on the training set of what is measured, which is then all that is
                     measured (§2.6.1, TAO-person); none: it is as `tracker` says
    data             storyjax.mqt.datasets.MqtData: the data set, and how it is trained on

Every stage of §2.6.1 is a config of its own, which starts from the run before through `init.checkpoint`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import load_flat
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.losses import LossConfig
from storyjax.mqt.model import Mqt, MqtConfig, Tracks
from storyjax.train.experiment import Params
from storyjax.train.precision import get_policy

# Frozen: batch norms, and of a network with these also the first layers, which ImageNet taught (Carion et al. 2020).
_ALL = ".*"
_WITHOUT_FIRST = r"(?!pyramid/backbone/(stem|stage_0_block_\d+)/)(?!pyramid/backbone/.*/norm/).*"


@dataclass(frozen=True)
class ModelConfig:
    mqt: MqtConfig = field(default_factory=MqtConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    sweep: dict[str, dict[str, Any]] = field(default_factory=dict)
    offline: bool = False
    weights: str | None = None
    search: tuple[float, ...] = ()


def make_model(config: Any, precision: str = "float32") -> tuple[Mqt, ModelConfig]:
    """The model that `config.model` describes."""
    section = from_config(ModelConfig, config, "config.model")
    if section.mqt.detr.two_stage:
        raise StoryjaxError("config.model.mqt.detr.two_stage: MQT's det queries are learnt (§2.3.1); leave it off.")
    return Mqt(section.mqt, get_policy(precision).compute), section


def tracker_config(base: TrackerConfig, options: Mapping[str, Any]) -> TrackerConfig:
    """`base` with some fields set otherwise; StoryjaxError for one that there is not, or that does not fit."""
    return from_config(TrackerConfig, dataclasses.asdict(base) | dict(options), "tracker")


def init_parameters(model: Mqt, size: tuple[int, int], key: jax.Array) -> Params:
    """Parameters as drawn; `size` (height, width) has no influence on them."""
    width = model.config.detr.width
    one = jnp.zeros((1, 1, width))
    tracks = Tracks(jnp.zeros((1, 1, 4)), one, one, jnp.ones((1, 1), bool))
    images = jnp.zeros((1, *size, 3), jnp.uint8)
    return model.init(key, images, jnp.zeros((1, 1, 4)), jnp.ones((1, 1), bool), tracks)["params"]


def trainable(model: Mqt) -> str:
    """The pattern of parameters that train."""
    return _WITHOUT_FIRST if model.config.detr.backbone.norm == "batch" else _ALL


def pretrained(folder: str) -> dict[str, np.ndarray]:
    """The parts of an imported detector, or of an imported ResNet, that an MQT has too.

    Raises:
        StoryjaxError: there is nothing there, or it has none of them.
    """
    path = Path(folder)
    if not path.exists():
        raise StoryjaxError(
            f"config.model.weights: {path} is not there; make it with `storyjax import deformable-detr` or `storyjax"
            " import resnet-50`, or use the config's ':embedded'"
        )
    flat = load_flat(path / "model.safetensors" if path.is_dir() else path)
    flat = {f"pyramid/{name}" if name.startswith("backbone/") else name: array for name, array in flat.items()}
    parts = ("pyramid/", "encoder/", "decoder/", "reference/")
    found = {name: array for name, array in flat.items() if name.startswith(parts)}
    if not found:
        raise StoryjaxError(f"config.model.weights: {path} holds neither a Deformable DETR nor a ResNet of storyjax")
    return found
