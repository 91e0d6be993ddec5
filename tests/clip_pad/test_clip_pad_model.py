"""CLIP-PAD's parts: what a face's word does, what is averaged, and what trains."""

import jax
import jax.numpy as jnp
import numpy as np
import small

from storyjax.clip_pad.data import encode
from storyjax.clip_pad.model import TRAINABLE
from storyjax.train.params import partition

PARAMS = small.random_params()
RNG = np.random.default_rng(0)


def faces(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.integers(0, 256, size=(*shape, 16, 16, 3), dtype=np.uint8))


def test_photos_that_are_not_there_do_not_count():
    photos = faces(2, 2)
    valid = jnp.array([[True, False], [True, True]])
    mean = jax.jit(small.MODEL.mean_description)
    once = mean(PARAMS, photos, valid)
    np.testing.assert_allclose(np.linalg.norm(once, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(mean(PARAMS, photos.at[0, 1].set(0), valid), once, atol=1e-6)
    each = small.MODEL.describe_faces(PARAMS, photos[1])
    middle = np.asarray(each).mean(axis=0)
    np.testing.assert_allclose(once[1], middle / np.linalg.norm(middle), atol=1e-5)
    nobody = mean(PARAMS, photos, jnp.zeros((2, 2), bool))
    assert np.isfinite(nobody).all()


def test_a_clip_is_the_mean_of_its_frames():
    frames = faces(2, 3)
    embedded = np.asarray(small.MODEL.embed_clips(PARAMS, frames))
    each = np.asarray(small.MODEL.embed_images(PARAMS, frames[0]))
    mean = each.mean(axis=0)
    np.testing.assert_allclose(embedded[0], mean / np.linalg.norm(mean), atol=1e-5)
    # The order of frames means nothing, and an image is a clip of one frame.
    turned = np.asarray(small.MODEL.embed_clips(PARAMS, frames[:, ::-1]))
    np.testing.assert_allclose(turned, embedded, atol=1e-5)
    np.testing.assert_allclose(small.MODEL.embed_clips(PARAMS, frames[0][:, None]), each, atol=1e-5)


def test_the_face_speaks_only_where_the_query_holds_it():
    descriptions = small.MODEL.describe_faces(PARAMS, faces(2))
    tokens = small.MODEL.tokens(PARAMS, descriptions)
    assert tokens.shape == (2, 1, 16)
    for prompt, speaks in (("an image of *TOK*", True), ("an image of ana", False), ("ana *TOK* in the park", True)):
        ids, slots = (jnp.stack([jnp.asarray(row)] * 2) for row in encode(small.TOKENIZER, prompt, small.SIZES))
        embedded = np.asarray(small.MODEL.embed_texts(PARAMS, ids, tokens, slots))
        np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
        assert (np.abs(embedded[0] - embedded[1]).max() > 1e-4) == speaks, prompt


def test_zero_shot_is_the_text_tower_as_it_was():
    ids, slots = (jnp.asarray(row) for row in encode(small.TOKENIZER, "an image of ana", small.SIZES))
    original = {name: PARAMS["clip"][name] for name in ("text", "text_projection")}
    params = {**PARAMS, "original": original}
    before = small.MODEL.embed_texts_zero_shot(params, ids[None])
    now = small.MODEL.embed_texts(params, ids[None], jnp.zeros((1, 1, 16)), slots[None])
    np.testing.assert_allclose(before, now, atol=1e-6)
    changed = jax.tree.map(lambda leaf: leaf + 0.3, PARAMS["clip"]["text"])
    trained = {**params, "clip": {**PARAMS["clip"], "text": changed}}
    np.testing.assert_allclose(small.MODEL.embed_texts_zero_shot(trained, ids[None]), before, atol=1e-6)
    assert np.abs(small.MODEL.embed_texts(trained, ids[None], jnp.zeros((1, 1, 16)), slots[None]) - now).max() > 1e-3


def test_only_the_adaptor_and_the_text_tower_train():
    trainable, frozen = partition(jax.eval_shape(small.MODEL.init, jax.random.key(0)), TRAINABLE)
    assert set(trainable) == {"clip", "adaptor"}
    assert set(trainable["clip"]) == {"text", "text_projection"}
    assert set(frozen) == {"clip", "face", "original"}
    assert set(frozen["clip"]) == {"vision", "vision_projection", "logit_scale"}
