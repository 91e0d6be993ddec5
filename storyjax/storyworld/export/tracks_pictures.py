"""Single frames of StoryWorld's sequences in the layouts of COCO detection and CrowdHuman, and sequences in TAO's.

train2017/000000000001.jpg val2017/... annotations/instances_{train,val}2017.json            COCO
Images/ID.jpg annotation_train.odgt annotation_val.odgt                                      CrowdHuman
frames/train/StoryWorld/NAME/frame0001.jpg annotations/{train,validation}.json               TAO
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from storyjax.storyworld.draw.moving_objects import ALL_KINDS, SEEN_KINDS
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.export.tracks_mot import LEAST, detection_lines, encode_jpeg, sequence_seed
from storyjax.storyworld.render.world import make_folder, write_text
from storyjax.storyworld.story.tracks import (
    Sequence,
    TrackStyle,
    Truth,
    plan_sequence,
    render_sequence,
    tracks_fingerprint,
)

COCO_COUNTS = {"train": 600, "val": 60}
CROWD_COUNTS = {"train": 200, "val": 20}
TAO_COUNTS = {"train": 6, "validation": 4}
# Numbers of sequences that MOTChallenge's layout never reaches.
_OFFSET = {"coco": 10_000, "crowd": 60_000, "tao": 110_000}
_PARTS = {"train": "train", "val": "held_out", "validation": "held_out"}


def _stills(
    layout: str, split: str, count: int, seed: int, style: TrackStyle
) -> Iterator[tuple[UInt8[np.ndarray, "y x 3"], Truth]]:
    """A frame from the middle of each of `count` sequences."""
    for index in range(count):
        sequence = plan_sequence(sequence_seed(_PARTS[split], _OFFSET[layout] + index, seed), style)
        at = sequence.length // 4 + index % (sequence.length // 2)
        yield from render_sequence(sequence, range(at, at + 1))


def export_coco(directory: str | Path, counts: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """Writes `counts` images (train, val) in COCO's layout; boxes are of the whole moving object; see `export_once`."""
    counts = {**COCO_COUNTS, **(counts or {})}
    categories = [{"id": i, "name": kind, "supercategory": "thing"} for i, kind in enumerate(ALL_KINDS, 1)]

    def write(folder: Path) -> None:
        for split, count in counts.items():
            make_folder(folder / f"{split}2017")
            images: list[dict[str, Any]] = []
            annotations: list[dict[str, Any]] = []
            for number, (frame, truth) in enumerate(_stills("coco", split, count, seed, TrackStyle()), 1):
                name = f"{number:012d}.jpg"
                (folder / f"{split}2017" / name).write_bytes(encode_jpeg(frame))
                height, width = frame.shape[:2]
                images.append({"id": number, "file_name": name, "width": width, "height": height, "license": 1})
                for kind, box, share in zip(truth.kinds, truth.boxes, truth.visibility, strict=True):
                    if share >= LEAST:
                        annotations.append(_annotation(len(annotations) + 1, number, kind, box))
            make_folder(folder / "annotations")
            found = {"info": {"description": "StoryWorld"}, "licenses": [{"id": 1, "name": "Apache-2.0"}]}
            found |= {"images": images, "annotations": annotations, "categories": categories}
            write_text(folder / "annotations" / f"instances_{split}2017.json", json.dumps(found))

    return export_once(directory, {"counts": counts, "seed": seed}, tracks_fingerprint(), write)


def _annotation(number: int, image: int, kind: str, box: np.ndarray) -> dict[str, Any]:
    left, top, width, height = (float(v) for v in box)
    right, bottom = left + width, top + height
    return {
        "id": number,
        "image_id": image,
        "category_id": ALL_KINDS.index(kind) + 1,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
        "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
    }


