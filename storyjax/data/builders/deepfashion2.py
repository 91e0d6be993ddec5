"""DeepFashion2 as a benchmark of personalisation, PerVL-DeepFashion2 (Cohen et al. 2022; thesis §5.4.3).

The official files, read from `manual_dir`:

    train/image/NNNNNN.jpg train/annos/NNNNNN.json       of DeepFashion2's training set (Ge et al. 2019)
    annotations/deep_fashion/*                           of the repository NVlabs/PerVLBenchmark:
        test_fsl_train.txt                               "…/PAIR:" and then the photographs to learn that garment from
        test_captions.csv, shortened_deepfashion2_captions.csv     image_name,pair_id,caption
        train_coarse_grained_names.csv                   unique_pair_ids,pair_id_categories

A garment is a `pair_id`. What is searched are the photographs of test_captions.csv; their captions say "a person" or
"the person" for whoever wears the garment, the first of which is read as the place of the concept, "*". Garments have
no names: an object is called by its kind and its number. Boxes are those of the annotation that has the photograph's
pair_id; where it lists several garments, the first of the concept's kind.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.prepared import PreparedSource, files_fingerprint, one_split, prepare_once
from storyjax.data.builders.tables import finite, read_rows
from storyjax.data.images import read_image

SPLITS = ("train", "test")
CAPTIONS = {"detailed": "test_captions.csv", "short": "shortened_deepfashion2_captions.csv"}
_INSTRUCTIONS = (
    "get DeepFashion2's train.zip (https://github.com/switchablenorms/DeepFashion2) and the folder annotations of the"
    " repository NVlabs/PerVLBenchmark on GitHub, and unpack both there"
)
_PERSON = re.compile(r"\b(?:a|the|another) person\b", re.IGNORECASE)


@dataclass(frozen=True)
class Photograph:
    """A photograph of a garment; `caption` ("*" for the concept) is empty for those that are learnt from."""

    image_name: str
    split: str
    path: Path
    pair: int
    category: str
    caption: str = ""


def read_photographs(manual_dir: str | Path, captions: str = "short") -> list[Photograph]:
    """All photographs of the benchmark, those that are learnt from first.

    Raises:
        StoryjaxError: it is not there, or its files are not what they should be.
    """
    root = Path(manual_dir)
    files = annotation_files(root, captions)
    for needed in (*files, root / "train" / "image"):
        if not needed.exists():
            raise StoryjaxError(f"PerVL-DeepFashion2 is not in {root} ({needed.name} is missing): {_INSTRUCTIONS}")
    learnt, searched, told, kinds = files
    categories = {
        row["unique_pair_ids"]: row["pair_id_categories"]
        for _, row in read_rows(kinds, ("unique_pair_ids", "pair_id_categories"), whole=True)
    }
    columns = ("image_name", "pair_id", "caption")
    captions_of = {row["image_name"]: row["caption"] for _, row in read_rows(told, columns, whole=True)}

    def photograph(image: str, split: str, pair: str, caption: str = "") -> Photograph:
        if pair not in categories:
            raise StoryjaxError(f"{kinds} has no kind for garment {pair}: get the annotations anew")
        return Photograph(image, split, root / image, int(pair), categories[pair], caption)

    found = [photograph(f"train/image/{image}", "train", pair) for pair, image in _learnt(learnt)]
    for _, row in read_rows(searched, columns, whole=True):
        caption = captions_of.get(row["image_name"], row["caption"])
        found.append(photograph(row["image_name"], "test", row["pair_id"], with_concept(caption)))
    pairs = {p.pair for p in found if p.split == "train"}
    return [p for p in found if p.pair in pairs]


def annotation_files(root: Path, captions: str) -> tuple[Path, Path, Path, Path]:
    """What is learnt from, what is searched, its captions, and the kinds."""
    folder = root / "annotations" / "deep_fashion"
    names = ("test_fsl_train.txt", "test_captions.csv", CAPTIONS[captions], "train_coarse_grained_names.csv")
    return tuple(folder / name for name in names)  # type: ignore[return-value]


def with_concept(caption: str) -> str:
    """The caption with "*" for the first person in it; before it where there is none.

    >>> with_concept("the person is facing a glass store display.")
    '* is facing a glass store display'
    """
    caption = caption.strip().strip('"').rstrip(" .")
    found, count = _PERSON.subn("*", caption, count=1)
    return found if count else f"* {caption}"


def _learnt(path: Path) -> Iterator[tuple[str, str]]:
    """(pair, image) of each line of the list."""
    pair = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        line = line.strip()
        if line.endswith(":"):
            pair = line.rstrip(":").rpartition("/")[2]
        elif line.endswith(".jpg"):
            if not pair:
                raise StoryjaxError(f"{path} line {number} names a photograph before any garment: get it again")
            yield pair, line


def read_box(photograph: Photograph) -> np.ndarray:
    """(1, 4) or, where nothing says it, (0, 4): the garment's box as shares of the photograph."""
    annotation = photograph.path.parents[1] / "annos" / f"{photograph.path.stem}.json"
    try:
        found = json.loads(annotation.read_text("utf-8"))
        items = [found[key] for key in sorted(found) if key.startswith("item")]
        item = next((i for i in items if i.get("category_name") == photograph.category), items[0] if items else None)
        if item is None:
            return np.zeros((0, 4), np.float32)
        left, top, right, bottom = box = [finite(v) for v in item["bounding_box"]]
        if None in box:
            raise ValueError(f"its bounding_box {item['bounding_box']} is not four numbers")
    except FileNotFoundError:
        return np.zeros((0, 4), np.float32)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoryjaxError(f"{annotation} cannot be read as an annotation ({error}): unpack it again") from error
    height, width = read_image(photograph.path).shape[:2]
    return np.clip([[left / width, top / height, right / width, bottom / height]], 0, 1).astype(np.float32)


