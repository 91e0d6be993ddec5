"""The losses of π-map: of pre-training, and L_i and L_t of personalisation (thesis §5.3.2).

The thesis's d(a, b) is read as exp(cos(a, b) / τ): as printed, the two τ cancel. The two denominators are those that
are printed, without the positive pair, unless `include_positive`; with cosines they stay bounded.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from storyjax.core.arrays import unit_norm

_NOTHING = -1e9


@dataclass(frozen=True)
class LossConfig:
    """`config.model.loss`.

    Attributes:
        alpha: weight of L_i; that of L_t is 1 - alpha.
        temperature: τ.
        include_positive: whether the positive pair is part of the denominators too (InfoNCE).
        same_object_negatives: whether other templates of the same object are negatives in L_i. "n ≠ x" can be read so,
            but then the token learns what distinguishes two photos of one object: the background.
    """

    alpha: float = 0.25
    temperature: float = 0.07
    include_positive: bool = False
    same_object_negatives: bool = False


def symmetric_cross_entropy(
    images: Float[Array, "b d"], texts: Float[Array, "b d"], temperature: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the loss of pre-training, f_v(x) against f_t(π(f_v(x))) in both directions, and the R@1 of images."""
    logits = jnp.einsum("id,td->it", unit_norm(images), unit_norm(texts)) / temperature
    diagonal = jnp.arange(logits.shape[0])
    loss = -(jax.nn.log_softmax(logits, 1)[diagonal, diagonal] + jax.nn.log_softmax(logits, 0)[diagonal, diagonal]) / 2
    return loss.mean(), (jnp.argmax(logits, axis=1) == diagonal).astype(jnp.float32).mean()


def _ratio(
    positive: Float[Array, " b"], others: Float[Array, "b n"], negative: Bool[Array, "b n"], include_positive: bool
) -> Float[Array, " b"]:
    """-log(exp(positive) / sum of exp(others) where `negative`), in logarithms."""
    total = jax.nn.logsumexp(jnp.where(negative, others, _NOTHING), axis=1)
    if include_positive:
        total = jnp.logaddexp(total, positive)
    # Without negatives (a batch of one object) the loss is zero.
    return jnp.where(negative.any(axis=1) | include_positive, total - positive, 0.0)


def image_loss(
    tokens: Float[Array, "b d"], images: Float[Array, "b d"], objects: Int[Array, " b"], config: LossConfig
) -> Float[Array, ""]:
    """Returns L_i, which keeps the token π(f_v(x_loc)) close to its own image f_v(x) among the images of the batch."""
    cosines = jnp.einsum("id,jd->ij", unit_norm(tokens), unit_norm(images)) / config.temperature
    own = jnp.eye(cosines.shape[0], dtype=bool)
    negative = ~own if config.same_object_negatives else objects[:, None] != objects[None, :]
    return _ratio(jnp.diagonal(cosines), cosines, negative, config.include_positive).mean()


def text_loss(
    prompted: Float[Array, "b d"],
    augmented: Float[Array, "b d"],
    specific: Float[Array, "b d"],
    generic: Float[Array, "b d"],
    objects: Int[Array, " b"],
    config: LossConfig,
) -> Float[Array, ""]:
    """Returns L_t.

    It pulls f_t("a photo of π(...)") to its augmented caption y*, away from every generic caption y_g of the batch (its
    own too) and from the captions y_s and y* of all other objects.

    Args:
        prompted: f_t of the prompts with their tokens.
        augmented, specific, generic: the embedded y*, y_s and y_g.
        objects: the number of each row's object.
    """
    prompted = unit_norm(prompted)

    def cosines(texts: Float[Array, "b d"]) -> Float[Array, "b b"]:
        return jnp.einsum("id,jd->ij", prompted, unit_norm(texts)) / config.temperature

    other = objects[:, None] != objects[None, :]
    to_augmented = cosines(augmented)
    all_captions = jnp.concatenate([to_augmented, cosines(specific), cosines(generic)], axis=1)
    negative = jnp.concatenate([other, other, jnp.ones_like(other)], axis=1)
    return _ratio(jnp.diagonal(to_augmented), all_captions, negative, config.include_positive).mean()


def personalisation_loss(
    tokens: Float[Array, "b d"],
    images: Float[Array, "b d"],
    prompted: Float[Array, "b d"],
    captions: tuple[Float[Array, "b d"], Float[Array, "b d"], Float[Array, "b d"]],
    objects: Int[Array, " b"],
    config: LossConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns L = (1 - α) L_t + α L_i, and {"text": L_t, "image": L_i}.

    `captions` are the embedded (y*, y_s, y_g) of each template.
    """
    augmented, specific, generic = captions
    by_text = text_loss(prompted, augmented, specific, generic, objects, config)
    by_image = image_loss(tokens, images, objects, config)
    loss = (1 - config.alpha) * by_text + config.alpha * by_image
    return loss, {"text": by_text, "image": by_image}
