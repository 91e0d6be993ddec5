"""The text-conditioned resampler (thesis §3.2, Fig. 3.2).

    [task token; prompt; queries]  --cross-attention in blocks 0 and 2-->  visual tokens of all frames
                                   --self-attention and MLP in every block-->
    query outputs  --linear-->  the LLM's embedding space

Shapes: b videos, t frames, n visual tokens a frame, s = visual tokens kept of all frames, k questions on one video,
l text tokens, q queries, e width of the vision tower, d width of the TCR, w width of the LLM.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from storyjax.nn.attention import MultiHeadAttention
from storyjax.nn.streaming_attention import KeyStream, Looked, StreamingAttention
from storyjax.tcr.frame_stream import VideoStream

# §3.2.1: one learnt token for each task; new tasks take the next free index.
TASK_TOKENS = ("QA", "CPN", "TRG", "STG", "LTA")


@dataclass(frozen=True)
class TcrConfig:
    """Sizes of the resampler; the defaults are the thesis's (§3.2.3).

    Attributes:
        max_prompt: longest prompt in tokens, for its learnt positions.
        vocab_size: entries of the prompt's token table; ids from vocab_size on are time tokens: id - vocab_size = bin.
        llm_width: width of the LLM that reads the query outputs.
        cross_attention_blocks: blocks that look at the video before they attend to themselves.
        time_bins, bin_seconds: §3.6.1, half-second bins, 2048 of them (17 minutes); later times share the last bin.
        drop_patches: the share of patches dropped from every other frame in training (§3.2.3).
    """

    vocab_size: int
    llm_width: int
    width: int = 512
    blocks: int = 4
    heads: int = 8
    queries: int = 128
    mlp_ratio: int = 4
    max_prompt: int = 64
    cross_attention_blocks: tuple[int, ...] = (0, 2)
    time_bins: int = 2048
    bin_seconds: float = 0.5
    drop_patches: float = 0.5


def time_to_bin(seconds: Float[Array, "..."], config: TcrConfig) -> Int[Array, "..."]:
    """Half-second bins (§3.6.1); times past the last bin fall into it."""
    bins = jnp.floor(seconds / config.bin_seconds).astype(jnp.int32)
    return jnp.clip(bins, 0, config.time_bins - 1)


def time_tokens(seconds: Sequence[float], config: TcrConfig) -> list[int]:
    """Token ids of times in a prompt: `[6]` of Fig. 3.5 is bin 6, the id vocab_size + 6."""
    return [config.vocab_size + min(int(second / config.bin_seconds), config.time_bins - 1) for second in seconds]


def sinusoids(bins: Int[Array, "..."], features: int) -> Float[Array, "... f"]:
    """Sine and cosine of a bin at wavelengths from 4 bins to 4 × 2048 bins, geometrically spaced."""
    wavelengths = 4.0 * 2048.0 ** (jnp.arange(features // 2) / (features // 2 - 1))
    angles = bins[..., None].astype(jnp.float32) * jnp.expand_dims(2 * jnp.pi / wavelengths, tuple(range(bins.ndim)))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TimeEmbedding(nn.Module):
    """A single-layer MLP of the time bin (§3.6.1). Frames and the prompt's time tokens share it."""

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, bins: Int[Array, "..."]) -> Float[Array, "... d"]:
        return nn.Dense(self.width, dtype=self.dtype, name="dense")(sinusoids(bins, self.width))


class Block(nn.Module):
    """(Cross-attention to the video,) self-attention over task token, prompt and queries, MLP; each pre-norm."""

    config: TcrConfig
    looks: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b k m d"],
        visual: Float[Array, "b s d"] | KeyStream,
        visual_mask: Bool[Array, "b s"] | None,
        mask: Bool[Array, "b k m"],
    ) -> tuple[Float[Array, "b k m d"], Float[Array, "b k m s"] | Looked | None]:
        c = self.config
        b, k = x.shape[:2]
        seen = None

        def attention(name: str) -> MultiHeadAttention:
            return MultiHeadAttention(num_heads=c.heads, features=c.width, dtype=self.dtype, name=name)

        def norm(name: str) -> nn.LayerNorm:
            # Statistics in float32 whatever the compute type.
            return nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name=name)

        if self.looks:
            # Rows do not see each other here, so all questions of a video share one pass over its keys and values.
            rows = rearrange(norm("cross_norm")(x), "b k m d -> b (k m) d")
            if isinstance(visual, KeyStream):
                streamed = StreamingAttention(
                    num_heads=c.heads, features=c.width, dtype=self.dtype, name="cross_attention"
                )
                update, seen = streamed(rows, visual)
            else:
                update, weights = attention("cross_attention")(
                    rows, visual, mask=visual_mask[:, None, None, :], return_weights=True
                )
                seen = rearrange(weights.mean(axis=1), "b (k m) s -> b k m s", k=k)
            x = x + rearrange(update, "b (k m) d -> b k m d", k=k)
        rows = rearrange(norm("self_norm")(x), "b k m d -> (b k) m d")
        update = attention("self_attention")(rows, rows, mask=rearrange(mask, "b k m -> (b k) 1 1 m"))
        x = x + rearrange(update, "(b k) m d -> b k m d", b=b)
        hidden = nn.Dense(c.mlp_ratio * c.width, dtype=self.dtype, name="mlp_in")(norm("mlp_norm")(x))
        return x + nn.Dense(c.width, dtype=self.dtype, name="mlp_out")(nn.gelu(hidden)), seen


