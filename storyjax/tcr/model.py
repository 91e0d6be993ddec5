"""The text-conditioned resampler (thesis §3.2, Fig. 3.2).

    [task token; prompt; queries]  --cross-attention in blocks 0 and 2-->  visual tokens of all frames
                                   --self-attention and MLP in every block-->
    query outputs  --linear-->  the LLM's embedding space

Shapes: b videos, t frames, n visual tokens a frame, s = visual tokens kept of all frames, k questions on one video,
l text tokens, q queries, e width of the vision tower, d width of the TCR, w width of the LLM.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Num, UInt8

from storyjax.nn.attention import MultiHeadAttention
from storyjax.nn.pixels import normalise
from storyjax.nn.streaming_attention import KeyStream, Looked, StreamingAttention
from storyjax.nn.t5 import T5
from storyjax.nn.vit import ViT
from storyjax.tcr.patches import all_patches, drop_patches, patch_order
from storyjax.tcr.stream import Packed, Streaming, VideoStream, look_in_turn

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


class Resampled(NamedTuple):
    """What the TCR makes of a video under a prompt.

    Attributes:
        queries: the query outputs, in the LLM's space.
        seen: the share of the queries' attention that each frame got in the last cross-attention (Fig. 3.4).
        recognised: the same of the prompt's words in the first, before they know of each other.

    Both are None where they were not asked for.
    """

    queries: Float[Array, "b k q w"]
    seen: Float[Array, "b k t"] | None
    recognised: Float[Array, "b k t"] | None


@dataclass(frozen=True)
class VideoLanguageModel:
    """Frozen vision tower → TCR → frozen LLM (Fig. 3.2, left). Parameters: {"vision": ..., "tcr": ..., "llm": ...}.

    Frames are uint8 pixels at the tower's size. `streaming` says how many of them are in the works at once.
    """

    vision: ViT
    tcr: Tcr
    llm: T5
    streaming: Streaming = field(default_factory=Streaming)

    @property
    def resampler(self) -> str:
        """The top-level name of the parameters that train."""
        return "tcr"

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
        tokens = look_in_turn(functools.partial(self._tower, params), frames, self.streaming.vision_chunk_frames)
        return jax.lax.stop_gradient(tokens)

    def _tower(self, params: dict, images: UInt8[Array, "i y x 3"]) -> Float[Array, "i n e"]:
        return self.vision.apply({"params": params["vision"]}, normalise(images, self.vision.dtype))

    def watch(
        self,
        params: dict,
        frames: UInt8[Array, "b t y x 3"],
        seconds: Float[Array, "b t"],
        frame_mask: Bool[Array, "b t"],
        task: Int[Array, "b k"],
        prompt: Int[Array, "b k l"],
        prompt_mask: Bool[Array, "b k l"],
        key: Array | None = None,
        attention: bool = True,
    ) -> Resampled:
        """`resample` of what `look` sees in the frames; when streaming, with no more of it in memory than is needed."""
        asked = (task, prompt, prompt_mask)
        if not self.streaming.chunk_frames:
            return self.resample(params, self.look(params, frames), seconds, frame_mask, *asked, key, attention)
        tokens = self.vision.config.num_tokens
        order = self._order(key, *frames.shape[:2], tokens)
        bins = time_to_bin(seconds, self.tcr.config)
        tower = functools.partial(self._tower, params)
        video = VideoStream.of_pixels(tower, frames, tokens, bins, frame_mask, self.streaming, order)
        return self._resample_stream(params, video, *asked, attention)

    def resample(
        self,
        params: dict,
        tokens: Num[Array, "b t n e"],
        seconds: Float[Array, "b t"],
        frame_mask: Bool[Array, "b t"],
        task: Int[Array, "b k"],
        prompt: Int[Array, "b k l"],
        prompt_mask: Bool[Array, "b k l"],
        key: Array | None = None,
        attention: bool = True,
        scale: Float[Array, "b t n"] | None = None,
    ) -> Resampled:
        """The video as the frozen LLM is to read it under each prompt, and where the TCR looked.

        `tokens` are those of `look`, or int8 in units of a `scale` each; `seconds` are the frames' times in the video.
        With a `key` (training), patches are dropped; without, all are seen. Without `attention`, only queries are made.
        """
        config = self.tcr.config
        asked = (task, prompt, prompt_mask)
        if self.streaming.chunk_frames:
            order = self._order(key, *tokens.shape[:3])
            video = VideoStream.of(tokens, scale, time_to_bin(seconds, config), frame_mask, self.streaming, order)
            return self._resample_stream(params, video, *asked, attention)
        tokens = Packed(tokens, scale).tokens()
        if key is None or not config.drop_patches:
            visual, frame_of = all_patches(tokens)
        else:
            visual, frame_of = drop_patches(key, tokens, config.drop_patches)
        bins = jnp.take_along_axis(time_to_bin(seconds, config), frame_of, axis=1)
        mask = jnp.take_along_axis(frame_mask, frame_of, axis=1)
        queries, seen = self.tcr.apply({"params": params["tcr"]}, visual, bins, mask, *asked)
        if not attention:
            return Resampled(queries, None, None)
        at_frame = jax.nn.one_hot(frame_of, tokens.shape[1], dtype=jnp.float32)
        of_queries = jnp.mean(seen[:, :, -1, -config.queries :], axis=2)
        of_words = jnp.einsum("bkls,bkl->bks", seen[:, :, 0, 1 : -config.queries], _each_word(prompt_mask))
        at_frames = [jnp.einsum("bks,bst->bkt", weights, at_frame) for weights in (of_queries, of_words)]
        return Resampled(queries, *at_frames)

    def kept_bytes(self, frames: int, train: bool) -> int:
        """The bytes of the tokens that are kept of a video of so many frames; fewer in training, that drops patches."""
        tokens = self.vision.config.num_tokens
        thin = tokens - int(self.tcr.config.drop_patches * (tokens - 1)) if train else tokens
        count = (frames + 1) // 2 * tokens + frames // 2 * (thin if self.streaming.chunk_frames else tokens)
        return count * self.streaming.token_bytes(self.vision.config.width, self.vision.dtype)

    def _order(self, key: Array | None, b: int, t: int, n: int) -> Int[Array, "b odd k"] | None:
        """The tokens of every other frame that are kept; None where all are."""
        share = self.tcr.config.drop_patches
        return None if key is None or not share else patch_order(key, b, t, n, share)

    def _resample_stream(
        self,
        params: dict,
        video: VideoStream,
        task: Int[Array, "b k"],
        prompt: Int[Array, "b k l"],
        prompt_mask: Bool[Array, "b k l"],
        attention: bool,
    ) -> Resampled:
        c, dtype = self.tcr.config, self.tcr.dtype
        queries, (keys, looked) = self.tcr.apply(
            {"params": params["tcr"]}, video, None, None, task, prompt, prompt_mask
        )
        if not attention:
            return Resampled(queries, None, None)
        # How much each row [task token; prompt; queries] of a question counts, in the two shares.
        words = jnp.pad(_each_word(prompt_mask), ((0, 0), (0, 0), (1, c.queries)))
        learnt = jnp.pad(jnp.full((*task.shape, c.queries), 1 / c.queries), ((0, 0), (0, 0), (1 + prompt.shape[-1], 0)))
        return Resampled(
            queries, video.attention(keys, looked[-1], learnt, dtype), video.attention(keys, looked[0], words, dtype)
        )

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


def _each_word(prompt_mask: Bool[Array, "b k l"]) -> Float[Array, "b k l"]:
    """The share of each word of a prompt in their mean."""
    return prompt_mask / jnp.maximum(jnp.sum(prompt_mask, axis=-1, keepdims=True), 1)
