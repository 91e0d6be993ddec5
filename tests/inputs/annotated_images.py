"""Small data sets of annotated images and sequences in their official layouts, one for each kind of annotation file."""

import json
from collections.abc import Callable
from typing import Any

from annotation_kind import (
    Kind,
    detections,
    images_and_boxes,
    in_json,
    items,
    jpeg,
    lines,
    listed,
    table,
    tar,
    truth,
)

from storyjax.data.builders.celebrities import CelebritiesInPlaces
from storyjax.data.builders.coco import Coco
from storyjax.data.builders.crowdhuman import CrowdHuman
from storyjax.data.builders.deepfashion2 import DeepFashion2
from storyjax.data.builders.gmot import Gmot40
from storyjax.data.builders.imagenet import TRAIN, VAL, Imagenet2012, class_names
from storyjax.data.builders.mot import Mot17
from storyjax.data.builders.tao import Tao
from storyjax.data.builders.vggface import VGGFace, VGGFace2


def _coco() -> Kind:
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 40, "height": 30} for n in range(4)],
        "annotations": [{"id": n, "image_id": n % 4, "category_id": n % 2, "bbox": [1, 2, 3, 4]} for n in range(8)],
        "categories": [{"id": n, "name": f"thing {n}"} for n in range(2)],
    }
    path = "annotations/instances_train2017.json"
    files = {path: content, **{f"train2017/{n}.jpg": jpeg() for n in range(4)}}
    count = in_json(lambda found: listed(found["images"]) + listed(found["annotations"]))
    return Kind(Coco, path, files, None, count, images_and_boxes)


def _crowdhuman() -> Kind:
    boxes = [{"tag": "person", "fbox": [1, 2, 3, 4], "extra": {"ignore": n % 2}} for n in range(3)]
    files = {"annotation_train.odgt": "".join(json.dumps({"ID": f"a{n}", "gtboxes": boxes}) + "\n" for n in range(4))}
    files |= {f"Images/a{n}.jpg": jpeg() for n in range(4)}

    def count(data: bytes) -> int | None:
        try:
            return sum(1 + in_line(line) for line in data.decode().splitlines() if line.strip())
        except UnicodeDecodeError:
            return None

    def in_line(line: str) -> int:
        return in_json(lambda found: listed(found["gtboxes"]))(line.encode("utf-8", "surrogatepass")) or 0

    return Kind(CrowdHuman, "annotation_train.odgt", files, None, count, images_and_boxes)


def _tao() -> Kind:
    name = "train/S/v/frame{:04d}.jpg"
    content = {
        "videos": [{"id": 1, "name": "train/S/v", "neg_category_ids": [2], "not_exhaustive_category_ids": [1]}],
        "images": [
            {"id": n, "video_id": 1, "frame_index": n, "file_name": name.format(n), "width": 40, "height": 30}
            for n in range(4)
        ],
        "tracks": [{"id": n, "category_id": n, "video_id": 1} for n in (1, 2)],
        "annotations": [
            {"id": n, "image_id": n % 4, "track_id": 1 + n % 2, "category_id": 1 + n % 2, "bbox": [1, 2, 3, 4]}
            for n in range(8)
        ],
        "categories": [{"id": 1, "name": "cat", "merged": [{"id": 3}]}, {"id": 2, "name": "person"}],
    }
    files = {"annotations/train.json": content, **{f"frames/{name.format(n)}": jpeg() for n in range(4)}}
    return Kind(Tao, "annotations/train.json", files, None, in_json(lambda f: listed(f["annotations"])), truth)


def _gmot() -> Kind:
    rows = [f"{n // 2},{n % 2},1,2,9,9,1,-1,-1,-1" for n in range(8)]
    files = {"track_label/car-0.txt": "\n".join(rows) + "\n"}
    files |= {f"GenericMOT_JPEG_Sequence/car-0/img1/{n:06d}.jpg": jpeg() for n in range(4)}
    return Kind(Gmot40, "track_label/car-0.txt", files, None, _rows_of_text, truth)


def _rows_of_text(data: bytes) -> int:
    return sum(bool(line.strip()) for line in data.decode("utf-8-sig", "replace").splitlines())


def _mot(name: str, count: Callable[[bytes], int | None], used: Callable[[Any], int]) -> Kind:
    info = "[Sequence]\nname=M-01\nimDir=img1\nframeRate=10\nseqLength=4\nimWidth=40\nimHeight=30\nimExt=.jpg\n"
    rows = [f"{1 + n // 2},{1 + n % 2},1,2,9,9,1,1,1.0" for n in range(8)]
    found = [f"{1 + n // 2},-1,1,2,9,9,0.9,-1,-1,-1" for n in range(8)]
    folder = "train/M-01-DPM"
    files = {
        f"{folder}/seqinfo.ini": info,
        f"{folder}/gt/gt.txt": "\n".join(rows),
        f"{folder}/det/det.txt": "\n".join(found),
    }
    files |= {f"{folder}/img1/{n:06d}.jpg": jpeg() for n in range(1, 5)}
    return Kind(Mot17, f"{folder}/{name}", files, None, count, used)


