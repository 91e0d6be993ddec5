"""T5, the text-to-text transformer, with the variants that Flan-T5 uses (the frozen language model of thesis § 3.3).

It differs from other transformers in three ways: attention logits are not scaled, positions enter as a learned bias
of bucketed distances that all layers share, and its norms neither subtract a mean nor add a bias.
"""

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from storyjax.nn.key_value_attention import KeyValueAttention, KeyValues
from storyjax.nn.transformer import activation


@dataclasses.dataclass(frozen=True)
class T5Config:
    """The shape of a T5.

    Attributes:
      vocab_size: rows of the embedding, which published models pad to a multiple of 128.
      d_model, d_kv, d_ff: width of the residual stream, of one head, and of the feed-forward layer.
      num_heads, num_layers, num_decoder_layers: of the encoder and decoder.
      relative_attention_num_buckets, relative_attention_max_distance: see `relative_position_buckets`.
      eps: of the norms.
      feed_forward: "gated-gelu" (T5 1.1, Flan-T5) or "relu" (the first T5).
      gate_activation: of "gated-gelu": "gelu_tanh", or "gelu" for the exact one, which BLIP-2 runs its Flan-T5 with.
      tie_word_embeddings: whether the output layer is the embedding, scaled; the first T5 does so.
      pad_id, eos_id, decoder_start_id: token ids.
    """

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 1024
    num_heads: int = 6
    num_layers: int = 8
    num_decoder_layers: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    eps: float = 1e-6
    feed_forward: str = "gated-gelu"
    gate_activation: str = "gelu_tanh"
    tie_word_embeddings: bool = False
    pad_id: int = 0
    eos_id: int = 1
    decoder_start_id: int = 0


FLAN_T5_SMALL = T5Config()
FLAN_T5_BASE = T5Config(d_model=768, d_ff=2048, num_heads=12, num_layers=12, num_decoder_layers=12)
FLAN_T5_LARGE = T5Config(d_model=1024, d_ff=2816, num_heads=16, num_layers=24, num_decoder_layers=24)
FLAN_T5_XL = T5Config(d_model=2048, d_ff=5120, num_heads=32, num_layers=24, num_decoder_layers=24)
FLAN_T5_XXL = T5Config(d_model=4096, d_ff=10240, num_heads=64, num_layers=24, num_decoder_layers=24)
# The first T5: ReLU, one matrix for input and output.
T5_SMALL = T5Config(
    d_ff=2048, num_heads=8, num_layers=6, num_decoder_layers=6, feed_forward="relu", tie_word_embeddings=True
)
T5_BASE = dataclasses.replace(T5_SMALL, d_model=768, d_ff=3072, num_heads=12, num_layers=12, num_decoder_layers=12)
T5_LARGE = dataclasses.replace(T5_SMALL, d_model=1024, d_ff=4096, num_heads=16, num_layers=24, num_decoder_layers=24)
T5_3B = dataclasses.replace(T5_LARGE, d_kv=128, d_ff=16384, num_heads=32)
T5_11B = dataclasses.replace(T5_3B, d_ff=65536, num_heads=128)


def relative_position_buckets(
    relative_position: Int[np.ndarray, "q k"], *, bidirectional: bool, num_buckets: int, max_distance: int
) -> Int[np.ndarray, "q k"]:
    """Returns the bucket of each distance (key position minus query position, in tokens).

    Half of the buckets are single distances, the rest grow logarithmically up to `max_distance`, beyond which all
    distances share the last one. With `bidirectional` half of the buckets are for keys after the query; otherwise
    those all share bucket 0.

    Runs in NumPy, while tracing: the logarithm of an accelerator may round the bounds of a bucket differently.
    """
    offset = np.zeros_like(relative_position)
    if bidirectional:
        num_buckets //= 2
        offset = np.where(relative_position > 0, num_buckets, 0)
        distance = np.abs(relative_position)
    else:
        distance = np.maximum(-relative_position, 0)
    exact = num_buckets // 2
    ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
    coarse = np.log(ratio) / np.float32(math.log(max_distance / exact)) * np.float32(num_buckets - exact)
    coarse = np.minimum(exact + coarse.astype(np.int32), num_buckets - 1)
    return (offset + np.where(distance < exact, distance, coarse)).astype(np.int32)


