"""Face detection, for photos that are no loose crops of one face."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError

Box = tuple[float, float, float, float]
_LONGER_SIDE = 480  # pixels: photos are reduced to this size
_SMALLEST_FACE = 40  # pixels at that size


class FrontalFaces:
    """Faces that look at the camera, by the cascade of local binary patterns that comes with scikit-image (BSD).

    It is small and runs on any CPU; it misses faces in profile, very dark ones and those under 40 pixels. Needs the
    extra `faces`: pip install "storyjax[faces]".

    Raises:
        StoryjaxError: scikit-image is not installed.
    """

    def __init__(self) -> None:
        try:
            import skimage  # noqa: F401
        except ImportError as error:
            raise StoryjaxError(
                'finding faces needs scikit-image: pip install "storyjax[faces]", or crop the photos to the face'
            ) from error

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


DETECTORS = {"frontal_faces": FrontalFaces}
