"""What MQT learns from: boxes, presence and appearance, in detection and over two frames (thesis §2.3.2, §2.6.1).

Losses are sums over objects divided by the number of objects in the batch, in float32; padding has no part in them.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from storyjax.models.clip import unit_norm
from storyjax.mqt.aggregation import Outputs
from storyjax.mqt.model import Found, Mqt, Seen, Tracks
from storyjax.nn.boxes import giou, iou, pairwise_giou, pairwise_l1
from storyjax.nn.hungarian import assign_batch, take
from storyjax.train.experiment import Batch, Params

Scalars = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class LossConfig:
    """Costs of matching and weights of losses; those of boxes are DETR's, those of appearance the thesis's (§2.6.1).

    Attributes:
      appearance: of the appearance loss, which takes the place of the class loss: of both its parts, contrast and
        presence.
      temperature: of the cosines in the contrast. (As printed it has none and dot products, which nothing bounds.)
      include_positive: whether the positive is in the denominator too; as printed it is not.
      negative_weight: of each negative in the denominator.
      batch_negatives: whether the outputs of all first frames of the batch are an anchor's negatives, not of its own
        alone. Few things stand in a frame, and where they stand tells these apart.
      match_similarity: a known track counts as lost where its appearance is less like its own of the first step.
      det_targets: whether det queries learn only what no track has, as §2.3.2 says, or all objects.
      new_share: objects whose track is taken away, so that they are new in the second frame.
      from_det: share of tracks that start from what a det query found rather than from a perturbed box, where it found
        the object (IoU over `start_iou`).
      jitter: of the boxes that tracks start from: uniform, as a share of width and height, of the centre and the size.
      kinds: weight of the losses of each kind of query before aggregation.
      layers: whether all layers of the decoder are trained on, as in DETR.
      classes: weight of the class head's loss, where there is one.
    """

    l1: float = 5.0
    giou: float = 2.0
    appearance: float = 2.0
    cost_l1: float = 5.0
    cost_giou: float = 2.0
    cost_appearance: float = 1.0
    temperature: float = 0.1
    include_positive: bool = True
    negative_weight: float = 0.1
    batch_negatives: bool = False
    match_similarity: float = 0.5
    det_targets: Literal["lost_and_new", "all"] = "lost_and_new"
    new_share: float = 0.2
    from_det: float = 0.5
    start_iou: float = 0.5
    jitter: float = 0.1
    kinds: float = 0.5
    layers: bool = True
    classes: float = 2.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0


def focal_loss(logits: Float[Array, "*b"], target: Bool[Array, "*b"], config: LossConfig) -> Float[Array, "*b"]:
    """Sigmoid focal loss (Lin et al. 2017)."""
    logits = logits.astype(jnp.float32)
    positive = target.astype(jnp.float32)
    nll = jax.nn.softplus(logits) - logits * positive
    right = jnp.where(target, jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits))
    alpha = jnp.where(target, config.focal_alpha, 1.0 - config.focal_alpha)
    return alpha * (1.0 - right) ** config.focal_gamma * nll


def box_loss(
    found: Float[Array, "*b 4"], truth: Float[Array, "*b 4"], mask: Bool[Array, "*b"], config: LossConfig
) -> Float[Array, ""]:
    """Summed over the boxes of `mask`."""
    l1 = jnp.abs(found - truth).sum(axis=-1)
    each = config.l1 * l1 + config.giou * (1.0 - giou(found, truth))
    return jnp.where(mask, each, 0.0).sum()


def contrast(
    anchors: Float[Array, "b m e"],
    anchor_object: Int[Array, "b m"],
    others: Float[Array, "b q e"],
    other_object: Int[Array, "b q"],
    other_mask: Bool[Array, "b q"],
    config: LossConfig,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The appearance loss, of outputs of one frame against all outputs of the frame before.

    -log(exp(s⁺) / (exp(s⁺) + w Σ exp(s⁻))) with cosines s over the temperature. An anchor's positives are the outputs
    for its object (their mean loss, if there are several), its negatives all others.

    Args:
      anchor_object, other_object: which object an output is of; -1 for none. An anchor without one, or whose object has
        no output in the other frame, is left out.

    Returns:
      The sum over anchors, and how many there are.
    """
    cosine = jnp.einsum("bme,bqe->bmq", unit_norm(anchors), unit_norm(others)) / config.temperature
    same = anchor_object[:, :, None] == other_object[:, None, :]
    positive = same & (anchor_object >= 0)[:, :, None] & other_mask[:, None, :]
    negative = ~same & other_mask[:, None, :]
    lowest = jnp.finfo(jnp.float32).min / 2
    against = jnp.where(negative, cosine + jnp.log(config.negative_weight), lowest)
    against = jax.nn.logsumexp(against, axis=-1)[:, :, None]
    bound = jnp.logaddexp(cosine, against) if config.include_positive else jnp.broadcast_to(against, cosine.shape)
    # Where there is no negative at all, nothing is to be told apart.
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
    """The arguments of `contrast` with all outputs of a batch, (1, b · m, ...) and (1, b · q, ...), in one frame, where
    objects of different frames have different numbers."""
    first = other_object.shape[1] * jnp.arange(len(anchors), dtype=jnp.int32)[:, None]
    numbers = [jnp.where(row >= 0, row + first, -1) for row in (anchor_object, other_object)]
    arrays = (anchors, numbers[0], others, numbers[1], other_mask)
    return tuple(array.reshape(1, -1, *array.shape[2:]) for array in arrays)  # type: ignore[return-value]


