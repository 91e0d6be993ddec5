"""Photographs from files, as people's phones, cameras and scanners leave them: always upright 8-bit RGB.

Cameras note the turn of a photo in EXIF; printers' files are CMYK; scanners give 12 or 16 bits, other programs
fractions; cuttings are transparent; animations have many images, of which the first counts. A file that is cut short is
refused, never filled with grey; one of 200 megapixels is scaled down.
"""

import functools
import importlib.util
import io
import math
import os
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError

# What a folder of photos may hold; other files in it are no photos.
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".jfif", ".jpe", ".mpo", ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".apng", ".dib"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
# Larger photos are scaled down by a whole number.
MAX_PIXELS = 150_000_000
# A file of a few kilobytes can unfold into gigabytes: what cannot be decoded smaller than this is refused. (Pillow
# takes four bytes a pixel.)
_MOST_DECODED = 300_000_000
_BITS_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_MAX_SAMPLE_VALUE = 281  # of TIFF's tags
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_OPENING = threading.Lock()


class ImageError(StoryjaxError):
    """An image file that cannot be used: missing, empty, not an image, cut short or larger than any photograph."""


def read_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "y x 3"]:
    """Returns the image in a file as upright RGB, transparency laid on white, the first image of an animation.

    Raises ImageError, in one line that names the file.
    """
    path = place(path)
    if isinstance(path, BucketPath):
        try:
            return decode_image(path.read_bytes(), str(path))
        except OSError as error:
            raise ImageError(f"{path} cannot be read ({error.strerror}): check the path") from error
    return _checked(path, str(path))


def decode_image(data: bytes, name: str) -> UInt8[np.ndarray, "y x 3"]:
    """As `read_image`, of an encoded image in memory; `name` stands for it in errors."""
    return _checked(io.BytesIO(data), name)


Area = tuple[tuple[int, int], tuple[int, int, int, int]]
# Images of a more extreme shape are squashed to it before a square is cut out, so that memory is bounded.
_MOST_ASPECT = 32


