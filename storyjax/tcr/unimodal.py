"""The video alone and the text alone, by the parameters of `resampler.Tcr`: what contrastive initialisation compares.

Contrastive initialisation masks queries and text from one another (thesis §3.2.2, after BLIP-2): what is left is the
queries looking at the video and at themselves, and the text attending to itself alone. Run apart, both give exactly
what the masked whole would, and every text meets every video at the price of each once.
"""

import flax.linen as nn
import jax.numpy as jnp
from einops import repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from storyjax.tcr.frame_stream import VideoStream
from storyjax.tcr.interface import VisualTokens
from storyjax.tcr.resampler import Block, TcrConfig, VisualKeys, visual_keys


def _norm(name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name=name)


class VideoQueries(nn.Module):
    """The learnt queries over a video, without any text."""

    config: TcrConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, video: VisualTokens | VisualKeys | VideoStream) -> Float[Array, "b q d"]:
        """Returns the query outputs in the TCR's own space; its parameters are those that `Tcr` initialises."""
        c = self.config
        visual, visual_mask = visual_keys(self.variables["params"], video, c, self.dtype)
        videos = len(video.store["mask"]) if isinstance(video, VideoStream) else len(video.mask)
        queries = self.param("queries", nn.initializers.normal(1.0), (c.queries, c.width))
        x = repeat(queries, "q d -> b 1 q d", b=videos).astype(self.dtype)
        mask = jnp.ones(x.shape[:3], bool)
        for index in range(c.blocks):
            block = Block(c, cross_attends=index in c.cross_attention_blocks, dtype=self.dtype, name=f"block_{index}")
            x, _ = block(x, visual, visual_mask, mask)
        return _norm("output_norm")(x)[:, 0]


class TextOnly(nn.Module):
    """The prompt's words attending to each other: their mean is the text's vector."""

    config: TcrConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, prompt: Int[Array, "b l"], prompt_mask: Bool[Array, "b l"]) -> Float[Array, "b d"]:
        """Returns the text's vector."""
        c = self.config
        init = nn.initializers.normal(0.5)
        table = self.param("vocabulary", init, (c.vocab_size, c.width))
        positions = self.param("positions", init, (c.max_prompt, c.width))[: prompt.shape[1]]
        # Sentences have no time tokens.
        words = jnp.take(table, jnp.minimum(prompt, c.vocab_size - 1), axis=0) + positions[None]
        x, mask = words[:, None].astype(self.dtype), prompt_mask[:, None]
        nothing = jnp.zeros((prompt.shape[0], 1, c.width), self.dtype)
        for index in range(c.blocks):
            x, _ = Block(c, cross_attends=False, dtype=self.dtype, name=f"block_{index}")(x, nothing, None, mask)
        states = _norm("output_norm")(x)[:, 0] * prompt_mask[..., None]
        return jnp.sum(states, axis=1) / jnp.maximum(jnp.sum(prompt_mask, axis=1, keepdims=True), 1)