def match(
    det: Outputs,
    presence: Float[Array, "k b q"],
    truth: Float[Array, "b n 4"],
    mask: Bool[Array, "b n"],
    config: LossConfig,
) -> Int[Array, "k b n"]:
    """The det query that each object is given at each layer, or -1; presence costs what a class costs in DETR."""
    layers = det.box_logits.shape[0]
    truth = jnp.broadcast_to(truth[None], (layers, *truth.shape))
    boxes = det.boxes
    cost = config.cost_l1 * pairwise_l1(truth, boxes) - config.cost_giou * pairwise_giou(truth, boxes)
    cost = cost - config.cost_appearance * jax.nn.sigmoid(presence)[..., None, :]
    there = jnp.ones(boxes.shape[:-1], bool)
    return assign_batch(cost, jnp.broadcast_to(mask[None], (layers, *mask.shape)), there)


def matched_queries(assignment: Int[Array, "b n"], queries: int) -> Int[Array, "b q"]:
    """The object that each query is given, or -1: the other way round."""
    objects = jnp.arange(assignment.shape[1], dtype=jnp.int32)

    def invert(row: Int[Array, "n"]) -> Int[Array, "q"]:
        # Targets without a query write beside the array, where it is dropped.
        place = jnp.where(row >= 0, row, queries)
        return jnp.full(queries, -1, jnp.int32).at[place].set(objects, mode="drop")

    return jax.vmap(invert)(assignment)


