"""MQT's losses: boxes, objectness and appearance, for detection and over two frames (thesis §2.3.2, §2.6.1).

A loss is a sum over objects divided by the number of objects in the batch, in float32; padding contributes nothing.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from storyjax.core.arrays import unit_norm
from storyjax.mqt.aggregation import Outputs
from storyjax.mqt.matching import match, matched_queries
from storyjax.mqt.model import DecoderOutput, EncodedImage, Mqt, Tracks
from storyjax.nn.boxes import giou, iou
from storyjax.nn.hungarian import take
from storyjax.train.experiment import Batch, Params

Scalars = dict[str, Float[Array, ""]]


# Weights of the losses: for boxes DETR's, for appearance the thesis's (§2.6.1). The appearance loss takes the place of
# the class loss; its weight is that of both its parts, contrast and objectness.
L1_WEIGHT, GIOU_WEIGHT, APPEARANCE_WEIGHT, CLASS_WEIGHT = 5.0, 2.0, 2.0, 2.0
KIND_WEIGHT = 0.5  # of the losses of each kind of query before aggregation
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
# Of the cosines in the contrast. As printed it has no temperature and dot products, which nothing bounds.
TEMPERATURE = 0.1
LOST_SIMILARITY = 0.5  # a track whose appearance is less similar to its first one counts as lost
NEW_FRACTION = 0.2  # of objects whose track is removed, so that they are new in the second frame
# The fraction of tracks that start from the output of a det query rather than of a perturbed box, where the det query
# detected the object with an IoU over START_IOU.
FROM_DET_FRACTION, START_IOU = 0.5, 0.5
JITTER = 0.1  # largest shift and change of size of the boxes that tracks start from, as a fraction of their size


@dataclass(frozen=True)
class LossConfig:
    """The options of the losses.

    Attributes:
        include_positive: whether the positive is in the denominator of the contrast too; as printed it is not.
        negative_weight: of each negative in the denominator.
        batch_negatives: whether the negatives of an anchor are the outputs of all first frames of the batch instead of
            its own. A frame has few objects, and their positions alone are enough to distinguish them.
        det_targets: whether det queries learn only objects that no track has, as §2.3.2 says, or all objects.
    """

    include_positive: bool = True
    negative_weight: float = 0.1
    batch_negatives: bool = False
    det_targets: Literal["lost_and_new", "all"] = "lost_and_new"


def focal_loss(logits: Float[Array, "*b"], target: Bool[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns the sigmoid focal loss (Lin et al. 2017) of each logit."""
    logits = logits.astype(jnp.float32)
    positive = target.astype(jnp.float32)
    nll = jax.nn.softplus(logits) - logits * positive
    right = jnp.where(target, jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits))
    alpha = jnp.where(target, FOCAL_ALPHA, 1.0 - FOCAL_ALPHA)
    return alpha * (1.0 - right) ** FOCAL_GAMMA * nll


def box_loss(found: Float[Array, "*b 4"], truth: Float[Array, "*b 4"], mask: Bool[Array, "*b"]) -> Float[Array, ""]:
    """Returns the loss of boxes (cx, cy, w, h) summed over those of `mask`."""
    l1 = jnp.abs(found - truth).sum(axis=-1)
    each = L1_WEIGHT * l1 + GIOU_WEIGHT * (1.0 - giou(found, truth))
    return jnp.where(mask, each, 0.0).sum()


