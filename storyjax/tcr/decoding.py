"""Answers that are neither free nor one of a few: sampled sequences whose words come from a reduced vocabulary."""

import re
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from storyjax.data.text import Tokenizer
from storyjax.nn.t5 import T5


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
    """Token ids drawn one after the other among the `allowed`; the likeliest ones where `temperature` is 0.

    The end token is included where it was reached, padding follows it. As nn.t5.generate, under `jit`.
    """
    c = llm.config
    variables = {"params": params}
    ids = jnp.full((encoded.shape[0], max_length + 1), c.pad_id, jnp.int32).at[:, 0].set(c.decoder_start_id)

    def advance(carry: tuple[Array, Array], position: Array) -> tuple[tuple[Array, Array], None]:
        ids, ended = carry
        states = llm.apply(variables, ids[:, :-1], encoded, encoded_mask, method=T5.decode_states)
        state = jax.lax.dynamic_index_in_dim(states, position, axis=1, keepdims=False)
        logits = llm.apply(variables, state, method=T5.logits)
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


def reduced_vocabulary(tokenizer: Tokenizer, texts: Iterable[str], size: int) -> Bool[np.ndarray, " v"]:
    """Which of `size` token ids occur in any of the texts; the end token does."""
    allowed = np.zeros(size, bool)
    for text in texts:
        allowed[tokenizer.encode(text)] = True
    allowed[tokenizer.eos_id] = True
    return allowed


def parse_actions(text: str, verbs: Sequence[str], nouns: Sequence[str]) -> list[tuple[str, str]]:
    """The (verb, noun) pairs that a language model said, "(take, cup), (put, cup)" or "take cup , put cup"; a pair with
    a word out of the label space is left out (§3.3.4)."""
    known_verbs, known_nouns = set(verbs), set(nouns)
    if "(" in text:
        pairs = [
            tuple(" ".join(part.split()) for part in pair) for pair in re.findall(r"\(([^,()]*),([^,()]*)\)", text)
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
    """Ids of an answer up to its end token, as text."""
    kept = []
    for token in map(int, ids):
        if token == tokenizer.eos_id:
            break
        if token != tokenizer.pad_id:
            kept.append(token)
    return tokenizer.decode(kept).strip()