class DeepFashion2(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder; `prepare` below is the usual way to it. Photographs whose file is missing are left out."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "One record a photograph."}
    code_path = None  # TFDS would look beside this file for checksums of downloads; there are none
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def __init__(self, *, captions: str = "short", **kwargs: Any):
        self.captions = captions
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image_name": tfds.features.Text(),
                    "image": tfds.features.Scalar(np.object_),  # the jpg as it is
                    "instance": tfds.features.Scalar(np.int32),
                    "name": tfds.features.Text(),
                    "category": tfds.features.Text(),
                    "caption": tfds.features.Text(),
                    "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
                }
            ),
            homepage="https://github.com/NVlabs/PerVLBenchmark",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        found = [p for p in read_photographs(Path(dl_manager.manual_dir), self.captions) if p.path.is_file()]
        numbers = {pair: i for i, pair in enumerate(sorted({p.pair for p in found if p.split == "train"}))}
        return {split: self._generate_examples([p for p in found if p.split == split], numbers) for split in SPLITS}

    def _generate_examples(
        self, photographs: list[Photograph], numbers: dict[int, int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, photograph in enumerate(p for p in photographs if p.pair in numbers):
            yield (
                index,
                {
                    "image_name": photograph.image_name,
                    "image": photograph.path.read_bytes(),
                    "instance": numbers[photograph.pair],
                    "name": f"{photograph.category} {photograph.pair}",
                    "category": photograph.category,
                    "caption": photograph.caption,
                    "boxes": read_box(photograph),
                },
            )

    @classmethod
    def prepare(cls, root: str | Path, cache_dir: str | Path, split: str, **options: Any) -> PreparedSource:
        """Returns a split as a source of records; see `prepare` for the options and errors."""
        return one_split(prepare(root, cache_dir, **options), split, "PerVL-DeepFashion2")


def prepare(
    manual_dir: str | Path, data_dir: str | Path, *, max_broken_fraction: float = 0.05, captions: str = "short"
) -> dict[str, PreparedSource]:
    """Both splits as records under `data_dir`: made now, or found there if the files in `manual_dir` are the same.

    Item i is {"image_name", "image": jpg bytes, "instance": int, "name", "category", "caption", "boxes": (n, 4)}.
    `captions` is "short" or "detailed".

    Raises:
        StoryjaxError: the data set is not there (what to get and where to put it), too many photographs are missing, or
            `data_dir` cannot be written.
    """
    root = Path(manual_dir)
    found = read_photographs(root, captions)
    missing = [p for p in found if not p.path.is_file()]
    if len(missing) > max_broken_fraction * len(found):
        raise StoryjaxError(
            f"{len(missing)} of {len(found)} photographs of PerVL-DeepFashion2 are missing, more than the allowed"
            f" {max_broken_fraction:.1%}; the first: {missing[0].path}; {_INSTRUCTIONS}"
        )
    files = [p.path for p in found if p.path.is_file()]
    version = f"{DeepFashion2.VERSION} {captions}"
    fingerprint = files_fingerprint(version, files, root, annotation_files(root, captions))
    folder = prepare_once(
        lambda data: DeepFashion2(captions=captions, data_dir=data), root, Path(data_dir) / "deepfashion2", fingerprint
    )
    return {split: PreparedSource(folder, "deep_fashion2", str(DeepFashion2.VERSION), split) for split in SPLITS}
