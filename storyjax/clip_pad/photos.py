"""Reading the photos of people in a data set: as loose crops, and as the face encoder sees them (§4.3.1)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from storyjax.clip_pad.detect import loose_crop
from storyjax.data.images import decode_image


def read_photo(record: Mapping[str, Any]) -> UInt8[np.ndarray, "y x 3"]:
    """Returns the photo of a record, cropped to its loose crop where the data set has not done so already.

    Raises:
        StoryjaxError: the image cannot be decoded.
    """
    return _loose(decode_image(record["media"], record["path"]), record)


def read_face(record: Mapping[str, Any], loose: float | None) -> UInt8[np.ndarray, "y x 3"]:
    """Returns the face of a record with some of what is around it.

    Args:
        record: of a data set of people.
        loose: how much the record's box of the face is enlarged, as of `detect.loose_crop`, which also cuts the faces
            of people who are enrolled; None, or no box: what `read_photo` returns.

    Raises:
        StoryjaxError: the image cannot be decoded.
    """
    image = decode_image(record["media"], record["path"])
    if loose is None or not record.get("box"):
        return _loose(image, record)
    left, top, right, bottom = (float(number) for number in record["box"].split())
    crop = loose_crop(image, (left, top, right, bottom), loose)
    return crop if min(crop.shape[:2]) > 1 else _loose(image, record)


def _loose(image: UInt8[np.ndarray, "y x 3"], record: Mapping[str, Any]) -> UInt8[np.ndarray, "_ _ 3"]:
    """What the record's crop cuts from its image; the image where there is none, or nothing in it."""
    if not record.get("crop"):
        return image
    left, top, right, bottom = (round(float(number)) for number in record["crop"].split())
    height, width = image.shape[:2]
    left, right = (int(np.clip(v, 0, width)) for v in (left, right))
    top, bottom = (int(np.clip(v, 0, height)) for v in (top, bottom))
    return image[top:bottom, left:right] if right - left > 1 and bottom - top > 1 else image
