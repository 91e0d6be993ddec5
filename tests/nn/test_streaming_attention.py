"""Attention over a stream of keys is attention over all of them, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.nn.attention import MultiHeadAttention
from storyjax.nn.streaming_attention import KeyStream, StreamingAttention, attention_per_group

B, ROWS, KEYS, HEADS, WIDTH = 2, 3, 12, 2, 8


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def stream(x_kv: jax.Array, mask: jax.Array, scale: jax.Array, count: int, parts: int) -> KeyStream:
    """Keys cut into parts, and those into chunks; their inputs are `x_kv` times a parameter of the stream's own."""

    def cut(array: jax.Array) -> jax.Array:
        chunks = array.reshape(array.shape[0], parts, count, -1, *array.shape[2:])
        return jnp.moveaxis(chunks, (1, 2), (1, 0))

    def embed(params, store, index):
        return store["x"][index] * params, store["mask"][index]

    return KeyStream(count, embed, scale, {"x": cut(x_kv), "mask": cut(mask)})


@pytest.fixture
def case(random_variables):
    x_q, x_kv = normal(0, B, ROWS, 6), normal(1, B, KEYS, 5)
    plain = MultiHeadAttention(num_heads=HEADS, features=WIDTH)
    mask = jnp.asarray(np.random.default_rng(0).random((B, KEYS)) < 0.7).at[1].set(False)
    return plain, random_variables(plain, x_q, x_kv), x_q, x_kv, mask


def total(out: jax.Array, attention: jax.Array) -> jax.Array:
    """A scalar that every output and the attention itself have a say in."""
    return jnp.sum(out * normal(5, *out.shape)) + jnp.sum(attention**2 * normal(6, *attention.shape))


@pytest.mark.parametrize(("count", "parts"), [(4, 1), (3, 2)])
def test_values_and_gradients_are_those_of_all_keys_at_once(case, count, parts):
    plain, variables, x_q, x_kv, mask = case
    frame_of = np.zeros(KEYS // count // parts, int)

    def at_once(variables, x_q, scale):
        out, weights = plain.apply(variables, x_q, x_kv * scale, mask[:, None, None], return_weights=True)
        attention = weights.mean(1).reshape(B, ROWS, parts, count, -1).sum(-1)
        return total(out, jnp.einsum("brsc->csbr", attention)), out

    def streamed(variables, x_q, scale):
        keys = stream(x_kv, mask, scale, count, parts)
        out, state = StreamingAttention(num_heads=HEADS, features=WIDTH).apply(variables, x_q, keys)
        attention = attention_per_group(keys, state, jnp.ones((B, ROWS, 1)), frame_of, 1)
        return total(out, attention[..., 0]), out

    arguments = variables, x_q, jnp.float32(1.3)
    results = [jax.jit(jax.value_and_grad(f, (0, 1, 2), has_aux=True))(*arguments) for f in (at_once, streamed)]
    (_, out), _ = results[1]
    assert not (out[1] - variables["params"]["out"]["bias"][None]).any()  # a video with nothing to see
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *results)


def test_what_lies_under_the_mask_does_not_matter(case):
    _, variables, x_q, x_kv, mask = case
    module = StreamingAttention(num_heads=HEADS, features=WIDTH)
    outs = [
        module.apply(variables, x_q, stream(x, mask, jnp.float32(1), 3, 1))[0]
        for x in (x_kv, jnp.where(mask[..., None], x_kv, 1e4))
    ]
    np.testing.assert_array_equal(*outs)


def test_memory_does_not_grow_with_chunks(case):
    """Neither forward nor backward keeps anything of a chunk."""
    _, variables, x_q, _, _ = case
    module = StreamingAttention(num_heads=HEADS, features=WIDTH)

    def temporaries(count: int) -> int:
        def loss(variables, store, mask):
            keys = KeyStream(count, lambda p, s, i: (s["x"][i], s["mask"][i]), None, {"x": store, "mask": mask})
            return module.apply(variables, x_q, keys)[0].sum()

        shapes = (count, 1, B, 64)
        store = jax.ShapeDtypeStruct((*shapes, 5), jnp.float32), jax.ShapeDtypeStruct(shapes, jnp.bool_)
        return jax.jit(jax.grad(loss)).lower(variables, *store).compile().memory_analysis().temp_size_in_bytes

    few, many = temporaries(4), temporaries(64)
    assert many <= few + 4096  # 60 chunks more, each of whose weights take 3 kB and whose keys and values 8 kB


def test_a_gradient_by_what_is_streamed_is_refused(case):
    _, variables, x_q, x_kv, mask = case
    module = StreamingAttention(num_heads=HEADS, features=WIDTH)
    with pytest.raises(ValueError, match="stop_gradient"):
        jax.grad(lambda x: module.apply(variables, x_q, stream(x, mask, jnp.float32(1), 3, 1))[0].sum())(x_kv)
