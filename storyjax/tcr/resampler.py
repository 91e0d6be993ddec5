"""The text-conditioned resampler (thesis §3.2, Fig. 3.2).

    [task token; prompt; queries]  --cross-attention in blocks 0 and 2-->  visual tokens of all frames
                                   --self-attention and MLP in every block-->
    query outputs  --linear-->  the LLM's embedding space

Shapes: b videos, t frames, n visual tokens a frame, s = visual tokens kept of all frames, k questions on one video,
l text tokens, q queries, e width of the vision tower, d width of the TCR, w width of the LLM.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Num

from storyjax.nn.attention import MultiHeadAttention
from storyjax.nn.streaming_attention import AttentionState, KeyStream, StreamingAttention
from storyjax.tcr.frame_stream import VideoStream
from storyjax.tcr.interface import Prompt, Resampled, Video, VisualTokens
from storyjax.tcr.patch_dropout import all_patches, drop_patches

# §3.2.1: one learnt token for each task; new tasks take the next free index.
TASK_TOKENS = ("QA", "CPN", "TRG", "STG", "LTA")


@dataclass(frozen=True)
class TcrConfig:
    """Sizes of the resampler; the defaults are the thesis's (§3.2.3).

    Attributes:
        max_prompt: longest prompt in tokens, for its learnt positions.
        vocab_size: entries of the prompt's token table; ids from vocab_size on are time tokens: id - vocab_size = bin.
        llm_width: width of the LLM that reads the query outputs.
        cross_attention_blocks: blocks that attend to the video before they attend to themselves.
        time_bins, bin_seconds: §3.6.1, half-second bins, 2048 of them (17 minutes); later times share the last bin.
        drop_patches: the fraction of patches dropped from every other frame in training (§3.2.3).
        task_tokens: whether the learnt token of the task is seen. Without (§3.3.5) nothing attends to it; it keeps its
            place, so that a checkpoint is the same model's either way.
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
    task_tokens: bool = True


def time_to_bin(seconds: Float[Array, "..."], config: TcrConfig) -> Int[Array, "..."]:
    """Returns half-second bins (§3.6.1); times past the last bin fall into it."""
    bins = jnp.floor(seconds / config.bin_seconds).astype(jnp.int32)
    return jnp.clip(bins, 0, config.time_bins - 1)


def time_tokens(seconds: Sequence[float], config: TcrConfig) -> list[int]:
    """Returns the token ids of times in a prompt: `[6]` of Fig. 3.5 is bin 6, the id vocab_size + 6."""
    return [config.vocab_size + min(int(second / config.bin_seconds), config.time_bins - 1) for second in seconds]


def sinusoids(bins: Int[Array, "..."], features: int) -> Float[Array, "... f"]:
    """Returns the sine and cosine of a bin at wavelengths from 4 bins to 4 × 2048 bins, geometrically spaced."""
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
    cross_attends: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b k m d"],
        visual: Float[Array, "b s d"] | KeyStream,
        visual_mask: Bool[Array, "b s"] | None,
        mask: Bool[Array, "b k m"],
    ) -> tuple[Float[Array, "b k m d"], Float[Array, "b k m s"] | AttentionState | None]:
        c = self.config
        b, k = x.shape[:2]
        attended: Array | AttentionState | None = None

        def attention(name: str) -> MultiHeadAttention:
            return MultiHeadAttention(num_heads=c.heads, features=c.width, dtype=self.dtype, name=name)

        def norm(name: str) -> nn.LayerNorm:
            # Statistics in float32 whatever the compute type.
            return nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name=name)

        if self.cross_attends:
            # Rows do not see each other here, so all questions of a video share one pass over its keys and values.
            rows = rearrange(norm("cross_norm")(x), "b k m d -> b (k m) d")
            if isinstance(visual, KeyStream):
                streamed = StreamingAttention(
                    num_heads=c.heads, features=c.width, dtype=self.dtype, name="cross_attention"
                )
                update, attended = streamed(rows, visual)
            else:
                assert visual_mask is not None  # a stream alone has its own
                update, weights = attention("cross_attention")(
                    rows, visual, mask=visual_mask[:, None, None, :], return_weights=True
                )
                attended = rearrange(weights.mean(axis=1), "b (k m) s -> b k m s", k=k)
            x = x + rearrange(update, "b (k m) d -> b k m d", k=k)
        rows = rearrange(norm("self_norm")(x), "b k m d -> (b k) m d")
        update = attention("self_attention")(rows, rows, mask=rearrange(mask, "b k m -> (b k) 1 1 m"))
        x = x + rearrange(update, "(b k) m d -> b k m d", b=b)
        hidden = nn.Dense(c.mlp_ratio * c.width, dtype=self.dtype, name="mlp_in")(norm("mlp_norm")(x))
        return x + nn.Dense(c.width, dtype=self.dtype, name="mlp_out")(nn.gelu(hidden)), attended


