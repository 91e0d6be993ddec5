"""T5, the text-to-text transformer, with the variants that Flan-T5 uses (the frozen language model of thesis § 3.3).

It differs from other transformers in three ways: attention logits are not scaled, positions enter as a learned bias
of bucketed distances that all layers share, and its norms neither subtract a mean nor add a bias.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from storyjax.nn.attention import MultiHeadAttention
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

    @nn.compact
    def __call__(self, length: int) -> Float[Array, "1 h l l"]:
        """Returns the float32 bias of every pair of positions of a text of `length` tokens."""
        cfg = self.config
        position = np.arange(length)
        buckets = relative_position_buckets(
            position[None, :] - position[:, None],
            bidirectional=self.bidirectional,
            num_buckets=cfg.relative_attention_num_buckets,
            max_distance=cfg.relative_attention_max_distance,
        )
        shape = (cfg.relative_attention_num_buckets, cfg.num_heads)
        table = self.param("embedding", nn.initializers.normal(cfg.d_model**-0.5), shape)
        # float32 whatever the computation is in: it joins float32 logits.
        return jnp.transpose(table[jnp.asarray(buckets)], (2, 0, 1))[None].astype(jnp.float32)


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

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b l d"],
        mask: Bool[Array, "#b 1 #l l"],
        bias: Float[Array, "1 h l l"],
        encoded: Float[Array, "b k d"] | None = None,
        encoded_mask: Bool[Array, "b 1 1 k"] | None = None,
    ) -> Float[Array, "b l d"]:
        """Returns the states after the block.

        Args:
            x: states before it.
            mask: True where a token may attend to another.
            bias: of the self-attention's logits.
            encoded, encoded_mask: the encoder's states and which of them are not padding; for `cross` blocks.
        """
        x = x + self._attention("attention")(self._norm("attention_norm")(x), mask=mask, bias=bias)
        if self.cross:
            x = x + self._attention("cross_attention")(self._norm("cross_norm")(x), encoded, mask=encoded_mask)
        return x + FeedForward(self.config, self.dtype, name="mlp")(self._norm("mlp_norm")(x))

    def _norm(self, name: str) -> nn.RMSNorm:
        return nn.RMSNorm(epsilon=self.config.eps, dtype=self.dtype, name=name)

    def _attention(self, name: str) -> MultiHeadAttention:
        cfg = self.config
        inner = cfg.num_heads * cfg.d_kv
        # Mesh TensorFlow's factors: the usual 1/sqrt(d_kv) of the logits is folded into the initial query projection.
        return MultiHeadAttention(
            num_heads=cfg.num_heads,
            qkv_features=inner,
            use_bias=False,
            scale=1.0,
            query_init=nn.initializers.normal((cfg.d_model * cfg.d_kv) ** -0.5),
            kernel_init=nn.initializers.normal(cfg.d_model**-0.5),
            out_init=nn.initializers.normal(inner**-0.5),
            dtype=self.dtype,
            name=name,
        )


class T5Stack(nn.Module):
    """The encoder (`cross` False) or the decoder."""

    config: T5Config
    cross: bool
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b l d"],
        mask: Bool[Array, "#b 1 #l l"],
        encoded: Float[Array, "b k d"] | None = None,
        encoded_mask: Bool[Array, "b 1 1 k"] | None = None,
    ) -> Float[Array, "b l d"]:
        """Returns the states after the last block and norm; the arguments are as in `T5Block`."""
        cfg = self.config
        bias = RelativeBias(cfg, bidirectional=not self.cross, name="relative_bias")(x.shape[1])
        block = nn.remat(T5Block) if self.remat else T5Block
        for i in range(cfg.num_decoder_layers if self.cross else cfg.num_layers):
            x = block(cfg, self.cross, self.dtype, name=f"block_{i}")(x, mask, bias, encoded, encoded_mask)
        return nn.RMSNorm(epsilon=cfg.eps, dtype=self.dtype, name="norm")(x)


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

    def decode_states(
        self, decoder_ids: Int[Array, "b l"], encoded: Float[Array, "b k d"], encoded_mask: Bool[Array, "b k"]
    ) -> Float[Array, "b l d"]:
        """Returns decoder states before the output layer. They are causal: later tokens do not change them."""
        causal = jnp.tri(decoder_ids.shape[1], dtype=bool)[None, None]
        x = self.shared(decoder_ids)
        return self.decoder(x, causal, encoded.astype(self.dtype), encoded_mask[:, None, None, :])

    def logits(self, states: Float[Array, "*b d"]) -> Float[Array, "*b v"]:
        """Returns unnormalised log-probabilities of the next token, float32 also in accumulation."""
        if self.config.tie_word_embeddings:
            kernel, states = self.shared.embedding.T, states * self.config.d_model**-0.5
        else:
            kernel = self.lm_head
        return jnp.einsum("...d,dv->...v", states, kernel.astype(self.dtype), preferred_element_type=jnp.float32)

    def decode(
        self, decoder_ids: Int[Array, "b l"], encoded: Float[Array, "b k d"], encoded_mask: Bool[Array, "b k"]
    ) -> Float[Array, "b l v"]:
        """Returns logits of the token after each of `decoder_ids`, which start with the decoder's start token.

        For several sequences per encoded text repeat the latter, as in `jnp.repeat(encoded, options, axis=0)`.
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


def generate(
    model: T5,
    params: dict,
    encoded: Float[Array, "b k d"],
    encoded_mask: Bool[Array, "b k"],
    max_length: int,
) -> Int[Array, "b {max_length}"]:
    """Returns the token ids of greedy decoding from encoder states, up to the end token or `max_length`.

    They are without the start token; the end token is included where it was reached, and padding follows it. Shapes are
    static, so it runs under `jit` (with `max_length` static); it stops when all texts have ended. Every step decodes
    the whole buffer: causality makes that right, and only `step` would change with a cache.
    """
    cfg = model.config
    # One position more for the start token; positions not yet written hold padding, which nothing attends to.
    ids = jnp.full((encoded.shape[0], max_length + 1), cfg.pad_id, jnp.int32).at[:, 0].set(cfg.decoder_start_id)

    def step(ids: Int[Array, "b m"], position: Int[Array, ""]) -> Int[Array, " b"]:
        variables = {"params": params}
        states: Any = model.apply(variables, ids[:, :-1], encoded, encoded_mask, method=T5.decode_states)
        state = jax.lax.dynamic_index_in_dim(states, position, axis=1, keepdims=False)
        logits: Any = model.apply(variables, state, method=T5.logits)
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def unfinished(carry: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        position, _, ended = carry
        return (position < max_length) & ~jnp.all(ended)

    def advance(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        position, ids, ended = carry
        token = jnp.where(ended, cfg.pad_id, step(ids, position))
        ids = jax.lax.dynamic_update_index_in_dim(ids, token, position + 1, axis=1)
        return position + 1, ids, ended | (token == cfg.eos_id)

    start = (jnp.zeros((), jnp.int32), ids, jnp.zeros(encoded.shape[0], bool))
    return jax.lax.while_loop(unfinished, advance, start)[1][:, 1:]
