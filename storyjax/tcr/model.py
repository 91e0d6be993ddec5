"""The text-conditioned resampler (thesis §3.2, Fig. 3.2).

    [task token; prompt; queries]  --cross-attention in blocks 0 and 2-->  visual tokens of all frames
                                   --self-attention and MLP in every block-->
    query outputs  --linear-->  the LLM's embedding space

Shapes: b videos, t frames, n visual tokens a frame, s = visual tokens kept of all frames, k questions on one video,
l text tokens, q queries, e width of the vision tower, d width of the TCR, w width of the LLM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt8

from storyjax.nn.attention import MultiHeadAttention
from storyjax.nn.pixels import normalise
from storyjax.nn.t5 import T5
from storyjax.nn.vit import ViT

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


def drop_patches(
    key: Array, tokens: Float[Array, "b t n e"], share: float
) -> tuple[Float[Array, "b s e"], Int[Array, "b s"]]:
    """Drops a random share of the patches of every other frame (§3.2.3); the CLS token, first of a frame, stays.

    Returns:
        the tokens kept, frame after frame, and the 0-based frame that each belongs to.
    """
    b, t, n, _ = tokens.shape
    kept = n - 1 - int(share * (n - 1))
    thinned = tokens[:, 1::2]
    order = jnp.argsort(jax.random.uniform(key, (*thinned.shape[:2], n - 1)), axis=-1)[..., :kept] + 1
    order = jnp.concatenate([jnp.zeros_like(order[..., :1]), jnp.sort(order, axis=-1)], axis=-1)
    thinned = jnp.take_along_axis(thinned, order[..., None], axis=2)
    frames = jnp.arange(t)
    whole = tokens[:, 0::2]
    merged = [rearrange(whole, "b t n e -> b (t n) e"), rearrange(thinned, "b t n e -> b (t n) e")]
    index = [repeat(frames[0::2], "t -> b (t n)", b=b, n=n), repeat(frames[1::2], "t -> b (t n)", b=b, n=kept + 1)]
    # The order of keys does not matter to attention, so whole frames come first, thinned ones after.
    return jnp.concatenate(merged, axis=1), jnp.concatenate(index, axis=1)


def all_patches(tokens: Float[Array, "b t n e"]) -> tuple[Float[Array, "b s e"], Int[Array, "b s"]]:
    """All tokens, frame after frame, and the frame of each: what `drop_patches` gives with nothing dropped."""
    b, t, n, _ = tokens.shape
    return rearrange(tokens, "b t n e -> b (t n) e"), repeat(jnp.arange(t), "t -> b (t n)", b=b, n=n)


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
        visual: Float[Array, "b s d"],
        visual_mask: Bool[Array, "b s"],
        mask: Bool[Array, "b k m"],
    ) -> tuple[Float[Array, "b k m d"], Float[Array, "b k m s"] | None]:
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
            update, weights = attention("cross_attention")(
                rows, visual, mask=visual_mask[:, None, None, :], return_weights=True
            )
            x = x + rearrange(update, "b (k m) d -> b k m d", k=k)
            seen = rearrange(weights.mean(axis=1), "b (k m) s -> b k m s", k=k)
        rows = rearrange(norm("self_norm")(x), "b k m d -> (b k) m d")
        update = attention("self_attention")(rows, rows, mask=rearrange(mask, "b k m -> (b k) 1 1 m"))
        x = x + rearrange(update, "(b k) m d -> b k m d", b=b)
        hidden = nn.Dense(c.mlp_ratio * c.width, dtype=self.dtype, name="mlp_in")(norm("mlp_norm")(x))
        return x + nn.Dense(c.width, dtype=self.dtype, name="mlp_out")(nn.gelu(hidden)), seen


class Tcr(nn.Module):
    """The resampler: text-conditioned queries over the tokens of any number of frames."""

    config: TcrConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        visual_tokens: Float[Array, "b s e"],
        visual_bins: Int[Array, "b s"],
        visual_mask: Bool[Array, "b s"],
        task: Int[Array, "b k"],
        prompt: Int[Array, "b k l"],
        prompt_mask: Bool[Array, "b k l"],
    ) -> tuple[Float[Array, "b k q w"], Float[Array, "b k a m s"]]:
        """Resamples a video under each of k prompts.

        Args:
            visual_tokens: of the vision tower, any subset of the tokens of all frames.
            visual_bins: the time bin of each visual token.
            visual_mask: False for padding.
            task: index into TASK_TOKENS.
            prompt: token ids; from vocab_size on, time tokens.
            prompt_mask: False for padding.

        Returns:
            the query outputs in the LLM's space, and where every row [task token; prompt; queries] looked in each
            of the a cross-attentions: attention weights, mean over heads.
        """
        c = self.config
        embed_time = TimeEmbedding(c.width, self.dtype, name="time")
        visual = nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name="visual_norm")(visual_tokens)
        visual = nn.Dense(c.width, dtype=self.dtype, name="visual_projection")(visual) + embed_time(visual_bins)
        x, mask = self._sequence(embed_time, task, prompt, prompt_mask)
        seen = []
        for index in range(c.blocks):
            block = Block(c, looks=index in c.cross_attention_blocks, dtype=self.dtype, name=f"block_{index}")
            x, weights = block(x, visual, visual_mask, mask)
            seen += [] if weights is None else [weights]
        queries = nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name="output_norm")(x[:, :, -c.queries :])
        return nn.Dense(c.llm_width, dtype=self.dtype, name="llm_projection")(queries), jnp.stack(seen, axis=2)

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


class Resampled(NamedTuple):
    """What the TCR makes of a video under a prompt.

    Attributes:
        queries: the query outputs, in the LLM's space.
        seen: the share of the queries' attention that each frame got in the last cross-attention (Fig. 3.4).
        recognised: the same of the prompt's words in the first, before they know of each other.
    """

    queries: Float[Array, "b k q w"]
    seen: Float[Array, "b k t"]
    recognised: Float[Array, "b k t"]


@dataclass(frozen=True)
class VideoLanguageModel:
    """Frozen vision tower → TCR → frozen LLM (Fig. 3.2, left). Parameters: {"vision": ..., "tcr": ..., "llm": ...}.

    Frames are uint8 pixels at the tower's size.
    """

    vision: ViT
    tcr: Tcr
    llm: T5

    def init(self, key: Array) -> dict:
        """Random parameters of all three; meant for `jit` or `eval_shape`."""
        keys = jax.random.split(key, 3)
        size, width = self.vision.config.image_size, self.vision.config.width
        ids = jnp.zeros((1, 2), jnp.int32)
        prompt = ids[:, None]
        look = (jnp.zeros((1, 2, width)), ids, ids == 0)
        return {
            "vision": self.vision.init(keys[0], jnp.zeros((1, size, size, 3)))["params"],
            "tcr": self.tcr.init(keys[1], *look, prompt[..., 0], prompt, prompt == 0)["params"],
            "llm": self.llm.init(keys[2], ids, ids == 0, ids)["params"],
        }

    def look(self, params: dict, frames: UInt8[Array, "b t y x 3"]) -> Float[Array, "b t n e"]:
        """The frozen tower's tokens of every frame."""
        images = normalise(rearrange(frames, "b t y x c -> (b t) y x c"), self.vision.dtype)
        tokens = self.vision.apply({"params": params["vision"]}, images)
        return rearrange(jax.lax.stop_gradient(tokens), "(b t) n e -> b t n e", b=frames.shape[0])

    def resample(
        self,
        params: dict,
        tokens: Float[Array, "b t n e"],
        seconds: Float[Array, "b t"],
        frame_mask: Bool[Array, "b t"],
        task: Int[Array, "b k"],
        prompt: Int[Array, "b k l"],
        prompt_mask: Bool[Array, "b k l"],
        key: Array | None = None,
    ) -> Resampled:
        """The video as the frozen LLM is to read it under each prompt, and where the TCR looked.

        `tokens` are those that `look` gives; `seconds` are the frames' times in the video.
        With a `key` (training), patches are dropped; without, all are seen.
        """
        config = self.tcr.config
        if key is None or not config.drop_patches:
            visual, frame_of = all_patches(tokens)
        else:
            visual, frame_of = drop_patches(key, tokens, config.drop_patches)
        bins = jnp.take_along_axis(time_to_bin(seconds, config), frame_of, axis=1)
        mask = jnp.take_along_axis(frame_mask, frame_of, axis=1)
        queries, seen = self.tcr.apply({"params": params["tcr"]}, visual, bins, mask, task, prompt, prompt_mask)
        at_frame = jax.nn.one_hot(frame_of, tokens.shape[1], dtype=jnp.float32)
        of_queries = jnp.mean(seen[:, :, -1, -config.queries :], axis=2)
        words = prompt_mask / jnp.maximum(jnp.sum(prompt_mask, axis=-1, keepdims=True), 1)
        of_words = jnp.einsum("bkls,bkl->bks", seen[:, :, 0, 1 : -config.queries], words)
        at_frames = [jnp.einsum("bks,bst->bkt", weights, at_frame) for weights in (of_queries, of_words)]
        return Resampled(queries, *at_frames)

    def encode(
        self,
        params: dict,
        queries: Float[Array, "b k q w"],
        prompt: Int[Array, "b k p"],
        prompt_mask: Bool[Array, "b k p"],
    ) -> tuple[Float[Array, "r s w"], Bool[Array, "r s"]]:
        """The LLM's encoder states over [query outputs; text prompt] (§3.2.3), r = b·k rows, and their mask.

        T5 has no beginning-of-sentence token; the decoder's start token stands where BLIP-2's OPT has one.
        """
        variables = {"params": params["llm"]}
        rows = rearrange(queries, "b k q w -> (b k) q w")
        words = self.llm.apply(variables, rearrange(prompt, "b k p -> (b k) p"), method=T5.embed)
        always = jnp.ones(rows.shape[:2], bool)
        mask = jnp.concatenate([always, rearrange(prompt_mask, "b k p -> (b k) p")], axis=1)
        inputs = jnp.concatenate([rows.astype(words.dtype), words], axis=1)
        return self.llm.apply(variables, inputs, mask, method=T5.encode), mask
