"""The evaluator of each kind of query as a detector of a tracked object (thesis §2.6.3, Tables 2.8b and 2.8c).

Pairs are simulated from images. In the first view pos queries are made of the true boxes ("init"); of their outputs the
queries of the second view are made, where every kind, det too, is first fed to the decoder alone, so that kinds do not
inform each other, and then all together, aggregated. Results are `NAME/init_ap`, `NAME/aggregated_ap` and
`NAME/{pos,id,both,det}_tracking_ap`.
"""

import dataclasses
from typing import Any

import numpy as np

from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.metrics.detection import average_precision
from storyjax.mqt.data import SimulatedPairEvalLoader
from storyjax.mqt.datasets import Sources
from storyjax.mqt.eval_detection import as_detections, plain_view, true_boxes
from storyjax.mqt.images import images_of, picture_size
from storyjax.mqt.model import KINDS, EncodedImage, Mqt, Tracks
from storyjax.train.experiment import Batch, Evaluator, Params


def queries_evaluator(model: Mqt, sources: Sources, dataset: str, split: str) -> Evaluator:
    """Returns the evaluator of the AP of every kind of query in the second view, on a split of a data set."""
    configs = {
        kind: dataclasses.replace(model.config, kinds=(kind,), detect=False, aggregation="average")
        for kind in model.config.kinds
    }
    models = {kind: Mqt(config, model.dtype) for kind, config in configs.items()}

    def stream(spec: StreamSpec) -> Stream:
        return eval_stream(sources.split(dataset, split), SimulatedPairEvalLoader(plain_view(sources.data)), spec)

    def eval_step(params: Params, batch: Batch) -> dict[str, Any]:
        def start(model: Mqt) -> Any:
            return model.decode(model.encode(images_of(batch, 0)), batch["boxes0"], batch["present0"], det=False)

        def detect(model: Mqt, encoded: EncodedImage) -> Any:
            det = model.decode(encoded).det
            return det.boxes[-1], model.objectness(det.appearance[-1])

        def continue_tracks(model: Mqt, encoded: EncodedImage, tracks: Tracks) -> Any:
            found = model.decode(encoded, tracks=tracks).tracks
            return found.boxes, model.objectness(found.appearance)

        def objectness(model: Mqt, appearance: Any) -> Any:
            return model.objectness(appearance)

        variables = {"params": params}
        first: Any = model.apply(variables, method=start)
        first = first.given
        tracks = Tracks(first.boxes[-1], first.appearance[-1], first.state[-1], batch["present0"])
        encoded = model.apply(variables, images_of(batch, 1), method=Mqt.encode)
        sets: dict[str, Any] = {
            "init": (first.boxes[-1], model.apply(variables, first.appearance[-1], method=objectness))
        }
        sets["aggregated"] = model.apply(variables, encoded, tracks, method=continue_tracks)
        sets["det"] = model.apply(variables, encoded, method=detect)
        for kind, each in models.items():
            sets[kind] = each.apply(variables, encoded, tracks, method=continue_tracks)
        return sets

    def compute(acc: Any) -> dict[str, float]:
        names = {"init": "init_ap", "aggregated": "aggregated_ap", "det": "det_tracking_ap"}
        names |= {kind: f"{kind}_tracking_ap" for kind in KINDS if kind in acc}
        return {
            f"{dataset}/{name}": average_precision(acc["truth_init" if key == "init" else "truth"], acc[key])["ap"]
            for key, name in names.items()
        }

    return Evaluator("queries", stream, eval_step, _accumulate, compute)


def _accumulate(acc: Any, outputs: Any, batch: Batch) -> Any:
    """Adds a batch's detections by kind of query, and the true boxes of both views, to what was accumulated."""
    acc = acc if acc is not None else {name: [] for name in ("truth", "truth_init", *outputs)}
    for row in np.flatnonzero(np.asarray(batch["record_valid"])):
        present = np.asarray(batch["present0"][row])
        sizes = {view: picture_size(batch, view, int(row))[::-1] for view in (0, 1)}
        for name, view in (("truth_init", 0), ("truth", 1)):
            acc[name].append(true_boxes(batch, int(row), view))
        for name, (boxes, logits) in outputs.items():
            chosen = np.ones(boxes.shape[1], bool) if name == "det" else present
            found = np.asarray(boxes[row])[chosen], np.asarray(logits[row])[chosen]
            acc[name].append(as_detections(*found, *sizes[0 if name == "init" else 1]))
    return acc
