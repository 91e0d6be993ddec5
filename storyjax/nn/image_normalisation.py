"""From stored pixels to the input of a vision encoder."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

# Of the CLIP family (OpenAI CLIP, EVA-CLIP, BLIP-2), per channel, on pixels scaled to 0..1.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# Of SigLIP: pixels from -1 to 1.
SIGLIP_MEAN = SIGLIP_STD = (0.5, 0.5, 0.5)


def normalise(
    images: UInt8[Array, "*b y x 3"],
    dtype: DTypeLike = jnp.float32,
    mean: tuple[float, float, float] = CLIP_MEAN,
    std: tuple[float, float, float] = CLIP_STD,
) -> Float[Array, "*b y x 3"]:
    """Returns pixels 0..255 less `mean` and over `std`, which are of pixels 0..1; by default CLIP's.

    It runs on the device, so that the host sends one byte per value.
    """
    row = (1,) * (images.ndim - 1) + (3,)
    centre, scale = jnp.asarray(mean, jnp.float32).reshape(row), jnp.asarray(std, jnp.float32).reshape(row)
    # float32 first: bfloat16 cannot hold all of 0..255 once scaled and shifted.
    return ((images.astype(jnp.float32) / 255.0 - centre) / scale).astype(dtype)
