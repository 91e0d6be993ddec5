"""What is measured besides tracking: detection in pictures, and the search for the threshold of confirmation.

`coco/det_ap` and so on are AP of det queries, of pos queries given perturbed true boxes, and given the true boxes
(Table 2.8a).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.metrics.detection import Detections, average_precision
from storyjax.mqt.data import DetectionLoader, View
from storyjax.mqt.datasets import MqtData, Sources
from storyjax.mqt.model import Mqt
from storyjax.train.experiment import Batch, Evaluator, HostEvaluator, Params


def plain_view(data: MqtData) -> View:
    """Pictures as they are."""
    return dataclasses.replace(data.view, flip=0.0, jitter=0.0)


def detection_evaluator(model: Mqt, sources: Sources, data: MqtData) -> Evaluator:
    """AP of every way of asking for what is in a picture."""

    def stream(spec: StreamSpec) -> Stream:
        return eval_stream(sources.split(data.measure, "val"), DetectionLoader(plain_view(data)), spec)

    def eval_step(params: Params, batch: Batch) -> dict[str, Any]:
        def see(model: Mqt) -> dict[str, Any]:
            seen = model.encode(batch["images0"])
            found = model.decode(seen, batch["prior"], batch["prior_mask"])
            true = model.decode(seen, batch["boxes0"], batch["present0"])
            sets = {"det": found.det, "pos": found.prior, "true": true.prior}
            return {name: (outputs.boxes[-1], model.presence(outputs.appearance[-1])) for name, outputs in sets.items()}

        return model.apply({"params": params}, method=see)

    def accumulate(acc: Any, measured: Any, batch: Batch) -> Any:
        acc = acc if acc is not None else {"truth": [], "det": [], "pos": [], "true": []}
        height, width = batch["images0"].shape[1:3]
        for row in np.flatnonzero(np.asarray(batch["record_valid"])):
            there = np.asarray(batch["present0"][row])
            acc["truth"].append(as_detections(np.asarray(batch["boxes0"][row])[there], None, width, height))
            for name, (boxes, presence) in measured.items():
                chosen = np.ones(boxes.shape[1], bool) if name == "det" else there
                found = np.asarray(boxes[row])[chosen], np.asarray(presence[row])[chosen]
                acc[name].append(as_detections(*found, width, height))
        return acc

    def finish(acc: Any) -> dict[str, float]:
        scores = {name: average_precision(acc["truth"], acc[name]) for name in ("det", "pos", "true")}
        return {f"{data.measure}/{name}_{key}": value for name, each in scores.items() for key, value in each.items()}

    return Evaluator("detection", stream, eval_step, accumulate, finish)


def search_evaluator(name: str, measures: Sequence[tuple[float, HostEvaluator]], metric: str) -> HostEvaluator:
    """The linear search for τ_conf (§2.6.1): every measurement under `NAME/confirm_T/`, and the threshold that is best.

    Args:
        measures: thresholds, each with what measures with it.
        metric: of theirs, whose largest value is best.
    """

    def run(params: Params, after_part: Callable[[], None]) -> dict[str, float]:
        results: dict[str, float] = {}
        scored: list[tuple[float, float]] = []
        for threshold, evaluator in measures:
            found = evaluator.run(params, after_part)
            scored.append((found[f"{evaluator.name}/{metric}"], threshold))
            for key, value in found.items():
                results[f"{name}/confirm_{threshold:g}/{key.removeprefix(f'{evaluator.name}/')}"] = value
        # Of thresholds that do equally well the smallest: it keeps most.
        best = max(score for score, _ in scored)
        results[f"{name}/best_confirm"] = min(threshold for score, threshold in scored if score == best)
        return results

    return HostEvaluator(f"{name}_search", run)


def as_detections(boxes: np.ndarray, logits: np.ndarray | None, width: int, height: int) -> Detections:
    """Boxes (cx, cy, w, h) as shares of a picture of that size, with the logits of their being there, for AP."""
    scale = np.array([width, height], np.float32)
    low, high = (np.clip(boxes[:, :2] + side * boxes[:, 2:] / 2, 0, 1) * scale for side in (-1, 1))
    scores = np.ones(len(boxes)) if logits is None else 1 / (1 + np.exp(-logits.astype(np.float64)))
    return Detections(np.concatenate([low, high - low], axis=1).astype(np.float64), scores)
