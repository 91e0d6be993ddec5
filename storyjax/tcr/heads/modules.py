"""The TCR without a language model (thesis §3.6.3): heads on its query outputs, their losses and their baselines.

| head | on | output | loss |
|---|---|---|---|
| `Recognition` | 32 queries, one token a frame | a class; mean of the queries' predictions | cross-entropy |
| `Selection` | queries under the action's name | for each query, which of 128 frames show it | binary cross-entropy |
| `Counting` | the same | how often, by TransRAC's period predictor | relative error of the count |
| `MomentSet` | a pre-trained, frozen TCR under [TRG] action | a set of moments | assignment, then set prediction |
| `SpanHead` | the same under [TRG] question | where a moment begins and ends | cross-entropy to soft targets |

Baselines of recognition, `RandomFrames` and `AttentionPooling`, and of selection, `FrameClasses`, read the frames
themselves.

Positions of frames reach the TCR through its own time embedding, a linear map of sinusoids (§3.6.3 adds sinusoids); the
row's task token, which has no meaning here, is a constant like any other.
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from storyjax.nn.attention import MultiHeadAttention
from storyjax.nn.data_parallel import by_device
from storyjax.nn.transformer import layer_norm

NEGATIVE_WEIGHT = 0.1  # of queries that stand for no moment, as DETR weighs them


def temporal_difference(frames: Float[Array, "b t e"]) -> Float[Array, "b t e+t"]:
    """Returns what changes in a clip: its tokens less their mean, and how like each frame is to those before and behind
    it.

    A tower's tokens mostly say who is where: in StoryWorld's clips 98 % of their variance is between clips, and a
    movement is in the rest. Likeness at a distance in time tells repetitions whatever it is that repeats (the self-
    similarity of Dwibedi et al. 2020, which TransRAC's predictor starts from); a distance of 0 is in the middle.
    """
    apart = frames - jnp.mean(frames, axis=1, keepdims=True)
    apart = apart / jnp.maximum(jnp.std(apart, axis=(1, 2), keepdims=True), 1e-6)
    alike = jnp.einsum("bte,bse->bts", apart, apart) / frames.shape[-1]
    count = frames.shape[1]
    other = np.arange(count)[:, None] + np.arange(count)[None] - count // 2  # (t, distance)
    there = jnp.asarray((other >= 0) & (other < count))
    rows = jnp.take_along_axis(alike, jnp.asarray(np.clip(other, 0, count - 1))[None], axis=2)
    return jnp.concatenate([apart, jnp.where(there[None], rows, 0.0)], axis=-1)


class Recognition(nn.Module):
    """Each query is classified; the prediction is the mean of theirs (log-probabilities)."""

    classes: int

    @nn.compact
    def __call__(self, queries: Float[Array, "b q d"]) -> Float[Array, "b c"]:
        logits = nn.Dense(self.classes, name="classifier")(queries.astype(jnp.float32))
        return _mean_prediction(logits)


def _mean_prediction(logits: Float[Array, "b q c"]) -> Float[Array, "b c"]:
    """Logarithm of the mean probability over queries (or frames)."""
    return jax.nn.logsumexp(jax.nn.log_softmax(logits, axis=-1), axis=1) - jnp.log(logits.shape[1])


class RandomFrames(nn.Module):
    """Table 3.9, "random": a linear classifier of single frames, its predictions averaged."""

    classes: int

    @nn.compact
    def __call__(self, frames: Float[Array, "b t e"]) -> Float[Array, "b c"]:
        normed = layer_norm(1e-6, jnp.float32, "norm")(frames.astype(jnp.float32))
        return _mean_prediction(nn.Dense(self.classes, name="classifier")(normed))


class FrameClasses(nn.Module):
    """The baseline of frame selection (§3.6.3): a linear classifier of each frame (log-probabilities)."""

    classes: int

    @nn.compact
    def __call__(self, frames: Float[Array, "b t e"]) -> Float[Array, "b t c"]:
        normed = layer_norm(1e-6, jnp.float32, "norm")(frames.astype(jnp.float32))
        return jax.nn.log_softmax(nn.Dense(self.classes, name="classifier")(normed), axis=-1)


def frame_class_loss(
    scores: Float[Array, "b t c"], label: Int[Array, " b"], truth: Bool[Array, "b t"]
) -> Float[Array, " b"]:
    """Returns the cross-entropy of the frames that show the prompt's action, the only ones whose class is known."""
    own = jnp.take_along_axis(scores, label[:, None, None], axis=2)[..., 0]
    return -jnp.sum(own * truth, axis=1) / jnp.maximum(jnp.sum(truth, axis=1), 1)


class AttentionPooling(nn.Module):
    """Table 3.9, "Attention": self-attention over a learnt CLS token and all frames; the CLS token is classified."""

    classes: int
    width: int
    heads: int

    @nn.compact
    def __call__(self, frames: Float[Array, "b t e"], positions: Float[Array, "t d"]) -> Float[Array, "b c"]:
        normed = layer_norm(1e-6, jnp.float32, "norm")(frames.astype(jnp.float32))
        x = nn.Dense(self.width, name="projection")(normed) + positions[None]
        cls = self.param("cls", nn.initializers.normal(0.02), (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(cls, (x.shape[0], 1, self.width)), x], axis=1)
        pooled = MultiHeadAttention(self.heads, features=self.width, name="attention")(x[:, :1], x)
        pooled = layer_norm(1e-6, jnp.float32, "output_norm")(pooled[:, 0])
        return jax.nn.log_softmax(nn.Dense(self.classes, name="classifier")(pooled), axis=-1)


class Selection(nn.Module):
    """One-versus-all classifiers of `frames` frames on every query (logits)."""

    frames: int

    @nn.compact
    def __call__(self, queries: Float[Array, "b q d"]) -> Float[Array, "b q t"]:
        return nn.Dense(self.frames, name="classifiers")(queries.astype(jnp.float32))


def selection_loss(logits: Float[Array, "b q t"], truth: Bool[Array, "b t"]) -> Float[Array, " b"]:
    """Returns the binary cross-entropy of every query saying of every frame whether it shows the action."""
    labels = jnp.broadcast_to(truth[:, None].astype(jnp.float32), logits.shape)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels), axis=(1, 2))


