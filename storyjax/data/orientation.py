"""Images as a video is shown: turned and mirrored by its display matrix, stretched by the shape of its pixels."""

import struct
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

# What differs less from a square pixel is rounding, what differs more a mistake.
_NEARLY_SQUARE, _STRANGEST = Fraction(101, 100), 5
# (whether x and y are exchanged, then mirrored left to right, then upside down)
Turn = tuple[bool, bool, bool]


def turn_of(frame: av.VideoFrame) -> Turn:
    """Returns how a frame is turned and mirrored for showing: its display matrix, to the nearest right angle.

    The matrix (ISO/IEC 14496-12 §8.3.2) takes a stored point (x, y) to (a x + c y, b x + d y).
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData) or matrix.buffer_size < 36:
        return False, False, False
    a, b, _, c, d = struct.unpack("5i", bytes(matrix)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def stretched(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Returns the size, in square pixels, of an image whose pixels have this aspect ratio (width / height).

    The shorter direction is enlarged, so that nothing is lost.

    >>> stretched(720, 576, Fraction(64, 45)), stretched(720, 480, Fraction(8, 9)), stretched(9, 9, None)
    ((1024, 576), (720, 540), (9, 9))
    """
    if not aspect or aspect <= 0 or not 1 / _STRANGEST <= aspect <= _STRANGEST:
        return width, height
    if aspect > _NEARLY_SQUARE:
        return max(1, round(width * aspect)), height
    if 1 / aspect > _NEARLY_SQUARE:
        return width, max(1, round(height / aspect))
    return width, height


def displayed_size(frame: av.VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
    """Returns width and height of a frame as shown, in square pixels."""
    width, height = stretched(frame.width, frame.height, aspect)
    return (height, width) if turn_of(frame)[0] else (width, height)


def to_rgb(
    frame: av.VideoFrame, size: tuple[int, int], reformatter: VideoReformatter | None = None
) -> UInt8[np.ndarray, "y x 3"]:
    """Returns a frame as shown, upright RGB of `size` (width, height), resized bicubically where it has another."""
    exchanged, mirrored, upside_down = turn_of(frame)
    width, height = size[::-1] if exchanged else size
    maker = reformatter or VideoReformatter()
    image = maker.reformat(frame, width, height, "rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
    if exchanged:
        image = image.swapaxes(0, 1)
    return image[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def area_of(
    frame: av.VideoFrame,
    area: tuple[tuple[int, int], tuple[int, int, int, int]],
    reformatter: VideoReformatter | None = None,
) -> UInt8[np.ndarray, "y x 3"]:
    """Returns a part of a frame as shown, upright RGB; `area` is a result of `images.square_area`."""
    size, (left, top, right, bottom) = area
    return to_rgb(frame, size, reformatter)[top:bottom, left:right]
