"""How well each kind of query finds an object again, measured as detection (thesis §2.6.3, Tables 2.8b and 2.8c).

Pairs are simulated from pictures. In the first view pos queries are made of the true boxes ("init"); what they give
makes the queries of the second view, where every kind is fed to the decoder by itself, so that none tells another, and
then all together, aggregated. Results are `NAME/init_ap`, `NAME/{pos,id,both,det}_tracking_ap`,
`NAME/aggregated_ap`.
"""

import dataclasses
from typing import Any

import numpy as np

from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.metrics.detection import average_precision
from storyjax.mqt.data import SimulatedPairLoader
from storyjax.mqt.datasets import MqtData, Sources
from storyjax.mqt.eval_detection import as_detections, plain_view
from storyjax.mqt.model import KINDS, Mqt, Seen, Tracks
from storyjax.train.experiment import Batch, Evaluator, Params


def queries_evaluator(model: Mqt, sources: Sources, data: MqtData) -> Evaluator:
    """AP of every kind of query in the second view of a simulated pair."""
    alone = {
        kind: dataclasses.replace(model.config, kinds=(kind,), detect=False, aggregation="average")
        for kind in model.config.kinds
    }
    models = {kind: Mqt(config, model.dtype) for kind, config in alone.items()}

    def stream(spec: StreamSpec) -> Stream:
        return eval_stream(sources.split(data.measure, "val"), SimulatedPairLoader(plain_view(data)), spec)

    def eval_step(params: Params, batch: Batch) -> dict[str, Any]:
        def start(model: Mqt) -> Any:
            return model.decode(model.encode(batch["images0"]), batch["boxes0"], batch["present0"])

        def go_on(model: Mqt, seen: Seen, tracks: Tracks) -> Any:
            found = model.decode(seen, tracks=tracks)
            return {
                "det": (found.det.boxes[-1], model.presence(found.det.appearance[-1])),
                "tracks": (found.tracks.boxes, model.presence(found.tracks.appearance)),
            }

        def presence(model: Mqt, appearance: Any) -> Any:
            return model.presence(appearance)

        variables = {"params": params}
        first = model.apply(variables, method=start).prior
        tracks = Tracks(first.boxes[-1], first.appearance[-1], first.state[-1], batch["present0"])
        seen = model.apply(variables, batch["images1"], method=Mqt.encode)
        whole = model.apply(variables, seen, tracks, method=go_on)
        sets = {"init": (first.boxes[-1], model.apply(variables, first.appearance[-1], method=presence))}
        sets |= {"aggregated": whole["tracks"], "det": whole["det"]}
        return sets | {
            kind: each.apply(variables, seen, tracks, method=go_on)["tracks"] for kind, each in models.items()
        }

    def accumulate(acc: Any, measured: Any, batch: Batch) -> Any:
        acc = acc if acc is not None else {name: [] for name in ("truth", "truth_init", *measured)}
        height, width = batch["images0"].shape[1:3]
        for row in np.flatnonzero(np.asarray(batch["record_valid"])):
            there = {view: np.asarray(batch[f"present{view}"][row]) for view in (0, 1)}
            for name, view in (("truth_init", 0), ("truth", 1)):
                boxes = np.asarray(batch[f"boxes{view}"][row])[there[view]]
                acc[name].append(as_detections(boxes, None, width, height))
            for name, (boxes, logits) in measured.items():
                chosen = np.ones(boxes.shape[1], bool) if name == "det" else there[0]
                found = np.asarray(boxes[row])[chosen], np.asarray(logits[row])[chosen]
                acc[name].append(as_detections(*found, width, height))
        return acc

    def finish(acc: Any) -> dict[str, float]:
        names = {"init": "init_ap", "aggregated": "aggregated_ap", "det": "det_tracking_ap"}
        names |= {kind: f"{kind}_tracking_ap" for kind in KINDS if kind in acc}
        return {
            f"{data.measure}/{name}": average_precision(acc["truth_init" if key == "init" else "truth"], acc[key])["ap"]
            for key, name in names.items()
        }

    return Evaluator("queries", stream, eval_step, accumulate, finish)
