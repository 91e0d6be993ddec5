"""Images of a fixed size in which the picture keeps its aspect ratio: the rest is padding, to the right and below.

Boxes are always fractions of the picture, never of the padding. The padding is masked in all attention
(models/deformable_detr.py). Images that fill their size, as all do that are stretched to it, have no mask at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Int32, UInt8
from PIL import Image

# Sides of padded frames of a sequence are multiples of this: the coarsest level of the pyramid has a pixel of so many.
STEP = 64

Window = tuple[float, float, float, float]
WHOLE: Window = (0.0, 0.0, 1.0, 1.0)


@struct.dataclass
class PaddedImages:
    """Images with padding.

    Attributes:
        pixels: (b, y, x, 3) uint8.
        extent: (b, 2) int32, height and width of each picture, which begins at the upper left.
    """

    pixels: Any
    extent: Any

    @property
    def mask(self) -> Bool[Array, "b y x"]:
        """Returns where there is no padding."""
        height, width = self.pixels.shape[1:3]
        rows = jnp.arange(height)[None] < self.extent[:, 0, None]
        columns = jnp.arange(width)[None] < self.extent[:, 1, None]
        return rows[:, :, None] & columns[:, None, :]


@dataclass(frozen=True)
class Fit:
    """How a picture is made to fit into an image without changing its aspect ratio.

    Attributes:
        shorter: what its shorter side becomes, in pixels; DETR's 800 (Carion et al. 2020).
        longer: what its longer side has at most; the shorter one is then shorter.
    """

    shorter: int
    longer: int

    def size(self, height: float, width: float, most: tuple[int, int]) -> tuple[int, int]:
        """Returns the height and width of a picture of that size, at most those of the image that it goes into."""
        sides = sorted((height, width))
        scale = min(self.shorter / sides[0], self.longer / sides[1], most[0] / height, most[1] / width)
        return min(max(1, round(height * scale)), most[0]), min(max(1, round(width * scale)), most[1])


def crop(pixels: UInt8[np.ndarray, "y x 3"], window: Window, size: tuple[int, int]) -> UInt8[np.ndarray, "v u 3"]:
    """Returns a window of an image (left, top, right, bottom as fractions of it), resized to `size` (height, width)."""
    height, width = pixels.shape[:2]
    if window == WHOLE and (height, width) == size:
        return pixels
    left, top, right, bottom = window
    box = (left * width, top * height, right * width, bottom * height)
    resized = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)


def fitted(image: UInt8[np.ndarray, "y x 3"], fit: Fit, most: tuple[int, int]) -> PaddedImages:
    """Returns an image resized to fit, as a batch of one, padded to the next multiples of STEP, at most to `most`
    (height, width): one shape for the frames of a sequence."""
    picture = np.asarray(crop(image, WHOLE, fit.size(image.shape[0], image.shape[1], most)))
    height, width = (min(stepped(side), limit) for side, limit in zip(picture.shape, most, strict=False))
    return PaddedImages(padded(picture, (height, width))[None], extent_of(picture)[None])


def stepped(side: int) -> int:
    """Returns the next multiple of STEP."""
    return -(-side // STEP) * STEP


def padded(picture: UInt8[np.ndarray, "v u 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "y x 3"]:
    """Returns an image of `size` (height, width) with the picture at its upper left and black elsewhere."""
    if picture.shape[:2] == size:
        return picture
    image = np.zeros((*size, 3), np.uint8)
    image[: picture.shape[0], : picture.shape[1]] = picture
    return image


def images_of(batch: Mapping[str, Any], view: int) -> Any:
    """Returns the images of a batch's view 0 or 1: with their extents where there is padding."""
    pixels = batch[f"images{view}"]
    return PaddedImages(pixels, batch[f"extent{view}"]) if f"extent{view}" in batch else pixels


def picture_size(batch: Mapping[str, Any], view: int, row: int) -> tuple[int, int]:
    """Returns height and width of one picture of a batch, without padding."""
    if f"extent{view}" in batch:
        height, width = np.asarray(batch[f"extent{view}"][row])
        return int(height), int(width)
    height, width = batch[f"images{view}"].shape[1:3]
    return height, width


def extent_of(picture: UInt8[np.ndarray, "v u 3"]) -> Int32[np.ndarray, "2"]:
    """Returns height and width of a picture, as batches have them."""
    return np.array(picture.shape[:2], np.int32)
