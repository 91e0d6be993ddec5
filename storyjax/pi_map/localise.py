"""Saying where the object is: a red ellipse drawn around it, and detectors that give the box (thesis §5.3.1, §5.3.5).

A CLIP that learnt from the web knows what a red ellipse means. One that did not sees more of a picture cut to the box.

Boxes are (left, top, right, bottom) as shares of the picture.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from storyjax.core.errors import StoryjaxError

Box = tuple[float, float, float, float]
Pointing = Literal["ellipse", "crop"]
RED = (255, 0, 0)


@runtime_checkable
class Detector(Protocol):
    """Finds an object of a category in a picture."""

    def detect(self, image: UInt8[np.ndarray, "y x 3"], category: str, key: str = "", share: float = 0.0) -> Box | None:
        """The box of the most certain object of the category, or None.

        Args:
            image: RGB.
            category: a general word, "dog".
            key: what the picture is called, for detectors that look boxes up.
            share: where in its video the picture stands, from 0 to 1.
        """
        ...


def draw_ellipse(
    image: UInt8[np.ndarray, "y x 3"], box: Box | None, thickness: float = 0.02
) -> UInt8[np.ndarray, "y x 3"]:
    """The picture with a red ellipse that passes through the middle of each side of the box.

    `thickness` is the line's, as a share of the shorter side, at least one pixel. Without a box nothing is drawn.
    """
    if box is None:
        return image
    height, width = image.shape[:2]
    left, top, right, bottom = (min(1.0, max(0.0, v)) for v in box)
    corners = (left * (width - 1), top * (height - 1), right * (width - 1), bottom * (height - 1))
    line = max(1, round(thickness * min(height, width)))
    if corners[2] - corners[0] < 2 or corners[3] - corners[1] < 2:
        return image  # a box without an inside
    # Pillow draws the line inside the box, so the outline's outer edge is the ellipse itself.
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).ellipse(corners, outline=RED, width=line)
    return np.asarray(picture)


def cut_to(image: UInt8[np.ndarray, "y x 3"], box: Box | None, margin: float = 0.25) -> UInt8[np.ndarray, "v u 3"]:
    """The square part of the picture about the box, as large as its longer side and `margin` of that on each side; at
    the picture's edge less. Without a box it is the whole picture."""
    if box is None:
        return image
    height, width = image.shape[:2]
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    half = (0.5 + margin) * max(right - left, bottom - top)
    x, y = (left + right) / 2, (top + bottom) / 2
    rows = slice(max(0, round(y - half)), min(height, round(y + half)))
    columns = slice(max(0, round(x - half)), min(width, round(x + half)))
    part = image[rows, columns]
    return part if min(part.shape[:2]) >= 2 else image


def point_out(image: UInt8[np.ndarray, "y x 3"], box: Box | None, way: Pointing) -> UInt8[np.ndarray, "v u 3"]:
    """x_loc: the picture that shows where the object is."""
    return cut_to(image, box) if way == "crop" else draw_ellipse(image, box)


class BoxFile:
    """Boxes that somebody else found: JSON, {key: [[left, top, right, bottom], ...]}, evenly spaced over a video."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @cached_property
    def boxes(self) -> dict[str, list[Box]]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
            return {str(key): [_box(row) for row in rows] for key, rows in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StoryjaxError(
                f"{self.path} cannot be read as boxes ({error}): it must be JSON,"
                ' {"name": [[left, top, right, bottom], ...]}, shares of the picture'
            ) from error

    def detect(self, image: UInt8[np.ndarray, "y x 3"], category: str, key: str = "", share: float = 0.0) -> Box | None:
        del image, category
        return box_at(self.boxes.get(key, []), share)


def _box(row: object) -> Box:
    left, top, right, bottom = (float(v) for v in row)  # type: ignore[attr-defined]
    if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
        raise ValueError(f"{row} is no box of shares from 0 to 1")
    return left, top, right, bottom


def box_at(boxes: list[Box], share: float) -> Box | None:
    """The box of the moment at a share of the video, of boxes evenly spaced over it."""
    if not len(boxes):
        return None
    found = boxes[min(int(share * len(boxes)), len(boxes) - 1)]
    return tuple(float(v) for v in found)  # type: ignore[return-value]


class GroundingDino:
    """GroundingDINO (Liu et al. 2023) through `transformers` and torch, from a local folder; the extra is `detect`.

    Args:
        folder: the published weights ("IDEA-Research/grounding-dino-base"), already on this machine.
        threshold: boxes of less certainty are none.
    """

    def __init__(self, folder: str | Path, threshold: float = 0.3):
        self.folder, self.threshold = Path(folder), threshold
        if not (self.folder / "config.json").is_file():
            raise StoryjaxError(
                f"no detector in {folder}: fetch 'IDEA-Research/grounding-dino-base' from the Hugging Face hub into"
                " that folder, or give boxes in a file"
            )

    @cached_property
    def _parts(self):
        try:
            import torch  # heavy, and only needed here
            from transformers import AutoProcessor, GroundingDinoForObjectDetection
        except ImportError as error:
            raise StoryjaxError(f"GroundingDINO needs {error.name}: pip install 'storyjax[detect]'") from error
        try:
            processor = AutoProcessor.from_pretrained(self.folder, local_files_only=True)
            model = GroundingDinoForObjectDetection.from_pretrained(self.folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            raise StoryjaxError(
                f"{self.folder} cannot be read as GroundingDINO: {str(error).splitlines()[0]}"
            ) from error
        return torch, processor, model

    def detect(self, image: UInt8[np.ndarray, "y x 3"], category: str, key: str = "", share: float = 0.0) -> Box | None:
        del key, share
        torch, processor, model = self._parts
        height, width = image.shape[:2]
        # GroundingDINO wants lower case, each phrase with a full stop.
        inputs = processor(images=Image.fromarray(image), text=f"{category.lower().strip(' .')}.", return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        found = processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=self.threshold, target_sizes=[(height, width)]
        )[0]
        if not len(found["scores"]):
            return None
        left, top, right, bottom = found["boxes"][int(found["scores"].argmax())].tolist()
        return left / width, top / height, right / width, bottom / height
