"""Multi-head attention whose keys and values can be made once and used for many queries."""

from typing import Literal, NamedTuple, overload

import jax
from einops import rearrange
from flax import linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from storyjax.nn.attention import attention_weights, dot_product_attention


class KeyValues(NamedTuple):
    """Keys and values of an attention: of an encoded text, or of the tokens of an answer so far."""

    keys: Float[Array, "b k h d"]
    values: Float[Array, "b k h d"]

    def put(self, new: "KeyValues", position: Int[Array, ""]) -> "KeyValues":
        """Returns these with `new` ones (of fewer places) from a 0-based position on."""
        return KeyValues(
            *(
                jax.lax.dynamic_update_slice_in_dim(old, one.astype(old.dtype), position, axis=1)
                for old, one in zip(self, new, strict=True)
            )
        )


class KeyValueAttention(nn.Module):
    """What `MultiHeadAttention` computes without biases, in two steps: keys and values first, then queries.

    Attributes:
      features: width of queries' input and of the output.
      num_heads, head_width: of queries, keys and values.
      scale: multiplies the logits.
      query_init, kernel_init, out_init: initialisers of the query, key and value, and output projections.
      dtype: of the computation; parameters are float32, and so are logits and softmax.
    """

    features: int
    num_heads: int
    head_width: int
    scale: float
    query_init: Initializer
    kernel_init: Initializer
    out_init: Initializer
    dtype: DTypeLike = "float32"

    def setup(self) -> None:
        inner = self.num_heads * self.head_width

        def dense(width: int, init: Initializer) -> nn.Dense:
            return nn.Dense(width, use_bias=False, kernel_init=init, dtype=self.dtype)

        self.query, self.key = dense(inner, self.query_init), dense(inner, self.kernel_init)
        self.value, self.out = dense(inner, self.kernel_init), dense(self.features, self.out_init)

    def keys_values(self, x: Float[Array, "b k e"]) -> KeyValues:
        """Returns the keys and values of states that are attended to."""
        return KeyValues(self._heads(self.key(x)), self._heads(self.value(x)))

    @overload
    def __call__(
        self,
        x: Float[Array, "r q f"],
        attended: Float[Array, "b k e"] | KeyValues,
        mask: Bool[Array, "#b 1 #q k"] | None = None,
        bias: Float[Array, "1 h q k"] | None = None,
        return_weights: Literal[False] = False,
    ) -> Float[Array, "r q f"]: ...

    @overload
    def __call__(
        self,
        x: Float[Array, "r q f"],
        attended: Float[Array, "b k e"] | KeyValues,
        mask: Bool[Array, "#b 1 #q k"] | None = None,
        bias: Float[Array, "1 h q k"] | None = None,
        *,
        return_weights: Literal[True],
    ) -> tuple[Float[Array, "r q f"], Float[Array, "b h q k"]]: ...

    def __call__(
        self,
        x: Float[Array, "r q f"],
        attended: Float[Array, "b k e"] | KeyValues,
        mask: Bool[Array, "#b 1 #q k"] | None = None,
        bias: Float[Array, "1 h q k"] | None = None,
        return_weights: bool = False,
    ) -> Float[Array, "r q f"] | tuple[Float[Array, "r q f"], Float[Array, "b h q k"]]:
        """Returns the output for each state of x and, if wanted, the float32 weights.

        Args:
            x: states that attend. Where it has a times as many rows as `attended`, each row of that is shared by a rows
                one after another, as a text is by the answers to it: keys and values are not repeated.
            attended: states, or what `keys_values` made of them.
            mask: True where a state may attend. Of shared rows it must be the same for all states: (b 1 1 k).
            bias: added to the logits; not with shared rows.
            return_weights: for inspection, not for training: they are computed apart. Not of shared rows.
        """
        q = self._heads(self.query(x))
        keys, values = attended if isinstance(attended, KeyValues) else self.keys_values(attended)
        rows, texts = x.shape[0], keys.shape[0]
        if rows != texts:  # states do not see each other here, so those that share keys are one longer row
            q = rearrange(q, "(b a) q h d -> b (a q) h d", b=texts)
        out = dot_product_attention(q, keys, values, mask, bias, scale=self.scale)
        if rows != texts:
            out = rearrange(out, "b (a q) h d -> (b a) q h d", a=rows // texts)
        out = self.out(rearrange(out, "r q h d -> r q (h d)"))
        return (out, attention_weights(q, keys, mask, bias, scale=self.scale)) if return_weights else out

    def _heads(self, x: Float[Array, "b l i"]) -> Float[Array, "b l h d"]:
        return rearrange(x, "b l (h d) -> b l h d", h=self.num_heads)
