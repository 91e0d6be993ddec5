"""The whole model of thesis Fig. 3.2: frozen vision tower, resampler (resampler.py), frozen language model.

Shapes as in interface.py, and r = b·k rows of the language model.
"""

import functools
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int, UInt8

from storyjax.models.t5 import T5
from storyjax.models.vit import ViT
from storyjax.nn.image_normalisation import normalise
from storyjax.tcr.frame_stream import Streaming, VideoStream, encode_in_chunks
from storyjax.tcr.interface import Prompt, Resampled, Video, VisualTokens
from storyjax.tcr.patch_dropout import patch_order
from storyjax.tcr.resampler import TcrConfig, select_tokens, time_to_bin


@runtime_checkable
class Resampler(Protocol):
    """What stands between the frozen vision tower and the frozen language model, and trains."""

    @property
    def name(self) -> str:
        """The top-level name of its parameters."""

    @property
    def sizes(self) -> TcrConfig:
        """Prompt lengths and time bins, by which data is loaded."""

    @property
    def streams(self) -> bool:
        """Whether it takes a `VideoStream` as well as a `Video` with tokens."""

    def init(self, key: Array, vision_width: int) -> dict[str, Any]:
        """Returns random parameters; meant for `jit` or `eval_shape`."""

    def resample(
        self,
        params: dict[str, Any],
        video: Video | VideoStream,
        prompt: Prompt,
        key: Array | None,
        attention: bool,
    ) -> Resampled:
        """Returns the video as the language model is to read it under each prompt.

        Args:
            params: those of `init`.
            video: with tokens, not pixels; or a stream, from which patches have been dropped already.
            key: in training, patches are dropped from a `Video`; None keeps all.
            attention: whether to return the attention that each frame got.
        """


