"""`config.model` and `config.data` of π-map, and the model that they describe (thesis §5.3.2, §5.4).

    model.clip          FrozenClip here: the frozen CLIP or SigLIP
    model.pi            storyjax.pi_map.model.PiConfig
    model.loss          storyjax.pi_map.losses.LossConfig
    model.init_scheme   whether conditioning vectors start as §5.3.5 says, where π starts from scratch
    data                DataConfig here, or PretrainData of pretrain.py

π starts from `init.checkpoint`, a run of `configs/pi_map_imagenet.py`; without one, from scratch ("w/o Pre-Training").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from storyjax.core.buckets import place
from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import unflatten
from storyjax.data.images import Square
from storyjax.models.clip import ClipConfig
from storyjax.models.siglip import SiglipConfig, SiglipTextConfig
from storyjax.pi_map.captions import Captioner, make_captioner
from storyjax.pi_map.data import CollectionConfig, Embed
from storyjax.pi_map.localise import BoxFile, Detector, GroundingDino
from storyjax.pi_map.losses import LossConfig
from storyjax.pi_map.model import PersonalClip, PiConfig, embed_in_batches
from storyjax.train.precision import get_policy
from storyjax.weights.pretrained import Pretrained

# The parameters that training changes.
TRAINABLE = "pi/.*"


@dataclass(frozen=True)
class FrozenClip(Pretrained):
    """The frozen CLIP, by reference; `family` says whether it is one, or a SigLIP (Table 5.6)."""

    family: Literal["clip", "siglip"] = "clip"


@dataclass(frozen=True)
class ModelConfig:
    """`config.model`; see the top of this file."""

    clip: FrozenClip
    pi: PiConfig = field(default_factory=PiConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    init_scheme: bool = True


@dataclass(frozen=True)
class DataConfig(CollectionConfig):
    """`config.data` of the personalisation; the common keys are explained in storyjax/data/registry.py.

    Attributes:
        dataset: the data set whose objects are learned.
        root: the folder of its official files.
        cache_dir: where the prepared records go.
        train_split: the split whose records are learned from; of Celebrities in Action "train" or "faces", its photos.
        eval_splits: the splits that are searched; the results of "test" are named after the data set, those of another
            split "dataset_split".
        synthetic: the exporter's arguments; None for the real data set.
        query_captions: DeepFashion2's captions that make the context queries, "short" or "detailed" (§5.4.3).
        unseen_root: another collection in the same layout, whose "test" is searched for the objects with the same names
            (Table 5.7), or None; its results are named "dataset_unseen".
        unseen_synthetic: the exporter's arguments for it.
        max_broken_fraction: of the records of a split that may be unusable.

    Raises:
        StoryjaxError: `also_eval` for a data set without an evaluation split, or with that split to be searched too;
            detailed captions of a data set that has one kind.
    """

    dataset: Literal["thisismy", "deepfashion2", "cia"] = "thisismy"
    root: str = "data/thisismy"
    cache_dir: str = "data/prepared"
    train_split: str = "train"
    eval_splits: tuple[str, ...] = ("test",)
    synthetic: dict[str, Any] | None = None
    query_captions: Literal["short", "detailed"] = "short"
    unseen_root: str | None = None
    unseen_synthetic: dict[str, Any] | None = None
    max_broken_fraction: float = 0.05

    def __post_init__(self) -> None:
        if self.query_captions != "short" and self.dataset != "deepfashion2":
            raise StoryjaxError(
                f"config.data.query_captions: {self.dataset} has one kind of captions; leave it 'short'"
            )
        if self.also_eval and self.dataset != "thisismy":
            raise StoryjaxError(f"config.data.also_eval: {self.dataset} has no evaluation split; set it to False")
        if self.also_eval and "eval" in self.eval_splits:
            raise StoryjaxError(
                "config.data.also_eval learns from the split 'eval': take it out of config.data.eval_splits, where it"
                " would be searched"
            )


def data_captioner(data: DataConfig) -> Captioner | None:
    """Returns the captioner that `config.data.captions` names; "data" is the data set's own captions.json."""
    return make_captioner(str(place(data.root) / "captions.json") if data.captions == "data" else data.captions)


def make_detector(source: str) -> Detector | Literal["data"] | None:
    """Returns what `config.data.localise` names; see CollectionConfig.

    Raises:
        StoryjaxError: the folder holds no detector.
    """
    if source in ("data", "none"):
        return "data" if source == "data" else None
    return BoxFile(source) if Path(source).suffix == ".json" else GroundingDino(source)


def make_model(config: Any, precision: str = "float32") -> tuple[PersonalClip, ModelConfig]:
    """Returns the model that `config.model` describes, and that section; only the architecture is read.

    Raises:
        StoryjaxError: an unknown key, no config.json of the CLIP, or one whose widths differ.
    """
    section = from_config(ModelConfig, config, "config.model")
    dtype = get_policy(precision).compute
    return PersonalClip(section.clip.architecture(section.clip.family), section.pi, dtype), section


def check_text_length(model: PersonalClip, length: int) -> None:
    """Checks that a text tower takes prompts of `config.data.text_length` tokens.

    Raises:
        StoryjaxError: they are too long or, for a SigLIP, whose texts are read at their last place, too short.
    """
    text = model.config.text
    if length > text.max_length or (length < text.max_length and isinstance(text, SiglipTextConfig)):
        most = "" if isinstance(text, SiglipTextConfig) else " or less"
        raise StoryjaxError(
            f"config.data.text_length is {length}: the text tower takes {text.max_length}{most}; set it to that"
        )


def clip_square(config: ClipConfig | SiglipConfig) -> Square:
    """Returns what makes the squares that a CLIP takes."""
    return Square(config.vision.image_size, config.keep_aspect)


def frozen_parameters(clip: FrozenClip) -> dict[str, np.ndarray]:
    """Returns the frozen CLIP's parameters, float32, by path ("clip/...").

    Raises:
        StoryjaxError: the weights are not there.
    """
    return {f"clip/{path}": np.asarray(array, np.float32) for path, array in clip.parameters(clip.family).items()}


def frozen_embed(model: PersonalClip, weights: Mapping[str, np.ndarray]) -> Embed:
    """Returns f_v with the given weights, for numpy images, in batches."""
    params = unflatten(dict(weights))
    jitted = jax.jit(model.embed_images)
    return lambda pixels: embed_in_batches(lambda part: jitted(params, part), pixels)
