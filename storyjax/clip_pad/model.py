"""CLIP with a token for a face: face encoder, adaptor, and CLIP's two towers (thesis §4.3, Fig. 4.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt8

from storyjax.core.arrays import unit_norm
from storyjax.models.clip import CLIP_VIT_B32, Clip, ClipConfig
from storyjax.models.seresnet import SE_RESNET_50_128D, SEResNet, SEResNetConfig, centre
from storyjax.nn.image_normalisation import normalise
from storyjax.train.experiment import Params

# What trains (§4.3): the adaptor and the text encoder, with its projection to the common space. The inverse
# temperature stays CLIP's own.
TRAINABLE = r"adaptor/.*|clip/text/.*|clip/text_projection/.*"


@dataclass(frozen=True)
class PadConfig:
    """The shapes of CLIP, of the face encoder, and of the adaptor between them.

    Attributes:
        adaptor_width: of the adaptor's hidden layer; §4.3.1 takes 128 → 256 → 512.
    """

    clip: ClipConfig = CLIP_VIT_B32
    face: SEResNetConfig = SE_RESNET_50_128D
    adaptor_width: int = 256


class Adaptor(nn.Module):
    """The two-layer perceptron from a face's description to a token embedding."""

    hidden: int
    width: int
    scale: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, faces: Float[Array, "b e"]) -> Float[Array, "b w"]:
        """Returns token embeddings, float32, of descriptions of unit length; initially about as long as CLIP's own."""
        h = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(faces.astype(self.dtype)))
        init = nn.initializers.variance_scaling(self.scale**2 * self.width, "fan_in", "normal")
        return nn.Dense(self.width, kernel_init=init, dtype=self.dtype, name="out")(h).astype(jnp.float32)


class ClipPad:
    """CLIP-PAD as pure functions of a parameter tree {"clip", "face", "adaptor", "original"}.

    "original" is the text tower before training: zero-shot CLIP, which every table compares with.
    """

    def __init__(self, config: PadConfig, dtype: DTypeLike = jnp.float32):
        self.config = config
        self.clip = Clip(config.clip, dtype=dtype)
        self.face = SEResNet(config.face, dtype=dtype)
        text = config.clip.text
        # 1 / sqrt(width): the embeddings' own deviation in published CLIP and in ours is near init_std.
        self.adaptor = Adaptor(config.adaptor_width, text.width, text.init_std, dtype)

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters."""
        c = self.config
        ids = jnp.full((1, 2), c.clip.text.eos_id, jnp.int32)
        keys = jax.random.split(key, 3)
        images = jnp.zeros((1, c.clip.vision.image_size, c.clip.vision.image_size, 3))
        clip = self.clip.init(keys[0], images, ids)["params"]
        return {
            "clip": clip,
            "face": self.face.init(keys[1], jnp.zeros((1, c.face.image_size, c.face.image_size, 3)))["params"],
            "adaptor": self.adaptor.init(keys[2], jnp.zeros((1, c.face.embedding_dim)))["params"],
            "original": {name: clip[name] for name in ("text", "text_projection")},
        }

    def _apply_clip(self, params: Params, method: Callable[..., Any], *inputs: Any) -> Array:
        return cast(Array, self.clip.apply({"params": params}, *inputs, method=method))

    def scale(self, params: Params) -> Float[Array, ""]:
        """Returns CLIP's inverse temperature."""
        return jnp.exp(params["clip"]["logit_scale"].astype(jnp.float32))

    def describe_faces(self, params: Params, faces: UInt8[Array, "b y x 3"]) -> Float[Array, "b e"]:
        """Returns the descriptions, of unit length, of loose crops."""
        described = self.face.apply({"params": params["face"]}, centre(faces, self.config.face))
        return unit_norm(cast(Array, described))

    def mean_description(
        self, params: Params, faces: UInt8[Array, "b k y x 3"], valid: Bool[Array, "b k"]
    ) -> Float[Array, "b e"]:
        """Returns the mean description, of unit length, of each person's `valid` photos."""
        b, k = faces.shape[:2]
        each = self.describe_faces(params, faces.reshape(b * k, *faces.shape[2:])).reshape(b, k, -1)
        return mean_of_descriptions(each, valid)

    def tokens(self, params: Params, descriptions: Float[Array, "b e"]) -> Float[Array, "b 1 w"]:
        """Returns the token embedding of each face."""
        return cast(Array, self.adaptor.apply({"params": params["adaptor"]}, descriptions))[:, None, :]

    def unknown_words(self, key: jax.Array, count: int) -> Float[Array, "b 1 w"]:
        """Returns random token embeddings, as CLIP's are at initialisation: names that carry no information."""
        text = self.config.clip.text
        return nn.initializers.truncated_normal(text.init_std)(key, (count, 1, text.width))

    def embed_texts(
        self, params: Params, ids: Int[Array, "b l"], tokens: Float[Array, "b c w"], slots: Int[Array, "b l"]
    ) -> Float[Array, "b p"]:
        """Returns the embeddings, of unit length, of queries with token embeddings at the given slots."""
        return self._apply_clip(params["clip"], Clip.embed_texts, ids, tokens, slots)

    def embed_texts_zero_shot(self, params: Params, ids: Int[Array, "b l"]) -> Float[Array, "b p"]:
        """Returns the embeddings, of unit length, by the text tower before training; it takes no faces."""
        return self._apply_clip({**params["clip"], **params["original"]}, Clip.embed_texts, ids)

    def embed_images(self, params: Params, images: UInt8[Array, "b y x 3"]) -> Float[Array, "b p"]:
        """Returns the embeddings, of unit length, of RGB images of CLIP's size."""
        return self._apply_clip(params["clip"], Clip.embed_images, normalise(images))

    def embed_clips(self, params: Params, frames: UInt8[Array, "b t y x 3"]) -> Float[Array, "b p"]:
        """Returns the mean, of unit length, of the embeddings of each clip's frames (§4.3.1)."""
        b, t = frames.shape[:2]
        each = self.embed_images(params, frames.reshape(b * t, *frames.shape[2:]))
        return unit_norm(each.reshape(b, t, -1).mean(axis=1))


def mean_of_descriptions(each: Float[Array, "b k e"], valid: Bool[Array, "b k"]) -> Float[Array, "b e"]:
    """Returns the mean, of unit length, of the valid descriptions of each row."""
    weight = valid.astype(jnp.float32)[..., None]
    return unit_norm((each * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1.0))
