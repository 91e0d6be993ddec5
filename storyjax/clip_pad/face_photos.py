"""From the photos of a person to the mean description of the face; shared by all face encoders."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.clip_pad.detect import LOOSE, Detector, loose_crop, pick_face
from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.search.protocol import Notes, PhotoError, PhotoNote

SMALLEST = 8  # pixels: smaller faces cannot be distinguished


def mean_description(
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    as_face: Callable[[UInt8[np.ndarray, "y x 3"]], UInt8[np.ndarray, "s s 3"]],
    describe: Callable[[UInt8[np.ndarray, "n s s 3"]], Float32[np.ndarray, "n e"]],
    detector: Detector | None,
    pick: str,
    progress: Callable[[int, int], None] | None = None,
    notes: Notes | None = None,
    loose: float = LOOSE,
) -> Float32[np.ndarray, " e"]:
    """Returns the mean description, of unit length, of a person's photos (§4.3.1); arguments and errors as of
    `each_description`."""
    each, _ = each_description(photos, as_face, describe, detector, pick, progress, notes, loose)
    return unit_norm(each.mean(axis=0), axis=None)


def each_description(
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    as_face: Callable[[UInt8[np.ndarray, "y x 3"]], UInt8[np.ndarray, "s s 3"]],
    describe: Callable[[UInt8[np.ndarray, "n s s 3"]], Float32[np.ndarray, "n e"]],
    detector: Detector | None,
    pick: str,
    progress: Callable[[int, int], None] | None = None,
    notes: Notes | None = None,
    loose: float = LOOSE,
) -> tuple[Float32[np.ndarray, "n e"], list[int]]:
    """Returns the descriptions of the faces in a person's photos, and the numbers of the photos that could be used.

    Args:
        photos: RGB, of any size, of the person.
        as_face: a loose crop -> what the face encoder takes.
        describe: the face encoder.
        detector: finds the faces; None takes each photo as the loose crop of one face.
        pick: which face of a photo with several is meant, as of `detect.pick_face`.
        progress: called with (photos done, of how many).
        notes: called with what there is to say of single photos; those that cannot be used are then left out.
        loose: how much the boxes of faces are enlarged.

    Raises:
        PhotoError: a photo, or with `notes` every photo, cannot be used: too small, or without a face.
        StoryjaxError: there are no photos.
    """
    if not len(photos):
        raise StoryjaxError("give at least one photo of the person's face")
    faces, used, unusable = [], [], []
    for index, photo in enumerate(photos):
        try:
            faces.append(as_face(_crop(index, np.asarray(photo), detector, pick, notes, loose)))
            used.append(index)
        except PhotoError as error:
            if notes is None:
                raise
            unusable.append(error)
            notes(PhotoNote(index, error.reason, left_out=True))
        if progress is not None:
            progress(index + 1, len(photos))
    if not faces:
        raise unusable[0]
    return describe(np.stack(faces)), used


def _crop(
    index: int, photo: np.ndarray, detector: Detector | None, pick: str, notes: Notes | None, loose: float
) -> np.ndarray:
    """The loose crop of the face in a photo."""
    height, width = photo.shape[:2]
    if min(height, width) < SMALLEST:
        raise PhotoError(index, f"has {width} × {height} pixels: too small to show a face")
    if detector is None:
        return photo
    boxes = list(detector(photo))
    if not boxes:
        raise PhotoError(index, "shows no face that can be found: choose another, or crop it to the face")
    try:
        box, which = pick_face(boxes, pick)
    except StoryjaxError as error:
        raise PhotoError(index, str(error)) from error
    crop = loose_crop(photo, box, loose)
    if min(crop.shape[:2]) < SMALLEST:
        raise PhotoError(index, "shows a face too small to recognise: choose a closer one")
    if len(boxes) > 1 and notes is not None:
        notes(PhotoNote(index, f"shows {len(boxes)} faces: {which} is taken (--pick chooses)"))
    return crop