@dataclass(frozen=True)
class VideoLanguageModel:
    """Frozen vision tower → resampler → frozen LLM (Fig. 3.2, left).

    Parameters: {"vision": ..., resampler.name: ..., "llm": ...}.

    Attributes:
        streaming: how many frames are in memory at once.
    """

    vision: ViT
    resampler: Resampler
    llm: T5
    streaming: Streaming = field(default_factory=Streaming)

    def init(self, key: Array) -> dict:
        """Returns random parameters of all three parts; meant for `jit` or `eval_shape`."""
        keys = jax.random.split(key, 3)
        size = self.vision.config.image_size
        ids = jnp.zeros((1, 2), jnp.int32)
        return {
            "vision": self.vision.init(keys[0], jnp.zeros((1, size, size, 3)))["params"],
            self.resampler.name: self.resampler.init(keys[1], self.vision.config.width),
            "llm": self.llm.init(keys[2], ids, ids == 0, ids)["params"],
        }

    def encode_frames(self, params: dict, frames: UInt8[Array, "b t y x 3"]) -> Float[Array, "b t n e"]:
        """Returns the frozen tower's tokens of every frame; uint8 pixels at the tower's size."""
        tokens = encode_in_chunks(functools.partial(self._tower, params), frames, self.streaming.vision_chunk_frames)
        return jax.lax.stop_gradient(tokens)

    def _tower(self, params: dict, images: UInt8[Array, "i y x 3"]) -> Float[Array, "i n e"]:
        return cast(Array, self.vision.apply({"params": params["vision"]}, normalise(images, self.vision.dtype)))

    def encode_class_tokens(self, params: dict, frames: UInt8[Array, "b t y x 3"]) -> Float[Array, "b t e"]:
        """Returns the frozen tower's first token, CLS, of every frame; of a stream's chunk of frames at a time."""

        def tower(images: UInt8[Array, "i y x 3"]) -> Float[Array, "i 1 e"]:
            return self._tower(params, images)[:, :1]

        at_once = self.streaming.vision_chunk_frames or self.streaming.chunk_frames
        return jax.lax.stop_gradient(encode_in_chunks(tower, frames, at_once))[:, :, 0]

    def visual(self, params: dict, video: Video, key: Array | None) -> VisualTokens | VideoStream:
        """Returns what the TCR reads of videos' pixels: their tokens or, where the config says so, a stream of them.

        With a `key` (training), patches are dropped.
        """
        if self.streaming.chunk_frames:
            return self._stream(params, video, key)
        tokens = self.encode_frames(params, _pixels(video))
        return select_tokens(tokens, video.seconds, video.mask, self.resampler.sizes, key)[0]

    def encode_video(
        self, params: dict, video: Video, prompt: Prompt, key: Array | None = None, attention: bool = True
    ) -> Resampled:
        """Returns the videos as the language model is to read them under each prompt, and where they were looked at.

        With a `key` (training), patches are dropped; without, all are seen. Without `attention`, only queries are made.
        When streaming, no more of a video is in memory than is needed.
        """
        own = params[self.resampler.name]
        if self.resampler.streams and self.streaming.chunk_frames:
            return self.resampler.resample(own, self._stream(params, video, key), prompt, None, attention)
        if video.tokens is None:
            video = replace(video, frames=None, tokens=self.encode_frames(params, _pixels(video)))
        return self.resampler.resample(own, video, prompt, key, attention)

    def _stream(self, params: dict, video: Video, key: Array | None) -> VideoStream:
        """The video by chunks; with a key, patches of every other frame are dropped."""
        bins, fraction = time_to_bin(video.seconds, self.resampler.sizes), self.resampler.sizes.drop_patches
        videos, frames = bins.shape

        def order(tokens: int) -> Int[Array, "b odd k"] | None:
            return None if key is None or not fraction else patch_order(key, videos, frames, tokens, fraction)

        if video.tokens is not None:
            return VideoStream.of(video.tokens, bins, video.mask, self.streaming, order(video.tokens.shape[2]))
        tower, tokens = functools.partial(self._tower, params), self.vision.config.num_tokens
        return VideoStream.of_pixels(tower, _pixels(video), tokens, bins, video.mask, self.streaming, order(tokens))

    def kept_bytes(self, frames: int, train: bool) -> int:
        """Returns the bytes of the tokens that are kept of a video of so many frames; training drops patches."""
        tokens = self.vision.config.num_tokens
        thin = tokens - int(self.resampler.sizes.drop_patches * (tokens - 1)) if train else tokens
        count = (frames + 1) // 2 * tokens + frames // 2 * (thin if self.streaming.chunk_frames else tokens)
        return count * self.streaming.token_bytes(self.vision.config.width, self.vision.dtype)

    def encode(
        self,
        params: dict,
        queries: Float[Array, "b k q w"],
        prompt: Int[Array, "b k p"],
        prompt_mask: Bool[Array, "b k p"],
    ) -> tuple[Float[Array, "r s w"], Bool[Array, "r s"]]:
        """Returns the LLM's encoder states over [query outputs; text prompt] (§3.2.3), r = b·k rows, and their mask.

        T5 has no beginning-of-sentence token; the decoder's start token stands where BLIP-2's OPT has one.
        """
        variables = {"params": params["llm"]}
        rows = rearrange(queries, "b k q w -> (b k) q w")
        words = cast(Array, self.llm.apply(variables, rearrange(prompt, "b k p -> (b k) p"), method=T5.embed))
        always = jnp.ones(rows.shape[:2], bool)
        mask = jnp.concatenate([always, rearrange(prompt_mask, "b k p -> (b k) p")], axis=1)
        inputs = jnp.concatenate([rows.astype(words.dtype), words], axis=1)
        return cast(Array, self.llm.apply(variables, inputs, mask, method=T5.encode)), mask


def _pixels(video: Video) -> UInt8[Array, "b t y x 3"]:
    if video.frames is None:
        raise ValueError("a Video needs frames or tokens")
    return video.frames
