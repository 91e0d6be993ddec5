"""The most certain object of a class in an image, by a published Deformable DETR: `ClassDetector`."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.notes import tell
from storyjax.mqt.detector_tracker import SHORTER, DetectorTracker, class_names
from storyjax.mqt.linking import LinkOptions
from storyjax.weights.pretrained import Pretrained

_LEAST = 0.3  # probability of a box


class ClassDetector:
    """Finds one object in an image; a `storyjax.pi_map.localise.Detector`.

    Args:
        folder: of a Deformable DETR, as downloaded or as `storyjax import` writes it; its weights are read when they
            are first needed.
        label: the class to look for; None: the category that `detect` gets where it is a class, else all classes.

    Raises:
        StoryjaxError: nothing usable is there, or there is no such class.
    """

    def __init__(self, folder: str, label: str | None = None):
        names = class_names(Path(folder), Pretrained(folder).architecture("detector").classes)
        self.folder, self.label, self.labels = folder, label, tuple(sorted(filter(None, names)))
        if label is not None and label not in self.labels:
            raise StoryjaxError(
                f"--class: the detector has no class '{label}'.{nearest(label, self.labels)} It has"
                f" {', '.join(self.labels)}."
            )
        self._trackers: dict[str | None, DetectorTracker] = {}

    def detect(
        self, image: UInt8[np.ndarray, "y x 3"], category: str, key: str = "", position: float = 0.0
    ) -> tuple[float, float, float, float] | None:
        """Returns the most certain box (left, top, right, bottom as fractions of the image), or None.

        Args:
            image: RGB.
            category: a general word, "dog".
            key, position: of no use here.

        Raises:
            StoryjaxError: the weights cannot be read.
        """
        del key, position
        boxes, _ = self._tracker(category).detect(image)
        if not len(boxes):
            return None
        height, width = image.shape[:2]
        left, top, wide, high = (float(value) for value in boxes[0])
        return left / width, top / height, (left + wide) / width, (top + high) / height

    def _tracker(self, category: str) -> DetectorTracker:
        """The detector of one class, or of all."""
        label = self.label or (category if category in self.labels else None)
        if label is None:
            tell(
                f"the detector has no class '{category}', so the most certain box of any class is taken; --class NAME"
                f" names one: {', '.join(self.labels)}"
            )
        if label not in self._trackers:
            options = LinkOptions(min_score=_LEAST)
            classes = [label] if label else []
            self._trackers[label] = DetectorTracker.from_pretrained(self.folder, classes, options, SHORTER)
        return self._trackers[label]
