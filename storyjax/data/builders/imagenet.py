"""ImageNet (ILSVRC 2012), in the layout and with the records of TFDS's own `imagenet2012`, without TensorFlow.

The official files, read from `root`:

    ILSVRC2012_img_train.tar        a tar of tars, one a class: n01440764.tar with n01440764_10026.JPEG ...
    ILSVRC2012_img_val.tar          optional: ILSVRC2012_val_00000001.JPEG ...

A data set that TFDS has prepared already (`<cache_dir>/imagenet2012/5.1.0`, as array records) is used as it is.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing
from tensorflow_datasets.datasets.imagenet2012 import imagenet_common

from storyjax.core.errors import StoryjaxError, first_line
from storyjax.data.builders.base import Listing, OfficialBuilder
from storyjax.data.builders.prepared import PreparedSource
from storyjax.data.builders.segments import Media
from storyjax.data.builders.tars import TAR_FAULTS, check_tar_end, open_tar

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
NAME, VERSION = "imagenet2012", "5.1.0"
_INSTRUCTIONS = f"register at https://image-net.org/download-images and put {TRAIN} and {VAL} there"


def class_names() -> list[str]:
    """Returns the thousand classes, as WordNet ids, in the order of their labels."""
    return Path(imagenet_common.label_names_file()).read_text("utf-8").split()


def validation_labels() -> dict[str, str]:
    """Returns the class of each validation image, by file name, as ImageNet's development kit has it."""
    listed = Path(imagenet_common.label_names_file()).with_name("validation_labels.txt").read_text("utf-8").split()
    return {f"ILSVRC2012_val_{number:08d}.JPEG": label for number, label in enumerate(listed, 1)}


@dataclass
class TarListing(Listing):
    """The tar of each split."""

    tars: dict[str, Path] = field(default_factory=dict)

    def counts(self) -> tuple[int, int]:
        """Returns how many of the things counted cannot be used, and how many there are with them."""
        return 0, len(self.tars)

    def by_split(self, split: str) -> dict[str, list[Any]]:
        """Returns the usable items of each split."""
        del split
        return {name: [path] for name, path in self.tars.items()}


class ImagenetSource(PreparedSource):
    """A prepared split: item i is {"image": jpg bytes, "label": int, "file_name": str}."""

    DECODERS: ClassVar = {"image": tfds.decode.SkipDecoding()}

    def convert(self, record: dict[str, Any], index: int) -> dict[str, Any]:
        """Returns item `index` from the prepared record."""
        return {"image": record["image"], "label": int(record["label"]), "file_name": record["file_name"]}


class Imagenet2012(OfficialBuilder):
    """TFDS's data set of this name, its version and its records, in TFDS's order.

    What TFDS has prepared is used as it is.
    """

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES: ClassVar = {"5.1.0": "As TFDS has it."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS
    TITLE, SPLITS, JOINT, COUNTED = "ImageNet", ("train", "validation"), True, "tars"
    SOURCE = ImagenetSource

    @staticmethod
    def read(root: Path) -> TarListing:
        """Returns the tars that are there; see `OfficialBuilder`."""
        if not (root / TRAIN).exists():
            raise StoryjaxError(f"ImageNet is not in {root} ({TRAIN} is missing): {_INSTRUCTIONS}")
        tars = {"train": root / TRAIN, "validation": root / VAL}
        return TarListing(tars={split: path for split, path in tars.items() if path.exists()})

    @classmethod
    def prepared_by_tfds(cls, cache_dir: Path) -> Path | None:
        """Returns `cache_dir` where TFDS's own imagenet2012 lies in it, else None."""
        return cache_dir if (cache_dir / NAME / VERSION / "dataset_info.json").exists() else None

    def features(self) -> dict[str, Any]:
        """Returns the TFDS features of a record, by name."""
        return {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names_file=imagenet_common.label_names_file()),
            "file_name": tfds.features.Text(),
        }

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(self.features()),
            supervised_keys=("image", "label"),
            homepage="https://image-net.org/",
        )

    @classmethod
    def files(cls, item: Path) -> Iterable[Path]:
        """Returns the files that the item's records are made of."""
        return (item,)

    @classmethod
    def state(cls, item: Path) -> bytes:
        """Returns bytes that change with the item's annotations."""
        return item.name.encode()

    @classmethod
    def spreadable(cls, split: str, items: Sequence[Path]) -> list["TarImage"]:
        """Returns the images of a split's tars in TFDS's order, that of the hashes of their names."""
        images = {image.name: image for path in items for image in tar_images(path)}
        hasher = hashing.Hasher(split)
        return sorted(images.values(), key=lambda image: hasher.hash_key(image.name))

    @classmethod
    def weight(cls, item: "TarImage") -> int:
        """Returns about how many bytes the image's record has."""
        return item.length + 1024

    @classmethod
    def records(cls, items: Sequence["TarImage"]) -> Iterator[dict[str, Any]]:
        """Yields the records of images, read now."""
        for image in items:
            yield {"file_name": image.name, "image": io.BytesIO(image.read()), "label": image.label}

    def _generate_examples(self, items: Sequence[Path]) -> Iterator[tuple[Any, dict[str, Any]]]:
        for path in items:
            for record in self.records(tar_images(path)):
                yield record["file_name"], record


@dataclass(frozen=True)
class TarImage:
    """An image of class `label`: `length` bytes at `offset` of a tar, or of a tar in it."""

    name: str
    label: str
    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Returns the encoded image."""
        return Media(self.path, self.offset, self.length).read()


def tar_images(path: Path) -> list[TarImage]:
    """Returns the images of one of the official tars, in its order. StoryjaxError for one that is cut short."""
    try:
        return list(_train_images(path) if path.name == TRAIN else _validation_images(path))
    except (OSError, tarfile.TarError, *TAR_FAULTS) as error:
        what = "a tar of tars" if path.name == TRAIN else "a tar"
        raise StoryjaxError(f"{path} cannot be read as {what} ({first_line(error, 200)}): download it again") from error


def _train_images(path: Path) -> Iterator[TarImage]:
    known = set(class_names())
    with open_tar(path) as outer:
        for member in outer:
            label = _file_name(member).removesuffix(".tar")
            if not label:
                continue
            if label not in known:
                raise StoryjaxError(f"{path} holds {member.name}, which is no class of ImageNet: download it again")
            with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                for image in inner:
                    if name := _file_name(image):
                        yield TarImage(name, label, path, member.offset_data + image.offset_data, image.size)
                check_tar_end(inner)
        check_tar_end(outer)


def _validation_images(path: Path) -> Iterator[TarImage]:
    labels = validation_labels()
    with open_tar(path) as outer:
        for member in outer:
            if (name := _file_name(member)) in labels:
                yield TarImage(name, labels[name], path, member.offset_data, member.size)
        check_tar_end(outer)


def _file_name(member: tarfile.TarInfo) -> str:
    """The name of a file in a tar without its folders, as "./" and that of the archive; "" of what is no file."""
    name = member.name.rpartition("/")[2]
    return name if member.isfile() and not name.startswith(".") else ""
