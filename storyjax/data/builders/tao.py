"""TAO, tracking any object (Dave et al. 2020), annotated once a second in the way of LVIS.

The official files, read from `root`, as taodataset.org's zips unpack:

    annotations/train.json  annotations/validation.json  frames/train/YFCC100M/VIDEO/frame0391.jpg ...

The records of a sequence are its annotated frames, numbered from 1 in their order; where all its frames lie is in its
`Origin`. Kinds are indices of the categories, in the order of their ids. Tracks of a file are those of its "tracks"; a
row whose track, image or category is unknown is left out and named. A category that others are "merged" into takes
their tracks, as in the official evaluation. Not every category is annotated in every video: `neg_category_ids` are
known not to be there, and of `not_exhaustive_category_ids` there may be more; both reach the metric as `LabelledKinds`.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.coco import read_json
from storyjax.data.builders.detection import usable_box
from storyjax.data.builders.frames import FramesBuilder, Origin, SequenceFiles, SequenceListing
from storyjax.data.mot_text import LabelledKinds, rows

FPS = 1.0
_LISTS = ("videos", "images", "tracks", "annotations", "categories")


class Tao(FramesBuilder):
    """TAO, one record an annotated frame."""

    TITLE = "TAO"
    SPLITS = ("train", "validation")

    @staticmethod
    def read(root: Path, only: str | None = None) -> SequenceListing:
        """Returns the sequences of both splits; see `OfficialBuilder`.

        Args:
            root: the folder of the official files.
            only: keeps the tracks of one category ("person": TAO-person).
        """
        found = SequenceListing()
        files = {split: root / "annotations" / f"{split}.json" for split in Tao.SPLITS}
        if not any(path.is_file() for path in files.values()):
            raise StoryjaxError(
                f"TAO is not in {root} (no annotations/train.json): get the annotations and the frames of train and"
                " validation from taodataset.org and unpack them there"
            )
        for split, path in files.items():
            if path.is_file():
                _read_split(root / "frames", split, path, only, found)
        return found


def _read_split(frames: Path, split: str, path: Path, only: str | None, found: SequenceListing) -> None:
    content = read_json(path, _LISTS)
    order = sorted(content["categories"], key=lambda category: category["id"])
    kinds = {category["id"]: i for i, category in enumerate(order)}
    found.category_ids = tuple(int(category["id"]) for category in order)
    merged = {each.get("id"): one["id"] for one in order for each in one.get("merged") or ()}
    wanted = set(kinds)
    if only is not None:
        wanted = {category["id"] for category in order if category["name"] == only}
        if not wanted:
            raise StoryjaxError(f"{path} has no category '{only}': it has {len(order)}, such as {order[0]['name']}")
    tracks = {track.get("id"): track for track in content["tracks"]}
    images: dict[Any, list[dict[str, Any]]] = {}
    for image in content["images"]:
        images.setdefault(image.get("video_id"), []).append(image)
    boxes: dict[Any, list[tuple[int, list[Any], int]]] = {}
    known = {image.get("id") for image in content["images"]}
    for one in content["annotations"]:
        where = f"{path.name} annotation {one.get('id')}"
        track = tracks.get(one.get("track_id"))
        if track is None:
            found.broken.append(f"{where}: there is no track {one.get('track_id')}")
        elif one.get("image_id") not in known:
            found.broken.append(f"{where}: there is no image {one.get('image_id')}")
        elif (category := _category(one, track, merged)) not in kinds:
            found.broken.append(f"{where}: there is no category {category}")
        elif not usable_box(one.get("bbox")):
            found.broken.append(f"{where}: its box {one.get('bbox')} has no area")
        elif category in wanted:
            boxes.setdefault(one["image_id"], []).append((track["id"], one["bbox"], kinds[category]))
    for video in content["videos"]:
        negative, more = (
            tuple(kinds[category] for category in video.get(key) or () if category in kinds)
            for key in ("neg_category_ids", "not_exhaustive_category_ids")
        )
        labelled = LabelledKinds(negative, more)
        _add_video(frames, split, video, images.get(video.get("id"), []), boxes, labelled, found)


def _category(annotation: dict[str, Any], track: dict[str, Any], merged: dict[Any, Any]) -> Any:
    """The category of a box or of its track, or the one that it is merged into."""
    category = annotation.get("category_id", track.get("category_id"))
    return merged.get(category, category)


def _add_video(
    frames: Path,
    split: str,
    video: dict[str, Any],
    images: list[dict[str, Any]],
    boxes: dict[Any, list[tuple[int, list[Any], int]]],
    labelled: LabelledKinds,
    found: SequenceListing,
) -> None:
    images = sorted(images, key=lambda image: image["frame_index"])
    if not images:
        found.broken.append(f"video {video.get('name')} has no images")
        return
    paths: list[Path | None] = []
    flat: list[tuple[int, int, list[Any], int]] = []
    for number, image in enumerate(images, 1):
        file = frames / image["file_name"]
        if not file.is_file() or not file.stat().st_size:
            found.broken.append(f"{file} is missing or empty")
            paths.append(None)
        else:
            paths.append(file)
        flat += [(number, track, box, kind) for track, box, kind in boxes.get(image["id"], [])]
    numbers, ids, xywh_px, kinds = zip(*flat, strict=True) if flat else ((), (), (), ())
    truth = rows(numbers, ids, xywh_px, None, kinds)
    size = int(images[0].get("width", video.get("width", 0))), int(images[0].get("height", video.get("height", 0)))
    names = [PurePosixPath(image["file_name"]) for image in images]
    origin = Origin(
        str(PurePosixPath(frames.name) / names[0].parent),
        tuple(name.name for name in names),
        int(video["id"]),
        tuple(int(image["id"]) for image in images),
    )
    name = str(video["name"])
    found.sequences.append(
        SequenceFiles(name, split, FPS, *size, tuple(paths), truth, every_kind=True, origin=origin, labelled=labelled)
    )