class RelativeBias(nn.Module):
    """The learned bias of attention logits for each bucket of distances and each head."""

    config: T5Config
    bidirectional: bool

    def setup(self) -> None:
        cfg = self.config
        shape = (cfg.relative_attention_num_buckets, cfg.num_heads)
        self.embedding = self.param("embedding", nn.initializers.normal(cfg.d_model**-0.5), shape)

    def __call__(self, length: int) -> Float[Array, "1 h l l"]:
        """Returns the float32 bias of every pair of positions of a text of `length` tokens."""
        return self._bias(jnp.asarray(self._buckets(length)))

    def of_position(self, position: Int[Array, ""], length: int) -> Float[Array, "1 h 1 l"]:
        """Returns the float32 bias of one position, 0-based, to all of a text of `length` tokens."""
        return self._bias(jnp.asarray(self._buckets(length))[position][None])

    def _buckets(self, length: int) -> Int[np.ndarray, "l l"]:
        position = np.arange(length)
        return relative_position_buckets(
            position[None, :] - position[:, None],
            bidirectional=self.bidirectional,
            num_buckets=self.config.relative_attention_num_buckets,
            max_distance=self.config.relative_attention_max_distance,
        )

    def _bias(self, buckets: Int[Array, "q l"]) -> Float[Array, "1 h q l"]:
        # float32 whatever the computation is in: it joins float32 logits.
        return jnp.transpose(self.embedding[buckets], (2, 0, 1))[None].astype(jnp.float32)


class FeedForward(nn.Module):
    """T5's feed-forward layer: gated GELU, or a plain ReLU."""

    config: T5Config
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Returns the output at each position."""
        cfg = self.config
        dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype)
        inward, outward = nn.initializers.normal(cfg.d_model**-0.5), nn.initializers.normal(cfg.d_ff**-0.5)
        up = dense(cfg.d_ff, kernel_init=inward, name="up")(x)
        if cfg.feed_forward == "gated-gelu":
            up = up * activation(cfg.gate_activation)(dense(cfg.d_ff, kernel_init=inward, name="gate")(x))
        else:
            up = activation(cfg.feed_forward)(up)
        return dense(cfg.d_model, kernel_init=outward, name="down")(up)


class T5Block(nn.Module):
    """Self-attention, attention to the encoder if `cross`, feed-forward; each on a normalised copy."""

    config: T5Config
    cross: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        norm = functools.partial(nn.RMSNorm, epsilon=cfg.eps, dtype=self.dtype)
        # Mesh TensorFlow's factors: the usual 1/sqrt(d_kv) of the logits is folded into the initial query projection.
        attention = functools.partial(
            KeyValueAttention,
            features=cfg.d_model,
            num_heads=cfg.num_heads,
            head_width=cfg.d_kv,
            scale=1.0,
            query_init=nn.initializers.normal((cfg.d_model * cfg.d_kv) ** -0.5),
            kernel_init=nn.initializers.normal(cfg.d_model**-0.5),
            out_init=nn.initializers.normal((cfg.num_heads * cfg.d_kv) ** -0.5),
            dtype=self.dtype,
        )
        self.attention, self.attention_norm = attention(), norm()
        if self.cross:
            self.cross_attention, self.cross_norm = attention(), norm()
        self.mlp, self.mlp_norm = FeedForward(cfg, self.dtype), norm()

    def __call__(
        self,
        x: Float[Array, "r l d"],
        mask: Bool[Array, "#r 1 #l l"],
        bias: Float[Array, "1 h l l"],
        encoded: Float[Array, "b k d"] | KeyValues | None = None,
        encoded_mask: Bool[Array, "b 1 1 k"] | None = None,
    ) -> Float[Array, "r l d"]:
        """Returns the states after the block.

        Args:
            x: states before it.
            mask: True where a token may attend to another.
            bias: of the self-attention's logits.
            encoded: for `cross` blocks, the encoder's states, or what `keys_values` made of them; each text may be
                shared by several rows of x (`KeyValueAttention`).
            encoded_mask: which of the encoder's states are not padding.
        """
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, mask, bias)
        return self._after(x, encoded, encoded_mask)

    def keys_values(self, encoded: Float[Array, "b k d"]) -> KeyValues:
        """Returns what a `cross` block attends to in the encoder's states."""
        return self.cross_attention.keys_values(encoded)

    def step(
        self,
        x: Float[Array, "r 1 d"],
        cache: KeyValues,
        position: Int[Array, ""],
        bias: Float[Array, "1 h 1 m"],
        encoded: KeyValues,
        encoded_mask: Bool[Array, "b 1 1 k"],
    ) -> tuple[Float[Array, "r 1 d"], KeyValues]:
        """Returns one token's states after a `cross` block, and the cache with its keys and values.

        Args:
            x: the states of the token at `position` before the block.
            cache: of the tokens before it, m places of which the later ones are not looked at.
            bias: of the position's logits.
            encoded, encoded_mask: see `__call__`.
        """
        normed = self.attention_norm(x)
        cache = cache.put(self.attention.keys_values(normed), position)
        there = jnp.arange(cache.keys.shape[1])[None, None, None] <= position
        x = x + self.attention(normed, cache, there, bias)
        return self._after(x, encoded, encoded_mask), cache

    def _after(
        self, x: Array, encoded: Float[Array, "b k d"] | KeyValues | None, encoded_mask: Array | None
    ) -> Float[Array, "r l d"]:
        """Attention to the encoder, and feed-forward."""
        if self.cross:
            assert encoded is not None  # of every block that looks at the encoder
            x = x + self.cross_attention(self.cross_norm(x), encoded, encoded_mask)
        return x + self.mlp(self.mlp_norm(x))


