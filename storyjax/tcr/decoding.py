"""Answers that are neither free nor one of a few: sampled sequences whose words come from a reduced vocabulary."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from storyjax.data.text import Tokenizer
from storyjax.models.t5 import T5


def sample(
    llm: T5,
    params: dict,
    encoded: Float[Array, "b s w"],
    encoded_mask: Bool[Array, "b s"],
    max_length: int,
    allowed: Bool[Array, " v"],
    key: Array,
    temperature: float,
) -> Int[Array, "b m"]:
    """Returns token ids drawn one after the other among the `allowed`; the likeliest ones where `temperature` is 0.

    The end token is included where it was reached, padding follows it. As models.t5.generate, under `jit`.
    """
    c = llm.config
    variables = {"params": params}
    ids = jnp.full((encoded.shape[0], max_length + 1), c.pad_id, jnp.int32).at[:, 0].set(c.decoder_start_id)

    def advance(carry: tuple[Array, Array], position: Array) -> tuple[tuple[Array, Array], None]:
        ids, ended = carry
        states = llm.apply(variables, ids[:, :-1], encoded, encoded_mask, method=T5.decode_states)
        state = jax.lax.dynamic_index_in_dim(states, position, axis=1, keepdims=False)
        logits = cast(Array, llm.apply(variables, state, method=T5.logits))
        logits = jnp.where(allowed[None], logits, jnp.finfo(jnp.float32).min)
        if temperature:
            drawn = jax.random.categorical(jax.random.fold_in(key, position), logits / temperature, axis=-1)
        else:
            drawn = jnp.argmax(logits, axis=-1)
        token = jnp.where(ended, c.pad_id, drawn.astype(jnp.int32))
        ids = jax.lax.dynamic_update_index_in_dim(ids, token, position + 1, axis=1)
        return (ids, ended | (token == c.eos_id)), None

    start = (ids, jnp.zeros(encoded.shape[0], bool))
    (ids, _), _ = jax.lax.scan(advance, start, jnp.arange(max_length))
    return ids[:, 1:]


def sample_in_turn(
    encode: Callable[[Int[Array, "b p"], Bool[Array, "b p"]], tuple[Array, Array]],
    llm: T5,
    params: dict,
    prompt: Int[Array, "b l"],
    prompt_mask: Bool[Array, "b l"],
    turns: int,
    piece: int,
    allowed: Bool[Array, " v"],
    stops: Bool[Array, " v"],
    key: Array,
    temperature: float,
) -> Int[Array, "b m"]:
    """Returns what is said when a sequence is asked for piece by piece: each answer joins the next prompt (Table 3.4,
    *).

    Args:
        encode: (prompt, its mask) -> the language model's encoder states and their mask.
        turns, piece: pieces asked for, and tokens of one at most.
        stops: tokens that end a piece; it is kept up to the first of them.

    Returns:
        token ids of all pieces, `turns` * `piece`, padded behind.
    """
    rows = jnp.arange(prompt.shape[0])[:, None]
    buffer = jnp.pad(jnp.where(prompt_mask, prompt, llm.config.pad_id), ((0, 0), (0, turns * piece)))
    begin = jnp.sum(prompt_mask, axis=1)

    def turn(carry: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
        words, filled = carry
        there = jnp.arange(words.shape[1])[None] < filled[:, None]
        encoded, mask = encode(words, there)
        said = sample(llm, params, encoded, mask, piece, allowed, jax.random.fold_in(key, number), temperature)
        ends = stops[said] | (said == llm.config.eos_id) | (said == llm.config.pad_id)
        before = jnp.cumsum(ends, axis=1) - ends  # ends met before a token
        kept = (before == 0) & (said != llm.config.eos_id) & (said != llm.config.pad_id)
        places = filled[:, None] + jnp.arange(piece)[None]
        words = words.at[rows, places].set(jnp.where(kept, said, llm.config.pad_id))
        return (words, filled + jnp.sum(kept, axis=1)), None

    (words, _), _ = jax.lax.scan(turn, (buffer, begin), jnp.arange(turns))
    return jnp.take_along_axis(words, begin[:, None] + jnp.arange(turns * piece)[None], axis=1)


def reduced_vocabulary(tokenizer: Tokenizer, texts: Iterable[str], size: int) -> Bool[np.ndarray, " v"]:
    """Returns which of `size` token ids occur in any of the texts; the end token does."""
    allowed = np.zeros(size, bool)
    for text in texts:
        allowed[tokenizer.encode(text)] = True
    allowed[tokenizer.eos_id] = True
    return allowed


def parse_actions(text: str, verbs: Sequence[str], nouns: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the (verb, noun) pairs that a language model said, "(take, cup), (put, cup)" or "take cup , put cup"; a
    pair with a word out of the label space is left out (§3.3.4).
    """
    known_verbs, known_nouns = set(verbs), set(nouns)
    if "(" in text:
        pairs = [
            (" ".join(verb.split()), " ".join(noun.split()))
            for verb, noun in re.findall(r"\(([^,()]*),([^,()]*)\)", text)
        ]
        return [pair for pair in pairs if pair[0] in known_verbs and pair[1] in known_nouns]
    found = []
    for part in text.split(","):
        words = part.split()
        for cut in range(len(words) - 1, 0, -1):
            pair = (" ".join(words[:cut]), " ".join(words[cut:]))
            if pair[0] in known_verbs and pair[1] in known_nouns:
                found.append(pair)
                break
    return found


def spell(tokenizer: Tokenizer, ids: Int[np.ndarray, " m"]) -> str:
    """Returns the ids of an answer up to its end token, as text."""
    kept = []
    for token in map(int, ids):
        if token == tokenizer.eos_id:
            break
        if token != tokenizer.pad_id:
            kept.append(token)
    return tokenizer.decode(kept).strip()
