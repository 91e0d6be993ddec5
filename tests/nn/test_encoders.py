"""Vision and text encoders: layout of tokens, causality, precision."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.arrays import unit_norm
from storyjax.models.clip import Clip, ClipConfig, ClipText, ClipTextConfig
from storyjax.models.vit import ViT, ViTConfig

VISION = ViTConfig(image_size=12, patch_size=4, width=16, depth=1, heads=2, mlp_width=24)
TEXT = ClipTextConfig(vocab_size=40, max_length=8, width=16, depth=2, heads=2, mlp_width=24, eos_id=39)


def images(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(0), shape)


def test_patches_follow_in_rows_after_the_class_token(random_variables):
    model, x = ViT(dataclasses.replace(VISION, depth=0)), images(1, 12, 12, 3)
    variables = random_variables(model, x)
    spread = jnp.arange(16.0)  # the plain sum of a normalised token is constant
    jacobian = jax.jit(jax.jacobian(lambda x: model.apply(variables, x)[0] @ spread))(x)
    influence = jnp.abs(jacobian[:, 0]).max(-1) > 0  # (token, y, x)
    expected = np.zeros((10, 12, 12), bool)
    for row in range(3):
        for column in range(3):
            expected[1 + 3 * row + column, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = True
    np.testing.assert_array_equal(influence, expected)


def test_tower_without_class_token_and_in_bfloat16(random_variables):
    config, x = dataclasses.replace(VISION, cls_token=False), images(2, 12, 12, 3)
    variables = random_variables(ViT(config), x)
    exact, half = (jax.jit(ViT(config, dtype=dtype).apply)(variables, x) for dtype in (jnp.float32, jnp.bfloat16))
    assert exact.shape == (2, 9, 16)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), exact, atol=0.1)


def test_pixels_beyond_the_last_patch_are_not_looked_at(random_variables):
    config, x = dataclasses.replace(VISION, image_size=14, cls_token=False), images(1, 14, 14, 3)
    variables = random_variables(ViT(config), x)
    apply = jax.jit(ViT(config).apply)
    exact = apply(variables, x)
    assert exact.shape == (1, config.num_tokens, 16) == (1, 9, 16)
    np.testing.assert_array_equal(apply(variables, x.at[:, 12:].set(9.0).at[:, :, 12:].set(9.0)), exact)
    assert jnp.any(apply(variables, x.at[:, 11:].set(9.0)) != exact)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="12 pixels"):
        ViT(VISION).init(jax.random.key(0), images(1, 16, 16, 3))


def test_text_pools_the_first_end_token_and_ignores_what_follows(random_variables):
    model = ClipText(TEXT)
    ids = jnp.array([[5, 6, 39, 0, 0], [7, 8, 9, 10, 39]])
    variables = random_variables(model, ids)
    apply = jax.jit(model.apply)
    pooled, states = apply(variables, ids)
    np.testing.assert_array_equal(pooled, jnp.stack([states[0, 2], states[1, 4]]))
    again, _ = apply(variables, ids.at[0, 3:].set(jnp.array([39, 4])))
    np.testing.assert_array_equal(pooled, again)
    with pytest.raises(ValueError, match="9 tokens"):
        model.apply(variables, jnp.zeros((1, 9), jnp.int32))


def test_vectors_take_the_place_of_words_before_positions_are_added(random_variables):
    model = ClipText(TEXT)
    ids = jnp.array([[5, 6, 7, 39], [7, 8, 39, 0]])
    variables = random_variables(model, ids)
    table = variables["params"]["token"]["embedding"]
    words, _ = model.apply(variables, ids)
    blank = ids.at[0, 1].set(0).at[0, 2].set(0)
    slots = jnp.array([[-1, 1, 0, -1], [-1, -1, -1, -1]])
    # Slot 0 of the first text holds word 7 and slot 1 word 6, so that the text reads as it did.
    spliced, _ = model.apply(variables, blank, jnp.stack([table[jnp.array([7, 6])]] * 2), slots)
    np.testing.assert_allclose(spliced, words, atol=1e-5)
    swapped, _ = model.apply(variables, blank, jnp.stack([table[jnp.array([6, 7])]] * 2), slots)
    assert jnp.abs(swapped[0] - words[0]).max() > 1e-2
    np.testing.assert_array_equal(swapped[1], spliced[1])
    with pytest.raises(ValueError, match="belong together"):
        model.apply(variables, ids, slots=slots)


def test_embeddings_have_unit_length_and_scaled_similarity(random_variables):
    model, x = Clip(ClipConfig(VISION, TEXT, projection_dim=6), dtype=jnp.bfloat16), images(3, 12, 12, 3)
    ids = jnp.array([[5, 39], [6, 39]])
    variables = random_variables(model, x, ids)

    @jax.jit
    def run(variables: dict, x: jax.Array, ids: jax.Array) -> tuple[jax.Array, ...]:
        image = model.apply(variables, x, method=Clip.embed_images)
        text = model.apply(variables, ids, method=Clip.embed_texts)
        tokens = model.apply(variables, x, method=Clip.image_tokens)
        return image, text, tokens, model.apply(variables, x, ids)

    image, text, tokens, similarity = run(variables, x, ids)
    np.testing.assert_allclose(jnp.linalg.norm(image, axis=-1), 1, atol=1e-6)
    assert image.dtype == text.dtype == jnp.float32
    np.testing.assert_allclose(similarity, image @ text.T / 0.07, rtol=1e-3)
    assert tokens.shape == (3, 10, 16)


def test_unit_norm_of_zeros_has_a_finite_gradient():
    assert jnp.isfinite(jax.grad(lambda x: unit_norm(x).sum())(jnp.zeros(4))).all()
