"""BLIP-2's Q-Former (Li et al. 2023): learnt queries that attend to the tokens of an image, a baseline of §3.3.

A BERT whose every other block also attends to the image: unlike the other transformers here it normalises after each
residual, not before. Queries do not depend on any text: their outputs for an image are the same for every question.
"""

import dataclasses

import einops
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from storyjax.nn.attention import MultiHeadAttention
from storyjax.nn.transformer import Mlp, layer_norm


@dataclasses.dataclass(frozen=True)
class QFormerConfig:
    """The shape of a Q-Former; the defaults are BLIP-2's with ViT-g and Flan-T5-XL.

    Attributes:
      queries: number of learnt queries, and of outputs.
      width, depth, heads, mlp_width, activation: of the transformer.
      cross_every: blocks 0, cross_every, 2 * cross_every and so on attend to the image.
      vision_width: of the image's tokens.
      llm_width: of the language model that reads the outputs.
      eps: of the layer norms.
      init_std: of the truncated normal that initialises every kernel and the queries.
    """

    queries: int = 32
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    activation: str = "gelu"
    cross_every: int = 2
    vision_width: int = 1408
    llm_width: int = 2048
    eps: float = 1e-12
    init_std: float = 0.02


class QFormerBlock(nn.Module):
    """Self-attention of the queries, attention to the image if it is a `cross` block, an MLP; a norm after each."""

    config: QFormerConfig
    cross: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b q d"],
        visual_tokens: Float[Array, "b s e"],
        visual_mask: Bool[Array, "b s"] | None = None,
    ) -> Float[Array, "b q d"]:
        """Returns the queries' states after the block; `visual_mask` is False for padding."""
        cfg = self.config
        init = nn.initializers.truncated_normal(cfg.init_std)

        def attention(name: str) -> MultiHeadAttention:
            return MultiHeadAttention(cfg.heads, features=cfg.width, kernel_init=init, dtype=self.dtype, name=name)

        x = layer_norm(cfg.eps, self.dtype, "attention_norm")(x + attention("attention")(x))
        if self.cross:
            mask = None if visual_mask is None else visual_mask[:, None, None, :]
            x = layer_norm(cfg.eps, self.dtype, "cross_norm")(
                x + attention("cross_attention")(x, visual_tokens, mask=mask)
            )
        mlp = Mlp(cfg.mlp_width, cfg.activation, kernel_init=init, dtype=self.dtype, name="mlp")
        return layer_norm(cfg.eps, self.dtype, "mlp_norm")(x + mlp(x))


class QFormer(nn.Module):
    """Learnt queries, their transformer, and the projection to the language model's space."""

    config: QFormerConfig = QFormerConfig()
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        cfg = self.config
        init = nn.initializers.truncated_normal(cfg.init_std)
        self.queries = self.param("queries", init, (cfg.queries, cfg.width))
        self.norm = layer_norm(cfg.eps, self.dtype, None)
        self.block = [QFormerBlock(cfg, i % cfg.cross_every == 0, self.dtype) for i in range(cfg.depth)]
        self.llm_projection = nn.Dense(cfg.llm_width, kernel_init=init, dtype=self.dtype)

    def states(
        self, visual_tokens: Float[Array, "b s e"], visual_mask: Bool[Array, "b s"] | None = None
    ) -> Float[Array, "b q d"]:
        """Returns the queries' states after the last block, before the projection.

        `visual_tokens` are the vision encoder's, of one frame or of several one after another; the mask is False for
        padding.
        """
        queries = einops.repeat(self.queries.astype(self.dtype), "q d -> b q d", b=visual_tokens.shape[0])
        x = self.norm(queries)
        visual_tokens = visual_tokens.astype(self.dtype)
        for block in self.block:
            x = block(x, visual_tokens, visual_mask)
        return x

    def __call__(
        self, visual_tokens: Float[Array, "b s e"], visual_mask: Bool[Array, "b s"] | None = None
    ) -> Float[Array, "b q w"]:
        """Returns the query outputs as the language model reads them: the projection of `states`."""
        return self.llm_projection(self.states(visual_tokens, visual_mask))
