"""Answers of a T5 token by token, with the keys and values of all that came before kept."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from storyjax.models.t5 import T5
from storyjax.nn.key_value_attention import KeyValues

# (logits of the next token of each sequence, 0-based position of it) -> the token chosen for each
Choose = Callable[[Float[Array, "r v"], Int[Array, ""]], Int[Array, "r"]]


def decode_tokens(
    llm: T5,
    params: dict,
    encoded: Float[Array, "b k d"],
    encoded_mask: Bool[Array, "b k"],
    max_length: int,
    choose: Choose,
    *,
    each: int = 1,
    ends: Bool[Array, " v"] | None = None,
) -> Int[Array, "r {max_length}"]:
    """Returns the token ids that are chosen one after the other, up to the end token or `max_length`.

    They are without the start token; the end token is included where it was reached, and padding follows it. Shapes are
    static, so it runs under `jit` (with `max_length` static); it stops when all sequences have ended. A step costs one
    token: keys and values of the tokens before it are kept, and those of the encoder are made once.

    Args:
        llm: the language model.
        params: its parameters.
        encoded: encoder states.
        encoded_mask: True where a state is not padding.
        choose: which token comes next.
        each: sequences of each encoded text; r = b · each, those of one text one after another.
        ends: further tokens after which nothing is wanted.
    """
    cfg, rows = llm.config, encoded.shape[0] * each
    variables = {"params": params}
    attended = cast(tuple[KeyValues, ...], llm.apply(variables, encoded, method=T5.keys_values))
    last = jnp.arange(cfg.vocab_size) == cfg.eos_id
    last = last if ends is None else last | ends

    def unfinished(carry: tuple) -> Bool[Array, ""]:
        position, _, _, ended, _ = carry
        return (position < max_length) & ~jnp.all(ended)

    def advance(carry: tuple) -> tuple:
        position, ids, before, ended, cache = carry
        logits, cache = llm.apply(variables, before, cache, position, attended, encoded_mask, method=T5.decode_step)
        token = jnp.where(ended, cfg.pad_id, choose(logits, position).astype(jnp.int32))
        ids = jax.lax.dynamic_update_index_in_dim(ids, token, position, axis=1)
        return position + 1, ids, token, ended | last[token], cache

    start = (
        jnp.zeros((), jnp.int32),
        jnp.full((rows, max_length), cfg.pad_id, jnp.int32),
        jnp.full(rows, cfg.decoder_start_id, jnp.int32),
        jnp.zeros(rows, bool),
        llm.empty_cache(rows, max_length),
    )
    return jax.lax.while_loop(unfinished, advance, start)[1]


def generate(
    llm: T5,
    params: dict,
    encoded: Float[Array, "b k d"],
    encoded_mask: Bool[Array, "b k"],
    max_length: int,
) -> Int[Array, "b {max_length}"]:
    """Returns the token ids of greedy decoding from encoder states; see `decode_tokens`."""
    return decode_tokens(
        llm, params, encoded, encoded_mask, max_length, lambda logits, position: jnp.argmax(logits, axis=-1)
    )
