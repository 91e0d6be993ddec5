"""CrowdHuman (Shao et al. 2018): people in crowds.

The official files, read from `manual_dir`, as crowdhuman.org gives them, the zips of pictures unpacked into one folder:

    annotation_train.odgt  annotation_val.odgt  Images/273271,c9db000d5146c15.jpg ...

Boxes are those of whole people (`fbox`), hidden parts too, as in MOT17. Masks and people marked "ignore" are crowds.
"""

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.pictures import (
    PicturesBuilder,
    PictureSource,
    PicturesRead,
    picture,
    prepare_pictures,
    usable_box,
)
from storyjax.data.builders.prepared import one_split


class CrowdHuman(PicturesBuilder):
    """CrowdHuman, one record a picture."""

    TITLE = "CrowdHuman"
    SPLITS = ("train", "val")

    @classmethod
    def prepare(cls, root: str | Path, cache_dir: str | Path, split: str, **options: Any) -> PictureSource:
        """Returns a split as a source of records; see `prepare` for the options and errors."""
        return one_split(prepare(root, cache_dir, **options), split, cls.TITLE)


def prepare(
    manual_dir: str | Path, data_dir: str | Path, *, max_broken_fraction: float = 0.05
) -> dict[str, PictureSource]:
    """The splits that are there; see `prepare_pictures`. StoryjaxError says what to get where nothing is."""
    found = read_crowdhuman(manual_dir)
    return prepare_pictures(CrowdHuman, found, manual_dir, data_dir, max_broken_fraction=max_broken_fraction)


def read_crowdhuman(manual_dir: str | Path) -> PicturesRead:
    """What the official files say; lines that are no JSON and boxes without area are left out and named."""
    root, found = Path(manual_dir), PicturesRead(("person",))
    files = {split: root / f"annotation_{split}.odgt" for split in CrowdHuman.SPLITS}
    if not any(path.is_file() for path in files.values()):
        raise StoryjaxError(
            f"CrowdHuman is not in {root} (no annotation_train.odgt): get the annotations and the zips of pictures from"
            " www.crowdhuman.org/download.html, and unpack the pictures into the folder Images there"
        )
    for split, path in files.items():
        if path.is_file():
            _read_split(root / "Images", split, path, found)
    return found


def _read_split(images: Path, split: str, path: Path, found: PicturesRead) -> None:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StoryjaxError(f"{path} cannot be read: get it again") from error
    for number, line in enumerate(lines, 1):
        where = f"{path.name} line {number}"
        try:
            entry = json.loads(line)
            file, people = images / f"{entry['ID']}.jpg", entry["gtboxes"]
            boxes = [one for person in people if (one := _box(person, where, found)) is not None]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            found.broken.append(f"{where} is not what it should be ({str(error).splitlines()[0]})")
            continue
        size = _size(file)
        if size is None:
            found.broken.append(f"{where}: {file} is missing or not a picture")
        else:
            found.pictures.append(picture(file, split, number, size, boxes))


def _box(person: dict[str, Any], where: str, found: PicturesRead) -> tuple[list[Any], int, bool] | None:
    box = person.get("fbox", person.get("vbox"))
    if not usable_box(box):
        found.broken.append(f"{where}: the box {box} has no area")
        return None
    return box, 0, person.get("tag") != "person" or bool(person.get("extra", {}).get("ignore", 0))


def _size(file: Path) -> tuple[int, int] | None:
    """Width and height, from the head of the file."""
    try:
        with Image.open(io.BytesIO(file.read_bytes())) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
