"""Answers of a T5 token by token, with the keys and values of all that came before kept: greedy, drawn, or of beams."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from storyjax.models.t5 import T5
from storyjax.nn.key_value_attention import KeyValues

# (logits of the next token of each sequence, 0-based position of it) -> the token chosen for each
Choose = Callable[[Float[Array, "r v"], Int[Array, ""]], Int[Array, " r"]]
# The score of what does not exist, or is not to be chosen.
NEVER = -1e9


@dataclass(frozen=True)
class Decoding:
    """How free answers are decoded.

    Attributes:
        beams: partial answers that are followed at a time; 1 is greedy decoding.
        length_penalty: of several beams: the log-likelihood of an answer is divided by its length (in tokens) to this
            power; more than 0 favours long answers, less short ones. It may be traced.
    """

    beams: int = 1
    length_penalty: float | Float[Array, ""] = 1.0


GREEDY = Decoding()


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
    decoding: Decoding = GREEDY,
) -> Int[Array, "b {max_length}"]:
    """Returns the token ids of greedy decoding, or of beam search, from encoder states; see `decode_tokens`."""
    if decoding.beams > 1:
        return beam_search(llm, params, encoded, encoded_mask, max_length, decoding)
    return decode_tokens(
        llm, params, encoded, encoded_mask, max_length, lambda logits, position: jnp.argmax(logits, axis=-1)
    )


class _Beams(NamedTuple):
    """Answers of each text, best first: n of them, tokens (b n m), scores (b n), and which are complete (b n)."""

    ids: Int[Array, "b n m"]
    scores: Float[Array, "b n"]
    complete: Bool[Array, "b n"]

    def best(self, scores: Float[Array, "b n"], count: int) -> tuple["_Beams", Int[Array, "b {count}"]]:
        """Returns the `count` answers of the highest `scores`, which become theirs, and where they stood."""
        kept, places = jax.lax.top_k(scores, count)
        ids = jnp.take_along_axis(self.ids, places[..., None], axis=1)
        return _Beams(ids, kept, jnp.take_along_axis(self.complete, places, axis=1)), places


def beam_search(
    llm: T5,
    params: dict,
    encoded: Float[Array, "b k d"],
    encoded_mask: Bool[Array, "b k"],
    max_length: int,
    decoding: Decoding,
) -> Int[Array, "b {max_length}"]:
    """Returns the token ids of the best answer that beam search finds to each encoded text.

    The tokens are those of `generate` of the transformers package with `num_beams` and `length_penalty` (and its other
    defaults): in each step the best 2n continuations of all n beams are found, so that n unfinished ones are left even
    if n of them end; an ended one is kept if it is among the first n, and among the best n that ended so far by its
    log-likelihood divided by length ** length_penalty. The search ends when the best beam, scored so as it is, does not
    beat the worst of the n ended ones. The cache follows the beams from step to step. Shapes and padding are as of
    `decode_tokens`.
    """
    cfg, texts, beams = llm.config, encoded.shape[0], decoding.beams
    variables = {"params": params}
    attended = cast(tuple[KeyValues, ...], llm.apply(variables, encoded, method=T5.keys_values))
    top = jnp.arange(2 * beams)[None] < beams
    offsets = beams * jnp.arange(texts)[:, None]

    def unfinished(carry: tuple) -> Bool[Array, ""]:
        position, _, _, improvable, _ = carry
        return (position < max_length) & jnp.any(improvable)

    def advance(carry: tuple) -> tuple:
        position, running, ended, improvable, cache = carry
        last = jnp.take(running.ids, jnp.maximum(position - 1, 0), axis=2)
        before = rearrange(jnp.where(position == 0, cfg.decoder_start_id, last), "b n -> (b n)")
        logits, cache = llm.apply(variables, before, cache, position, attended, encoded_mask, method=T5.decode_step)
        longer, parents = _continuations(running, jax.nn.log_softmax(logits, axis=-1), position, cfg.eos_id)
        stops = longer.complete | (position + 1 == max_length)
        new, places = longer.best(longer.scores + jnp.where(stops, NEVER, 0.0), beams)
        scale = (position + 1).astype(jnp.float32) ** decoding.length_penalty
        counts = stops & top & improvable[:, None]
        found = _Beams(longer.ids, jnp.where(counts, longer.scores / scale, NEVER), stops & top)
        ended = _Beams(*(jnp.concatenate(pair, axis=1) for pair in zip(ended, found, strict=True)))
        ended, _ = ended.best(ended.scores, beams)
        lowest = jnp.where(jnp.all(ended.complete, axis=1), jnp.min(ended.scores, axis=1), NEVER)
        improvable &= new.scores[:, 0] / scale > lowest
        rows = (jnp.take_along_axis(parents, places, axis=1) + offsets).reshape(-1)
        return position + 1, new, ended, improvable, jax.tree.map(lambda kept: jnp.take(kept, rows, axis=0), cache)

    nothing = jnp.full((texts, beams, max_length), cfg.pad_id, jnp.int32)
    none, never = jnp.zeros((texts, beams), bool), jnp.full((texts, beams), NEVER, jnp.float32)
    start = (
        jnp.zeros((), jnp.int32),
        _Beams(nothing, never.at[:, 0].set(0.0), none),  # the beams are the same at first: one goes on
        _Beams(nothing, never, none),
        jnp.ones(texts, bool),
        llm.empty_cache(texts * beams, max_length),
    )
    return jax.lax.while_loop(unfinished, advance, start)[2].ids[:, 0]


def _continuations(
    running: _Beams, log_probabilities: Float[Array, "r v"], position: Int[Array, ""], eos_id: int
) -> tuple[_Beams, Int[Array, "b x"]]:
    """The best 2n answers that are one token longer than the n running ones, and of which of these they are."""
    beams, words = running.scores.shape[1], log_probabilities.shape[1]
    scores = rearrange(log_probabilities, "(b n) v -> b n v", n=beams) + running.scores[..., None]
    best, places = jax.lax.top_k(rearrange(scores, "b n v -> b (n v)"), 2 * beams)
    parents, tokens = places // words, places % words
    ids = jnp.take_along_axis(running.ids, parents[..., None], axis=1)
    ids = jax.lax.dynamic_update_index_in_dim(ids, tokens.astype(jnp.int32), position, axis=2)
    return _Beams(ids, best, tokens == eos_id), parents
