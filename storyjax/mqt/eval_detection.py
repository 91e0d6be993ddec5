"""The evaluator of detection in images (Table 2.8a).

`coco/det_ap`, `coco/pos_ap` and `coco/true_ap` are the AP of det queries, of pos queries made of perturbed true boxes,
and of pos queries made of the true boxes. det queries run alone, in a pass that holds nothing of the truth; beside pos
queries they run as in training.
"""

import dataclasses
from typing import Any

import numpy as np

from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.metrics.detection import Detections, average_precision
from storyjax.mqt.config import MqtData
from storyjax.mqt.data import DetectionEvalLoader, View
from storyjax.mqt.datasets import Sources
from storyjax.mqt.images import images_of, picture_size
from storyjax.mqt.model import Mqt
from storyjax.train.experiment import Batch, Evaluator, Params


def plain_view(data: MqtData) -> View:
    """Returns the view of the images without augmentation."""
    return dataclasses.replace(data.view, flip=0.0, jitter=0.0)


def detection_evaluator(model: Mqt, sources: Sources, dataset: str, split: str) -> Evaluator:
    """Returns the evaluator of the AP of det and pos queries on a split of a data set of images."""

    def stream(spec: StreamSpec) -> Stream:
        return eval_stream(sources.split(dataset, split), DetectionEvalLoader(plain_view(sources.data)), spec)

    def eval_step(params: Params, batch: Batch) -> dict[str, Any]:
        def detect(model: Mqt) -> dict[str, Any]:
            encoded = model.encode(images_of(batch, 0))
            pos = model.decode(encoded, batch["given_boxes"], batch["given_mask"])
            true = model.decode(encoded, batch["boxes0"], batch["present0"])
            sets = {"det": model.decode(encoded).det, "pos": pos.given, "true": true.given}
            return {name: (each.boxes[-1], model.objectness(each.appearance[-1])) for name, each in sets.items()}

        found: Any = model.apply({"params": params}, method=detect)
        return found

    def accumulate(acc: Any, outputs: Any, batch: Batch) -> Any:
        acc = acc if acc is not None else {"truth": [], "det": [], "pos": [], "true": []}
        for row in np.flatnonzero(np.asarray(batch["record_valid"])):
            height, width = picture_size(batch, 0, int(row))
            present = np.asarray(batch["present0"][row])
            acc["truth"].append(true_boxes(batch, int(row), 0))
            for name, (boxes, logits) in outputs.items():
                chosen = np.ones(boxes.shape[1], bool) if name == "det" else present
                found = np.asarray(boxes[row])[chosen], np.asarray(logits[row])[chosen]
                acc[name].append(as_detections(*found, width, height))
        return acc

    def compute(acc: Any) -> dict[str, float]:
        scores = {name: average_precision(acc["truth"], acc[name]) for name in ("det", "pos", "true")}
        return {f"{dataset}/{name}_{key}": value for name, each in scores.items() for key, value in each.items()}

    return Evaluator("detection", stream, eval_step, accumulate, compute)


def true_boxes(batch: Batch, row: int, view: int) -> Detections:
    """Returns the true boxes of an image of a batch, and its regions of crowds, in which detections are ignored."""
    height, width = picture_size(batch, view, row)
    present, crowd = (np.asarray(batch[f"{name}{view}"][row]) for name in ("present", "crowd_mask"))
    boxes = np.asarray(batch[f"boxes{view}"][row])[present]
    regions = np.asarray(batch[f"crowd_boxes{view}"][row])[crowd]
    both = as_detections(np.concatenate([boxes, regions]), None, width, height)
    return dataclasses.replace(both, crowd=np.arange(len(both.xywh_px)) >= len(boxes))


def as_detections(boxes: np.ndarray, logits: np.ndarray | None, width: int, height: int) -> Detections:
    """Returns boxes (cx, cy, w, h), normalised, in an image of that size, with their logits (None: 1 each), for AP."""
    scale = np.array([width, height], np.float32)
    low, high = (np.clip(boxes[:, :2] + side * boxes[:, 2:] / 2, 0, 1) * scale for side in (-1, 1))
    scores = np.ones(len(boxes)) if logits is None else 1 / (1 + np.exp(-logits.astype(np.float64)))
    return Detections(np.concatenate([low, high - low], axis=1).astype(np.float64), scores)
