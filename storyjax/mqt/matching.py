"""Which det query learns which object: the Hungarian matching of DETR with objectness in the class's part (§2.3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from storyjax.mqt.aggregation import Outputs
from storyjax.nn.boxes import pairwise_giou, pairwise_l1
from storyjax.nn.hungarian import assign_batch

# For boxes DETR's, for appearance the thesis's (§2.6.1).
L1_COST, GIOU_COST, APPEARANCE_COST = 5.0, 2.0, 1.0


def match(
    det: Outputs,
    objectness: Float[Array, "k b q"],
    truth: Float[Array, "b n 4"],
    mask: Bool[Array, "b n"],
) -> Int[Array, "k b n"]:
    """Returns the det query matched to each object at each layer, or -1.

    Objectness takes the part of the class in DETR's cost.

    Args:
        det: outputs (k, b, q, ...).
        objectness: their logits.
        truth, mask: the objects' boxes, and which are no padding.
    """
    layers = det.box_logits.shape[0]
    truth = jnp.broadcast_to(truth[None], (layers, *truth.shape))
    boxes = det.boxes
    cost = L1_COST * pairwise_l1(truth, boxes) - GIOU_COST * pairwise_giou(truth, boxes)
    cost = cost - APPEARANCE_COST * jax.nn.sigmoid(objectness)[..., None, :]
    query_mask = jnp.ones(boxes.shape[:-1], bool)
    return assign_batch(cost, jnp.broadcast_to(mask[None], (layers, *mask.shape)), query_mask)


def matched_queries(assignment: Int[Array, "b n"], queries: int) -> Int[Array, "b q"]:
    """Returns the object matched to each of `queries` queries, or -1: the inverse of an assignment."""
    objects = jnp.arange(assignment.shape[1], dtype=jnp.int32)

    def invert(row: Int[Array, "n"]) -> Int[Array, "q"]:
        # Objects without a query write past the end, where it is dropped.
        index = jnp.where(row >= 0, row, queries)
        return jnp.full(queries, -1, jnp.int32).at[index].set(objects, mode="drop")

    return jax.vmap(invert)(assignment)
