"""The aggregation of the outputs of an object's queries (thesis §2.3.1 "Query aggregation", Tables 2.5b, 2.8c, 2.10).

Every scheme takes a mask of the kinds that are present; all but "concat" return a single present kind unchanged.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

Scheme = Literal["gating", "heuristic", "average", "max", "concat"]
SCHEMES: tuple[Scheme, ...] = ("gating", "heuristic", "average", "max", "concat")


class Outputs(NamedTuple):
    """The outputs of queries, which may have any leading dimensions.

    Attributes:
        state: V, the decoder's state.
        box_logits: b, (cx, cy, w, h) before the sigmoid, float32.
        appearance: a, the output of the appearance head.
    """

    state: Array
    box_logits: Array
    appearance: Array

    @property
    def boxes(self) -> Float[Array, "*b 4"]:
        """(cx, cy, w, h), normalised."""
        return jax.nn.sigmoid(self.box_logits)


def masked_softmax(logits: Float[Array, "*b k"], mask: Bool[Array, "*b k"]) -> Float[Array, "*b k"]:
    """Returns weights of the kinds of `mask`; they sum to one, or are all zero where the mask is empty."""
    weights = jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(jnp.float32).min), axis=-1)
    return jnp.where(mask, weights, 0.0)


def _mix(x: Float[Array, "*b k d"], weights: Float[Array, "*b k"]) -> Float[Array, "*b d"]:
    return jnp.einsum("...kd,...k->...d", x, weights.astype(x.dtype))


class CollaborativeGating(nn.Module):
    """Collaborative gating (Liu et al. 2019): each kind is gated by a function of it and all the others.

    The gate of kind i is 2 σ(h(Σ_j g(x_i, x_j))) over the other kinds j, and 1 without others: twice a sigmoid, so that
    gates are 1 at the start of training.

    Attributes:
        dtype: of activations.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b k d"], mask: Bool[Array, "*b k"]
    ) -> tuple[Float[Array, "*b k d"], Float[Array, "*b k"]]:
        """Returns the gated kinds and the weight of each."""
        kinds, width = x.shape[-2:]
        # g of a pair is one linear layer over both, a sum of two terms: each is computed once for all partners.
        own = nn.Dense(width, dtype=self.dtype, name="own")(x)
        other = nn.Dense(width, use_bias=False, dtype=self.dtype, name="other")(x)
        pairs = nn.relu(own[..., :, None, :] + other[..., None, :, :])
        lead = (1,) * (x.ndim - 2)
        partner = mask[..., None, :] & ~jnp.eye(kinds, dtype=bool).reshape(*lead, kinds, kinds)
        together = jnp.where(partner[..., None], pairs, 0).sum(axis=-2)
        zeros = nn.initializers.zeros_init()
        gate = 2 * nn.sigmoid(nn.Dense(width, kernel_init=zeros, dtype=self.dtype, name="gate")(together))
        gated = x * jnp.where(partner.any(axis=-1, keepdims=True), gate, 1).astype(x.dtype)
        logits = nn.Dense(1, kernel_init=zeros, dtype=jnp.float32, name="weight")(gated)[..., 0]
        return gated, masked_softmax(logits, mask)


class Aggregation(nn.Module):
    """The aggregation function φ over the kinds of queries, for V, b and a.

    Attributes:
        scheme: collaborative gating; a heuristic that takes the box of `box_kind` and all else of `appearance_kind` (or
            of the first kind present); the average; the maximum; a perceptron over the concatenated kinds.
        box_kind, appearance_kind: indices of kinds, for the heuristic.
        dtype: of activations.

    Boxes are averaged as logits. Gates would scale coordinates, so boxes use only the weights of gating, the states'.
    """

    scheme: Scheme = "gating"
    box_kind: int = 0
    appearance_kind: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, kinds: Outputs, mask: Bool[Array, "*b k"]) -> Outputs:
        """Returns the aggregated outputs, (*b, d).

        Args:
            kinds: the outputs of every kind, (*b, k, d).
            mask: which kinds are present; an object without any gives zeros.
        """
        if self.scheme == "gating":
            state, weights = CollaborativeGating(self.dtype, name="state")(kinds.state, mask)
            appearance, appearance_weights = CollaborativeGating(self.dtype, name="appearance")(kinds.appearance, mask)
            return Outputs(_mix(state, weights), _mix(kinds.box_logits, weights), _mix(appearance, appearance_weights))
        if self.scheme == "heuristic":
            box, appearance = (_prefer(kind, mask) for kind in (self.box_kind, self.appearance_kind))
            return Outputs(
                _mix(kinds.state, appearance), _mix(kinds.box_logits, box), _mix(kinds.appearance, appearance)
            )
        if self.scheme == "average":
            weights = masked_softmax(jnp.zeros(mask.shape), mask)
            return Outputs(*(_mix(x, weights) for x in kinds))
        if self.scheme == "max":
            return Outputs(*(_max(x, mask) for x in kinds))
        return Outputs(*(self._concatenate(name, x, mask) for name, x in zip(kinds._fields, kinds, strict=True)))

    def _concatenate(self, name: str, x: Float[Array, "*b k d"], mask: Bool[Array, "*b k"]) -> Float[Array, "*b d"]:
        joined = jnp.where(mask[..., None], x, 0).reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
        # A hidden layer as narrow as a box, with four numbers, would be a bottleneck.
        hidden = nn.relu(nn.Dense(max(x.shape[-1], 32), dtype=self.dtype, name=f"{name}_hidden")(joined))
        return nn.Dense(x.shape[-1], dtype=x.dtype, name=f"{name}_out")(hidden)


def _prefer(kind: int, mask: Bool[Array, "*b k"]) -> Float[Array, "*b k"]:
    """Returns one-hot weights of the kind, or of the first one present if it is missing."""
    order = jnp.arange(mask.shape[-1]) != kind
    rank = jnp.where(mask, jnp.broadcast_to(order * (1 + jnp.arange(mask.shape[-1])), mask.shape), mask.shape[-1] + 1)
    chosen = jax.nn.one_hot(rank.argmin(axis=-1), mask.shape[-1])
    return jnp.where(mask, chosen, 0.0)


def _max(x: Float[Array, "*b k d"], mask: Bool[Array, "*b k"]) -> Float[Array, "*b d"]:
    largest = jnp.where(mask[..., None], x, jnp.finfo(x.dtype).min).max(axis=-2)
    return jnp.where(mask.any(axis=-1, keepdims=True), largest, 0)