def _mot_rows(data: bytes) -> int | None:
    # A heading and comments are no rows; damage at the beginning may make either.
    rows = _rows_of_text(data)
    text = data.decode("utf-8-sig", "replace").splitlines()
    passed = sum(line.strip().startswith("#") for line in text) + any(line[:1].isalpha() for line in text[:1])
    return rows - passed


def _deepfashion2(name: str) -> Kind:
    folder = "annotations/deep_fashion"
    captions = table(
        "image_name,pair_id,caption", [f'train/image/{n}.jpg,{n % 2},"a person, at {n}"' for n in range(4)]
    )
    files = {
        f"{folder}/test_fsl_train.txt": "x/0:\n4.jpg\n5.jpg\nx/1:\n6.jpg\n7.jpg\n",
        f"{folder}/test_captions.csv": captions,
        f"{folder}/shortened_deepfashion2_captions.csv": captions,
        f"{folder}/train_coarse_grained_names.csv": table("unique_pair_ids,pair_id_categories", ["0,skirt", "1,top"]),
    }
    files |= {f"train/image/{n}.jpg": jpeg() for n in range(8)}
    box = {"item1": {"category_name": "skirt", "bounding_box": [1, 2, 20, 30], "pair_id": 0}}
    files |= {f"train/annos/{n}.json": box for n in range(8)}
    return Kind(DeepFashion2, f"{folder}/{name}" if "/" not in name else name, files)


def _vggface() -> Kind:
    rows = [f"{n:08d} http://x/{n}.jpg 1.0 2.0 30.0 20.0 3.0 1.5 1" for n in range(6)]
    files = {"files/Ana_Bo.txt": "\n".join(rows) + "\n", **{f"images/Ana_Bo/{n:08d}.jpg": jpeg() for n in range(6)}}
    return Kind(VGGFace, "files/Ana_Bo.txt", files, "train", _rows_of_text, items)


def _vggface2(name: str) -> Kind:
    files: dict[str, Any] = {
        "meta/identity_meta.csv": table(
            "Class_ID, Name, Sample_Num, Flag, Gender", ['n1, "Ana_Bo", 2, 1, f', "n2, Cy, 2, 0, m"]
        ),
        "bb_landmark/loose_bb_train.csv": table(
            "NAME_ID,X,Y,W,H", [f'"n{p}/{n}",1,2,3,4' for p in (1, 2) for n in range(2)]
        ),
    }
    files |= {f"train/n{p}/{n}.jpg": jpeg() for p in (1, 2) for n in range(2)}
    return Kind(VGGFace2, name, files, "train", lambda data: 4, items)


def _places() -> Kind:
    rows = [f"{n}.jpg,Ana_Bo,beach,{n % 2}" for n in range(4)] + ["4.jpg,,,"]
    files = {
        "annotations.csv": table("image,celebrity,place,seen", rows),
        **{f"images/{n}.jpg": jpeg() for n in range(5)},
    }
    return Kind(CelebritiesInPlaces, "annotations.csv", files, "test", lines(), items)


def _imagenet(name: str) -> Kind:
    first, second = class_names()[:2]
    inner = {label: tar({f"{label}_{n}.JPEG": jpeg() for n in range(2)}) for label in (first, second)}
    valid = {f"ILSVRC2012_val_{n:08d}.JPEG": jpeg() for n in range(1, 4)}
    files = {TRAIN: tar({f"{label}.tar": content for label, content in inner.items()}), VAL: tar(valid)}
    return Kind(Imagenet2012, name, files)


# By name. Each is made when it is needed.
IMAGE_KINDS: dict[str, Callable[[], Kind]] = {
    "coco": _coco,
    "crowdhuman": _crowdhuman,
    "tao": _tao,
    "gmot": _gmot,
    "mot_truth": lambda: _mot("gt/gt.txt", _mot_rows, truth),
    "mot_detections": lambda: _mot("det/det.txt", _mot_rows, detections),
    "mot_seqinfo": lambda: _mot("seqinfo.ini", lambda data: None, truth),
    "deepfashion2_learnt": lambda: _deepfashion2("test_fsl_train.txt"),
    "deepfashion2_captions": lambda: _deepfashion2("test_captions.csv"),
    "deepfashion2_categories": lambda: _deepfashion2("train_coarse_grained_names.csv"),
    "deepfashion2_box": lambda: _deepfashion2("train/annos/4.json"),
    "vggface": _vggface,
    "vggface2_names": lambda: _vggface2("meta/identity_meta.csv"),
    "vggface2_boxes": lambda: _vggface2("bb_landmark/loose_bb_train.csv"),
    "celebrities_in_places": _places,
    "imagenet_train": lambda: _imagenet(TRAIN),
    "imagenet_validation": lambda: _imagenet(VAL),
}
