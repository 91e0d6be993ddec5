"""ImageNet (ILSVRC 2012), in the layout and with the records of TFDS's own `imagenet2012`, without TensorFlow.

The official files, read from `manual_dir`:

    ILSVRC2012_img_train.tar        a tar of tars, one a class: n01440764.tar with n01440764_10026.JPEG ...
    ILSVRC2012_img_val.tar          optional: ILSVRC2012_val_00000001.JPEG ...

A data set that TFDS has prepared already (`<data_dir>/imagenet2012/5.1.0`, as array records) is used as it is.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tensorflow_datasets.datasets.imagenet2012 import imagenet_common

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.prepared import files_fingerprint, prepare_once

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
NAME, VERSION = "imagenet2012", "5.1.0"
_INSTRUCTIONS = f"register at https://image-net.org/download-images and put {TRAIN} and {VAL} there"


def class_names() -> list[str]:
    """The thousand classes, as WordNet ids, in the order of their labels."""
    return Path(imagenet_common.label_names_file()).read_text("utf-8").split()


def validation_labels() -> dict[str, str]:
    """The class of each validation picture, by file name: published with ImageNet's development kit, kept by TFDS."""
    listed = Path(imagenet_common.label_names_file()).with_name("validation_labels.txt").read_text("utf-8").split()
    return {f"ILSVRC2012_val_{number:08d}.JPEG": label for number, label in enumerate(listed, 1)}


class Imagenet2012(tfds.core.GeneratorBasedBuilder):
    """TFDS's data set of this name, its version and its records; `prepare` below is the usual way to it."""

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES: ClassVar = {"5.1.0": "As TFDS has it."}
    code_path = None  # TFDS would look beside this file for checksums of downloads; there are none
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def __init__(self, **kwargs: Any):
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names_file=imagenet_common.label_names_file()),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://image-net.org/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        root = Path(dl_manager.manual_dir)
        splits = {"train": self._generate_examples(root / TRAIN, None)}
        if (root / VAL).exists():
            splits["validation"] = self._generate_examples(root / VAL, validation_labels())
        return splits

    def _generate_examples(self, path: Path, labels: dict[str, str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
        pictures = validation_pictures(path, labels) if labels is not None else train_pictures(path)
        for name, label, data in pictures:
            yield name, {"file_name": name, "image": io.BytesIO(data), "label": label}

    @classmethod
    def prepare(cls, root: str | Path, cache_dir: str | Path, split: str, **options: Any) -> "ImagenetSource":
        """Returns a split as a source of records; see `prepare` for the options and errors."""
        return prepare(root, cache_dir, split, **options)


def train_pictures(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """(file name, class, encoded picture) of the tar of tars. Raises StoryjaxError for one that is cut short."""
    known = set(class_names())
    try:
        with tarfile.open(path) as outer:
            for member in outer:
                label = member.name.removesuffix(".tar")
                if label not in known:
                    raise StoryjaxError(f"{path} holds {member.name}, which is no class of ImageNet: download it again")
                with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                    for picture in inner:
                        yield picture.name, label, inner.extractfile(picture).read()
    except (OSError, tarfile.TarError) as error:
        raise StoryjaxError(f"{path} cannot be read as a tar of tars ({error}): download it again") from error


def validation_pictures(path: Path, labels: dict[str, str]) -> Iterator[tuple[str, str, bytes]]:
    """(file name, class, encoded picture) of the validation tar."""
    try:
        with tarfile.open(path) as outer:
            for member in outer:
                if member.name in labels:
                    yield member.name, labels[member.name], outer.extractfile(member).read()
    except (OSError, tarfile.TarError) as error:
        raise StoryjaxError(f"{path} cannot be read as a tar ({error}): download it again") from error


class ImagenetSource:
    """A prepared split: item i is {"image": jpg bytes, "label": int, "file_name": str}."""

    def __init__(self, place: Path, split: str):
        self.place, self.split = place, split
        self._records: Any = None

    def _open(self) -> Any:
        if self._records is None:
            try:
                builder = tfds.builder_from_directory(self.place)
                if self.split not in builder.info.splits:
                    known = ", ".join(builder.info.splits)
                    raise StoryjaxError(f"{self.place} has no split '{self.split}', only {known}")
                self._records = builder.as_data_source(self.split, decoders={"image": tfds.decode.SkipDecoding()})
            except StoryjaxError:
                raise
            except Exception as error:  # TFDS raises errors of many kinds for a damaged or a tfrecord folder
                raise StoryjaxError(
                    f"{self.place} cannot be read ({str(error).splitlines()[0]}): prepare it with"
                    " file_format='array_record', or delete it to have it prepared again"
                ) from error
        return self._records

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": None}  # open files stay in their process

    def __len__(self) -> int:
        return len(self._open())

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._open()[range(len(self))[int(index)]]
        return {"image": record["image"], "label": int(record["label"]), "file_name": record["file_name"].decode()}


def prepare(manual_dir: str | Path, data_dir: str | Path, split: str) -> ImagenetSource:
    """A split ("train" or "validation"): what TFDS prepared, or what was prepared before, or made now.

    Raises:
        StoryjaxError: the files are not there (what to get and where to put it), or `data_dir` cannot be written.
    """
    place = Path(data_dir) / NAME / VERSION
    if (place / "dataset_info.json").exists():
        return ImagenetSource(place, split)
    root = Path(manual_dir)
    if not (root / TRAIN).exists():
        raise StoryjaxError(f"ImageNet is not in {root} ({TRAIN} is missing): {_INSTRUCTIONS}")
    files = [path for path in (root / TRAIN, root / VAL) if path.exists()]
    fingerprint = files_fingerprint(VERSION, files, root)
    folder = prepare_once(lambda data: Imagenet2012(data_dir=data), root, Path(data_dir) / "imagenet", fingerprint)
    return ImagenetSource(folder / NAME / VERSION, split)
