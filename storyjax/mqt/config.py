"""The configuration of MQT: `config.model`, `config.data`, and the model that they describe (§2.3.2, §2.6.1).

Every stage of §2.6.1 is a config of its own, which starts from the run before it through `init.checkpoint`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.registry import split_names
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.data import View
from storyjax.mqt.external_detections import EXTERNAL
from storyjax.mqt.images import Fit
from storyjax.mqt.losses import LossConfig
from storyjax.mqt.model import Mqt, MqtConfig, Tracks
from storyjax.mqt.sequences import EXEMPLAR
from storyjax.train.experiment import Params
from storyjax.train.precision import get_policy

IMAGE_DATASETS, SEQUENCE_DATASETS = ("coco", "crowdhuman"), ("mot17", "mot20", "tao", "gmot40", "series_tracks")
# The folders of the official files, where `data.root` does not name them.
ROOTS = {
    "mot17": "data/MOT17",
    "mot20": "data/MOT20",
    "gmot40": "data/GMOT40",
    "series_tracks": "data/series_tracks",
    "tao": "data/TAO",
    "coco": "data/coco",
    "crowdhuman": "data/crowdhuman",
}
UNSEEN = "unseen"  # the split of kinds that training never shows; measured beside another one

# Frozen: batch norms, and of a network with these also the first layers, as in DETR (Carion et al. 2020).
_ALL = ".*"
_WITHOUT_FIRST = r"(?!pyramid/backbone/(stem|stage_0_block_\d+)/)(?!pyramid/backbone/.*/norm/).*"


@dataclass(frozen=True)
class ModelConfig:
    """`config.model`.

    Attributes:
        mqt: the detector and the queries.
        loss: what is trained on.
        tracker: protocol, thresholds and memory of the tracker that is evaluated.
        sweep: by name, fields of the tracker or of the queries for further evaluations (Tables 2.6, 2.10).
        offline: whether the enhancements of §2.6.4 are evaluated too (Table 2.11).
        labels: names of the classes of a model with a class head (`mqt.detr.classes`), which tracked objects then have;
            empty: they have none.
        weights: a folder that `storyjax import` wrote, with a Deformable DETR of the same sizes or a ResNet
            (published_weights.py), from which the parts that it has are initialised; None: from scratch.
        detectors: in the first stage, the Deformable DETRs of Table 2.8a that run beside it (detectors.py): by name
            ("single_stage", "two_stage") the folder of their weights, or None for one that is trained beside it.
        search: values of τ_conf (`tracker.match_threshold`) to evaluate on the training split of the evaluated data set
            instead of everything else (§2.6.1; threshold_search.py); empty: no search.
        search_agreement: values of τ_agree (`tracker.agreement_threshold`) to evaluate then.
        search_folds: of the sequences, for cross-validation.
    """

    mqt: MqtConfig = field(default_factory=MqtConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    sweep: dict[str, dict[str, Any]] = field(default_factory=dict)
    offline: bool = False
    labels: tuple[str, ...] = ()
    weights: str | None = None
    detectors: dict[str, str | None] = field(default_factory=dict)
    search: tuple[float, ...] = ()
    search_agreement: tuple[float, ...] = ()
    search_folds: int = 5

    def __post_init__(self) -> None:
        """Raises StoryjaxError for thresholds out of range, and for a search without values."""
        for match in self.search:
            dataclasses.replace(self.tracker, match_threshold=match)
        for agreement in self.search_agreement:
            dataclasses.replace(self.tracker, agreement_threshold=agreement)
        if self.search_agreement and not self.search:
            raise StoryjaxError("config.model.search_agreement needs values of τ_conf in config.model.search")
        if len(self.labels) not in (0, self.mqt.detr.classes):
            raise StoryjaxError(
                f"config.model.labels has {len(self.labels)} names, and config.model.mqt.detr.classes is"
                f" {self.mqt.detr.classes}: name every class, or none"
            )
        if self.search_folds < 1:
            raise StoryjaxError(f"config.model.search_folds is {self.search_folds}; it must be 1 or more")


@dataclass(frozen=True)
class MqtData:
    """`config.data`.

    Attributes:
        dataset: the data set trained on: mot17, mot20, tao, coco, crowdhuman or series_tracks (StoryWorld's series).
        mode: "detection" (images with perturbed boxes), "simulated" (pairs made of one image) or "pairs" (two frames of
            a sequence).
        train_split: the split trained on.
        eval_splits: what is evaluated, "SPLIT" of `dataset` or "DATASET:SPLIT": one split of a data set, in whose
            sequences (mot17, mot20, gmot40, tao, series_tracks) objects are tracked or in whose images (coco,
            crowdhuman) they are detected; and besides "unseen" of mot17 and mot20.
        detector: whose boxes are given, under protocols that take any (§2.6.2): a public detector, "external" for those
            of `detections_dir` ("private+"), or several joined by "+" ("external+FRCNN").
        detections_dir: the folder of another detector's boxes; see external_detections.
        root: by data set, the folder of its official files (storyjax/data/builders says which); ROOTS otherwise.
        cache_dir: the folder of the prepared records.
        synthetic: by data set, arguments of the exporter that first writes a StoryWorld into these folders; None: the
            files there are real.
        held_out, unseen: patterns of names of training sequences that make up the splits of these names (§2.4.1).
        only: of TAO, the one category to keep ("person": TAO-person).
        max_gap: largest distance of the two frames of a pair, in frames; adjacent ones are a frame apart (§2.3.2).
        far_prob, far_gap: probability of a far pair, and the largest distance of its frames.
        mirror_prob: probability that one frame of a pair is mirrored and the other is not.
        max_objects: rows of boxes in a batch.
        size: height and width of the images, in pixels.
        shorter, longer: images keep their aspect ratio: their shorter side becomes `shorter`, or less so that their
            longer one is at most `longer` and they fit into `size`, to which they are padded (images.py). None: they
            are stretched to `size`.
        flip, jitter, max_shift, keep_all, min_visibility: see data.View.
        max_broken_fraction: largest fraction of unusable records.
        workers: processes that load data; 0: threads of this one.
    """

    dataset: str = "mot17"
    mode: Literal["detection", "simulated", "pairs"] = "pairs"
    train_split: str = "train"
    eval_splits: tuple[str, ...] = ("mot17:held_out",)
    detector: str = "FRCNN"
    detections_dir: str | None = None
    root: dict[str, str] = field(default_factory=dict)
    cache_dir: str = "data/prepared"
    synthetic: dict[str, dict[str, Any]] | None = None
    held_out: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    only: str | None = None
    max_gap: int = 1
    far_prob: float = 0.0
    far_gap: int = 0
    mirror_prob: float = 0.0
    max_objects: int = 100
    size: tuple[int, int] = (800, 1440)
    shorter: int | None = None
    longer: int | None = None
    flip: float = 0.5
    jitter: float = 0.15
    max_shift: float = 0.05
    keep_all: bool = True
    min_visibility: float = 0.3
    max_broken_fraction: float = 0.05
    workers: int = 0

    def __post_init__(self) -> None:
        """Raises StoryjaxError for an unknown data set, and for options that contradict each other."""
        choose(self.dataset, [name for name in ROOTS if name != "gmot40"], "config.data.dataset")
        for name in self.root:
            choose(name, ROOTS, "config.data.root")
        for dataset, _ in split_names(self.eval_splits, self.dataset):
            choose(dataset, ROOTS, "config.data.eval_splits")
        if self.external and self.detections_dir is None:
            raise StoryjaxError(
                "config.data.detector: 'external' detections need config.data.detections_dir, their folder"
            )
        if self.detections_dir is not None and not self.external:
            raise StoryjaxError(
                f"config.data.detections_dir: nothing reads it, for config.data.detector is '{self.detector}': set"
                f" that to 'external', or 'external+{self.detector}'"
            )
        if self.mode == "pairs" and self.dataset in IMAGE_DATASETS:
            raise StoryjaxError(
                f"config.data.mode: {self.dataset} has no sequences; 'simulated' makes pairs of single images"
            )
        if (self.shorter is None) != (self.longer is None) or min(self.shorter or 1, self.longer or 1) < 1:
            raise StoryjaxError(
                "config.data.shorter and longer go together, in pixels; without both images are stretched to size"
            )
        if self.far_prob > 0 and self.far_gap < 1:
            raise StoryjaxError("config.data.far_prob needs far_gap, the largest distance of the frames of a far pair")

    @property
    def external(self) -> bool:
        """Whether boxes of `detections_dir` are given."""
        return EXTERNAL in self.detector.split("+")

    def detector_of(self, protocol: str) -> str | None:
        """Returns whose boxes a tracker of this protocol is given, for `VideoSequence.given`; None: it takes none."""
        if protocol == "user":  # beside the boxes that tracks start on
            return EXTERNAL if self.external else None
        return {"private": None, "one_shot": EXEMPLAR}.get(protocol, self.detector)

    @property
    def view(self) -> View:
        """How records become arrays."""
        options = (self.flip, self.jitter, self.max_shift, self.keep_all, self.min_visibility)
        return View(self.size, self.max_objects, *options, self.fit)

    @property
    def fit(self) -> Fit | None:
        """How pictures fit into the images; None where they are stretched to their size."""
        return None if self.shorter is None or self.longer is None else Fit(self.shorter, self.longer)

    def folder(self, dataset: str) -> str:
        """Returns the folder of the official files of a data set."""
        return self.root.get(dataset, ROOTS[dataset])

    def evaluated(self) -> dict[str, tuple[str, bool]]:
        """Returns, by data set, the split that is evaluated and whether "unseen" is evaluated beside it.

        Raises:
            StoryjaxError: two splits of one data set, whose results would have the same names.
        """
        splits: dict[str, list[str]] = {}
        for dataset, split in split_names(self.eval_splits, self.dataset):
            splits.setdefault(dataset, []).append(split)
        found = {}
        for dataset, names in splits.items():
            main = [name for name in names if name != UNSEEN]
            if len(main) != 1:
                raise StoryjaxError(f"config.data.eval_splits: name one split of {dataset}, and '{UNSEEN}' besides it")
            found[dataset] = (main[0], UNSEEN in names)
        return found


def make_model(config: Any, precision: str = "float32") -> tuple[Mqt, ModelConfig]:
    """Returns the model that `config.model` describes, and that section as a dataclass.

    Raises:
        StoryjaxError: an unknown key, a value that does not fit, or an unknown precision.
    """
    section = from_config(ModelConfig, config, "config.model")
    if section.mqt.detr.two_stage:
        raise StoryjaxError("config.model.mqt.detr.two_stage: MQT's det queries are learnt (§2.3.1); leave it off.")
    return Mqt(section.mqt, get_policy(precision).compute), section


def tracker_config(base: TrackerConfig, options: Mapping[str, Any]) -> TrackerConfig:
    """Returns `base` with some fields replaced; StoryjaxError for an unknown field or a value that does not fit."""
    return from_config(TrackerConfig, dataclasses.asdict(base) | dict(options), "tracker")


def init_parameters(model: Mqt, size: tuple[int, int], key: jax.Array) -> Params:
    """Returns freshly initialised parameters; `size` (height, width) has no influence on them."""
    width = model.config.detr.width
    one = jnp.zeros((1, 1, width))
    tracks = Tracks(jnp.zeros((1, 1, 4)), one, one, jnp.ones((1, 1), bool))
    images = jnp.zeros((1, *size, 3), jnp.uint8)
    return model.init(key, images, jnp.zeros((1, 1, 4)), jnp.ones((1, 1), bool), tracks)["params"]


def trainable(model: Mqt) -> str:
    """Returns the pattern of the parameters that are trained."""
    return _WITHOUT_FIRST if model.config.detr.backbone.norm == "batch" else _ALL