def _visual_norm(name: str | None = None, **where: Any) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name=name, **where)


class VisualKeys(NamedTuple):
    """Visual tokens as the TCR's cross-attentions take them: normalised, in its own width, with their times.

    Attributes:
        keys: of each token.
        mask: False for padding.
    """

    keys: Float[Array, "b s d"]
    mask: Bool[Array, "b s"]


def embed_tokens(params: Mapping[str, Any], visual: VisualTokens, config: TcrConfig, dtype: DTypeLike) -> VisualKeys:
    """Returns the tokens embedded by the parameters of a `Tcr`, for what several passes read or devices exchange: they
    are a third as wide as ViT-g's.
    """
    return VisualKeys(
        _embedded(params, visual.tokens, config, dtype) + _times(params, visual.bins, config, dtype), visual.mask
    )


def _embedded(
    params: Mapping[str, Any], tokens: Num[Array, "*b e"], config: TcrConfig, dtype: DTypeLike
) -> Float[Array, "*b d"]:
    normed: Any = _visual_norm(parent=None).apply({"params": params["visual_norm"]}, tokens)
    projection: Any = nn.Dense(config.width, dtype=dtype, parent=None)
    return projection.apply({"params": params["visual_projection"]}, normed)


def _times(
    params: Mapping[str, Any], bins: Int[Array, "*b"], config: TcrConfig, dtype: DTypeLike
) -> Float[Array, "*b d"]:
    times: Any = TimeEmbedding(config.width, dtype, parent=None).apply({"params": params["time"]}, bins)
    return times


def _embed(
    params: dict,
    tokens: Float[Array, "s b k e"],
    bins: Int[Array, "s b c"],
    frame_of: Int[np.ndarray, " k"],
    *,
    config: TcrConfig,
    dtype: DTypeLike,
) -> Float[Array, "s b k d"]:
    """A chunk of a stream as `Tcr` embeds all tokens, by the same parameters."""
    return _embedded(params, tokens, config, dtype) + _times(params, bins, config, dtype)[:, :, frame_of]


def visual_keys(
    params: Mapping[str, Any], visual: VisualTokens | VisualKeys | VideoStream, config: TcrConfig, dtype: DTypeLike
) -> tuple[Float[Array, "b s d"] | KeyStream, Bool[Array, "b s"] | None]:
    """Returns what cross-attentions by a `Tcr`'s parameters attend to, and its mask; a stream has its own."""
    if isinstance(visual, VideoStream):
        own = {name: params[name] for name in ("visual_norm", "visual_projection", "time")}
        return visual.keys(own, functools.partial(_embed, config=config, dtype=dtype)), None
    return embed_tokens(params, visual, config, dtype) if isinstance(visual, VisualTokens) else visual


class TcrOutput(NamedTuple):
    """What `Tcr` returns.

    Attributes:
        queries: the query outputs, in the LLM's space or, unprojected, in the TCR's own.
        attention: of each cross-attention, where every row [task token; prompt; queries] looked: weights, mean over
            heads; of a stream, what they follow from.
        keys: of a stream, the keys that `attention` belongs to.
    """

    queries: Float[Array, "b k q w"]
    attention: tuple[Float[Array, "b k m s"] | AttentionState, ...]
    keys: KeyStream | None


