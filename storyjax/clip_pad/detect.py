"""Finding faces in photos that are no loose crops of one face, and cutting loose crops out.

A config names a detector (`config.data.detector`), and `--face-detector` or the environment variable
STORYJAX_FACE_DETECTOR another; `find_detector` makes it.
"""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell
from storyjax.models.centerface import INSTALL, CenterFace, packaged_file

Box = tuple[float, float, float, float]
VARIABLE = "STORYJAX_FACE_DETECTOR"
_LONGER_SIDE = 480  # pixels: the cascade gets photos reduced to this size
_SMALLEST_FACE = 40  # pixels at that size


@runtime_checkable
class Detector(Protocol):
    """Finds faces."""

    def __call__(self, photo: UInt8[np.ndarray, "y x 3"]) -> Sequence[Box]:
        """Returns the faces' boxes: left, top, right, bottom in pixels, the most certain first."""
        ...


# VGGFace2's networks see MTCNN's box extended by 0.3, "to include the whole head", except beyond the image (vgg_face2's
# README, "Pre-processing"); the photos of its data set are looser, 1.0, and `config.data.face_loose` cuts them so.
LOOSE = 0.3


class AnyFaces:
    """Faces from 20 pixels, in profile and tilted ones too, by CenterFace (MIT).

    Needs the extra `centerface` (pip install "storyjax[centerface]"), or onnxruntime and the path of the network's ONNX
    file.

    Args:
        path: that file; None for the one that the extra brings.

    Raises:
        StoryjaxError: onnxruntime or the file is missing, or the file is of another network.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.network = CenterFace(path)

    def __call__(self, photo: UInt8[np.ndarray, "y x 3"]) -> Sequence[Box]:
        """Returns boxes around the faces (left, top, right, bottom in pixels), the most certain first."""
        return [face.box for face in self.network(photo)]


class FrontalFaces:
    """Faces that look at the camera, by the cascade of local binary patterns that comes with scikit-image (BSD).

    It is small and runs on any CPU; it misses faces in profile, very dark ones and those under a twelfth of the photo's
    longer side. Needs the extra `faces`: pip install "storyjax[faces]".

    Raises:
        StoryjaxError: scikit-image is not installed.
    """

    def __init__(self) -> None:
        try:
            import skimage  # noqa: F401
        except ImportError as error:
            raise StoryjaxError(f"finding faces needs a detector: {INSTALL}, or crop the photos to the face") from error

    @cached_property
    def _cascade(self) -> Any:
        from skimage import data
        from skimage.feature import Cascade

        return Cascade(data.lbp_frontal_face_cascade_filename())

    def __call__(self, photo: UInt8[np.ndarray, "y x 3"]) -> Sequence[Box]:
        """Returns boxes around the faces (left, top, right, bottom in pixels), the largest first."""
        scale = min(1.0, _LONGER_SIDE / max(photo.shape[:2]))
        width, height = (max(1, round(side * scale)) for side in (photo.shape[1], photo.shape[0]))
        if min(width, height) < _SMALLEST_FACE:
            return []
        small = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BOX))
        side = min(width, height)
        found = self._cascade.detect_multi_scale(
            img=small, scale_factor=1.2, step_ratio=1, min_size=(_SMALLEST_FACE,) * 2, max_size=(side, side)
        )
        boxes = [(f["c"], f["r"], f["c"] + f["width"], f["r"] + f["height"]) for f in found]
        boxes.sort(key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))
        return [
            (float(x1 / scale), float(y1 / scale), float(x2 / scale), float(y2 / scale)) for x1, y1, x2, y2 in boxes
        ]


def best_detector() -> Detector:
    """Returns CenterFace where it is installed, else the cascade, which is said once.

    Raises:
        StoryjaxError: neither is installed.
    """
    if packaged_file() is not None:
        try:
            return AnyFaces()
        except StoryjaxError as error:  # onnxruntime is missing, or the package has another file
            reason = str(error)
    else:
        reason = f"CenterFace is not installed ({INSTALL})"
    cascade = FrontalFaces()
    tell(f"{reason}: faces are found by a small detector, which misses small and turned ones", key="face detector")
    return cascade


DETECTORS: dict[str, Callable[[], Detector | None]] = {
    "best": best_detector,
    "centerface": AnyFaces,
    "frontal_faces": FrontalFaces,
    "none": lambda: None,
}


def find_detector(given: str | None, configured: str | None, where: str) -> Detector | None:
    """Returns the detector of a model, or None where its photos are taken as loose crops.

    Args:
        given: on the command line: a name of `DETECTORS` or the path of CenterFace's ONNX file; None for what the
            config says.
        configured: the name in the model's config; None: none. The environment variable STORYJAX_FACE_DETECTOR takes
            its place unless it is None.
        where: the config, for messages.

    Raises:
        StoryjaxError: no such detector or file, or it is not installed.
    """
    variable = os.environ.get(VARIABLE) if configured is not None else None
    if name := given or variable:
        if name in DETECTORS:
            return DETECTORS[name]()
        flag = "--face-detector" if given else VARIABLE
        if not Path(name).is_file():
            raise StoryjaxError(f"{flag} {name} is no file: give CenterFace's ONNX file, or one of {_names()}")
        return AnyFaces(name)
    return None if configured is None else DETECTORS[choose(configured, DETECTORS, where)]()


def _names() -> str:
    return ", ".join(DETECTORS)


def loose_crop(photo: UInt8[np.ndarray, "y x 3"], box: Box, loose: float = LOOSE) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns what is in a face's box and around it, as far as the photo goes; the aspect ratio is the box's.

    Args:
        photo: RGB.
        box: left, top, right, bottom in pixels.
        loose: how much the box is enlarged, as a fraction of its width and height, half of it on each side.
    """
    height, width = photo.shape[:2]
    left, top, right, bottom = box
    grow_x, grow_y = loose * (right - left) / 2, loose * (bottom - top) / 2
    # Boxes of data sets may lie outside: the end of a slice must not be negative.
    columns = slice(max(0, round(left - grow_x)), max(0, min(width, round(right + grow_x))))
    rows = slice(max(0, round(top - grow_y)), max(0, min(height, round(bottom + grow_y))))
    return photo[rows, columns]