def _visual_norm(name: str | None = None, **where: Any) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name=name, **where)


def _embed(
    params: dict,
    tokens: Float[Array, "s b k e"],
    bins: Int[Array, "s b c"],
    frame_of: Int[np.ndarray, "k"],
    *,
    config: TcrConfig,
    dtype: DTypeLike,
) -> Float[Array, "s b k d"]:
    """A chunk of a stream as `Tcr` embeds all tokens, by the same parameters."""
    visual = _visual_norm(parent=None).apply({"params": params["visual_norm"]}, tokens)
    projection = nn.Dense(config.width, dtype=dtype, parent=None)
    times = TimeEmbedding(config.width, dtype, parent=None).apply({"params": params["time"]}, bins)
    return projection.apply({"params": params["visual_projection"]}, visual) + times[:, :, frame_of]


class Tcr(nn.Module):
    """The resampler: text-conditioned queries over the tokens of any number of frames."""

    config: TcrConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        visual_tokens: Float[Array, "b s e"] | VideoStream,
        visual_bins: Int[Array, "b s"] | None,
        visual_mask: Bool[Array, "b s"] | None,
        task: Int[Array, "b k"],
        prompt: Int[Array, "b k l"],
        prompt_mask: Bool[Array, "b k l"],
        project: bool = True,
    ) -> tuple[Float[Array, "b k q w"], Float[Array, "b k a m s"] | tuple[KeyStream, list[Looked]]]:
        """Resamples a video under each of k prompts.

        Args:
            visual_tokens: of the vision tower, any subset of the tokens of all frames; or a stream of them, which
                knows its bins and its mask. (A stream uses parameters that `init` made of plain tokens.)
            visual_bins: the time bin of each visual token.
            visual_mask: False for padding.
            task: index into TASK_TOKENS.
            prompt: token ids; from vocab_size on, time tokens.
            prompt_mask: False for padding.
            project: without, the query outputs stay in the TCR's own space (w is its width): for heads of its own.

        Returns:
            the query outputs in the LLM's space, and where every row [task token; prompt; queries] looked in each
            of the a cross-attentions: attention weights, mean over heads; of a stream, what tells them.
        """
        c = self.config
        embed_time = TimeEmbedding(c.width, self.dtype, name="time")
        if isinstance(visual_tokens, VideoStream):
            names = ("visual_norm", "visual_projection", "time")
            own = {name: self.variables["params"][name] for name in names}
            visual = visual_tokens.keys(own, functools.partial(_embed, config=c, dtype=self.dtype))
        else:
            visual = _visual_norm("visual_norm")(visual_tokens)
            visual = nn.Dense(c.width, dtype=self.dtype, name="visual_projection")(visual) + embed_time(visual_bins)
        x, mask = self._sequence(embed_time, task, prompt, prompt_mask)
        seen = []
        for index in range(c.blocks):
            block = Block(c, looks=index in c.cross_attention_blocks, dtype=self.dtype, name=f"block_{index}")
            x, weights = block(x, visual, visual_mask, mask)
            seen += [] if weights is None else [weights]
        queries = nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name="output_norm")(x[:, :, -c.queries :])
        looked = (visual, seen) if isinstance(visual, KeyStream) else jnp.stack(seen, axis=2)
        if not project:
            return queries, looked
        return nn.Dense(c.llm_width, dtype=self.dtype, name="llm_projection")(queries), looked

    def _sequence(
        self, embed_time: TimeEmbedding, task: Int[Array, "b k"], prompt: Int[Array, "b k l"], prompt_mask: Array
    ) -> tuple[Float[Array, "b k m d"], Bool[Array, "b k m"]]:
        """[task token; prompt; queries] (§3.2.1, conditioning sequence construction) and its mask."""
        c = self.config
        b, k, length = prompt.shape
        # Large enough that the first residual updates do not drown what a token is.
        init = nn.initializers.normal(0.5)
        tasks = self.param("task_tokens", init, (len(TASK_TOKENS), c.width))
        table = self.param("vocabulary", init, (c.vocab_size, c.width))
        positions = self.param("positions", init, (c.max_prompt, c.width))[:length]
        queries = self.param("queries", nn.initializers.normal(1.0), (c.queries, c.width))
        is_time = prompt >= c.vocab_size
        words = jnp.take(table, jnp.where(is_time, 0, prompt), axis=0)
        times = embed_time(jnp.where(is_time, prompt - c.vocab_size, 0))
        words = jnp.where(is_time[..., None], times, words) + positions[None, None]
        x = jnp.concatenate(
            [jnp.take(tasks, task, axis=0)[:, :, None], words, repeat(queries, "q d -> b k q d", b=b, k=k)], axis=2
        )
        always = jnp.ones((b, k, 1), bool)
        mask = jnp.concatenate([always, prompt_mask, jnp.broadcast_to(always, (b, k, c.queries))], axis=2)
        return x.astype(self.dtype), mask
