"""Boxes, as (centre x, centre y, width, height) or as corners (left, top, right, bottom); any unit, if it is one.

A box without area, or with its corners exchanged, overlaps nothing: the results are zeros with finite gradients, never
NaN.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

_TINY = 1e-9


def to_corners(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Returns (left, top, right, bottom) of (cx, cy, w, h)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def to_centres(corners: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Returns (cx, cy, w, h) of (left, top, right, bottom)."""
    low, high = corners[..., :2], corners[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def clip_to_image(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Returns the part of normalised (cx, cy, w, h) that lies in the image.

    A box outside the image becomes one without area on its border.
    """
    return to_centres(jnp.clip(to_corners(boxes), 0.0, 1.0))


def _area(corners: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    size = jnp.maximum(corners[..., 2:] - corners[..., :2], 0.0)
    return size[..., 0] * size[..., 1]


def _overlap(a: Float[Array, "*b 4"], b: Float[Array, "*b 4"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Areas of the intersection and of the union of corners."""
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    inner = _area(jnp.concatenate([low, high], axis=-1))
    return inner, _area(a) + _area(b) - inner


def iou(a: Float[Array, "*b 4"], b: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Returns the intersection over union of (cx, cy, w, h), pair by pair."""
    inner, union = _overlap(to_corners(a), to_corners(b))
    return inner / jnp.maximum(union, _TINY)


def giou(a: Float[Array, "*b 4"], b: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Returns the generalised IoU (Rezatofighi et al. 2019) of (cx, cy, w, h), pair by pair.

    It is in -1..1, with a gradient also where boxes do not touch.
    """
    a, b = to_corners(a), to_corners(b)
    inner, union = _overlap(a, b)
    hull = jnp.concatenate([jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])], axis=-1)
    around = jnp.maximum(_area(hull), _TINY)
    return inner / jnp.maximum(union, _TINY) - (around - union) / around


def pairwise_iou(a: Float[Array, "*b n 4"], b: Float[Array, "*b m 4"]) -> Float[Array, "*b n m"]:
    """Returns the IoU of each of n boxes (cx, cy, w, h) with each of m."""
    return iou(*_pairs(a, b))


def pairwise_giou(a: Float[Array, "*b n 4"], b: Float[Array, "*b m 4"]) -> Float[Array, "*b n m"]:
    """Returns the generalised IoU of each of n boxes (cx, cy, w, h) with each of m."""
    return giou(*_pairs(a, b))


def _pairs(a: Array, b: Array) -> tuple[Array, Array]:
    shape = (*a.shape[:-1], b.shape[-2], 4)
    return jnp.broadcast_to(a[..., :, None, :], shape), jnp.broadcast_to(b[..., None, :, :], shape)


def pairwise_l1(a: Float[Array, "*b n 4"], b: Float[Array, "*b m 4"]) -> Float[Array, "*b n m"]:
    """Returns the sum of the four absolute differences of each of n boxes with each of m."""
    first, second = _pairs(a, b)
    return jnp.abs(first - second).sum(axis=-1)


def inverse_sigmoid(x: Float[Array, "*b"], eps: float = 1e-5) -> Float[Array, "*b"]:
    """Returns the logit of a number in 0..1, kept from infinity by `eps`."""
    x = jnp.clip(x, 0.0, 1.0)
    return jnp.log(jnp.maximum(x, eps) / jnp.maximum(1.0 - x, eps))