def pick_face(boxes: Sequence[Box], pick: str = "largest") -> tuple[Box, str]:
    """Returns one of the faces in a photo, and in words which one it is ("the largest", "the 2nd from the left").

    Args:
        boxes: at least one.
        pick: "largest", "left", "middle", "right", or a number, counted from the left, from 1.

    Raises:
        StoryjaxError: there are fewer faces than that; the message begins with a verb, for after the photo's name.
    """
    by_place = sorted(boxes, key=lambda box: box[0] + box[2])
    if pick == "largest":
        return max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])), "the largest"
    if pick in _PLACES:
        return by_place[round(_PLACES[pick] * (len(boxes) - 1))], f"the {_PLACE_WORDS.get(pick, pick)}"
    number = int(pick)
    if number > len(boxes):
        raise StoryjaxError(f"shows {len(boxes)} face{'s' * (len(boxes) > 1)}, so there is no face {number}")
    return by_place[number - 1], f"face {number} from the left"


_PLACES = {"left": 0.0, "middle": 0.5, "right": 1.0}
_PLACE_WORDS = {"left": "leftmost", "right": "rightmost"}


def check_pick(pick: str) -> str:
    """Returns `pick` if `pick_face` takes it. Raises StoryjaxError."""
    if pick in ("largest", *_PLACES) or (pick.isascii() and pick.isdigit() and int(pick) >= 1):
        return pick
    raise StoryjaxError(f"--pick is {pick!r}: give largest, left, middle, right, or a number from 1, from the left")
