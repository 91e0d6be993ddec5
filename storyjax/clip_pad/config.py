"""`config.model` and `config.data` of CLIP-PAD, and the model that they describe (thesis §4.3.1).

model.clip, model.face    storyjax.weights.pretrained.Pretrained: the two frozen networks
model.adaptor_width       hidden width of the adaptor between them; §4.3.1: 256
data                      DataConfig
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from ml_collections import ConfigDict

from storyjax.clip_pad.data import Sizes
from storyjax.clip_pad.model import ClipPad, PadConfig
from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.registry import split_names
from storyjax.data.text import Tokenizer
from storyjax.train.precision import get_policy
from storyjax.weights.pretrained import Pretrained


@dataclass(frozen=True)
class ModelConfig:
    """`config.model`.

    Attributes:
        clip: CLIP, with its tokenizer.
        face: the face encoder.
        adaptor_width: of the adaptor's hidden layer.
    """

    clip: Pretrained
    face: Pretrained
    adaptor_width: int = 256


@dataclass(frozen=True)
class Roots:
    """`config.data.root`: the folder of the official files of each data set (storyjax/data/builders)."""

    vggface: str = "data/vggface"
    vggface2: str = "data/vggface2"
    cip: str = "data/celebrities_in_places"
    cia: str = "data/celebrities_in_action"
    season: str = "data/season"


@dataclass(frozen=True)
class DataConfig:
    """`config.data`; the common keys are explained in storyjax/data/registry.py.

    Attributes:
        dataset: the data set of photos that people are learned from: VGGFace for Celebrities in Places, VGGFace2
            otherwise (§4.3.1).
        root: a folder for each data set that is read.
        cache_dir: where the prepared records go.
        train_split: of `dataset`, and of Celebrities in Action where `tasks` has "clips".
        eval_splits: any of "val" (the photos of `dataset` that `val_photos` holds out of training), "vggface2:test"
            (VGGFace2's people who are not trained on, by photos; its results are named "identities"), "cip:test"
            (Celebrities in Places), "cia:test" (Celebrities in Action) and "season:episodes" (a season of a show).
        synthetic: the exporter's arguments by data set; a data set that is not named is read from its folder.
        tasks: "photos" (person recognition), "clips" (Celebrities in Action), or both at once.
        mix: relative frequencies of queries by face, by name and by both.
        unknown_names: fraction of the training queries by name and face whose name is a vector drawn at random, a new
            one each time, so that the model relies on the face where it does not know the name (Table 4.5).
        val_photos: photos of each person that are held out for validation.
        classes: people that validation distinguishes, at most.
        frames: of a clip.
        text_length: tokens of a query.
        face_crop, face_loose, query_photos, ending: see storyjax.clip_pad.data.Sizes.
        embed_once: whether all training data pass the frozen networks once, before training (feature_cache.py).
        clip_weight: weight of the loss on clips where both tasks train.
        season_person, season_action: the query of the season (§4.7.2).
        season_minute: seconds that count as a minute there; StoryWorld's stories are five times as fast as life.
        detector: what finds the face in a photo at enrolment (detect.py): "best" is CenterFace where it is installed,
            else the cascade; None takes each photo as a loose crop.
        max_broken_fraction: of the records of a data set that may be unusable.
        workers: processes that load training data; 0: threads of this one.

    Raises:
        StoryjaxError: `unknown_names` is no fraction, or `synthetic` names another data set.
    """

    dataset: Literal["vggface", "vggface2"] = "vggface2"
    root: Roots = field(default_factory=Roots)
    cache_dir: str = "data/prepared"
    train_split: str = "train"
    eval_splits: tuple[str, ...] = ("val",)
    synthetic: dict[str, dict[str, Any]] | None = None
    tasks: tuple[str, ...] = ("photos",)
    mix: tuple[float, float, float] = (0.6, 0.2, 0.2)
    unknown_names: float = 0.0
    val_photos: int = 10
    classes: int = 1000
    frames: int = 4
    text_length: int = 77
    face_crop: float = 0.875
    face_loose: float | None = None
    query_photos: int = 1
    ending: str = ""
    embed_once: bool = False
    clip_weight: float = 1.0
    season_person: str = "Michael Richards"
    season_action: str = "entering the room"
    season_minute: float = 60.0
    detector: Literal["best", "centerface", "frontal_faces"] | None = None
    max_broken_fraction: float = 0.05
    workers: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.unknown_names <= 1:
            raise StoryjaxError(f"config.data.unknown_names is {self.unknown_names}: give a fraction from 0 to 1")
        for dataset in self.synthetic or {}:
            choose(dataset, [each.name for each in fields(Roots)], "config.data.synthetic")

    def evaluations(self) -> list[str]:
        """Returns the names of `eval_splits`' evaluations ("faces", "identities", "cip" ...), which results start with.

        Raises:
            StoryjaxError: there is no evaluation on one of the splits.
        """
        known = {f"{self.dataset}:val": "faces", "vggface2:test": "identities"}
        known |= {"cip:test": "cip", "cia:test": "cia", "season:episodes": "season"}
        splits = [f"{dataset}:{split}" for dataset, split in split_names(self.eval_splits, self.dataset)]
        return [known[choose(split, known, "config.data.eval_splits")] for split in splits]


def make_model(config: ConfigDict | Mapping[str, Any], precision: str = "float32") -> ClipPad:
    """Returns the model that `config.model` describes; only the architectures are read.

    Raises:
        StoryjaxError: an unknown key, or no config.json in a network's folder.
    """
    section = from_config(ModelConfig, config, "config.model")
    shapes = PadConfig(section.clip.architecture("clip"), section.face.architecture("face"), section.adaptor_width)
    return ClipPad(shapes, get_policy(precision).compute)


def make_tokenizer(config: ConfigDict | Mapping[str, Any]) -> Tokenizer:
    """Returns CLIP's tokenizer: the one in the folder that `config.model.clip` names."""
    return from_config(ModelConfig, config, "config.model").clip.tokenizer("clip")


_SIZE_KEYS = ("frames", "text_length", "face_crop", "face_loose", "query_photos", "ending")


def make_sizes(model: ClipPad, data: ConfigDict | Mapping[str, Any], where: str = "config.data") -> Sizes:
    """Returns the sizes of a batch: those of the networks, and what `data`, a `config.data`, says of the others."""
    clip, face = model.config.clip, model.config.face
    networks = {"clip": clip.vision.image_size, "face": face.image_size}
    networks |= {"clip_aspect": clip.keep_aspect, "face_aspect": face.keep_aspect}
    return from_config(Sizes, networks | {key: data[key] for key in _SIZE_KEYS if key in data}, where)


def frozen_parameters(config: ConfigDict | Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns all parameters that training starts from, float32, by path: "clip/...", "face/...", "original/...".

    "original" is CLIP's text tower again, which stays as it is while the one in "clip" trains.

    Raises:
        StoryjaxError: a network's weights are not there, or are of another architecture.
    """
    section = from_config(ModelConfig, config, "config.model")
    networks = {"clip": section.clip, "face": section.face}
    flat = {
        f"{kind}/{name}": np.asarray(array, np.float32)
        for kind, network in networks.items()
        for name, array in network.parameters(kind).items()
    }
    text = {name: array for name, array in flat.items() if name.startswith(("clip/text/", "clip/text_projection/"))}
    return flat | {name.replace("clip/", "original/", 1): array for name, array in text.items()}