def contrast(
    anchors: Float[Array, "b m e"],
    anchor_object: Int[Array, "b m"],
    others: Float[Array, "b q e"],
    other_object: Int[Array, "b q"],
    other_mask: Bool[Array, "b q"],
    config: LossConfig,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the appearance loss of outputs of one frame against all outputs of the frame before.

    -log(exp(s⁺) / (exp(s⁺) + w Σ exp(s⁻))) with cosines s over the temperature. The positives of an anchor are the
    outputs of its object (their mean loss, if there are several), its negatives all other outputs.

    Args:
        anchors, others: appearances of the two frames.
        anchor_object, other_object: the index of each output's object; -1 for none. An anchor without an object, or
            whose object has no output in the other frame, is left out.
        other_mask: which outputs of the frame before are no padding.
        config: the options.

    Returns:
        The sum over anchors, and their number.
    """
    cosine = jnp.einsum("bme,bqe->bmq", unit_norm(anchors), unit_norm(others)) / TEMPERATURE
    same = anchor_object[:, :, None] == other_object[:, None, :]
    positive = same & (anchor_object >= 0)[:, :, None] & other_mask[:, None, :]
    negative = ~same & other_mask[:, None, :]
    lowest = jnp.finfo(jnp.float32).min / 2
    against = jnp.where(negative, cosine + jnp.log(config.negative_weight), lowest)
    against = jax.nn.logsumexp(against, axis=-1)[:, :, None]
    bound = jnp.logaddexp(cosine, against) if config.include_positive else jnp.broadcast_to(against, cosine.shape)
    # Without any negative there is nothing to contrast with.
    each = jnp.where(positive & negative.any(axis=-1, keepdims=True), bound - cosine, 0.0)
    count = positive.sum(axis=-1)
    per_anchor = each.sum(axis=-1) / jnp.maximum(count, 1)
    return per_anchor.sum(), (count > 0).sum().astype(jnp.float32)


def as_one_frame(
    anchors: Float[Array, "b m e"],
    anchor_object: Int[Array, "b m"],
    others: Float[Array, "b q e"],
    other_object: Int[Array, "b q"],
    other_mask: Bool[Array, "b q"],
) -> tuple[Array, Array, Array, Array, Array]:
    """Returns the arguments of `contrast` with all outputs of the batch in one frame; its objects get other indices."""
    first = other_object.shape[1] * jnp.arange(len(anchors), dtype=jnp.int32)[:, None]
    numbers = [jnp.where(row >= 0, row + first, -1) for row in (anchor_object, other_object)]
    arrays = (anchors, numbers[0], others, numbers[1], other_mask)
    return tuple(array.reshape(1, -1, *array.shape[2:]) for array in arrays)  # type: ignore[return-value]


class Losses:
    """The losses of a model; `detection` and `tracking` are loss functions of tasks (storyjax.train.experiment.LossFn).

    Attributes:
        model: the network.
        config: the options.
    """

    def __init__(self, model: Mqt, config: LossConfig):
        self.model, self.config = model, config

    def detection(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], Scalars]:
        """Returns the loss of the first stage, and scalars to log (§2.6.1).

        It is that of one frame: det queries, and pos queries of perturbed true boxes.

        The batch has images0, boxes0, present0, kind, given_boxes and given_mask (data.DetectionLoader).
        """
        encoded = self._encode(params, batch["images0"], key)
        found = self._decode(params, encoded, batch["given_boxes"], batch["given_mask"], None, key)
        count = jnp.maximum(batch["present0"].sum(), 1).astype(jnp.float32)
        given = batch["given_mask"] & batch["present0"]
        det, scalars, assignment = self._det_loss(params, found, batch["boxes0"], batch["present0"], batch["kind"])
        given_loss = self._given_loss(params, found.given, batch["boxes0"], given, given, batch["kind"])
        last = assignment[-1]
        overlap = iou(take(found.det.boxes[-1], last), batch["boxes0"])
        scalars = {name: value / count for name, value in scalars.items()}
        scalars["det_iou"] = jnp.where(last >= 0, overlap, 0.0).sum() / count
        scalars["pos_iou"] = _mean(iou(found.given.boxes[-1], batch["boxes0"]), given)
        return (det + given_loss) / count, scalars

    def tracking(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], Scalars]:
        """Returns the loss of two frames, and scalars to log (§2.3.2, Fig. 2.2).

        Tracks start in the first frame and continue in the second. Without det queries beside tracks
        (`MqtConfig.detect`) those of the first frame are all that learn, and lost and new objects are learnt by none.

        The batch has images0, images1, boxes0, boxes1, present0, present1 and kind (data.PairLoader).
        """
        cfg = self.config
        truth0, truth1, present0, present1 = (batch[name] for name in ("boxes0", "boxes1", "present0", "present1"))
        both = self._encode(params, _pairs(batch["images0"], batch["images1"]), key)
        encoded0, encoded1 = _split_batch(both)
        perturbed = perturb(truth0, jax.random.fold_in(key, 1), JITTER)
        first = self._decode(params, encoded0, perturbed, present0, None, key)
        det0, scalars0, assignment0 = self._det_loss(params, first, truth0, present0, batch["kind"])
        given0 = self._given_loss(params, first.given, truth0, present0, present0, batch["kind"])

        start, tracks = self._start_tracks(first, assignment0[-1], truth0, present0, jax.random.fold_in(key, 2))
        second = self._decode(params, encoded1, None, None, tracks, jax.random.fold_in(key, 3))
        known = tracks.mask & present1
        similarity = jnp.einsum("bme,bme->bm", unit_norm(second.tracks.appearance), unit_norm(start))
        kept = known & (similarity > LOST_SIMILARITY) if self.model.config.kinds else jnp.zeros_like(known)
        det_mask = present1 if cfg.det_targets == "all" else present1 & ~kept
        det1, scalars1, assignment1 = self._det_loss(params, second, truth1, det_mask, batch["kind"])
        tracked = self._track_loss(params, second, truth1, kept, known, tracks.mask, batch["kind"])
        contrasted, anchors = self._contrast_loss(first, assignment0[-1], present0, second, assignment1[-1], known)

        count0, count1 = (jnp.maximum(mask.sum(), 1).astype(jnp.float32) for mask in (present0, present1))
        contrasted = contrasted / jnp.maximum(anchors, 1.0)
        loss = (det0 + given0) / count0 + (det1 + tracked) / count1 + APPEARANCE_WEIGHT * contrasted
        scalars = {name: scalars0[name] / count0 + scalars1[name] / count1 for name in scalars0}
        scalars |= {
            "contrast": contrasted,
            "kept": _mean(kept, known),
            "likeness": _mean(similarity, known),
            "track_iou": _mean(iou(second.tracks.boxes, truth1), known),
        }
        if self.model.config.detect:
            found = iou(take(second.det.boxes[-1], assignment1[-1]), truth1)
            scalars["det_iou"] = _mean(found, assignment1[-1] >= 0)
        return loss, scalars

    def _apply(self, params: Params, method: Any, *inputs: Any, key: jax.Array) -> Any:
        deterministic = self.model.config.detr.dropout == 0.0
        rngs = {} if deterministic else {"dropout": key}
        return self.model.apply({"params": params}, *inputs, deterministic=deterministic, method=method, rngs=rngs)

    def _encode(self, params: Params, images: Array, key: jax.Array) -> EncodedImage:
        return self._apply(params, Mqt.encode, images, key=jax.random.fold_in(key, 4))

    def _decode(
        self,
        params: Params,
        encoded: EncodedImage,
        boxes: Array | None,
        mask: Array | None,
        tracks: Tracks | None,
        key: jax.Array,
    ) -> DecoderOutput:
        return self._apply(params, Mqt.decode, encoded, boxes, mask, tracks, key=jax.random.fold_in(key, 5))

    def _objectness(self, params: Params, appearance: Float[Array, "*b e"]) -> Float[Array, "*b"]:
        logits: Any = self.model.apply({"params": params}, appearance, method=Mqt.objectness)
        return logits

    def _class_loss(
        self, params: Params, state: Float[Array, "*b d"], kind: Int[Array, "*b"], mask: Bool[Array, "*b"]
    ) -> Float[Array, ""]:
        """Returns the class head's focal loss summed over the outputs of `mask`; a `kind` of -1 is no class."""
        if not self.model.config.detr.classes:
            return jnp.zeros(())
        logits: Any = self.model.apply({"params": params}, state, method=Mqt.class_logits)
        target = kind[..., None] == jnp.arange(logits.shape[-1]).reshape(*(1,) * kind.ndim, -1)
        loss = focal_loss(logits, target).sum(axis=-1)
        return CLASS_WEIGHT * jnp.where(mask, loss, 0.0).sum()

    def _det_loss(
        self, params: Params, found: DecoderOutput, truth: Array, mask: Array, kind: Array
    ) -> tuple[Float[Array, ""], Scalars, Int[Array, "k b n"]]:
        """Returns the loss of the det queries, summed, its parts, and the assignment of every layer."""
        det = found.det
        if not det.box_logits.shape[2]:  # none ran
            nothing = jnp.zeros(())
            return nothing, {"det_boxes": nothing, "det_presence": nothing}, jnp.full((1, *mask.shape), -1, jnp.int32)
        objectness = self._objectness(params, det.appearance)
        assignment = match(det.boxes, objectness, truth, mask)
        layers, _, queries = objectness.shape
        boxes = jnp.stack([take(det.boxes[i], assignment[i]) for i in range(layers)])
        box = box_loss(boxes, _each_layer(truth, layers), assignment >= 0)
        matched = jnp.stack([matched_queries(assignment[i], queries) for i in range(layers)])
        appearance = APPEARANCE_WEIGHT * focal_loss(objectness, matched >= 0).sum()
        kinds = jnp.stack([jnp.take_along_axis(kind, jnp.maximum(row, 0), axis=1) for row in matched])
        classes = self._class_loss(params, det.state, jnp.where(matched >= 0, kinds, -1), jnp.ones_like(matched, bool))
        scalars = {"det_boxes": box, "det_presence": appearance}
        return box + appearance + classes, scalars, assignment

    def _given_loss(
        self, params: Params, outputs: Outputs, truth: Array, mask: Array, queries: Array, kind: Array
    ) -> Float[Array, ""]:
        """Returns the loss, summed, of outputs (k, b, n, ...) whose row i belongs to object i.

        Args:
            params: of the model.
            outputs: of all layers.
            truth, kind: the objects' boxes and classes.
            mask: objects that are there, whose boxes are learnt.
            queries: rows that are queries at all, whose objectness is learnt.
        """
        layers = outputs.box_logits.shape[0]
        mask, queries = _each_layer(mask, layers), _each_layer(queries, layers)
        boxes = box_loss(outputs.boxes, _each_layer(truth, layers), mask)
        objectness = focal_loss(self._objectness(params, outputs.appearance), mask)
        classes = self._class_loss(params, outputs.state, _each_layer(kind, layers), mask)
        return boxes + APPEARANCE_WEIGHT * jnp.where(queries, objectness, 0.0).sum() + classes

    def _start_tracks(
        self, first: DecoderOutput, assignment: Array, truth: Array, present: Array, key: jax.Array
    ) -> tuple[Float[Array, "b n e"], Tracks]:
        """Returns (appearances, tracks) of the first frame's objects, from the output of a det query or a pos query."""
        det = Outputs(*(take(array[-1], assignment) for array in first.det))
        given = Outputs(*(array[-1] for array in first.given))
        coins = jax.random.uniform(key, (2, *present.shape))
        detected = (assignment >= 0) & (iou(det.boxes, truth) > START_IOU)
        use_det = (detected & (coins[0] < FROM_DET_FRACTION))[..., None]
        state, logits, appearance = (jnp.where(use_det, a, b) for a, b in zip(det, given, strict=True))
        boxes = lax.stop_gradient(jax.nn.sigmoid(logits))
        tracks = Tracks(boxes, appearance, state, present & (coins[1] >= NEW_FRACTION))
        return appearance, tracks

    def _track_loss(
        self, params: Params, found: DecoderOutput, truth: Array, kept: Array, known: Array, tracked: Array, kind: Array
    ) -> Float[Array, ""]:
        """Returns the loss, summed, of the tracks' outputs, aggregated and by kind.

        Args:
            params: of the model.
            found: the second frame's outputs.
            truth, kind: the objects' boxes and classes.
            kept: tracks whose boxes are learnt: those that are known and did not count as lost.
            known: tracks whose object is in the frame.
            tracked: rows that are tracks, whose objectness is learnt.
        """
        if not self.model.config.kinds:
            return jnp.zeros(())
        aggregated = Outputs(*(array[None] for array in found.tracks))
        total = self._kind_loss(params, aggregated, truth, kept, known, tracked, kind)
        for i in range(len(self.model.config.kinds)):
            own = Outputs(*(array[..., i, :] for array in found.kinds))
            total += KIND_WEIGHT * self._kind_loss(params, own, truth, kept, known, tracked, kind)
        return total

    def _kind_loss(
        self, params: Params, outputs: Outputs, truth: Array, kept: Array, known: Array, tracked: Array, kind: Array
    ) -> Float[Array, ""]:
        layers = outputs.box_logits.shape[0]
        boxes = box_loss(outputs.boxes, _each_layer(truth, layers), _each_layer(kept, layers))
        objectness = focal_loss(self._objectness(params, outputs.appearance), _each_layer(known, layers))
        objectness = jnp.where(_each_layer(tracked, layers), objectness, 0.0).sum()
        classes = self._class_loss(params, outputs.state, _each_layer(kind, layers), _each_layer(kept, layers))
        return boxes + APPEARANCE_WEIGHT * objectness + classes

    def _contrast_loss(
        self,
        first: DecoderOutput,
        assignment0: Array,
        present0: Array,
        second: DecoderOutput,
        assignment1: Array,
        known: Array,
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Returns the summed appearance loss of the second frame's outputs against the first's, and how many they are.

        Anchors are the aggregated outputs, those of each kind, and those of det queries, which recover lost tracks.
        """
        det0, given0 = first.det.appearance[-1], first.given.appearance[-1]
        number = jnp.broadcast_to(jnp.arange(known.shape[1], dtype=jnp.int32)[None], known.shape)
        others = jnp.concatenate([det0, given0], axis=1)
        of0 = matched_queries(assignment0, det0.shape[1])
        other_object = jnp.concatenate([of0, jnp.where(present0, number, -1)], axis=1)
        other_mask = jnp.concatenate([jnp.ones_like(of0, bool), present0], axis=1)
        tracked = jnp.where(known, number, -1)
        det1 = second.det.appearance[-1]
        anchors, of1 = [det1], [matched_queries(assignment1, det1.shape[1])]
        for i in range(len(self.model.config.kinds)):
            anchors.append(second.kinds.appearance[-1][:, :, i])
            of1.append(tracked)
        if self.model.config.kinds:
            anchors.append(second.tracks.appearance)
            of1.append(tracked)
        arrays = (jnp.concatenate(anchors, axis=1), jnp.concatenate(of1, axis=1), others, other_object, other_mask)
        return contrast(*(as_one_frame(*arrays) if self.config.batch_negatives else arrays), self.config)


def perturb(boxes: Float[Array, "b n 4"], key: jax.Array, amount: float) -> Float[Array, "b n 4"]:
    """Returns boxes (cx, cy, w, h) shifted and scaled by uniformly drawn fractions of their size, at most `amount`."""
    noise = jax.random.uniform(key, boxes.shape, minval=-amount, maxval=amount)
    size = boxes[..., 2:]
    return jnp.concatenate([boxes[..., :2] + noise[..., :2] * size, size * (1 + noise[..., 2:])], axis=-1)


def _each_layer(array: Array, layers: int) -> Array:
    return jnp.broadcast_to(array[None], (layers, *array.shape))


def _pairs(first: Array, second: Array) -> Array:
    """Returns (2 b ...): each first image with its second behind it, so that both stay on the device that has them."""
    return jnp.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def _split_batch(encoded: EncodedImage) -> tuple[EncodedImage, EncodedImage]:
    """Returns what was made of the first and of the second images of `_pairs`."""
    first, second = (
        jax.tree.map(lambda array, i=i: array.reshape(-1, 2, *array.shape[1:])[:, i], encoded) for i in range(2)
    )
    return first, second


def _mean(values: Array, mask: Bool[Array, "b n"]) -> Float[Array, ""]:
    return jnp.where(mask, values, 0).sum() / jnp.maximum(mask.sum(), 1)
