"""CrowdHuman (Shao et al. 2018): people in crowds.

The official files, read from `root`, as crowdhuman.org gives them, the zips of images unpacked into one folder:

    annotation_train.odgt  annotation_val.odgt  Images/273271,c9db000d5146c15.jpg ...

Boxes are those of whole people (`fbox`), hidden parts too, as in MOT17. Masks and people marked "ignore" are crowds.
"""

import json
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.detection import (
    DetectionBuilder,
    DetectionListing,
    annotated_image,
    usable_box,
)


class CrowdHuman(DetectionBuilder):
    """CrowdHuman, one record an image."""

    TITLE = "CrowdHuman"
    SPLITS = ("train", "val")

    @staticmethod
    def read(root: Path) -> DetectionListing:
        """Returns the images of both splits; lines that are no JSON and boxes without area are left out and named."""
        found = DetectionListing(categories=("person",))
        files = {split: root / f"annotation_{split}.odgt" for split in CrowdHuman.SPLITS}
        if not any(path.is_file() for path in files.values()):
            raise StoryjaxError(
                f"CrowdHuman is not in {root} (no annotation_train.odgt): get the annotations and the zips of images"
                " from www.crowdhuman.org/download.html, and unpack the images into the folder Images there"
            )
        for split, path in files.items():
            if path.is_file():
                _read_split(root / "Images", split, path, found)
        return found


def _read_split(images: Path, split: str, path: Path, found: DetectionListing) -> None:
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StoryjaxError(f"{path} cannot be read: get it again") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path.name} line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            found.broken.append(f"{where} is not what it should be ({str(error).splitlines()[0]})")
            continue
        name, people = (entry.get("ID"), entry.get("gtboxes")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str | int) or not isinstance(people, list):
            found.broken.append(f"{where} is not what it should be (it has no ID or no list gtboxes)")
            found.lost_boxes += len(people) if isinstance(people, list) else 0
            continue
        boxes = [one for person in people if (one := _box(person, where, found)) is not None]
        file = images / f"{name}.jpg"
        size = _size(file)
        if size is None:
            found.broken.append(f"{where}: {file} is missing or not an image")
            found.lost_boxes += len(boxes)
        else:
            found.images.append(annotated_image(file, split, number, size, boxes))


def _box(person: Any, where: str, found: DetectionListing) -> tuple[list[Any], int, bool] | None:
    box = person.get("fbox", person.get("vbox")) if isinstance(person, dict) else person
    if not isinstance(person, dict) or not usable_box(box):
        found.broken.append(f"{where}: the box {box!r:.80} has no area")
        return None
    extra = person.get("extra")
    return box, 0, person.get("tag") != "person" or bool(isinstance(extra, dict) and extra.get("ignore", 0))


def _size(file: Path) -> tuple[int, int] | None:
    """Width and height, from the head of the file."""
    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):  # ValueError: of its name
        return None