def selected(logits: Float[Array, "b q t"], confidence: float = 0.5) -> Bool[Array, "b t"]:
    """Returns the frames that any query is confident of (§3.6.3)."""
    return jnp.any(jax.nn.sigmoid(logits) > confidence, axis=1)


class Counting(nn.Module):
    """TransRAC's period predictor (Hu et al. 2022) on the queries: their similarities, then a density for each, summed.

    Similarities of all queries, by several heads of attention weights, are an image; a convolution and a transformer
    block read it row by row, each with the query whose row it is (§3.6.3 concatenates the queries), and an MLP gives
    each row its part of the count. TransRAC's rows are frames; queries have no place in time, so similarities alone
    would have to say everything.
    """

    FIRST: ClassVar[float] = 4.0  # what is counted before anything is learnt

    width: int = 512
    heads: int = 4
    channels: int = 32

    @nn.compact
    def __call__(self, queries: Float[Array, "b q d"]) -> Float[Array, " b"]:
        x = queries.astype(jnp.float32)
        _, similar = MultiHeadAttention(self.heads, features=self.width, name="similarity")(x, x, return_weights=True)
        image = nn.relu(nn.Conv(self.channels, (3, 3), name="conv")(rearrange(similar, "b h i j -> b i j h")))
        read = jnp.concatenate([rearrange(image, "b i j c -> b i (j c)"), x], axis=-1)
        rows = nn.Dense(self.width, name="rows")(read)
        rows = layer_norm(1e-6, jnp.float32, "rows_norm")(rows)
        rows = rows + MultiHeadAttention(self.heads, features=self.width, name="attention")(rows, rows)
        hidden = nn.Dense(self.width, name="mlp_in")(layer_norm(1e-6, jnp.float32, "mlp_norm")(rows))
        rows = rows + nn.Dense(self.width, name="mlp_out")(nn.gelu(hidden))
        start = nn.initializers.constant(math.log(math.expm1(self.FIRST / x.shape[1])))
        density = nn.softplus(nn.Dense(1, bias_init=start, name="density")(rows))[..., 0]
        return jnp.sum(density, axis=-1)


def counting_loss(counted: Float[Array, " b"], truth: Float[Array, " b"]) -> Float[Array, " b"]:
    """Returns the error relative to the count: what MAE measures (Table 3.10)."""
    return jnp.abs(counted - truth) / jnp.maximum(truth, 1.0)


class MomentSet(nn.Module):
    """Two linear layers on every query (after T. Han et al. 2022): whether it is a moment, and its middle and length.

    Returns logits and moments (start, end) as fractions of the video.
    """

    hidden: int = 512

    @nn.compact
    def __call__(self, queries: Float[Array, "b q d"]) -> tuple[Float[Array, "b q"], Float[Array, "b q 2"]]:
        hidden = nn.relu(nn.Dense(self.hidden, name="hidden")(queries.astype(jnp.float32)))
        out = nn.Dense(3, name="out")(hidden)
        middle, length = jax.nn.sigmoid(out[..., 1]), jax.nn.sigmoid(out[..., 2])
        spans = jnp.stack([middle - length / 2, middle + length / 2], axis=-1)
        return out[..., 0], jnp.clip(spans, 0.0, 1.0)


