"""Photographs from files, as people's phones, cameras and scanners leave them: always upright 8-bit RGB.

Cameras note the turn of a photo in EXIF; printers' files are CMYK; scanners give 16 bits; cuttings are transparent;
animations have many images, of which the first counts. A file that is cut short is refused, never filled with grey.
"""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from storyjax.core.errors import StoryjaxError

# What a folder of photos may hold; other files in it are no photos.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# A file of a few kilobytes can unfold into gigabytes: more pixels than any camera's are refused.
MAX_PIXELS = 150_000_000
_BITS_16 = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageError(StoryjaxError):
    """An image file that cannot be used: missing, empty, not an image, cut short or larger than any photograph."""


def read_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "y x 3"]:
    """Returns the image in a file as upright RGB, transparency laid on white, the first image of an animation.

    Raises ImageError, in one line that names the file.
    """
    return _checked(Path(path), str(path))


def decode_image(data: bytes, name: str) -> UInt8[np.ndarray, "y x 3"]:
    """As `read_image`, of an encoded image in memory; `name` stands for it in errors."""
    return _checked(io.BytesIO(data), name)


def _checked(source: Path | io.BytesIO, name: str) -> UInt8[np.ndarray, "y x 3"]:
    try:
        # Oddities in a photo's metadata are warned of by the decoder and mean nothing to its pixels.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(_read(source, name))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has more pixels than any photograph: make it smaller") from error
    except UnidentifiedImageError as error:
        empty = not (source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes)
        what = "is empty (0 bytes)" if empty else "is not an image that can be read"
        raise ImageError(f"{name} {what}: copy or export it again") from error
    except OSError as error:
        if error.errno is not None:  # the system's own: no such file, permission denied
            raise ImageError(f"{name} cannot be read ({error.strerror}): check the path") from error
        raise ImageError(f"{name} is damaged or was cut short: copy or download it again") from error
    except (SyntaxError, ValueError, EOFError, IndexError, OverflowError) as error:  # what decoders make of damage
        raise ImageError(f"{name} is damaged: copy or export it again") from error


def _read(source: Path | io.BytesIO, name: str) -> Image.Image:
    with Image.open(source) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{name} has {image.width} × {image.height} pixels: make it smaller")
        image.load()
        return _rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF data that no one can read say nothing about turning
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _BITS_16 or image.mode == "I":
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray((values.clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=255.0, neginf=0.0)
        return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
