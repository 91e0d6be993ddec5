"""Answers that are neither free nor one of a few: sampled sequences whose words come from a reduced vocabulary."""

import re
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from storyjax.data.text import Tokenizer
from storyjax.models.t5 import T5
from storyjax.models.t5_decoding import decode_tokens


def sample(
    llm: T5,
    params: dict,
    encoded: Float[Array, "b s w"],
    encoded_mask: Bool[Array, "b s"],
    max_length: int,
    allowed: Bool[Array, " v"],
    keys: Array,
    temperatures: Sequence[float],
    *,
    each: int = 1,
    ends: Bool[Array, " v"] | None = None,
) -> Int[Array, "r m"]:
    """Returns token ids drawn one after the other among the `allowed`, of all candidates at once.

    The end token is included where it was reached, padding follows it. As `decode_tokens`, under `jit`.

    Args:
        llm, params, encoded, encoded_mask, max_length, ends: see `decode_tokens`.
        allowed: the reduced vocabulary.
        keys: of each candidate (c,).
        temperatures: of each candidate; 0 is the likeliest tokens.
        each: sequences of each encoded text: the number of candidates, or 1 where each has its own text. The rows
            r = b · each are the candidates of one text, then those of the next.
    """
    count, hot = len(temperatures), jnp.asarray([t > 0 for t in temperatures])
    divisors = jnp.asarray([t or 1.0 for t in temperatures], jnp.float32)

    def choose(logits: Float[Array, "r v"], position: Int[Array, ""]) -> Int[Array, "r"]:
        kept = jnp.where(allowed[None], logits, jnp.finfo(jnp.float32).min)
        of_candidate = rearrange(kept, "(x c) v -> c x v", c=count)

        def draw(key: Array, divisor: Float[Array, ""], own: Float[Array, "x v"]) -> Int[Array, "x"]:
            return jax.random.categorical(jax.random.fold_in(key, position), own / divisor, axis=-1)

        drawn = rearrange(jax.vmap(draw)(keys, divisors, of_candidate), "c x -> x c")
        likeliest = rearrange(jnp.argmax(kept, axis=-1), "(x c) -> x c", c=count)
        return rearrange(jnp.where(hot[None], drawn, likeliest), "x c -> (x c)")

    return decode_tokens(llm, params, encoded, encoded_mask, max_length, choose, each=each, ends=ends)


def sample_in_turn(
    encode: Callable[[Int[Array, "r p"], Bool[Array, "r p"]], tuple[Array, Array]],
    llm: T5,
    params: dict,
    prompt: Int[Array, "r l"],
    prompt_mask: Bool[Array, "r l"],
    turns: int,
    piece: int,
    allowed: Bool[Array, " v"],
    stops: Bool[Array, " v"],
    keys: Array,
    temperatures: Sequence[float],
) -> Int[Array, "r m"]:
    """Returns what is said when a sequence is asked for piece by piece: each answer joins the next prompt (Table 3.4,
    *).

    Args:
        encode: (prompt, its mask) -> the language model's encoder states and their mask.
        prompt, prompt_mask: a row for every candidate of every text, as in `sample`.
        turns, piece: pieces asked for, and tokens of one at most.
        stops: tokens that end a piece; it is kept up to the first of them.
        keys, temperatures: of each candidate.

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
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        said = sample(llm, params, encoded, mask, piece, allowed, own, temperatures, ends=stops)
        ended = stops[said] | (said == llm.config.eos_id) | (said == llm.config.pad_id)
        before = jnp.cumsum(ended, axis=1) - ended  # ends met before a token
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
