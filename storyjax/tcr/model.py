"""The whole model of thesis Fig. 3.2: frozen vision tower, resampler (resampler.py), frozen language model.

Shapes as in resampler.py, and r = b·k rows of the language model.
"""

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int, Num, UInt8

from storyjax.models.t5 import T5
from storyjax.models.vit import ViT
from storyjax.nn.image_normalisation import normalise
from storyjax.tcr.frame_stream import Packed, Streaming, VideoStream, look_in_turn
from storyjax.tcr.patch_dropout import all_patches, drop_patches, patch_order
from storyjax.tcr.resampler import Tcr, time_to_bin


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
