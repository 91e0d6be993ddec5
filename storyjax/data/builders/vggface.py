"""VGGFace and VGGFace2: photographs of many people, to learn from who is who (thesis §4.3.1).

VGGFace2 (Cao et al. 2018), loose crops, as published; read from `root`:

    train/n000002/0001_01.jpg           a folder for each person; test/ holds others than train/
    meta/identity_meta.csv              Class_ID, Name, Sample_Num, Flag, Gender
    bb_landmark/loose_bb_train.csv      NAME_ID ("n000002/0001_01"), X, Y, W, H: the face, in pixels of the crop

VGGFace (Parkhi et al. 2015) is published as addresses of images; the images have no official layout, and are read
from images/ as most tools fetch them:

    files/Name_Surname.txt              a line an image: id url left top right bottom pose score curation (the lists of
                                        2015; older ones have a checksum between the id and the url)
    images/Name_Surname/00000001.jpg    the image of that id, whole; its loose crop is cut when it is read

A record is one image; boxes are texts of four numbers, left, top, right, bottom in pixels.
"""

from pathlib import Path

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.media import MediaBuilder, MediaListing, read_table
from storyjax.data.builders.tables import all_finite

META_COLUMNS = ("Class_ID", "Name", "Sample_Num", "Flag", "Gender")
BOX_COLUMNS = ("NAME_ID", "X", "Y", "W", "H")
# VGGFace's crops are made as VGGFace2's loose ones were: the face's box grown by its own size (§4.3.1).
LOOSE = 1.0

_GET_2 = (
    "get VGGFace2 (registration at the Visual Geometry Group, Oxford) and unpack train/, test/, meta/ and bb_landmark/"
    " into that folder"
)
_GET_1 = (
    "get vgg_face_dataset (Visual Geometry Group, Oxford), put its files/ into that folder and the images that it"
    " lists into images/NAME/ID.jpg"
)


def read_vggface2(root: Path, split: str) -> MediaListing:
    """Returns the images of a split, person by person, with the person's name and the face's box where there is one."""
    meta, boxes = root / "meta" / "identity_meta.csv", root / "bb_landmark" / f"loose_bb_{split}.csv"
    for needed in (root / split, meta, boxes):
        if not needed.exists():
            raise StoryjaxError(f"VGGFace2 is not in {root} ({needed.name} is missing): {_GET_2}")
    names = {row["Class_ID"]: row["Name"] for _, row in read_table(meta, META_COLUMNS)}
    where = {row["NAME_ID"]: row for _, row in read_table(boxes, BOX_COLUMNS)}
    listing = MediaListing(root=root)
    for person in sorted(path for path in (root / split).iterdir() if path.is_dir()):
        if person.name not in names:
            why = f"identity_meta.csv does not list {person.name}"
            listing.broken += [f"{path}: {why}" for path in sorted(person.glob("*.jpg"))]
            continue
        for path in sorted(person.glob("*.jpg")):
            row = where.get(f"{person.name}/{path.stem}")
            box = "" if row is None else _corners(row)
            name = readable(names[person.name])
            listing.add(path, path.stem, identity=person.name, name=name, box=box, crop="")
    return listing


def _corners(row: dict[str, str]) -> str:
    numbers = all_finite(row[key] for key in ("X", "Y", "W", "H"))
    if numbers is None:
        return ""  # the crop itself is what is looked at; a box that cannot be read costs nothing
    x, y, width, height = numbers
    return f"{x} {y} {x + width} {y + height}"


def readable(name: str) -> str:
    """Returns a person's name as it stands in a sentence: "Aamir_Khan" and 'Aamir Khan' are one."""
    return " ".join(name.replace("_", " ").strip("\"' ").split())


def read_vggface(root: Path, split: str) -> MediaListing:
    """Returns the images that files/ lists, person by person, with the loose crop to cut from each."""
    files, images = root / "files", root / "images"
    for needed in (files, images):
        if not needed.is_dir():
            raise StoryjaxError(f"VGGFace is not in {root} ({needed.name}/ is missing): {_GET_1}")
    listing = MediaListing(root=root)
    for table in sorted(files.glob("*.txt")):
        lines = table.read_text("utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            parts = line.split()
            if not parts:
                continue
            if len(parts) < 9:  # more where a checksum stands before the url, or blanks in it
                listing.broken.append(f"{table.name} line {number}: {len(parts)} words instead of 9")
                continue
            numbers = all_finite(parts[-7:-3])
            if numbers is None:
                listing.broken.append(f"{table.name} line {number}: its box is not four numbers")
                continue
            left, top, right, bottom = numbers
            grow_x, grow_y = LOOSE * (right - left) / 2, LOOSE * (bottom - top) / 2
            crop = f"{left - grow_x} {top - grow_y} {right + grow_x} {bottom + grow_y}"
            path = images / table.stem / f"{parts[0]}.jpg"
            box = f"{left} {top} {right} {bottom}"
            where = f"{table.name} line {number}"
            listing.add(path, where, identity=table.stem, name=readable(table.stem), box=box, crop=crop)
    return listing


class VGGFace2(MediaBuilder):
    """VGGFace2's loose crops; `identity` is the class, `name` the person's, `box` the face in the crop."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _GET_2
    TITLE, SPLITS, TEXTS = "VGGFace2", ("train", "test"), ("identity", "name", "box", "crop")
    read = staticmethod(read_vggface2)


class VGGFace(MediaBuilder):
    """VGGFace; `crop` is what to cut from the image before it is looked at."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _GET_1
    TITLE, SPLITS, TEXTS = "VGGFace", ("train",), ("identity", "name", "box", "crop")
    read = staticmethod(read_vggface)
