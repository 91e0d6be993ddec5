"""COCO detection (Lin et al. 2014), 2017's split.

The official files, read from `root`, as cocodataset.org's zips unpack:

    train2017/000000000009.jpg ...                val2017/...
    annotations/instances_train2017.json          annotations/instances_val2017.json

The splits are those of the annotation files that are there: instances_SPLIT*.json, with its images in SPLIT*.
"""

import json
import re
from pathlib import Path
from typing import Any, TypeGuard

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.detection import (
    DetectionBuilder,
    DetectionListing,
    annotated_image,
    image_size,
    usable_box,
)
from storyjax.data.builders.prepared import unusable_file

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
        broken: list[str] = []
        loaded = []
        for match, path in files:
            content = read_json(path, ("images", "annotations", "categories"))
            for category in numbered(content, "categories", path, broken):
                names[int(category["id"])] = str(category.get("name", category["id"]))
            loaded.append((match[1], match[2], path, content))
        numbers = {category: i for i, category in enumerate(sorted(names))}
        found = DetectionListing(broken, categories=tuple(names[category] for category in sorted(names)))
        for folder, split, path, content in loaded:
            _read_split(root / folder, split, path, content, numbers, found)
        return found


def read_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Returns a JSON object with these lists in it. StoryjaxError where it is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoryjaxError(f"{path} cannot be read as JSON ({str(error).splitlines()[0]}): get it again") from error
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise StoryjaxError(f"{path} has no list '{key}': get it again")
    return content


def is_number(value: Any, below: int = 2**63) -> TypeGuard[int]:
    """Returns whether it is a whole number, as ids are."""
    return isinstance(value, int | float) and abs(value) < below and value == int(value)


def objects(content: dict[str, Any], key: str, path: Path, broken: list[str]) -> list[dict[str, Any]]:
    """Returns the objects of a list; what is none is left out and named."""
    found = []
    for place, entry in enumerate(content[key]):
        if isinstance(entry, dict):
            found.append(entry)
        else:
            broken.append(f"{path.name} entry {place} of '{key}' is {entry!r:.40}, not an object")
    return found


def numbered(
    content: dict[str, Any], key: str, path: Path, broken: list[str], below: int = 2**63
) -> list[dict[str, Any]]:
    """Returns the objects of a list that have an id, each id once; others are left out and named."""
    found: dict[int, dict[str, Any]] = {}
    for entry in objects(content, key, path, broken):
        number = entry.get("id")
        if not is_number(number, below):
            broken.append(f"{path.name}: one of '{key}' has the id {number!r:.40}, which is no number")
        elif number in found:
            broken.append(f"{path.name}: the id {number} is there twice in '{key}'")
        else:
            found[int(number)] = entry
    return list(found.values())


def _read_split(
    folder: Path, split: str, path: Path, content: dict[str, Any], numbers: dict[int, int], found: DetectionListing
) -> None:
    boxes: dict[int, list[tuple[list[Any], int, bool]]] = {}
    images = numbered(content, "images", path, found.broken)
    known = {image["id"] for image in images}
    for annotation in objects(content, "annotations", path, found.broken):
        where = f"{path.name} annotation {annotation.get('id')!r:.40}"
        image_id, category, box = (annotation.get(key) for key in ("image_id", "category_id", "bbox"))
        if not is_number(image_id) or image_id not in known:
            found.broken.append(f"{where}: there is no image {image_id!r:.40}")
        elif not is_number(category) or category not in numbers:
            found.broken.append(f"{where}: there is no category {category!r:.40}")
        elif not usable_box(box):
            found.broken.append(f"{where}: its box {box!r:.80} has no area")
        else:
            one = (annotation["bbox"], numbers[annotation["category_id"]], bool(annotation.get("iscrowd", 0)))
            boxes.setdefault(annotation["image_id"], []).append(one)
    for image in images:
        name, size, inside = image.get("file_name"), image_size(image), boxes.get(image["id"], [])
        if not isinstance(name, str) or size is None:
            why = "it has no name of a file" if size is not None else "its width or height is no number of pixels"
        elif not (why := unusable_file(folder / name)):
            found.images.append(annotated_image(folder / name, split, int(image["id"]), size, inside))
            continue
        found.broken.append(f"{path.name} image {image['id']}: {why}")
        found.lost_boxes += len(inside)
