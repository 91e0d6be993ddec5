"""A video as a stream of chunks of frames: what the TCR reads when not all of it can be in memory at once.

Frames go through the frozen tower chunk by chunk, and only what is kept of their tokens stays: after patches were
dropped, in the type that `Streaming.features` names. Along the mesh axis `seq` a video is cut into parts of equal
length, one to a device. Everything is exact but the rounding of the stored tokens.

Shapes: b videos, t frames, n visual tokens a frame, s parts, c frames of a chunk, k tokens kept of a chunk, e width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Num, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.core.mesh_axes import BATCH_AXES, SEQUENCE_AXIS
from storyjax.nn.data_parallel import take_rows
from storyjax.nn.streaming_attention import AttentionState, KeyStream, attention_per_group
from storyjax.tcr.patch_dropout import kept


@dataclass(frozen=True)
class Streaming:
    """How much of a video is in the works at once (`config.model.streaming`). The default is all of it.

    Attributes:
        chunk_frames: frames of a chunk, of each video on a device; 0: all frames at once.
        vision_chunk_frames: frames that the tower encodes at once; 0: those of a chunk.
        features: the type in which tokens are kept; "compute" is that of the computation, "int8" has a scale a token.
    """

    chunk_frames: int = 0
    vision_chunk_frames: int = 0
    features: Literal["compute", "float32", "bfloat16", "int8"] = "compute"

    def __post_init__(self) -> None:
        for name in ("chunk_frames", "vision_chunk_frames"):
            if getattr(self, name) < 0:
                raise StoryjaxError(f"config.model.streaming.{name} is {getattr(self, name)}; 0 means all frames.")
        if self.features != "compute" and not self.chunk_frames:
            raise StoryjaxError(
                f"config.model.streaming.features is '{self.features}', which is how a stream keeps tokens:"
                " set config.model.streaming.chunk_frames too."
            )

    def token_bytes(self, width: int, compute: DTypeLike) -> int:
        """Returns the bytes of a token as it is kept, its scale included."""
        if self.features == "int8":
            return width + 4
        return width * jnp.dtype(compute if self.features == "compute" else self.features).itemsize


def parts_of_a_video() -> int:
    """Returns how many devices share a video: the size of the mesh's axis `seq`, 1 without a mesh."""
    return jax.sharding.get_abstract_mesh().shape.get(SEQUENCE_AXIS, 1)


