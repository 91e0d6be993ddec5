"""TAO, tracking any object (Dave et al. 2020), annotated once a second in the way of LVIS.

The official files, read from `root`, as taodataset.org's zips unpack:

    annotations/train.json  annotations/validation.json  frames/train/YFCC100M/VIDEO/frame0391.jpg ...

The records of a sequence are its annotated frames, numbered from 1 in their order; where all its frames lie is in its
`Origin`. Kinds are indices of the categories, in the order of their ids. Tracks of a file are those of its "tracks"; a
row whose track, image or category is unknown is left out and named. A category that others are "merged" into takes
their tracks, as in the official evaluation. Not every category is annotated in every video: `neg_category_ids` are
known not to be there, and of `not_exhaustive_category_ids` there may be more; both reach the metric as `LabelledKinds`.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.coco import is_number, numbered, objects, read_json
from storyjax.data.builders.detection import image_size, usable_box
from storyjax.data.builders.frames import FramesBuilder, Origin, SequenceFiles, SequenceListing
from storyjax.data.builders.prepared import unusable_file
from storyjax.data.mot_text import LabelledKinds, rows

FPS = 1.0
_LISTS = ("videos", "images", "tracks", "annotations", "categories")
_Box = tuple[int, list[float], int]  # track; left, top, width, height; kind


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
    order = sorted(numbered(content, "categories", path, found.broken), key=lambda category: category["id"])
    kinds = {category["id"]: i for i, category in enumerate(order)}
    found.category_ids = tuple(int(category["id"]) for category in order)
    merged = {number: one["id"] for one in order for number in _numbers(each["id"] for each in _merged(one))}
    wanted = set(kinds)
    if only is not None:
        wanted = {category["id"] for category in order if category.get("name") == only}
        if not wanted:
            such = "".join(f", such as {category.get('name')}" for category in order[:1])
            raise StoryjaxError(f"{path} has no category '{only}': it has {len(order)}{such}")
    tracks = {track["id"]: track for track in numbered(content, "tracks", path, found.broken, below=2**31)}
    videos = numbered(content, "videos", path, found.broken)
    images: dict[int, list[dict[str, Any]]] = {video["id"]: [] for video in videos}
    seen: dict[int, list[_Box]] = {}
    for image in numbered(content, "images", path, found.broken):
        where = f"{path.name} image {image['id']}"
        if not is_number(video := image.get("video_id")) or video not in images:
            found.broken.append(f"{where}: there is no video {video!r:.40}")
        elif not is_number(image.get("frame_index")) or not isinstance(image.get("file_name"), str):
            found.broken.append(f"{where}: its frame_index or its file_name is missing")
        else:
            images[video].append(image)
            seen[image["id"]] = []
    for one in objects(content, "annotations", path, found.broken):
        where = f"{path.name} annotation {one.get('id')!r:.40}"
        track_id, image_id, box = (one.get(key) for key in ("track_id", "image_id", "bbox"))
        if not is_number(track_id) or track_id not in tracks:
            found.broken.append(f"{where}: there is no track {track_id!r:.40}")
        elif not is_number(image_id) or image_id not in seen:
            found.broken.append(f"{where}: there is no image {image_id!r:.40}")
        elif (category := _category(one, tracks[track_id], merged)) not in kinds:
            found.broken.append(f"{where}: there is no category {category!r:.40}")
        elif not usable_box(box):
            found.broken.append(f"{where}: its box {box!r:.80} has no area")
        elif category in wanted:
            seen[image_id].append((int(track_id), list(map(float, one["bbox"])), kinds[category]))
    for video in videos:
        negative, more = (
            tuple(kinds[category] for category in _numbers(video.get(key)) if category in kinds)
            for key in ("neg_category_ids", "not_exhaustive_category_ids")
        )
        _add_video(frames, split, video, images[video["id"]], seen, LabelledKinds(negative, more), found)


def _numbers(values: Any) -> list[int]:
    """The ids among what should be a list of them; LVIS has null for an empty one."""
    return [value for value in values if is_number(value)] if isinstance(values, Iterable) else []


def _merged(category: dict[str, Any]) -> list[dict[str, Any]]:
    """What is merged into a category."""
    found = category.get("merged")
    return [each for each in found if isinstance(each, dict) and "id" in each] if isinstance(found, list) else []


def _category(annotation: dict[str, Any], track: dict[str, Any], merged: dict[int, int]) -> Any:
    """The category of a box or of its track, or the one that it is merged into; None where that is no number."""
    category = annotation.get("category_id", track.get("category_id"))
    return merged.get(category, category) if is_number(category) else None


def _add_video(
    frames: Path,
    split: str,
    video: dict[str, Any],
    images: list[dict[str, Any]],
    boxes: dict[int, list[_Box]],
    labelled: LabelledKinds,
    found: SequenceListing,
) -> None:
    images = sorted(images, key=lambda image: image["frame_index"])
    name = str(video.get("name", video["id"]))
    if not images:
        found.broken.append(f"video {name!r:.80} has no images")
        return
    if (size := image_size(images[0]) or image_size(video)) is None:
        found.broken.append(f"video {name!r:.80}: the width or height of its images is no number of pixels")
        found.lost_rows += sum(1 + len(boxes[image["id"]]) for image in images)
        return
    paths: list[Path | None] = []
    flat: list[tuple[int, int, list[float], int]] = []
    for number, image in enumerate(images, 1):
        file = frames / image["file_name"]
        if why := unusable_file(file):
            found.broken.append(why)
            paths.append(None)
        else:
            paths.append(file)
        flat += [(number, track, box, kind) for track, box, kind in boxes[image["id"]]]
    numbers, ids, xywh_px, kinds = zip(*flat, strict=True) if flat else ((), (), (), ())
    truth = rows(numbers, ids, xywh_px, None, kinds)
    names = [PurePosixPath(image["file_name"]) for image in images]
    origin = Origin(
        str(PurePosixPath(frames.name) / names[0].parent),
        tuple(name.name for name in names),
        int(video["id"]),
        tuple(int(image["id"]) for image in images),
    )
    found.sequences.append(
        SequenceFiles(name, split, FPS, *size, tuple(paths), truth, every_kind=True, origin=origin, labelled=labelled)
    )
