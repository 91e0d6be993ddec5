"""Evaluators of detection in images (Table 2.8a), and of the search for τ_conf.

`coco/det_ap`, `coco/pos_ap` and `coco/true_ap` are the AP of det queries, of pos queries made of perturbed true boxes,
and of pos queries made of the true boxes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.metrics.detection import Detections, average_precision
from storyjax.mqt.config import MqtData
from storyjax.mqt.data import DetectionLoader, View
from storyjax.mqt.datasets import Sources
from storyjax.mqt.images import images_of, picture_size
from storyjax.mqt.model import Mqt
from storyjax.train.experiment import Batch, Evaluator, HostEvaluator, Params


def plain_view(data: MqtData) -> View:
    """Returns the view of the images without augmentation."""
    return dataclasses.replace(data.view, flip=0.0, jitter=0.0)


def detection_evaluator(model: Mqt, sources: Sources, dataset: str, split: str) -> Evaluator:
    """Returns the evaluator of the AP of det and pos queries on a split of a data set of images."""

    def stream(spec: StreamSpec) -> Stream:
        return eval_stream(sources.split(dataset, split), DetectionLoader(plain_view(sources.data)), spec)

    def eval_step(params: Params, batch: Batch) -> dict[str, Any]:
        def detect(model: Mqt) -> dict[str, Any]:
            encoded = model.encode(images_of(batch, 0))
            found = model.decode(encoded, batch["given_boxes"], batch["given_mask"])
            true = model.decode(encoded, batch["boxes0"], batch["present0"])
            sets = {"det": found.det, "pos": found.given, "true": true.given}
            return {name: (each.boxes[-1], model.objectness(each.appearance[-1])) for name, each in sets.items()}

        found: Any = model.apply({"params": params}, method=detect)
        return found

    def accumulate(acc: Any, outputs: Any, batch: Batch) -> Any:
        acc = acc if acc is not None else {"truth": [], "det": [], "pos": [], "true": []}
        for row in np.flatnonzero(np.asarray(batch["record_valid"])):
            height, width = picture_size(batch, 0, row)
            present = np.asarray(batch["present0"][row])
            acc["truth"].append(as_detections(np.asarray(batch["boxes0"][row])[present], None, width, height))
            for name, (boxes, logits) in outputs.items():
                chosen = np.ones(boxes.shape[1], bool) if name == "det" else present
                found = np.asarray(boxes[row])[chosen], np.asarray(logits[row])[chosen]
                acc[name].append(as_detections(*found, width, height))
        return acc

    def compute(acc: Any) -> dict[str, float]:
        scores = {name: average_precision(acc["truth"], acc[name]) for name in ("det", "pos", "true")}
        return {f"{dataset}/{name}_{key}": value for name, each in scores.items() for key, value in each.items()}

    return Evaluator("detection", stream, eval_step, accumulate, compute)


def search_evaluator(name: str, evaluators: Sequence[tuple[float, HostEvaluator]], metric: str) -> HostEvaluator:
    """Returns the evaluator of the linear search for τ_conf (§2.6.1).

    Results are those of each threshold T under `NAME/confirm_T/`, and the best threshold, `NAME/best_confirm`.

    Args:
        evaluators: thresholds, each with what evaluators with it.
        metric: of theirs, whose largest value is best.
    """

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        results: dict[str, float] = {}
        scored: list[tuple[float, float]] = []
        for threshold, evaluator in evaluators:
            found = evaluator.run(params, after_part)
            scored.append((found[f"{evaluator.name}/{metric}"], threshold))
            for key, value in found.items():
                results[f"{name}/confirm_{threshold:g}/{key.removeprefix(f'{evaluator.name}/')}"] = value
        # Of equally good thresholds the smallest, which keeps most tracks.
        best = max(score for score, _ in scored)
        results[f"{name}/best_confirm"] = min(threshold for score, threshold in scored if score == best)
        return results

    return HostEvaluator(f"{name}_search", run)


def as_detections(boxes: np.ndarray, logits: np.ndarray | None, width: int, height: int) -> Detections:
    """Returns boxes (cx, cy, w, h), normalised, in an image of that size, with their logits (None: 1 each), for AP."""
    scale = np.array([width, height], np.float32)
    low, high = (np.clip(boxes[:, :2] + side * boxes[:, 2:] / 2, 0, 1) * scale for side in (-1, 1))
    scores = np.ones(len(boxes)) if logits is None else 1 / (1 + np.exp(-logits.astype(np.float64)))
    return Detections(np.concatenate([low, high - low], axis=1).astype(np.float64), scores)
