"""CLIP with a word for a face: face encoder, adaptor, and CLIP's two towers (thesis §4.3, Fig. 4.1)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt8

from storyjax.models.clip import CLIP_VIT_B32, Clip, ClipConfig, unit_norm
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
    """The two-layer perceptron that makes a word of a face."""

    hidden: int
    width: int
    scale: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, faces: Float[Array, "b e"]) -> Float[Array, "b w"]:
        """Descriptions of faces, of unit length, to token embeddings; they start about as long as those of words."""
        h = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(faces.astype(self.dtype)))
        init = nn.initializers.variance_scaling(self.scale**2 * self.width, "fan_in", "normal")
        return nn.Dense(self.width, kernel_init=init, dtype=self.dtype, name="out")(h).astype(jnp.float32)


class ClipPad:
    """CLIP-PAD's parts, as pure functions of a tree {"clip", "face", "adaptor", "original"}.

    "original" is the text tower as it was before training: zero-shot CLIP, which every table compares with.
    """

    def __init__(self, config: PadConfig, dtype: DTypeLike = jnp.float32):
        self.config = config
        self.clip = Clip(config.clip, dtype=dtype)
        self.face = SEResNet(config.face, dtype=dtype)
        text = config.clip.text
        # 1 / sqrt(width): the embeddings' own deviation in published CLIP and in ours is near init_std.
        self.adaptor = Adaptor(config.adaptor_width, text.width, text.init_std, dtype)

    def init(self, key: jax.Array) -> Params:
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

    def scale(self, params: Params) -> Float[Array, ""]:
        """The inverse temperature."""
        return jnp.exp(params["clip"]["logit_scale"].astype(jnp.float32))

    def describe_faces(self, params: Params, faces: UInt8[Array, "b y x 3"]) -> Float[Array, "b e"]:
        """Descriptions of loose crops, of unit length."""
        return unit_norm(self.face.apply({"params": params["face"]}, centre(faces, self.config.face)))

    def mean_description(
        self, params: Params, faces: UInt8[Array, "b k y x 3"], valid: Bool[Array, "b k"]
    ) -> Float[Array, "b e"]:
        """The mean description of each person's photos: several photos of one person make one query."""
        b, k = faces.shape[:2]
        each = self.describe_faces(params, faces.reshape(b * k, *faces.shape[2:])).reshape(b, k, -1)
        return mean_of_descriptions(each, valid)

    def tokens(self, params: Params, descriptions: Float[Array, "b e"]) -> Float[Array, "b 1 w"]:
        """The word of each face."""
        return self.adaptor.apply({"params": params["adaptor"]}, descriptions)[:, None, :]

    def unknown_words(self, key: jax.Array, count: int) -> Float[Array, "b 1 w"]:
        """Token embeddings as words have before anything is learnt of them: names that tell the model nothing."""
        text = self.config.clip.text
        return nn.initializers.truncated_normal(text.init_std)(key, (count, 1, text.width))

    def embed_texts(
        self, params: Params, ids: Int[Array, "b l"], tokens: Float[Array, "b c w"], slots: Int[Array, "b l"]
    ) -> Float[Array, "b p"]:
        """Embeddings of queries in which tokens stand where `slots` says."""
        return self.clip.apply({"params": params["clip"]}, ids, tokens, slots, method=Clip.embed_texts)

    def embed_texts_zero_shot(self, params: Params, ids: Int[Array, "b l"]) -> Float[Array, "b p"]:
        """The same by the text tower as it was; it knows no faces."""
        return self.clip.apply({"params": {**params["clip"], **params["original"]}}, ids, method=Clip.embed_texts)

    def embed_images(self, params: Params, images: UInt8[Array, "b y x 3"]) -> Float[Array, "b p"]:
        return self.clip.apply({"params": params["clip"]}, normalise(images), method=Clip.embed_images)

    def embed_clips(self, params: Params, frames: UInt8[Array, "b t y x 3"]) -> Float[Array, "b p"]:
        """The mean of the embeddings of a clip's frames, of unit length (§4.3.1); a picture is a clip of one frame."""
        b, t = frames.shape[:2]
        each = self.embed_images(params, frames.reshape(b * t, *frames.shape[2:]))
        return unit_norm(each.reshape(b, t, -1).mean(axis=1))


def mean_of_descriptions(each: Float[Array, "b k e"], valid: Bool[Array, "b k"]) -> Float[Array, "b e"]:
    """The mean, of unit length, of those descriptions that are there."""
    weight = valid.astype(jnp.float32)[..., None]
    return unit_norm((each * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1.0))