class Tcr(nn.Module):
    """The resampler: text-conditioned queries over the tokens of any number of frames."""

    config: TcrConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, visual: VisualTokens | VisualKeys | VideoStream, prompt: Prompt, project: bool = True
    ) -> TcrOutput:
        """Returns what becomes of a video under each of k prompts.

        Args:
            visual: tokens, or a stream of them, or embedded ones. (Only plain tokens can `init` parameters.)
            prompt: of the same videos.
            project: without, the query outputs stay in the TCR's own space (w is its width): for heads of its own.
        """
        c = self.config
        embed_time = TimeEmbedding(c.width, self.dtype, name="time")
        keys: Array | KeyStream
        mask: Array | None
        if isinstance(visual, VisualTokens):
            projection = nn.Dense(c.width, dtype=self.dtype, name="visual_projection")
            keys = projection(_visual_norm("visual_norm")(visual.tokens)) + embed_time(visual.bins)
            mask = visual.mask
        else:
            keys, mask = visual_keys(self.variables["params"], visual, c, self.dtype)
        x, row_mask = self._sequence(embed_time, prompt)
        attention: list[Array | AttentionState] = []
        for index in range(c.blocks):
            block = Block(c, cross_attends=index in c.cross_attention_blocks, dtype=self.dtype, name=f"block_{index}")
            x, weights = block(x, keys, mask, row_mask)
            attention += [] if weights is None else [weights]
        queries = nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name="output_norm")(x[:, :, -c.queries :])
        if project:
            queries = nn.Dense(c.llm_width, dtype=self.dtype, name="llm_projection")(queries)
        return TcrOutput(queries, tuple(attention), keys if isinstance(keys, KeyStream) else None)

    def _sequence(
        self, embed_time: TimeEmbedding, prompt: Prompt
    ) -> tuple[Float[Array, "b k m d"], Bool[Array, "b k m"]]:
        """[task token; prompt; queries] (§3.2.1, conditioning sequence construction) and its mask."""
        c = self.config
        b, k, length = prompt.ids.shape
        # Large enough that the first residual updates do not drown what a token is.
        init = nn.initializers.normal(0.5)
        tasks = self.param("task_tokens", init, (len(TASK_TOKENS), c.width))
        table = self.param("vocabulary", init, (c.vocab_size, c.width))
        positions = self.param("positions", init, (c.max_prompt, c.width))[:length]
        queries = self.param("queries", nn.initializers.normal(1.0), (c.queries, c.width))
        is_time = prompt.ids >= c.vocab_size
        words = jnp.take(table, jnp.where(is_time, 0, prompt.ids), axis=0)
        times = embed_time(jnp.where(is_time, prompt.ids - c.vocab_size, 0))
        words = jnp.where(is_time[..., None], times, words) + positions[None, None]
        x = jnp.concatenate(
            [jnp.take(tasks, prompt.task, axis=0)[:, :, None], words, repeat(queries, "q d -> b k q d", b=b, k=k)],
            axis=2,
        )
        always = jnp.ones((b, k, 1), bool)
        seen = always if c.task_tokens else ~always
        mask = jnp.concatenate([seen, prompt.mask, jnp.broadcast_to(always, (b, k, c.queries))], axis=2)
        return x.astype(self.dtype), mask


def select_tokens(
    tokens: Num[Array, "b t n e"],
    seconds: Float[Array, "b t"],
    frame_mask: Bool[Array, "b t"],
    config: TcrConfig,
    key: Array | None = None,
) -> tuple[VisualTokens, Int[Array, "b s"]]:
    """Returns the tokens of all frames, less those dropped where there is a key (§3.2.3), and the frame of each."""
    if key is None or not config.drop_patches:
        visual, frame_of = all_patches(tokens)
    else:
        visual, frame_of = drop_patches(key, tokens, config.drop_patches)
    bins = jnp.take_along_axis(time_to_bin(seconds, config), frame_of, axis=1)
    return VisualTokens(visual, bins, jnp.take_along_axis(frame_mask, frame_of, axis=1)), frame_of