class T5Stack(nn.Module):
    """The encoder (`cross` False) or the decoder."""

    config: T5Config
    cross: bool
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        block = nn.remat(T5Block) if self.remat else T5Block
        self.relative_bias = RelativeBias(cfg, bidirectional=not self.cross)
        layers = cfg.num_decoder_layers if self.cross else cfg.num_layers
        self.block = [block(cfg, self.cross, self.dtype) for _ in range(layers)]
        self.norm = nn.RMSNorm(epsilon=cfg.eps, dtype=self.dtype)

    def __call__(
        self,
        x: Float[Array, "r l d"],
        mask: Bool[Array, "#r 1 #l l"],
        encoded: Float[Array, "b k d"] | tuple[KeyValues, ...] | None = None,
        encoded_mask: Bool[Array, "b 1 1 k"] | None = None,
    ) -> Float[Array, "r l d"]:
        """Returns the states after the last block and norm; the arguments are as in `T5Block`, keys and values those of
        each block."""
        bias = self.relative_bias(x.shape[1])
        for index, block in enumerate(self.block):
            x = block(x, mask, bias, encoded[index] if isinstance(encoded, tuple) else encoded, encoded_mask)
        return self.norm(x)

    def keys_values(self, encoded: Float[Array, "b k d"]) -> tuple[KeyValues, ...]:
        """Returns what each block of the decoder attends to in the encoder's states."""
        return tuple(block.keys_values(encoded) for block in self.block)

    def step(
        self,
        x: Float[Array, "r 1 d"],
        cache: tuple[KeyValues, ...],
        position: Int[Array, ""],
        encoded: tuple[KeyValues, ...],
        encoded_mask: Bool[Array, "b 1 1 k"],
    ) -> tuple[Float[Array, "r 1 d"], tuple[KeyValues, ...]]:
        """Returns one token's states after the decoder's last block and norm, and each block's cache with it."""
        bias = self.relative_bias.of_position(position, cache[0].keys.shape[1])
        caches = []
        for block, own, attended in zip(self.block, cache, encoded, strict=True):
            x, own = block.step(x, own, position, bias, attended, encoded_mask)
            caches.append(own)
        return self.norm(x), tuple(caches)


