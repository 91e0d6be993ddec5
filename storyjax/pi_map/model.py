"""The mapping network π, and CLIP with π's tokens (thesis §5.3.1, Fig. 5.2b)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.models.clip import Clip, ClipConfig, ClipTextConfig
from storyjax.models.siglip import Siglip, SiglipConfig
from storyjax.nn.image_normalisation import CLIP_MEAN, CLIP_STD, SIGLIP_MEAN, SIGLIP_STD, normalise
from storyjax.nn.transformer import activation
from storyjax.train.experiment import Params

LAYERS = 3


@dataclass(frozen=True)
class PiConfig:
    """The shape of π.

    Its input and output are as wide as CLIP's common space and its token embeddings, which must be equal (they are in
    every published CLIP): L_i compares them.

    Attributes:
        width: of every layer.
        activation: after the first and the second layer.
    """

    width: int = 512
    activation: str = "gelu"


class PiMap(nn.Module):
    """Three layers with residual connections; two learned vectors multiply the outputs of the first and the second.

    x1 = x + c1 * act(W1 x);  x2 = x1 + c2 * act(W2 x1);  π(x) = x2 + W3 x2

    The conditioning vectors c1 and c2 start at one; `conditioning_start` gives the thesis's start.
    """

    config: PiConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Returns the token embeddings, float32, of image embeddings of unit length."""
        c = self.config
        x = x.astype(self.dtype)
        for layer in range(LAYERS):
            y = nn.Dense(c.width, dtype=self.dtype, name=f"layer_{layer}")(x)
            if layer < LAYERS - 1:
                vector = self.param(f"condition_{layer}", nn.initializers.ones, (c.width,)).astype(self.dtype)
                y = activation(c.activation)(y) * vector.reshape((1,) * (y.ndim - 1) + (-1,))
            x = x + y
        return x.astype(jnp.float32)


def conditioning_start(
    images: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "n d"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Returns the initial conditioning vectors (§5.3.5).

    The absolute difference of images and their captions in each dimension, averaged over pairs; its largest entry (for
    the second vector, its second largest) set to zero; softmax.
    """
    difference = np.abs(np.asarray(images, np.float32) - np.asarray(texts, np.float32)).mean(axis=0)
    vectors = []
    for dimension in np.argsort(-difference)[:2]:
        kept = difference.copy()
        kept[dimension] = 0.0
        raised = np.exp(kept - kept.max())
        vectors.append((raised / raised.sum()).astype(np.float32))
    return vectors[0], vectors[1]


class PersonalClip:
    """A frozen CLIP or SigLIP ("clip" in the parameters) and π ("pi"), as pure functions of the parameters.

    Raises:
        StoryjaxError: CLIP's widths and π's are not equal.
    """

    def __init__(self, clip: ClipConfig | SiglipConfig, pi: PiConfig, dtype: DTypeLike = jnp.float32):
        if not clip.projection_dim == clip.text.width == pi.width:
            raise StoryjaxError(
                f"this CLIP's common space has {clip.projection_dim} dimensions, its token embeddings {clip.text.width}"
                f" and config.model.pi.width is {pi.width}: π-map needs them equal (L_i, §5.3.2); choose another CLIP"
            )
        self.config, self.pi_config = clip, pi
        self.clip: Clip | Siglip
        if isinstance(clip, SiglipConfig):
            self.clip, self._pixels = Siglip(clip, dtype=dtype), (SIGLIP_MEAN, SIGLIP_STD)
        else:
            self.clip, self._pixels = Clip(clip, dtype=dtype), (CLIP_MEAN, CLIP_STD)
        self.pi = PiMap(pi, dtype)

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters."""
        size, text = self.config.vision.image_size, self.config.text
        end = text.eos_id if isinstance(text, ClipTextConfig) else text.pad_id
        images, ids = jnp.zeros((1, size, size, 3)), jnp.full((1, 2), end, jnp.int32)
        clip_key, pi_key = jax.random.split(key)
        return {
            "clip": self.clip.init(clip_key, images, ids)["params"],
            "pi": self.pi.init(pi_key, jnp.zeros((1, self.pi_config.width)))["params"],
        }

    def embed_images(self, params: Params, pixels: UInt8[Array, "b y x 3"]) -> Float[Array, "b d"]:
        """Returns f_v, embeddings of unit length, of RGB images of CLIP's size; without gradient."""
        scaled = normalise(pixels, mean=self._pixels[0], std=self._pixels[1])
        embedded = self.clip.apply({"params": params["clip"]}, scaled, method="embed_images")
        return jax.lax.stop_gradient(cast(Array, embedded))

    def embed_texts(
        self,
        params: Params,
        ids: Int[Array, "b l"],
        tokens: Float[Array, "b c d"] | None = None,
        slots: Int[Array, "b l"] | None = None,
    ) -> Float[Array, "b d"]:
        """Returns f_t, embeddings of unit length, of prompts with token embeddings at the given slots."""
        embedded = self.clip.apply({"params": params["clip"]}, ids, tokens, slots, method="embed_texts")
        return cast(Array, embedded)

    def tokens(self, params: Params, embeddings: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Returns π of image embeddings."""
        return cast(Array, self.pi.apply({"params": params["pi"]}, embeddings))

    def embed_prompt(
        self, params: Params, tokens: Float[Array, "b d"], ids: Int[np.ndarray, " l"], slots: Int[np.ndarray, " l"]
    ) -> Float[Array, "b d"]:
        """Returns f_t of one prompt ("a photo of *") with each of the tokens in its place."""
        repeated = (jnp.broadcast_to(row, (tokens.shape[0], row.shape[0])) for row in (ids, slots))
        ids_of_all, slots_of_all = repeated
        return self.embed_texts(params, ids_of_all, tokens[:, None, :], slots_of_all)


def embed_in_batches(
    embed: Callable[[UInt8[np.ndarray, "b y x 3"]], Float[Array, "b d"]],
    pixels: UInt8[np.ndarray, "n y x 3"],
    batch: int = 64,
) -> Float[np.ndarray, "n d"]:
    """Returns `embed` of any number of images, in padded batches of one shape, so that it compiles once."""
    rows = []
    for start in range(0, len(pixels), batch):
        part = pixels[start : start + batch]
        filled = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.uint8)])
        rows.append(np.asarray(embed(filled))[: len(part)])
    return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)