@dataclass(frozen=True)
class Chunks:
    """How frames are cut: `parts` segments of equal length, each into `count` chunks of `size` frames.

    All chunks are whole: the last one of a part reaches back over frames of the one before, which are masked in it.
    With `paired`, every chunk starts on an even frame, for every other frame is kept differently.
    """

    frames: int
    parts: int
    count: int
    size: int

    @classmethod
    def of(cls, frames: int, parts: int, chunk_frames: int, paired: bool) -> "Chunks":
        """Returns chunks of at most `chunk_frames` frames, as even as can be.

        Raises:
            StoryjaxError: the frames cannot be shared out evenly.
        """
        step = 2 if paired else 1
        if frames % (parts * step):
            raise StoryjaxError(
                f"{frames} frames cannot be cut over {parts} devices (config.mesh.seq)"
                f"{', each starting on an even frame' if paired else ''}: take a multiple of {parts * step}."
            )
        part = frames // parts
        size = -(-part // -(-part // max(chunk_frames - chunk_frames % step, step)))
        size += size % step
        return cls(frames, parts, -(-part // size), size)

    def read(self, array: Array, index: Int[Array, ""], every: int = 1) -> Array:
        """Returns (s b c ...), a chunk of each part of an array (b, t // every, ...), which may be one device's part of
        it.
        """
        part = self.frames // self.parts // every
        view = array.reshape(array.shape[0], -1, part, *array.shape[2:])
        size = self.size // every
        start = jnp.minimum(index * size, part - size)
        return jnp.moveaxis(jax.lax.dynamic_slice_in_dim(view, start, size, axis=2), 1, 0)

    def fresh(self, index: Int[Array, ""]) -> Bool[Array, "c"]:
        """Returns (c,), False for the frames of a chunk that were in the one before."""
        start = jnp.minimum(index * self.size, self.frames // self.parts - self.size)
        return start + jnp.arange(self.size) >= index * self.size

    def join(self, by_chunk: Array) -> Array:
        """Returns (b ... t) of (count s b ... c): what was made of each chunk, in the order of frames, each frame
        once.
        """
        part = self.frames // self.parts
        if self.count * self.size == part:
            return rearrange(by_chunk, "m s b ... c -> b ... (s m c)")
        chunk, within = np.divmod(np.arange(part), self.size)
        within = within + np.where(chunk == self.count - 1, self.count * self.size - part, 0)
        ordered = rearrange(by_chunk, "m s b ... c -> s b ... (m c)")[..., chunk * self.size + within]
        return rearrange(ordered, "s b ... t -> b ... (s t)")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Packed:
    """Tokens as they are kept.

    Attributes:
        values: in their type; int8 ones in units of `scale`.
        scale: of each int8 token, otherwise None.
    """

    values: Any
    scale: Any = None

    @classmethod
    def of(cls, tokens: Float[Array, "*b e"], form: str) -> "Packed":
        """Returns the tokens as `Streaming.features` names it."""
        if form == "compute":
            return cls(tokens)
        if form != "int8":
            return cls(tokens.astype(form))
        # float32: the scale must not be rounded to fewer digits than what it scales.
        tokens = tokens.astype(jnp.float32)
        scale = jnp.maximum(jnp.max(jnp.abs(tokens), axis=-1) / 127.0, 1e-12)
        return cls(jnp.round(tokens / scale[..., None]).astype(jnp.int8), scale)

    def tokens(self) -> Float[Array, "*b e"]:
        """Returns the tokens as numbers of their own."""
        return self.values if self.scale is None else self.values.astype(jnp.float32) * self.scale[..., None]


@dataclass(frozen=True)
class VideoStream:
    """The tokens of videos, by chunks.

    Attributes:
        chunks: how their frames are cut.
        frame_of: the frame, within its chunk, of each token kept of a chunk.
        frames: of the videos, without one that makes their number even.
        store: arrays: "bins" (b t) and "mask" (b t) of the frames; and either "packed", `Packed` tokens by chunks
            (count s b k e), or "tokens" (b t n e), with "order" (b t/2 k) where patches are dropped; and "rows" (b),
            where another video's keys are read in the place of each.
    """

    chunks: Chunks
    frame_of: Int[np.ndarray, "k"]
    frames: int
    store: dict[str, Any]

    @classmethod
    def of(
        cls,
        tokens: Num[Array, "b t n e"],
        bins: Int[Array, "b t"],
        mask: Bool[Array, "b t"],
        streaming: Streaming,
        order: Int[Array, "b odd k"] | None = None,
    ) -> "VideoStream":
        """Returns a stream of tokens that are there already; none of them is copied."""
        store = {"tokens": jax.lax.stop_gradient(tokens), "bins": bins, "mask": mask}
        store = _even(store if order is None else store | {"order": order}, tokens.shape[1])
        chunks = Chunks.of(store["mask"].shape[1], parts_of_a_video(), streaming.chunk_frames, order is not None)
        return cls(chunks, _frame_of(chunks.size, tokens.shape[2], order), tokens.shape[1], store)

    @classmethod
    def of_pixels(
        cls,
        tower: Callable[[UInt8[Array, "i y x 3"]], Float[Array, "i n e"]],
        frames: UInt8[Array, "b t y x 3"],
        tokens_per_frame: int,
        bins: Int[Array, "b t"],
        mask: Bool[Array, "b t"],
        streaming: Streaming,
        order: Int[Array, "b odd k"] | None = None,
    ) -> "VideoStream":
        """Returns a stream of what the frozen tower makes of all frames, chunk by chunk; what `streaming` says is
        kept.
        """
        given = {"frames": frames, "bins": bins, "mask": mask}
        given = _even(given if order is None else given | {"order": order}, frames.shape[1])
        chunks = Chunks.of(given["mask"].shape[1], parts_of_a_video(), streaming.chunk_frames, order is not None)

        def encode(_: None, index: Array) -> tuple[None, Packed]:
            images = chunks.read(given["frames"], index)
            tokens = encode_in_chunks(
                lambda images: tower(_spread(images)),
                rearrange(images, "s b c y x d -> (s b) c y x d"),
                streaming.vision_chunk_frames,
            )
            tokens = rearrange(tokens, "(s b) c n e -> s b c n e", s=images.shape[0])
            order = chunks.read(given["order"], index, every=2) if "order" in given else None
            return None, Packed.of(jax.lax.stop_gradient(kept(tokens, order)), streaming.features)

        _, packed = jax.lax.scan(encode, None, jnp.arange(chunks.count))
        store = {"packed": packed, "bins": given["bins"], "mask": given["mask"]}
        return cls(chunks, _frame_of(chunks.size, tokens_per_frame, order), frames.shape[1], store)

    def of_rows(self, rows: Int[Array, "b"]) -> "VideoStream":
        """Returns the stream of these videos of the batch. Their keys are exchanged, a chunk at a time, not their
        tokens.
        """
        return replace(self, store={**self.store, "rows": rows})

    def keys(
        self, params: Any, embed: Callable[[Any, Float[Array, "s b k e"], Int[Array, "s b c"], Any], Array]
    ) -> KeyStream:
        """Returns the stream that attention takes.

        Args:
            embed: (params, tokens, bins of the frames, frame of each token) -> vectors to project to keys and values.
        """

        def read(params: Any, store: Any, index: Int[Array, ""]) -> tuple[Array, Array]:
            if "packed" in store:
                tokens = jax.tree.map(
                    lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), store["packed"]
                ).tokens()
            else:
                order = self.chunks.read(store["order"], index, every=2) if "order" in store else None
                tokens = kept(self.chunks.read(store["tokens"], index), order)
            mask = self.chunks.read(store["mask"], index) & self.chunks.fresh(index)[None, None]
            bins = self.chunks.read(store["bins"], index)
            keys, there = embed(params, tokens, bins, self.frame_of), mask[..., self.frame_of]
            if "rows" in store:
                keys, there = (take_rows(array, store["rows"], axis=1) for array in (keys, there))
            return keys, there

        by_frame, by_chunk = PartitionSpec(BATCH_AXES, SEQUENCE_AXIS), PartitionSpec(None, SEQUENCE_AXIS, BATCH_AXES)
        special = {"packed": by_chunk, "rows": PartitionSpec(BATCH_AXES)}
        specs = {name: special.get(name, by_frame) for name in self.store}
        return KeyStream(self.chunks.count, read, params, self.store, specs, BATCH_AXES, SEQUENCE_AXIS)

    def attention(
        self, keys: KeyStream, state: AttentionState, row_weights: Float[Array, "b g r"], dtype: DTypeLike
    ) -> Float[Array, "b g t"]:
        """Returns the attention that each frame got from groups of weighted rows (`attention_per_group`)."""
        by_chunk = attention_per_group(keys, state, row_weights, self.frame_of, self.chunks.size, dtype)
        return self.chunks.join(by_chunk)[..., : self.frames]


def _even(arrays: dict[str, Array], frames: int) -> dict[str, Array]:
    """Where patches are dropped from every other frame ("order") and a video's last frame has no other, one that is
    masked is put behind it; a video in parts has to be even as it is."""
    if "order" not in arrays or frames % 2 == 0 or parts_of_a_video() > 1:
        return arrays

    return {name: jnp.pad(array, ((0, 0), (0, 1)) + ((0, 0),) * (array.ndim - 2)) for name, array in arrays.items()}


def _frame_of(frames: int, tokens: int, order: Array | None) -> Int[np.ndarray, "k"]:
    index = np.arange(frames)
    if order is None:
        return np.repeat(index, tokens)
    return np.concatenate([np.repeat(index[0::2], tokens), np.repeat(index[1::2], order.shape[-1])])


def _spread(images: UInt8[Array, "i y x 3"]) -> UInt8[Array, "i y x 3"]:
    """Each device's frames stay on it: parts come first, then videos."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.size == 1 or SEQUENCE_AXIS not in mesh.shape:
        return images
    return jax.lax.with_sharding_constraint(images, PartitionSpec((SEQUENCE_AXIS, *BATCH_AXES)))


def encode_in_chunks(
    tower: Callable[[UInt8[Array, "i y x 3"]], Float[Array, "i n e"]], frames: UInt8[Array, "b t y x 3"], at_once: int
) -> Float[Array, "b t n e"]:
    """Returns the tower's tokens of all frames, of which it encodes `at_once` of each video at a time; 0: all."""

    def encode(images: UInt8[Array, "b c y x 3"]) -> Float[Array, "b c n e"]:
        tokens = tower(rearrange(images, "b c y x d -> (b c) y x d"))
        return rearrange(tokens, "(b c) n e -> b c n e", b=frames.shape[0])

    if not 0 < at_once < frames.shape[1]:
        return encode(frames)
    chunks = Chunks.of(frames.shape[1], 1, at_once, paired=False)
    tokens = jax.lax.map(lambda index: encode(chunks.read(frames, index)[0]), jnp.arange(chunks.count))
    return jnp.moveaxis(chunks.join(jnp.moveaxis(tokens[:, None], 3, -1)), -1, 1)
