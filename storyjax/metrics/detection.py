"""Average precision of detection, by pycocotools, COCO's own toolkit (thesis Table 2.8)."""

import contextlib
import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from storyjax.core.errors import StoryjaxError


@dataclass(frozen=True)
class Detections:
    """The boxes of an image (left, top, width, height in pixels): what is there, or what was found, with scores.

    `kinds` are left out where a detector has no classes; `crowd`: which true boxes count neither way.
    """

    xywh_px: Float[np.ndarray, "m 4"]
    scores: Float[np.ndarray, " m"] | None = None
    kinds: Int[np.ndarray, " m"] | None = None
    crowd: Bool[np.ndarray, " m"] | None = None


def average_precision(truth: Sequence[Detections], found: Sequence[Detections]) -> dict[str, float]:
    """Returns COCO's AP over IoU 0.50 to 0.95 ("ap"), at 0.50 ("ap50") and at 0.75 ("ap75"); fractions, 0 where nothing
    is there.

    Kinds count only where both sides have them: MQT knows none (§2.3.2).

    Raises:
        StoryjaxError: pycocotools is not installed.
    """
    try:
        coco_module = importlib.import_module("pycocotools.coco")
        evaluation = importlib.import_module("pycocotools.cocoeval")
    except ImportError as error:
        raise StoryjaxError(f"measuring AP needs pycocotools ({error}): pip install 'storyjax[track]'") from error
    with_kinds = all(each.kinds is not None for each in (*truth, *found))
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (there, seen) in enumerate(zip(truth, found, strict=True), 1):
        kinds = there.kinds if with_kinds and there.kinds is not None else np.zeros(len(there.xywh_px), int)
        crowd = np.zeros(len(there.xywh_px), bool) if there.crowd is None else there.crowd
        for box, kind, many in zip(there.xywh_px.tolist(), kinds, crowd, strict=True):
            one = {"id": len(annotations) + 1, "image_id": image, "category_id": int(kind) + 1, "bbox": box}
            annotations.append({**one, "area": box[2] * box[3], "iscrowd": int(many)})
        kinds = seen.kinds if with_kinds and seen.kinds is not None else np.zeros(len(seen.xywh_px), int)
        scores = np.ones(len(seen.xywh_px)) if seen.scores is None else seen.scores
        for box, kind, score in zip(seen.xywh_px.tolist(), kinds, scores, strict=True):
            results.append({"image_id": image, "category_id": int(kind) + 1, "bbox": box, "score": float(score)})
    if not annotations or not results:
        return {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # the toolkit talks
        coco = coco_module.COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(truth) + 1)],
            "annotations": annotations,
            "categories": [{"id": kind} for kind in sorted({a["category_id"] for a in annotations})],
        }
        coco.createIndex()
        judge = evaluation.COCOeval(coco, coco.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ap, ap50, ap75 = (max(0.0, float(value)) for value in judge.stats[:3])
    return {"ap": ap, "ap50": ap50, "ap75": ap75}