def export_crowdhuman(directory: str | Path, counts: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """Writes `counts` images (train, val) of crowds of people in CrowdHuman's layout; see `export_once`."""
    counts = {**CROWD_COUNTS, **(counts or {})}
    style = TrackStyle(kinds=("person",), movers=(6, 10))

    def write(folder: Path) -> None:
        make_folder(folder / "Images")
        for split, count in counts.items():
            lines = []
            for number, (frame, truth) in enumerate(_stills("crowd", split, count, seed, style)):
                name = f"storyworld,{split}{number:06d}"
                (folder / "Images" / f"{name}.jpg").write_bytes(encode_jpeg(frame))
                boxes = [_person(row, truth) for row in range(len(truth.ids))]
                lines.append(json.dumps({"ID": name, "gtboxes": boxes}) + "\n")
            write_text(folder / f"annotation_{split}.odgt", "".join(lines))

    return export_once(directory, {"counts": counts, "seed": seed}, tracks_fingerprint(style), write)


def _person(row: int, truth: Truth) -> dict[str, Any]:
    left, top, width, height = (int(v) for v in truth.boxes[row])
    hidden = bool(truth.visibility[row] < LEAST)
    return {
        "tag": "person",
        "fbox": [left, top, width, height],
        "vbox": [int(v) for v in truth.visible[row]],
        "hbox": [left + width // 5, top, max(1, 3 * width // 5), max(1, 2 * height // 5)],
        "head_attr": {"ignore": int(hidden), "occ": int(hidden), "unsure": 0},
        "extra": {"box_id": int(truth.ids[row]), "occ": int(truth.visibility[row] < 0.99), "ignore": int(hidden)},
    }


def export_tao(
    directory: str | Path, counts: Mapping[str, int] | None = None, seed: int = 0, detections: bool = False
) -> Path:
    """Writes `counts` videos (train, validation) in TAO's layout, of all kinds in validation; see `export_once`.

    All frames are there and every second one is annotated (TAO's are annotated once a second). With `detections` the
    boxes of an imitated detector (tracks_mot.py: SDP) are beside them, as MOTChallenge's text: those of people in
    detections/person, those of everything in detections/all.
    """
    counts = {**TAO_COUNTS, **(counts or {})}
    made_of: dict[str, Any] = {"counts": counts, "seed": seed} | ({"detections": True} if detections else {})

    def write(folder: Path) -> None:
        make_folder(folder / "annotations")
        for split, count in counts.items():
            style = TrackStyle(kinds=SEEN_KINDS if split == "train" else ALL_KINDS)
            found: dict[str, list[dict[str, Any]]] = {key: [] for key in ("videos", "images", "tracks", "annotations")}
            for index in range(count):
                chosen = sequence_seed(_PARTS[split], _OFFSET["tao"] + index, seed)
                sequence = plan_sequence(chosen, style)
                name = _write_tao(folder, split, index, sequence, found)
                if detections:
                    _write_detections(folder / "detections", name, sequence)
            categories = [
                {"id": i, "name": kind.replace(" ", "_"), "synset": f"{kind.replace(' ', '_')}.n.01", "frequency": "f"}
                for i, kind in enumerate(ALL_KINDS, 1)
            ]
            found |= {"categories": categories, "info": {"description": "StoryWorld"}, "licenses": []}  # type: ignore[dict-item]
            write_text(folder / "annotations" / f"{split}.json", json.dumps(found))

    return export_once(directory, made_of, tracks_fingerprint(), write)


def _write_detections(folder: Path, name: str, sequence: Sequence) -> None:
    """What an imitated detector finds in a video: everything, and people alone."""
    truths = [truth for _, truth in render_sequence(sequence)]
    people = [_only(truth, "person") for truth in truths]
    for part, shown in (("all", truths), ("person", people)):
        path = folder / part / f"{name}.txt"
        make_folder(path.parent)
        write_text(path, "".join(detection_lines(sequence, shown, "SDP")))


def _only(truth: Truth, kind: str) -> Truth:
    """The truth without other kinds."""
    kept = np.array([each == kind for each in truth.kinds], bool)
    columns = {name: getattr(truth, name)[kept] for name in ("ids", "boxes", "visible", "visibility")}
    return replace(truth, kinds=(kind,) * int(kept.sum()), **columns)


def _write_tao(folder: Path, split: str, index: int, sequence: Sequence, found: dict[str, list]) -> str:
    """Writes a video, and returns its name."""
    style = sequence.style
    video, name = index + 1, f"{split if split == 'train' else 'val'}/StoryWorld/film_{index:04d}"
    make_folder(folder / "frames" / name)
    size = {"width": style.width, "height": style.height}
    found["videos"].append(
        {"id": video, "name": name, **size, "neg_category_ids": [], "not_exhaustive_category_ids": [], "metadata": {}}
    )
    tracks: dict[int, int] = {}
    for number, (frame, truth) in enumerate(render_sequence(sequence)):
        file = f"{name}/frame{number + 1:04d}.jpg"
        (folder / "frames" / file).write_bytes(encode_jpeg(frame))
        if number % 2:
            continue
        image = len(found["images"]) + 1
        found["images"].append(
            {"id": image, "video_id": video, "file_name": file, "frame_index": number, "video": name, **size}
        )
        for track, kind, box, share in zip(truth.ids, truth.kinds, truth.boxes, truth.visibility, strict=True):
            if share < LEAST:
                continue
            category = ALL_KINDS.index(kind) + 1
            if int(track) not in tracks:
                tracks[int(track)] = len(found["tracks"]) + 1
                found["tracks"].append({"id": tracks[int(track)], "category_id": category, "video_id": video})
            one = _annotation(len(found["annotations"]) + 1, image, kind, box)
            found["annotations"].append({**one, "track_id": tracks[int(track)], "video_id": video})
    return name
