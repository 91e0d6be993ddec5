"""COCO detection (Lin et al. 2014), 2017's split.

The official files, read from `manual_dir`, as cocodataset.org's zips unpack:

    train2017/000000000009.jpg ...                val2017/...
    annotations/instances_train2017.json          annotations/instances_val2017.json

The splits are those of the annotation files that are there: instances_SPLIT*.json, with its pictures in SPLIT*.
"""

import json
import re
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.pictures import (
    Picture,
    PicturesBuilder,
    PictureSource,
    PicturesRead,
    picture,
    prepare_pictures,
    usable_box,
)
from storyjax.data.builders.prepared import one_split

_NAME = re.compile(r"instances_((train|val|test)\w*)\.json")


class Coco(PicturesBuilder):
    """COCO detection, one record a picture."""

    TITLE = "COCO"
    SPLITS = ("train", "val", "test")

    @classmethod
    def prepare(cls, root: str | Path, cache_dir: str | Path, split: str, **options: Any) -> PictureSource:
        """Returns a split as a source of records; see `prepare` for the options and errors."""
        return one_split(prepare(root, cache_dir, **options), split, cls.TITLE)


def prepare(
    manual_dir: str | Path, data_dir: str | Path, *, max_broken_fraction: float = 0.05
) -> dict[str, PictureSource]:
    """The splits that are there; see `prepare_pictures`. StoryjaxError says what to get where nothing is."""
    return prepare_pictures(Coco, read_coco(manual_dir), manual_dir, data_dir, max_broken_fraction=max_broken_fraction)


def read_coco(manual_dir: str | Path) -> PicturesRead:
    """What the official files say; a box of an unknown picture or category, or without area, is left out and named."""
    root = Path(manual_dir)
    files = [(match, path) for path in sorted(root.glob("annotations/*.json")) if (match := _NAME.fullmatch(path.name))]
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
    found = PicturesRead(tuple(names[category] for category in sorted(names)))
    for folder, split, path, content in loaded:
        _read_split(root / folder, split, path, content, numbers, found)
    return found


def read_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """A JSON object with these lists in it; StoryjaxError where it is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{path} cannot be read as JSON ({str(error).splitlines()[0]}): get it again") from error
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise StoryjaxError(f"{path} has no list '{key}': get it again")
    return content


def _read_split(
    folder: Path, split: str, path: Path, content: dict[str, Any], numbers: dict[int, int], found: PicturesRead
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
            found.pictures.append(made)


def _picture(
    folder: Path, split: str, path: Path, image: dict[str, Any], boxes: list, found: PicturesRead
) -> Picture | None:
    try:
        file = folder / image["file_name"]
        if not file.is_file() or not file.stat().st_size:
            found.broken.append(f"{path.name} image {image['id']}: {file} is missing or empty")
            return None
        return picture(file, split, int(image["id"]), (int(image["width"]), int(image["height"])), boxes)
    except (KeyError, TypeError, ValueError) as error:
        found.broken.append(f"{path.name}: an image without {error}")
        return None