def _overlap(a: Float[Array, "... 2"], b: Float[Array, "... 2"]) -> Float[Array, "..."]:
    """Generalised temporal IoU: -1 to 1, also distinguishing far from near where there is no overlap."""
    inside = jnp.maximum(jnp.minimum(a[..., 1], b[..., 1]) - jnp.maximum(a[..., 0], b[..., 0]), 0.0)
    hull = jnp.maximum(a[..., 1], b[..., 1]) - jnp.minimum(a[..., 0], b[..., 0])
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - inside
    return inside / jnp.maximum(union, 1e-6) - (hull - union) / jnp.maximum(hull, 1e-6)


def set_loss(
    logits: Float[Array, "b q"],
    spans: Float[Array, "b q 2"],
    truth: Float[Array, "b m 2"],
    there: Bool[Array, "b m"],
) -> Float[Array, " b"]:
    """Returns the loss of set prediction: truths are assigned to queries at the least cost; these are to be moments
    (the right ones), all others none. Truths that are not `there` are assigned as well and count for nothing.
    """
    apart = jnp.sum(jnp.abs(spans[:, :, None] - truth[:, None]), axis=-1)
    overlap = _overlap(spans[:, :, None], truth[:, None])
    cost = jnp.where(there[:, None], apart - overlap - jax.nn.sigmoid(logits)[..., None], 0.0)
    rows, columns = by_device(jax.vmap(optax.assignment.hungarian_algorithm), jax.lax.stop_gradient(cost))

    def one(logit: Array, apart: Array, overlap: Array, there: Array, row: Array, column: Array) -> Array:
        real = there[column].astype(jnp.float32)
        label = jnp.zeros_like(logit).at[row].add(real)
        weight = jnp.where(label > 0, 1.0, NEGATIVE_WEIGHT)
        exists = jnp.sum(optax.sigmoid_binary_cross_entropy(logit, label) * weight) / jnp.sum(weight)
        placed = jnp.sum(real * (apart[row, column] + 1.0 - overlap[row, column])) / jnp.maximum(jnp.sum(real), 1.0)
        return exists + placed

    return jax.vmap(one)(logits, apart, overlap, there, rows, columns)


class SpanHead(nn.Module):
    """Where one moment begins and ends, over `bins` of the video: log-probabilities, the mean of the queries' votes
    (temporal part of TubeDETR, A. Yang et al. 2022)."""

    bins: int
    hidden: int = 512

    @nn.compact
    def __call__(self, queries: Float[Array, "b q d"]) -> Float[Array, "b 2 n"]:
        hidden = nn.relu(nn.Dense(self.hidden, name="hidden")(queries.astype(jnp.float32)))
        votes = jnp.mean(nn.Dense(2 * self.bins, name="out")(hidden), axis=1)
        return jax.nn.log_softmax(rearrange(votes, "b (s n) -> b s n", s=2), axis=-1)


def span_loss(logits: Float[Array, "b 2 n"], span: Float[Array, "b 2"], sigma: float = 1.0) -> Float[Array, " b"]:
    """Returns the cross-entropy to a Gaussian of `sigma` bins around the bins of the true start and end.

    They are fractions of the video; the bins are the one that begins at the start and the one that ends at the end, as
    in `best_spans`.
    """
    bins = logits.shape[-1]
    at = jnp.clip(span * bins - jnp.array([[0.0, 1.0]]), 0, bins - 1)
    away = jnp.arange(bins, dtype=jnp.float32)[None, None] - at[..., None]
    soft = jax.nn.softmax(-(away**2) / (2 * sigma**2), axis=-1)
    return -jnp.sum(soft * logits, axis=(1, 2)) / 2


def best_spans(
    starts: Float[np.ndarray, " n"], ends: Float[np.ndarray, " n"], most: int = 5
) -> list[tuple[float, float, float]]:
    """Returns (start, end, probability) of the likeliest spans, as fractions of the video.

    No two overlap by more than half. `starts` and `ends` are probabilities of each bin.
    """
    bins = len(starts)
    every = sorted(
        ((s / bins, (e + 1) / bins, float(starts[s] * ends[e])) for s in range(bins) for e in range(s, bins)),
        key=lambda span: -span[2],
    )
    kept: list[tuple[float, float, float]] = []
    for start, end, score in every:
        overlaps = (max(0.0, min(end, e) - max(start, s)) / (max(end, e) - min(start, s)) for s, e, _ in kept)
        if all(overlap <= 0.5 for overlap in overlaps):
            kept.append((start, end, score))
        if len(kept) == most:
            break
    return kept


def classes_right(scores: Float[Array, "b c"], label: Int[Array, " b"], valid: Bool[Array, " b"]) -> dict[str, Array]:
    """Returns sums: videos, and those whose likeliest class is right."""
    weight = valid.astype(jnp.float32)
    return {"videos": jnp.sum(weight), "right": jnp.sum(weight * (jnp.argmax(scores, axis=-1) == label))}