@dataclass(frozen=True)
class TcrResampler:
    """The TCR as `model.VideoLanguageModel` uses it. Parameters: {"tcr": ...}."""

    module: Tcr

    @property
    def name(self) -> str:
        """The top-level name of its parameters."""
        return "tcr"

    @property
    def sizes(self) -> TcrConfig:
        """Prompt lengths and time bins, by which data is loaded."""
        return self.module.config

    @property
    def streams(self) -> bool:
        """Whether it takes a `VideoStream`."""
        return True

    def init(self, key: Array, vision_width: int) -> dict[str, Any]:
        """Returns random parameters."""
        return init_tcr(self.module, key, vision_width)

    def resample(
        self, params: dict[str, Any], video: Video | VideoStream, prompt: Prompt, key: Array | None, attention: bool
    ) -> Resampled:
        """Returns the queries and, if wanted, the attention of queries and prompt to each frame."""
        if isinstance(video, VideoStream):
            return self._resample_stream(params, video, prompt, attention)
        if video.tokens is None:
            raise ValueError("the TCR reads tokens, not pixels")
        visual, frame_of = select_tokens(video.tokens, video.seconds, video.mask, self.sizes, key)
        output = cast(TcrOutput, self.module.apply({"params": params}, visual, prompt))
        if not attention:
            return Resampled(output.queries, None, None)
        at_frame = jax.nn.one_hot(frame_of, video.tokens.shape[1], dtype=jnp.float32)
        first, last = (cast(Array, weights) for weights in (output.attention[0], output.attention[-1]))
        of_queries = jnp.mean(last[:, :, -self.sizes.queries :], axis=2)
        first = first[:, :, 1 : -self.sizes.queries]
        of_words = jnp.einsum("bkls,bkl->bks", first, _each_word(prompt.mask))
        at_frames = [jnp.einsum("bks,bst->bkt", weights, at_frame) for weights in (of_queries, of_words)]
        return Resampled(output.queries, *at_frames)

    def _resample_stream(
        self, params: dict[str, Any], video: VideoStream, prompt: Prompt, attention: bool
    ) -> Resampled:
        queries, dtype = self.sizes.queries, self.module.dtype
        output = cast(TcrOutput, self.module.apply({"params": params}, video, prompt))
        if not attention:
            return Resampled(output.queries, None, None)
        # How much each row [task token; prompt; queries] of a question counts, in the two fractions.
        words = jnp.pad(_each_word(prompt.mask), ((0, 0), (0, 0), (1, queries)))
        behind = ((0, 0), (0, 0), (1 + prompt.ids.shape[-1], 0))
        learnt = jnp.pad(jnp.full((*prompt.task.shape, queries), 1 / queries), behind)
        first, last = (cast(AttentionState, state) for state in (output.attention[0], output.attention[-1]))
        keys = cast(KeyStream, output.keys)
        return Resampled(
            output.queries,
            video.attention(keys, last, learnt, dtype),
            video.attention(keys, first, words, dtype),
        )


def init_tcr(module: Tcr, key: Array, vision_width: int, project: bool = True) -> dict[str, Any]:
    """Returns random parameters of a TCR that reads tokens of `vision_width`."""
    ids = jnp.zeros((1, 2), jnp.int32)
    prompt = Prompt(ids[:, :1], ids[:, None], ids[:, None] == 0)
    visual = VisualTokens(jnp.zeros((1, 2, vision_width)), ids, ids == 0)
    return module.init(key, visual, prompt, project=project)["params"]


def _each_word(prompt_mask: Bool[Array, "b k l"]) -> Float[Array, "b k l"]:
    """The weight of each word of a prompt in their mean."""
    return prompt_mask / jnp.maximum(jnp.sum(prompt_mask, axis=-1, keepdims=True), 1)
