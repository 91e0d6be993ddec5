"""DeepFashion2 as a benchmark of personalisation, PerVL-DeepFashion2 (Cohen et al. 2022; thesis §5.4.3).

The official files, read from `root`:

    train/image/NNNNNN.jpg train/annos/NNNNNN.json       of DeepFashion2's training set (Ge et al. 2019)
    annotations/deep_fashion/*                           of the repository NVlabs/PerVLBenchmark:
        test_fsl_train.txt                               "…/PAIR:" and then the photographs to learn that garment from
        test_captions.csv, shortened_deepfashion2_captions.csv     image_name,pair_id,caption
        train_coarse_grained_names.csv                   unique_pair_ids,pair_id_categories

A garment is a `pair_id`. What is searched are the photographs of test_captions.csv; their captions say "person" for
the wearer of the garment, and each "person" is the place of the concept, "*", as in the benchmark's own code (GitHub,
NVlabs/PALAVRA, caption_retrival_eval.py) and in §5.4.3: "the * is facing a glass store display". Garments have no
names: an object is called by its kind and its number. Boxes are those of the annotation that has the photograph's
pair_id; where it lists several garments, the first of the concept's kind.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.instances import Instance, InstanceBuilder, InstanceListing
from storyjax.data.builders.prepared import unusable_file
from storyjax.data.builders.tables import finite, read_rows
from storyjax.data.images import read_image

SPLITS = ("train", "test")
CAPTIONS = {"detailed": "test_captions.csv", "short": "shortened_deepfashion2_captions.csv"}
_INSTRUCTIONS = (
    "get DeepFashion2's train.zip (https://github.com/switchablenorms/DeepFashion2) and the folder annotations of the"
    " repository NVlabs/PerVLBenchmark on GitHub, and unpack both there"
)


@dataclass(frozen=True)
class Photograph:
    """A photograph of a garment; `caption` ("*" for the concept) is empty for those that are learnt from."""

    image_name: str
    split: str
    path: Path
    pair: int
    category: str
    caption: str = ""


def read_photographs(root: Path, captions: str = "short") -> list[Photograph]:
    """Returns all photographs of the benchmark, those that are learnt from first.

    Raises:
        StoryjaxError: it is not there, or its files are not what they should be.
    """
    files = annotation_files(root, captions)
    for needed in (*files, root / "train" / "image"):
        if not needed.exists():
            raise StoryjaxError(f"PerVL-DeepFashion2 is not in {root} ({needed.name} is missing): {_INSTRUCTIONS}")
    learnt, searched, caption_table, kinds = files
    categories = {
        row["unique_pair_ids"]: row["pair_id_categories"]
        for _, row in read_rows(kinds, ("unique_pair_ids", "pair_id_categories"), whole=True)
    }
    columns = ("image_name", "pair_id", "caption")
    captions_of = {row["image_name"]: row["caption"] for _, row in read_rows(caption_table, columns, whole=True)}

    def photograph(image: str, split: str, pair: str, caption: str = "") -> Photograph:
        if pair not in categories or not pair.strip().isdecimal():
            raise StoryjaxError(f"{kinds} has no kind for garment {pair!r:.40}: get the annotations anew")
        return Photograph(image, split, root / image, int(pair), categories[pair], caption)

    found = [photograph(f"train/image/{image}", "train", pair) for pair, image in _learnt(learnt)]
    for _, row in read_rows(searched, columns, whole=True):
        caption = captions_of.get(row["image_name"], row["caption"])
        found.append(photograph(row["image_name"], "test", row["pair_id"], with_concept(caption)))
    pairs = {p.pair for p in found if p.split == "train"}
    return [p for p in found if p.pair in pairs]


def annotation_files(root: Path, captions: str) -> tuple[Path, Path, Path, Path]:
    """Returns the files that say what is learnt from, what is searched, its captions, and the categories."""
    folder = root / "annotations" / "deep_fashion"
    learnt, searched, kinds = "test_fsl_train.txt", "test_captions.csv", "train_coarse_grained_names.csv"
    return folder / learnt, folder / searched, folder / CAPTIONS[captions], folder / kinds


def with_concept(caption: str) -> str:
    """Returns the caption with "*" for every "person" in it; with "*" before it where there is none.

    >>> with_concept("the person is facing a glass store display.")
    'the * is facing a glass store display'
    """
    caption = caption.strip().strip('"').rstrip(" .")
    return caption.replace("person", "*") if "person" in caption else f"* {caption}"


def _learnt(path: Path) -> Iterator[tuple[str, str]]:
    """(pair, image) of each line of the list."""
    pair = ""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StoryjaxError(f"{path} cannot be read ({error}): get it again") from error
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line.endswith(":"):
            pair = line.rstrip(":").rpartition("/")[2]
        elif line.endswith(".jpg"):
            if not pair:
                raise StoryjaxError(f"{path} line {number} names a photograph before any garment: get it again")
            yield pair, line


def _annotation(path: Path) -> Path:
    """DeepFashion2's own annotation of a photograph."""
    return path.parents[1] / "annos" / f"{path.stem}.json"


