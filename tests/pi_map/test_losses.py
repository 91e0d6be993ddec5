"""The losses against sums written out by hand, and what they push where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.pi_map.losses import (
    LossConfig,
    image_loss,
    personalisation_loss,
    symmetric_cross_entropy,
    text_loss,
)

TAU = 0.07
OBJECTS = np.array([0, 0, 1], np.int32)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def vectors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = ("tokens", "images", "prompted", "augmented", "specific", "generic")
    found = {name: rng.normal(size=(3, 4)).astype(np.float32) for name in names}
    for name in ("augmented", "specific"):  # the first two templates show one object
        found[name][1] = found[name][0]
    return found


def d(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.exp(unit(a) @ unit(b) / TAU))


def test_image_loss_is_the_printed_ratio(vectors: dict[str, np.ndarray]) -> None:
    t, v = vectors["tokens"], vectors["images"]
    by_hand = [
        -np.log(d(t[0], v[0]) / d(t[0], v[2])),
        -np.log(d(t[1], v[1]) / d(t[1], v[2])),
        -np.log(d(t[2], v[2]) / (d(t[2], v[0]) + d(t[2], v[1]))),
    ]
    found = image_loss(jnp.asarray(t), jnp.asarray(v), jnp.asarray(OBJECTS), LossConfig())
    assert float(found) == pytest.approx(np.mean(by_hand), rel=1e-4)
    literal = [-np.log(d(t[i], v[i]) / sum(d(t[i], v[n]) for n in range(3) if n != i)) for i in range(3)]
    config = LossConfig(same_object_negatives=True)
    found = image_loss(jnp.asarray(t), jnp.asarray(v), jnp.asarray(OBJECTS), config)
    assert float(found) == pytest.approx(np.mean(literal), rel=1e-4)


def test_text_loss_is_the_ratio_to_all_other_captions(vectors: dict[str, np.ndarray]) -> None:
    s, y, ys, yg = (vectors[name] for name in ("prompted", "augmented", "specific", "generic"))
    by_hand = []
    for i in range(3):
        others = [j for j in range(3) if OBJECTS[j] != OBJECTS[i]]
        below = sum(d(s[i], y[j]) + d(s[i], ys[j]) for j in others) + sum(d(s[i], yg[j]) for j in range(3))
        by_hand.append(-np.log(d(s[i], y[i]) / below))
    arrays = [jnp.asarray(x) for x in (s, y, ys, yg, OBJECTS)]
    assert float(text_loss(*arrays, LossConfig())) == pytest.approx(np.mean(by_hand), rel=1e-4)
    assert float(text_loss(*arrays, LossConfig(include_positive=True))) > 0


def test_the_weights_of_the_two(vectors: dict[str, np.ndarray]) -> None:
    v = {name: jnp.asarray(x) for name, x in vectors.items()}
    captions = (v["augmented"], v["specific"], v["generic"])
    loss, parts = personalisation_loss(
        v["tokens"], v["images"], v["prompted"], captions, jnp.asarray(OBJECTS), LossConfig(alpha=0.25)
    )
    assert float(loss) == pytest.approx(0.75 * float(parts["text"]) + 0.25 * float(parts["image"]), rel=1e-6)


def test_a_step_goes_to_its_caption_and_from_its_kind(vectors: dict[str, np.ndarray]) -> None:
    v = {name: jnp.asarray(x) for name, x in vectors.items()}

    def loss(prompted: jax.Array) -> jax.Array:
        return text_loss(prompted, v["augmented"], v["specific"], v["generic"], jnp.asarray(OBJECTS), LossConfig())

    gradient = np.asarray(jax.grad(loss)(v["prompted"]))
    before, after = unit(vectors["prompted"]), unit(vectors["prompted"] - 1e-4 * gradient)
    # The third is alone in showing its object. Of all captions that it must not resemble, the nearest pushes most.
    others = np.concatenate([vectors["augmented"][:2], vectors["specific"][:2], vectors["generic"]])
    nearest = unit(others)[int(np.argmax(before[2] @ unit(others).T))]
    own = unit(vectors["augmented"])[2]
    assert after[2] @ (own - nearest) > before[2] @ (own - nearest)


def test_a_batch_of_one_object_is_finite(vectors: dict[str, np.ndarray]) -> None:
    v = {name: jnp.asarray(x) for name, x in vectors.items()}
    same = jnp.zeros(3, jnp.int32)
    value, gradient = jax.value_and_grad(lambda t: image_loss(t, v["images"], same, LossConfig()))(v["tokens"])
    assert float(value) == 0
    assert np.isfinite(np.asarray(gradient)).all()


def test_symmetric_cross_entropy(vectors: dict[str, np.ndarray]) -> None:
    a, b = vectors["tokens"], vectors["images"]
    logits = unit(a) @ unit(b).T / TAU
    rows = -np.log(np.exp(np.diag(logits)) / np.exp(logits).sum(1))
    columns = -np.log(np.exp(np.diag(logits)) / np.exp(logits).sum(0))
    loss, found = symmetric_cross_entropy(jnp.asarray(a), jnp.asarray(b), TAU)
    assert float(loss) == pytest.approx((rows + columns).mean() / 2, rel=1e-4)
    assert float(found) == pytest.approx((logits.argmax(1) == np.arange(3)).mean())
