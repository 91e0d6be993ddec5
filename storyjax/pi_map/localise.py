"""Localisation: a red ellipse around the object, and detectors that give its box (thesis §5.3.1, §5.3.5).

A CLIP trained on the web knows what a red ellipse means; for one that was not, the image is cropped to the box.

Boxes are (left, top, right, bottom) as fractions of the image's width and height.
"""

import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder

Box = tuple[float, float, float, float]
Pointing = Literal["ellipse", "crop"]
RED = (255, 0, 0)


@runtime_checkable
class Detector(Protocol):
    """Finds an object of a category in an image."""

    def detect(
        self, image: UInt8[np.ndarray, "y x 3"], category: str, key: str = "", position: float = 0.0
    ) -> Box | None:
        """Returns the box of the most certain object of the category, or None.

        Args:
            image: RGB.
            category: a general word, "dog".
            key: the image's name, for detectors that look boxes up.
            position: the image's position in its video, from 0 to 1.
        """
        ...


def draw_ellipse(
    image: UInt8[np.ndarray, "y x 3"], box: Box | None, thickness: float = 0.02
) -> UInt8[np.ndarray, "y x 3"]:
    """Returns the image with a red ellipse that passes through the middle of each side of the box.

    `thickness` is the line's, as a fraction of the shorter side, at least one pixel. Without a box nothing is drawn.
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
    drawn = Image.fromarray(image)
    ImageDraw.Draw(drawn).ellipse(corners, outline=RED, width=line)
    return np.asarray(drawn)


def crop_to(image: UInt8[np.ndarray, "y x 3"], box: Box | None, margin: float = 0.25) -> UInt8[np.ndarray, "v u 3"]:
    """Returns the square part of the image around the box.

    Its side is the box's longer side plus `margin` of that on each side; at the image's edge less. Without a box it is
    the whole image.
    """
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


def mark(image: UInt8[np.ndarray, "y x 3"], box: Box | None, way: Pointing) -> UInt8[np.ndarray, "v u 3"]:
    """Returns x_loc, the image that shows where the object is: with an ellipse, or cropped."""
    return crop_to(image, box) if way == "crop" else draw_ellipse(image, box)


class BoxFile:
    """Boxes in a file: JSON, {key: [[left, top, right, bottom], ...]}, evenly spaced over a video."""

    def __init__(self, path: str | Path):
        self.path = place(path)

    @cached_property
    def boxes(self) -> dict[str, list[Box]]:
        """The file's boxes by key.

        Raises:
            StoryjaxError: it cannot be read as boxes.
        """
        try:
            found = json.loads(self.path.read_text("utf-8"))
            return {str(key): [_checked(row) for row in rows] for key, rows in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StoryjaxError(
                f"{self.path} cannot be read as boxes ({error}): it must be JSON,"
                ' {"name": [[left, top, right, bottom], ...]}, fractions of the image'
            ) from error

    def detect(
        self, image: UInt8[np.ndarray, "y x 3"], category: str, key: str = "", position: float = 0.0
    ) -> Box | None:
        """Returns the box of `key` at `position`, or None."""
        del image, category
        return box_at(self.boxes.get(key, []), position)


def as_box(row: Iterable[Any]) -> Box:
    """Returns four numbers as a box."""
    left, top, right, bottom = (float(v) for v in row)
    return left, top, right, bottom


def _checked(row: Iterable[Any]) -> Box:
    left, top, right, bottom = as_box(row)
    if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
        raise ValueError(f"{row} is no box of fractions from 0 to 1")
    return left, top, right, bottom


def box_at(boxes: Sequence[Box], position: float) -> Box | None:
    """Returns the box at a position (0 to 1) of a video, of boxes evenly spaced over it; None without any."""
    if not len(boxes):
        return None
    return as_box(boxes[min(int(position * len(boxes)), len(boxes) - 1)])


class GroundingDino:
    """GroundingDINO (Liu et al. 2023) through `transformers` and torch, from a local folder; the extra is `detect`.

    Args:
        folder: the published weights ("IDEA-Research/grounding-dino-base").
        threshold: minimum confidence of a box.
        text: what it looks for in place of the categories; None: the categories.

    Raises:
        StoryjaxError: the folder holds no weights.
    """

    def __init__(self, folder: str | Path, threshold: float = 0.3, text: str | None = None):
        self.folder, self.threshold, self.text = weights_folder(os.fspath(folder)), threshold, text
        if not (self.folder / "config.json").is_file():
            raise StoryjaxError(
                f"no detector in {folder}: fetch 'IDEA-Research/grounding-dino-base' from the Hugging Face hub into"
                " that folder, or give boxes in a file"
            )

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
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

    def detect(
        self, image: UInt8[np.ndarray, "y x 3"], category: str, key: str = "", position: float = 0.0
    ) -> Box | None:
        """Returns the most confident box.

        Raises:
            StoryjaxError: torch or transformers is not installed, or the folder cannot be read.
        """
        del key, position
        torch, processor, model = self._parts
        height, width = image.shape[:2]
        # GroundingDINO expects lower case, and a full stop after each phrase.
        text = f"{(self.text or category).lower().strip(' .')}."
        inputs = processor(images=Image.fromarray(image), text=text, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        found = processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=self.threshold, target_sizes=[(height, width)]
        )[0]
        if not len(found["scores"]):
            return None
        left, top, right, bottom = found["boxes"][int(found["scores"].argmax())].tolist()
        return left / width, top / height, right / width, bottom / height