def read_box(path: Path, category: str) -> Float32[np.ndarray, "m 4"]:
    """Returns the garment's box, (1, 4) as fractions of the photograph; (0, 4) where no annotation has it.

    Args:
        path: of the photograph.
        category: of the garment, where several are annotated.

    Raises:
        StoryjaxError: the annotation is not what it should be.
    """
    annotation = _annotation(path)
    try:
        found = json.loads(annotation.read_text("utf-8"))
        items = [found[key] for key in sorted(found) if key.startswith("item")]
        item = next((i for i in items if i.get("category_name") == category), items[0] if items else None)
        if item is None:
            return np.zeros((0, 4), np.float32)
        left, top, right, bottom = box = [finite(v) for v in item["bounding_box"]]
        if None in box:
            raise ValueError(f"its bounding_box {item['bounding_box']} is not four numbers")
    except FileNotFoundError:
        return np.zeros((0, 4), np.float32)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoryjaxError(f"{annotation} cannot be read as an annotation ({error}): unpack it again") from error
    height, width = read_image(path).shape[:2]
    return np.clip([[left / width, top / height, right / width, bottom / height]], 0, 1).astype(np.float32)


class DeepFashion2(InstanceBuilder):
    """PerVL-DeepFashion2; one record a photograph. Photographs whose file is missing are left out."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS
    TITLE, SPLITS, COUNTED = "PerVL-DeepFashion2", SPLITS, "photographs"
    KEY, MEDIUM = "image_name", "image"

    @staticmethod
    def read(root: Path, captions: str = "short") -> InstanceListing:
        """Returns the photographs of both splits whose files are there; see `OfficialBuilder`.

        Args:
            root: the folder of the official files.
            captions: "short" or "detailed".
        """
        listing = InstanceListing(items={split: [] for split in SPLITS})
        photographs = read_photographs(root, captions)
        found = []
        for p in photographs:
            if why := unusable_file(p.path):
                listing.broken.append(f"{p.image_name}: {why}")
            else:
                found.append(p)
        numbers = {pair: i for i, pair in enumerate(sorted({p.pair for p in found if p.split == "train"}))}
        for p in found:
            if p.pair in numbers:
                name = f"{p.category} {p.pair}"
                listing.items[p.split].append(
                    Instance(p.image_name, p.path, numbers[p.pair], name, p.category, p.caption)
                )
        return listing

    @classmethod
    def files(cls, item: Instance) -> Iterable[Path]:
        """Returns the files that the item's records are made of."""
        return [path for path in (item.path, _annotation(item.path)) if path.exists()]

    @classmethod
    def boxes(cls, item: Instance) -> Float32[np.ndarray, "m 4"]:
        """Returns the garment's box, (1, 4) or (0, 4), as fractions of the photograph."""
        return read_box(item.path, item.category)