class T5(nn.Module):
    """An encoder-decoder language model.

    Attributes:
      config: its shape.
      remat: recompute blocks in the backward pass; worth it even for frozen weights when gradients reach the inputs.
      dtype: of the computation; parameters, norms, softmax and logits are float32.
    """

    config: T5Config
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        self.shared = nn.Embed(
            cfg.vocab_size, cfg.d_model, embedding_init=nn.initializers.normal(1.0), dtype=self.dtype
        )
        self.encoder = T5Stack(cfg, False, self.remat, self.dtype)
        self.decoder = T5Stack(cfg, True, self.remat, self.dtype)
        if not cfg.tie_word_embeddings:
            # Unit-variance logits at the start. (The published code's deviation of 1 starts at a loss of hundreds.)
            self.lm_head = self.param(
                "lm_head", nn.initializers.normal(cfg.d_model**-0.5), (cfg.d_model, cfg.vocab_size)
            )

    def embed(self, ids: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        """Returns embeddings of tokens, as `encode` takes them."""
        return self.shared(ids)

    def encode(self, inputs_embeds: Float[Array, "b l d"], mask: Bool[Array, "b l"]) -> Float[Array, "b l d"]:
        """Returns encoder states. `mask` is True where there is a token; states of padding are to be ignored.

        The inputs may be any vectors in the embedding space, for instance those of a resampler (§ 3.3). Distances
        between tokens count padding, so padding must be at the end.
        """
        return self.encoder(inputs_embeds.astype(self.dtype), mask[:, None, None, :])

    def keys_values(self, encoded: Float[Array, "b k d"]) -> tuple[KeyValues, ...]:
        """Returns what each block of the decoder attends to in encoder states, for many tokens or answers."""
        return self.decoder.keys_values(encoded.astype(self.dtype))

    def decode_states(
        self,
        decoder_ids: Int[Array, "r l"],
        encoded: Float[Array, "b k d"] | tuple[KeyValues, ...],
        encoded_mask: Bool[Array, "b k"],
    ) -> Float[Array, "r l d"]:
        """Returns decoder states before the output layer. They are causal: later tokens do not change them.

        `encoded` may be what `keys_values` made of it. With r = b·a sequences, each encoded text is shared by a
        sequences one after another: nothing of the encoder is repeated.
        """
        causal = jnp.tri(decoder_ids.shape[1], dtype=bool)[None, None]
        x = self.shared(decoder_ids)
        attended = encoded if isinstance(encoded, tuple) else encoded.astype(self.dtype)
        return self.decoder(x, causal, attended, encoded_mask[:, None, None, :])

    def empty_cache(self, rows: int, length: int) -> tuple[KeyValues, ...]:
        """Returns the cache of `decode_step` before the first of `length` tokens, of so many sequences."""
        cfg = self.config
        nothing = jnp.zeros((rows, length, cfg.num_heads, cfg.d_kv), self.dtype)
        return (KeyValues(nothing, nothing),) * cfg.num_decoder_layers

    def decode_step(
        self,
        tokens: Int[Array, "r"],
        cache: tuple[KeyValues, ...],
        position: Int[Array, ""],
        encoded: tuple[KeyValues, ...],
        encoded_mask: Bool[Array, "b k"],
    ) -> tuple[Float[Array, "r v"], tuple[KeyValues, ...]]:
        """Returns logits of the token after each of `tokens`, which stand at `position`, and the cache with them.

        What `decode` gives of all tokens so far, at the cost of one: `cache` has the keys and values of those before,
        `encoded` (of `keys_values`) those of the encoder; r and b are as in `decode_states`.
        """
        x = self.shared(tokens[:, None])
        states, cache = self.decoder.step(x, cache, position, encoded, encoded_mask[:, None, None, :])
        return self.logits(states[:, 0]), cache

    def logits(self, states: Float[Array, "*b d"]) -> Float[Array, "*b v"]:
        """Returns unnormalised log-probabilities of the next token, float32 also in accumulation."""
        if self.config.tie_word_embeddings:
            kernel, states = self.shared.embedding.T, states * self.config.d_model**-0.5
        else:
            kernel = self.lm_head
        return jnp.einsum("...d,dv->...v", states, kernel.astype(self.dtype), preferred_element_type=jnp.float32)

    def decode(
        self,
        decoder_ids: Int[Array, "r l"],
        encoded: Float[Array, "b k d"] | tuple[KeyValues, ...],
        encoded_mask: Bool[Array, "b k"],
    ) -> Float[Array, "r l v"]:
        """Returns logits of the token after each of `decoder_ids`, which start with the decoder's start token.

        Several sequences may share an encoded text, see `decode_states`.
        """
        return self.logits(self.decode_states(decoder_ids, encoded, encoded_mask))

    def __call__(
        self, input_ids: Int[Array, "b k"], mask: Bool[Array, "b k"], decoder_ids: Int[Array, "b l"]
    ) -> Float[Array, "b l v"]:
        """Returns logits of the token after each of `decoder_ids`, given the text `input_ids`."""
        return self.decode(decoder_ids, self.encode(self.embed(input_ids), mask), mask)


def shift_right(labels: Int[Array, "*b l"], config: T5Config) -> Int[Array, "*b l"]:
    """Returns the decoder's input for teacher forcing: the start token, then all labels but the last."""
    start = jnp.full_like(labels[..., :1], config.decoder_start_id)
    return jnp.concatenate([start, labels[..., :-1]], axis=-1)