class Losses:
    """The losses of a model; `detection` and `tracking` are those of tasks."""

    def __init__(self, model: Mqt, config: LossConfig):
        self.model, self.config = model, config

    def detection(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], Scalars]:
        """Stage one: one frame, det queries, and pos queries of perturbed true boxes (§2.6.1)."""
        seen = self._encode(params, batch["images0"], key)
        found = self._decode(params, seen, batch["prior"], batch["prior_mask"], None, key)
        count = jnp.maximum(batch["present0"].sum(), 1).astype(jnp.float32)
        given = batch["prior_mask"] & batch["present0"]
        det, scalars, assignment = self._det(params, found, batch["boxes0"], batch["present0"], batch["kind"])
        prior = self._known(params, found.prior, batch["boxes0"], given, given, batch["kind"])
        last = assignment[-1]
        overlap = iou(take(found.det.boxes[-1], last), batch["boxes0"])
        scalars = {name: value / count for name, value in scalars.items()}
        scalars["det_iou"] = jnp.where(last >= 0, overlap, 0.0).sum() / count
        scalars["pos_iou"] = _mean(iou(found.prior.boxes[-1], batch["boxes0"]), given)
        return (det + prior) / count, scalars

    def tracking(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], Scalars]:
        """Two frames: tracks start in the first and go on in the second (§2.3.2, Fig. 2.2)."""
        cfg = self.config
        truth0, truth1, present0, present1 = (batch[name] for name in ("boxes0", "boxes1", "present0", "present1"))
        both = self._encode(params, jnp.concatenate([batch["images0"], batch["images1"]]), key)
        seen0, seen1 = _halves(both)
        prior = perturb(truth0, jax.random.fold_in(key, 1), cfg.jitter)
        first = self._decode(params, seen0, prior, present0, None, key)
        det0, scalars0, assignment0 = self._det(params, first, truth0, present0, batch["kind"])
        prior0 = self._known(params, first.prior, truth0, present0, present0, batch["kind"])

        start, tracks = self._start(first, assignment0[-1], truth0, present0, jax.random.fold_in(key, 2))
        second = self._decode(params, seen1, None, None, tracks, jax.random.fold_in(key, 3))
        known = tracks.mask & present1
        likeness = jnp.einsum("bme,bme->bm", unit_norm(second.tracks.appearance), unit_norm(start))
        kept = known & (likeness > cfg.match_similarity) if self.model.config.kinds else jnp.zeros_like(known)
        looked_for = present1 if cfg.det_targets == "all" else present1 & ~kept
        det1, scalars1, assignment1 = self._det(params, second, truth1, looked_for, batch["kind"])
        semantic = self._semantic(params, second, truth1, kept, known, tracks.mask, batch["kind"])
        contrasted, anchors = self._contrast(first, assignment0[-1], present0, second, assignment1[-1], known)

        count0, count1 = (jnp.maximum(mask.sum(), 1).astype(jnp.float32) for mask in (present0, present1))
        contrasted = contrasted / jnp.maximum(anchors, 1.0)
        loss = (det0 + prior0) / count0 + (det1 + semantic) / count1 + cfg.appearance * contrasted
        scalars = {name: scalars0[name] / count0 + scalars1[name] / count1 for name in scalars0}
        scalars |= {
            "contrast": contrasted,
            "kept": _mean(kept, known),
            "likeness": _mean(likeness, known),
            "track_iou": _mean(iou(second.tracks.boxes, truth1), known),
            "det_iou": _mean(iou(take(second.det.boxes[-1], assignment1[-1]), truth1), assignment1[-1] >= 0),
        }
        return loss, scalars

    def _apply(self, params: Params, method: Any, *inputs: Any, key: jax.Array) -> Any:
        deterministic = self.model.config.detr.dropout == 0.0
        rngs = {} if deterministic else {"dropout": key}
        return self.model.apply({"params": params}, *inputs, deterministic=deterministic, method=method, rngs=rngs)

    def _encode(self, params: Params, images: Array, key: jax.Array) -> Seen:
        return self._apply(params, Mqt.encode, images, key=jax.random.fold_in(key, 4))

    def _decode(
        self, params: Params, seen: Seen, prior: Array | None, mask: Array | None, tracks: Tracks | None, key: jax.Array
    ) -> Found:
        return self._apply(params, Mqt.decode, seen, prior, mask, tracks, key=jax.random.fold_in(key, 5))

    def _presence(self, params: Params, appearance: Float[Array, "*b e"]) -> Float[Array, "*b"]:
        return self.model.apply({"params": params}, appearance, method=Mqt.presence)

    def _classes(
        self, params: Params, state: Float[Array, "*b d"], kind: Int[Array, "*b"], mask: Bool[Array, "*b"]
    ) -> Float[Array, ""]:
        """Focal loss of the class head over the outputs of `mask`; a `kind` of -1 is of no class."""
        if not self.model.config.detr.classes:
            return jnp.zeros(())
        logits = self.model.apply({"params": params}, state, method=Mqt.class_logits)
        target = kind[..., None] == jnp.arange(logits.shape[-1]).reshape(*(1,) * kind.ndim, -1)
        loss = focal_loss(logits, target, self.config).sum(axis=-1)
        return self.config.classes * jnp.where(mask, loss, 0.0).sum()

    def _layers(self, outputs: Outputs) -> Outputs:
        return outputs if self.config.layers else Outputs(*(array[-1:] for array in outputs))

    def _det(
        self, params: Params, found: Found, truth: Array, mask: Array, kind: Array
    ) -> tuple[Float[Array, ""], Scalars, Int[Array, "k b n"]]:
        """Loss of the det queries, summed; and the assignment of every layer that is trained on."""
        cfg, det = self.config, self._layers(found.det)
        presence = self._presence(params, det.appearance)
        assignment = match(det, presence, truth, mask, cfg)
        layers, _, queries = presence.shape
        boxes = jnp.stack([take(det.boxes[i], assignment[i]) for i in range(layers)])
        of_boxes = box_loss(boxes, _each_layer(truth, layers), assignment >= 0, cfg)
        matched = jnp.stack([matched_queries(assignment[i], queries) for i in range(layers)])
        of_presence = cfg.appearance * focal_loss(presence, matched >= 0, cfg).sum()
        kinds = jnp.stack([jnp.take_along_axis(kind, jnp.maximum(row, 0), axis=1) for row in matched])
        of_classes = self._classes(params, det.state, jnp.where(matched >= 0, kinds, -1), jnp.ones_like(matched, bool))
        scalars = {"det_boxes": of_boxes, "det_presence": of_presence}
        return of_boxes + of_presence + of_classes, scalars, assignment

    def _known(
        self, params: Params, outputs: Outputs, truth: Array, mask: Array, asked: Array, kind: Array
    ) -> Float[Array, ""]:
        """Loss, summed, of outputs (k, b, n, ...) of which row i belongs to object i.

        Args:
          mask: objects whose box is to be found.
          asked: rows that are queries at all: they are to say whether their object is there.
        """
        outputs = self._layers(outputs)
        layers = outputs.box_logits.shape[0]
        mask, asked = _each_layer(mask, layers), _each_layer(asked, layers)
        boxes = box_loss(outputs.boxes, _each_layer(truth, layers), mask, self.config)
        presence = focal_loss(self._presence(params, outputs.appearance), mask, self.config)
        classes = self._classes(params, outputs.state, _each_layer(kind, layers), mask)
        return boxes + self.config.appearance * jnp.where(asked, presence, 0.0).sum() + classes

    def _start(
        self, first: Found, assignment: Array, truth: Array, present: Array, key: jax.Array
    ) -> tuple[Float[Array, "b n e"], Tracks]:
        """(appearances, tracks) of the first frame's objects: of what a det query found, or of a pos query."""
        cfg = self.config
        det = Outputs(*(take(array[-1], assignment) for array in first.det))
        prior = Outputs(*(array[-1] for array in first.prior))
        coins = jax.random.uniform(key, (2, *present.shape))
        found = (assignment >= 0) & (iou(det.boxes, truth) > cfg.start_iou)
        use_det = (found & (coins[0] < cfg.from_det))[..., None]
        state, logits, appearance = (jnp.where(use_det, a, b) for a, b in zip(det, prior, strict=True))
        boxes = lax.stop_gradient(jax.nn.sigmoid(logits))
        tracks = Tracks(boxes, appearance, state, present & (coins[1] >= cfg.new_share))
        return appearance, tracks

    def _semantic(
        self, params: Params, found: Found, truth: Array, kept: Array, known: Array, tracked: Array, kind: Array
    ) -> Float[Array, ""]:
        """Loss, summed, of the tracks' outputs, aggregated and by kind: boxes of those kept, presence of all."""
        if not self.model.config.kinds:
            return jnp.zeros(())
        aggregated = Outputs(*(array[None] for array in found.tracks))
        total = self._tracked(params, aggregated, truth, kept, known, tracked, kind)
        for i in range(len(self.model.config.kinds)):
            own = self._layers(Outputs(*(array[..., i, :] for array in found.kinds)))
            total += self.config.kinds * self._tracked(params, own, truth, kept, known, tracked, kind)
        return total

    def _tracked(
        self, params: Params, outputs: Outputs, truth: Array, kept: Array, known: Array, tracked: Array, kind: Array
    ) -> Float[Array, ""]:
        layers = outputs.box_logits.shape[0]
        boxes = box_loss(outputs.boxes, _each_layer(truth, layers), _each_layer(kept, layers), self.config)
        presence = focal_loss(self._presence(params, outputs.appearance), _each_layer(known, layers), self.config)
        presence = jnp.where(_each_layer(tracked, layers), presence, 0.0).sum()
        classes = self._classes(params, outputs.state, _each_layer(kind, layers), _each_layer(kept, layers))
        return boxes + self.config.appearance * presence + classes

    def _contrast(
        self, first: Found, assignment0: Array, present0: Array, second: Found, assignment1: Array, known: Array
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The appearance loss of the second frame's outputs (aggregated, by kind, and of det queries, by which lost
        tracks are found again) against the first frame's."""
        det0, prior0 = first.det.appearance[-1], first.prior.appearance[-1]
        number = jnp.broadcast_to(jnp.arange(known.shape[1], dtype=jnp.int32)[None], known.shape)
        others = jnp.concatenate([det0, prior0], axis=1)
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
    """Boxes moved and scaled by uniform shares of their size."""
    noise = jax.random.uniform(key, boxes.shape, minval=-amount, maxval=amount)
    size = boxes[..., 2:]
    return jnp.concatenate([boxes[..., :2] + noise[..., :2] * size, size * (1 + noise[..., 2:])], axis=-1)


def _each_layer(array: Array, layers: int) -> Array:
    return jnp.broadcast_to(array[None], (layers, *array.shape))


def _halves(seen: Seen) -> tuple[Seen, Seen]:
    """Of two images encoded one after the other in one batch."""
    half = seen.memory.shape[0] // 2
    return jax.tree.map(lambda array: array[:half], seen), jax.tree.map(lambda array: array[half:], seen)


def _mean(values: Array, mask: Bool[Array, "b n"]) -> Float[Array, ""]:
    return jnp.where(mask, values, 0).sum() / jnp.maximum(mask.sum(), 1)
