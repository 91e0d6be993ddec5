"""The detectors that Table 2.8a compares with an MQT: Deformable DETRs of one stage and of two (thesis §2.6.3).

They see the same images as the MQT, with parameters of their own below `detectors/NAME/`: published ones, which stay as
they are, or, where no weights are named, ones trained beside the MQT on the same boxes, without classes as it is.

Results are `NAME/single_stage_ap` and `NAME/two_stage_ap` of the detectors, and `NAME/proposals_ap` of the MQT's pos
queries made of the boxes that the encoder of the two-stage detector proposes ("Ours, two-stage proposals"). All AP is
without classes; what a detector with classes finds counts with its most probable one.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, UInt8

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten
from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.metrics.detection import average_precision
from storyjax.models.deformable_detr import DeformableDetr, DeformableDetrConfig, Detections
from storyjax.models.resnet import standardise
from storyjax.mqt.data import DetectionEvalLoader
from storyjax.mqt.datasets import Sources
from storyjax.mqt.eval_detection import as_detections, plain_view, true_boxes
from storyjax.mqt.losses import APPEARANCE_WEIGHT, box_loss, focal_loss
from storyjax.mqt.matching import match, matched_queries
from storyjax.mqt.model import Mqt
from storyjax.nn.hungarian import take
from storyjax.train.experiment import Batch, Evaluator, LossFn, Params
from storyjax.weights.pretrained import Pretrained

SINGLE, TWO_STAGE = "single_stage", "two_stage"
_PREFIX = "detectors"


class Detectors:
    """The detectors beside an MQT.

    Args:
        model: the MQT, whose sizes those without weights have.
        weights: by name ("single_stage", "two_stage") a folder of weights, or None for one that is trained.

    Attributes:
        modules: by name.
    """

    def __init__(self, model: Mqt, weights: Mapping[str, str | None]):
        self.model, self._weights = model, weights
        self.modules = {name: DeformableDetr(self._config(name), model.dtype) for name in weights}

    def _config(self, name: str) -> DeformableDetrConfig:
        choose(name, (SINGLE, TWO_STAGE), "config.model.detectors")
        folder, own = self._weights[name], self.model.config.detr
        if folder is None:
            if own.backbone.norm == "batch":
                raise StoryjaxError(
                    f"config.model.detectors.{name}: a backbone with batch norms starts from published weights; name"
                    " the folder of the detector's"
                )
            return dataclasses.replace(own, classes=1, box_refine=True, two_stage=name == TWO_STAGE)
        config: DeformableDetrConfig = Pretrained(folder).architecture("detector")
        if config.two_stage != (name == TWO_STAGE):
            raise StoryjaxError(f"config.model.detectors.{name}: {folder} has {1 + config.two_stage} stage(s)")
        return config

    @property
    def trained(self) -> list[str]:
        """The names of those that are trained."""
        return [name for name, folder in self._weights.items() if folder is None]

    def init(self, init_mqt: Callable[[jax.Array], Params], key: jax.Array) -> Params:
        """Returns freshly initialised parameters of the MQT and of the detectors."""
        images = jnp.zeros((1, 64, 64, 3))
        keys = jax.random.split(jax.random.fold_in(key, 1), len(self.modules))
        own = {name: each.init(k, images)["params"] for (name, each), k in zip(self.modules.items(), keys, strict=True)}
        return {**init_mqt(key), _PREFIX: own}

    def trainable(self, pattern: str) -> str:
        """Returns the pattern of the parameters that are trained, given that of the MQT's."""
        trained = "|".join(self.trained) or "(?!)"
        return f"{_PREFIX}/({trained})/.*|(?!{_PREFIX}/)(?:{pattern})"

    def pretrained(self) -> dict[str, Any]:
        """Returns the published parameters by path.

        Raises:
            StoryjaxError: weights are not there, or of another architecture.
        """
        found: dict[str, Any] = {}
        for name, folder in self._weights.items():
            if folder is not None:
                _, tree = Pretrained(folder).network("detector")
                found |= {f"{_PREFIX}/{name}/{path}": array for path, array in flatten(tree).items()}
        return found

    def run(self, name: str, params: Params, images: UInt8[Array, "b y x 3"], key: jax.Array | None) -> Detections:
        """Returns what a detector finds; with a key in training."""
        module = self.modules[name]
        training = key is not None and module.config.dropout > 0
        found: Any = module.apply(
            {"params": params[_PREFIX][name]},
            standardise(images, module.dtype),
            deterministic=not training,
            rngs={"dropout": key} if key is not None and training else {},
        )
        return found

    def beside(self, loss: LossFn) -> LossFn:
        """Returns the MQT's loss of a batch of images plus those of the detectors that are trained."""

        def both(params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
            total, scalars = loss(params, batch, key)
            count = jnp.maximum(batch["present0"].sum(), 1).astype(jnp.float32)
            for number, name in enumerate(self.trained):
                found = self.run(name, params, batch["images0"], jax.random.fold_in(key, 100 + number))
                own = _loss(found.boxes, found.logits[..., 0], batch["boxes0"], batch["present0"])
                if found.proposal_boxes is not None:
                    proposals = found.proposal_boxes[None], found.proposal_logits[None, ..., 0]
                    own += _loss(*proposals, batch["boxes0"], batch["present0"])
                scalars, total = {**scalars, name: own / count}, total + own / count
            return total, scalars

        return both


def _loss(
    boxes: Float[Array, "k b q 4"],
    logits: Float[Array, "k b q"],
    truth: Float[Array, "b n 4"],
    mask: Bool[Array, "b n"],
) -> Float[Array, ""]:
    """Returns the set loss of a detector without classes, summed over layers and objects."""
    assignment = match(boxes, logits, truth, mask)
    total = jnp.zeros(())
    for layer in range(len(boxes)):
        own = assignment[layer]
        total += box_loss(take(boxes[layer], own), truth, own >= 0)
        total += APPEARANCE_WEIGHT * focal_loss(logits[layer], matched_queries(own, boxes.shape[2]) >= 0).sum()
    return total


def detectors_evaluator(detectors: Detectors, sources: Sources, dataset: str, split: str) -> Evaluator:
    """Returns the evaluator of the AP of the detectors, and of pos queries made of proposals, on a split of images."""
    model = detectors.model

    def stream(spec: StreamSpec) -> Stream:
        return eval_stream(sources.split(dataset, split), DetectionEvalLoader(plain_view(sources.data)), spec)

    def eval_step(params: Params, batch: Batch) -> dict[str, Any]:
        sets = {}
        for name in detectors.modules:
            found = detectors.run(name, params, batch["images0"], None)
            sets[name] = found.boxes[-1], found.logits[-1].max(axis=-1)
            if name == TWO_STAGE:
                sets["proposals"] = _refined(model, params, batch["images0"], found, detectors.modules[name].config)
        return sets

    def accumulate(acc: Any, outputs: Any, batch: Batch) -> Any:
        acc = acc if acc is not None else {name: [] for name in ("truth", *outputs)}
        height, width = batch["images0"].shape[1:3]
        for row in np.flatnonzero(np.asarray(batch["record_valid"])):
            acc["truth"].append(true_boxes(batch, int(row), 0))
            for name, arrays in outputs.items():
                boxes, logits = (np.asarray(array[row]) for array in arrays)
                acc[name].append(as_detections(boxes, logits, width, height))
        return acc

    def compute(acc: Any) -> dict[str, float]:
        scores = {name: average_precision(acc["truth"], acc[name]) for name in acc if name != "truth"}
        return {f"{dataset}/{name}_{key}": value for name, each in scores.items() for key, value in each.items()}

    return Evaluator("detectors", stream, eval_step, accumulate, compute)


def _refined(
    model: Mqt, params: Params, images: Any, found: Detections, config: DeformableDetrConfig
) -> tuple[Float[Array, "b q 4"], Float[Array, "b q"]]:
    """Returns boxes and logits of the pos queries made of the best proposals.

    pos queries learn from boxes that all hold an object, so that a proposal's own score has a say too: the probability
    is the product of both.
    """
    scores, best = lax.top_k(found.proposal_logits[..., 0], config.queries)
    boxes = jnp.take_along_axis(found.proposal_boxes, best[..., None], axis=1)

    def refine(model: Mqt) -> Any:
        given = model.decode(model.encode(images), boxes, jnp.ones(boxes.shape[:2], bool)).given
        return given.boxes[-1], model.objectness(given.appearance[-1])

    applied: Any = model.apply({"params": params}, method=refine)
    refined, logits = applied
    logarithm = jax.nn.log_sigmoid(scores.astype(jnp.float32)) + jax.nn.log_sigmoid(logits)
    return refined, logarithm - jnp.log(-jnp.expm1(jnp.minimum(logarithm, -1e-6)))
