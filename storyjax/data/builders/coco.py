"""COCO detection (Lin et al. 2014), 2017's split.

The official files, read from `root`, as cocodataset.org's zips unpack:

    train2017/000000000009.jpg ...                val2017/...
    annotations/instances_train2017.json          annotations/instances_val2017.json

The splits are those of the annotation files that are there: instances_SPLIT*.json, with its images in SPLIT*.
"""

import json
import re
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.detection import (
    AnnotatedImage,
    DetectionBuilder,
    DetectionListing,
    annotated_image,
    usable_box,
)

_NAME = re.compile(r"instances_((train|val|test)\w*)\.json")


class Coco(DetectionBuilder):
    """COCO detection, one record an image."""

    TITLE = "COCO"
    SPLITS = ("train", "val", "test")

    @staticmethod
    def read(root: Path) -> DetectionListing:
        """Returns the images of all splits; see `OfficialBuilder`.

        A box of an unknown image or category, or without area, is left out and named.
        """
        files = [
            (match, path) for path in sorted(root.glob("annotations/*.json")) if (match := _NAME.fullmatch(path.name))
        ]
        if not files:
            raise StoryjaxError(
                f"COCO is not in {root} (no annotations/instances_train2017.json): get train2017.zip, val2017.zip and"
                " annotations_trainval2017.zip from cocodataset.org/#download and unpack them there"
            )
        names: dict[int, str] = {}
        loaded = []
        for match, path in files:
            content = read_json(path, ("images", "annotations", "categories"))
            names |= {int(category["id"]): str(category["name"]) for category in content["categories"]}
            loaded.append((match[1], match[2], path, content))
        numbers = {category: i for i, category in enumerate(sorted(names))}
        found = DetectionListing(categories=tuple(names[category] for category in sorted(names)))
        for folder, split, path, content in loaded:
            _read_split(root / folder, split, path, content, numbers, found)
        return found


def read_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Returns a JSON object with these lists in it. StoryjaxError where it is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{path} cannot be read as JSON ({str(error).splitlines()[0]}): get it again") from error
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise StoryjaxError(f"{path} has no list '{key}': get it again")
    return content


def _read_split(
    folder: Path, split: str, path: Path, content: dict[str, Any], numbers: dict[int, int], found: DetectionListing
) -> None:
    boxes: dict[int, list[tuple[list[Any], int, bool]]] = {}
    known = {image.get("id") for image in content["images"]}
    for annotation in content["annotations"]:
        where = f"{path.name} annotation {annotation.get('id')}"
        if annotation.get("image_id") not in known:
            found.broken.append(f"{where}: there is no image {annotation.get('image_id')}")
        elif annotation.get("category_id") not in numbers:
            found.broken.append(f"{where}: there is no category {annotation.get('category_id')}")
        elif not usable_box(annotation.get("bbox")):
            found.broken.append(f"{where}: its box {annotation.get('bbox')} has no area")
        else:
            one = (annotation["bbox"], numbers[annotation["category_id"]], bool(annotation.get("iscrowd", 0)))
            boxes.setdefault(annotation["image_id"], []).append(one)
    for image in content["images"]:
        made = _picture(folder, split, path, image, boxes.get(image.get("id"), []), found)
        if made is not None:
            found.images.append(made)


def _picture(
    folder: Path, split: str, path: Path, image: dict[str, Any], boxes: list, found: DetectionListing
) -> AnnotatedImage | None:
    try:
        file = folder / image["file_name"]
        if not file.is_file() or not file.stat().st_size:
            found.broken.append(f"{path.name} image {image['id']}: {file} is missing or empty")
            return None
        return annotated_image(file, split, int(image["id"]), (int(image["width"]), int(image["height"])), boxes)
    except (KeyError, TypeError, ValueError) as error:
        found.broken.append(f"{path.name}: an image without {error}")
        return None