def square_area(own: tuple[int, int], size: int, keep_aspect: bool, shorter: int | None = None) -> Area:
    """Returns how an image becomes a square: (width, height) that it is resized to, and left, top, right, bottom of
    what is then cut out, all in pixels.

    Args:
        own: width and height of the image.
        size: side of the square.
        keep_aspect: whether the square is the central one, as most published networks take theirs, or the whole image
            without its aspect ratio.
        shorter: what the shorter side is resized to where the aspect ratio is kept; None: `size`, as CLIP does.
            VGGFace2's networks take the central 224 pixels of 256.
    """
    if not keep_aspect:
        return (size, size), (0, 0, size, size)
    shorter = size if shorter is None else shorter
    # The longer side is rounded down, as by transformers' and torchvision's resizing.
    width, height = (min(max(shorter, side * shorter // min(own)), _MOST_ASPECT * shorter) for side in own)
    left, top = (width - size) // 2, (height - size) // 2
    return (width, height), (left, top, left + size, top + size)


def whole_area(own: tuple[int, int], shorter: int) -> Area:
    """Returns, as `square_area` does, how an image keeps its aspect ratio and all that it shows.

    Args:
        own: width and height of the image.
        shorter: what the shorter side is resized to; the longer one is rounded.
    """
    width, height = (min(max(shorter, round(side * shorter / min(own))), _MOST_ASPECT * shorter) for side in own)
    return (width, height), (0, 0, width, height)


@dataclass(frozen=True)
class Square:
    """Makes squares of images, as a network takes them (bicubic); fields as of `square_area`."""

    size: int
    keep_aspect: bool
    shorter: int | None = None

    def __call__(self, image: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """Returns the square of an RGB image."""
        height, width = image.shape[:2]
        (wide, high), cut = square_area((width, height), self.size, self.keep_aspect, self.shorter)
        # What is cut away is not made: resized as a whole, a strip of one pixel would fill the memory.
        box = (cut[0] * width / wide, cut[1] * height / high, cut[2] * width / wide, cut[3] * height / high)
        return np.asarray(Image.fromarray(image).resize((self.size,) * 2, Image.Resampling.BICUBIC, box=box))


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
        if _is_heif(source):
            raise ImageError(
                f"{name} is a HEIC photo, which needs pillow-heif: pip install 'storyjax[heif]'"
            ) from error
        empty = not (source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes)
        what = "is empty (0 bytes)" if empty else "is not an image that can be read"
        raise ImageError(f"{name} {what}: copy or export it again") from error
    except OSError as error:
        if error.errno is not None:  # the system's own: no such file, permission denied
            raise ImageError(f"{name} cannot be read ({error.strerror}): check the path") from error
        raise ImageError(f"{name} is damaged or was cut short: copy or download it again") from error
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than there is: make it smaller") from error
    except (SyntaxError, ValueError, EOFError, IndexError, OverflowError) as error:  # what decoders make of damage
        raise ImageError(f"{name} is damaged: copy or export it again") from error


def _read(source: Path | io.BytesIO, name: str) -> Image.Image:
    with _open(source) as image:
        factor = math.ceil(math.sqrt(image.width * image.height / MAX_PIXELS))
        if factor > 1:  # a JPEG is decoded smaller at once
            image.draft(None, (image.width // factor, image.height // factor))
        if image.width * image.height > _MOST_DECODED:
            raise ImageError(f"{name} has {image.width} × {image.height} pixels: make it smaller")
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        full_scale = _full_scale(image)
        if image.width * image.height > MAX_PIXELS:
            image = _reduced(image, factor)
        return _rgb(image if turn is None else image.transpose(turn), full_scale)


def _open(source: Path | io.BytesIO) -> Image.Image:
    """The image, its pixels not yet read. Pillow's own limit is lower than what cameras of 200 megapixels give."""
    try:
        with _OPENING:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(source)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError:
        if not (_is_heif(source) and reads_heif()):
            raise
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return Image.open(source)


@functools.cache
def reads_heif() -> bool:
    """Returns whether HEIC photos can be read (the extra `heif`); Pillow can from then on."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def _is_heif(source: Path | io.BytesIO) -> bool:
    if isinstance(source, Path):
        with open(source, "rb") as file:
            head = file.read(12)
    else:
        head = bytes(source.getbuffer()[:12])
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF data that no one can read say nothing about turning
        return 1


def _full_scale(image: Image.Image) -> float:
    """The value that is white in an image whose numbers do not say it by their type: 16 bits hold scans of 12, and
    fractions are of 1 or of 255."""
    if image.mode != "F" and image.mode != "I" and image.mode not in _BITS_16:
        return 255.0
    declared = getattr(image, "tag_v2", {}).get(_MAX_SAMPLE_VALUE)
    if isinstance(declared, tuple):
        declared = declared[0]
    values = np.asarray(image)
    highest = float(np.max(values, where=np.isfinite(values), initial=0.0))
    if image.mode != "F" and isinstance(declared, int) and highest <= declared:
        return float(declared)
    steps = (1.0, 255.0, 4095.0, 65535.0) if image.mode == "F" else (255.0, 4095.0, 65535.0)
    return next((step for step in steps if highest <= step), 65535.0)


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """The image at 1/`factor` of its size: averaged, or where its numbers are no colours, every so manieth pixel."""
    if image.mode in ("L", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "F", "I"):
        return image.reduce(factor)
    return image.resize((image.width // factor, image.height // factor), Image.Resampling.NEAREST)


def _rgb(image: Image.Image, full_scale: float) -> Image.Image:
    if image.mode in (*_BITS_16, "I", "F"):
        values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=full_scale, neginf=0.0)
        scaled = values.clip(0, full_scale) * (255 / full_scale)
        return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
