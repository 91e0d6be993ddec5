"""The tables of the supplement of thesis Ch. 2 (§2.6) that need runs of their own, on StoryWorld."""

from dataclasses import replace
from typing import Any

from storyjax.reproduce.schema import Above, Claim, Panel, Row, Table, Variant
from storyjax.reproduce.tables.mqt import (
    COCO,
    DETECTION,
    OURS,
    PRIVATE_PLUS,
    QUICK,
    SHORT,
    THEIRS,
    beats,
    both,
    flat,
    queries,
    trained,
)

_SIMULATED = {
    scheme: Variant(
        f"simulated_{scheme}",
        COCO,
        (
            *SHORT,
            ("data.mode", "simulated"),
            ("model.mqt.aggregation", scheme),
            ("init.skip", "aggregate/.*"),
        ),
        start=DETECTION,
        real=(("model.mqt.aggregation", scheme), ("init.skip", "aggregate/.*")),
        real_size="pairs",
    )
    for scheme in ("max", "average", "concat", "gating")
}
_PAIRS = _SIMULATED["gating"]
# All of them from scratch, on the same images and for as long: the config's own 3,000 steps.
_BESIDE = (("model.detectors", {"single_stage": None, "two_stage": None}),)
_DETECTORS = Variant("detectors", COCO, _BESIDE, real=_BESIDE)

TABLE_2_8 = Table(
    number="2.8",
    title="queries as detectors (§2.6.3)",
    ours="StoryWorld (its held-out images)",
    theirs="COCO, validation set",
    quick=QUICK,
    panels=(
        Panel(
            "a",
            "trained for detection alone, AP",
            "query",
            (
                Row("Deformable DETR", _DETECTORS, "coco/single_stage_ap", 43.8),
                Row("two-stage Deformable DETR", _DETECTORS, "coco/two_stage_ap", 46.2),
                Row("det", _DETECTORS, "coco/det_ap"),
                Row("two-stage proposals", _DETECTORS, "coco/proposals_ap", 49.8),
                Row("perturbed true box", _DETECTORS, "coco/pos_ap", 71.6),
                Row("true box", _DETECTORS, "coco/true_ap", 75.1),
            ),
            (
                Claim(
                    "pos queries refine a perturbed box far beyond what det queries find: at least 10 points",
                    (Above("perturbed true box", "det", by=10.0),),
                ),
                Claim("the true box is better still", (Above("true box", "perturbed true box"),)),
                Claim(
                    "pos queries of proposals find more than the detector that made them",
                    (Above("two-stage proposals", "two-stage Deformable DETR"),),
                ),
            ),
        ),
        Panel(
            "b",
            "trained on simulated pairs, AP; each kind by itself",
            "query, stage",
            (
                Row("true box, init", _PAIRS, "coco/init_ap", 71.9),
                Row("pos, tracking", _PAIRS, "coco/pos_tracking_ap", 69.1),
                Row("id, tracking", _PAIRS, "coco/id_tracking_ap", 37.4),
                Row("both, tracking", _PAIRS, "coco/both_tracking_ap", 62.0),
                Row("det, tracking", _PAIRS, "coco/det_tracking_ap", 42.8),
            ),
            (
                Claim(
                    "what knows a place finds more than what does not",
                    tuple(
                        Above(f"{high}, tracking", f"{low}, tracking")
                        for high in ("pos", "both")
                        for low in ("id", "det")
                    ),
                ),
            ),
        ),
        Panel(
            "c",
            "aggregation of the kinds in the tracking stage, AP",
            "method",
            (
                Row("max", _SIMULATED["max"], "coco/aggregated_ap", 54.7),
                Row("average", _SIMULATED["average"], "coco/aggregated_ap", 61.1),
                Row("concat", _SIMULATED["concat"], "coco/aggregated_ap", 71.1),
                Row("gating", _SIMULATED["gating"], "coco/aggregated_ap", 71.5),
            ),
            (
                Claim(
                    "collaborative gating is no worse than any other, within a point",
                    tuple(Above("gating", other, by=-1.0) for other in ("max", "average", "concat")),
                ),
            ),
        ),
    ),
)

_KINDS = ("pos", "id", "both")
_HEURISTIC = trained(
    "heuristic_pairs",
    ("model.mqt.aggregation", "heuristic"),
    (
        "model.sweep",
        {
            f"{box}_{appearance}": {"box_kind": box, "appearance_kind": appearance}
            for box in _KINDS
            for appearance in _KINDS
        },
    ),
)
_THESIS_2_10 = {
    "pos, pos": (59.4, 54.9),
    "pos, id": (65.7, 64.9),
    "pos, both": (63.8, 61.3),
    "id, pos": (56.9, 52.2),
    "id, id": (55.7, 55.1),
    "id, both": (55.4, 53.8),
    "both, pos": (58.8, 53.4),
    "both, id": (64.6, 64.3),
    "both, both": (64.8, 64.6),
}

TABLE_2_10 = Table(
    number="2.10",
    title="the heuristic: one kind of query detects, one associates (§2.6.3)",
    ours=OURS,
    theirs=THEIRS,
    quick=QUICK,
    panels=(
        Panel(
            "a",
            "the kind whose box is taken, and the kind whose appearance is",
            "detection, association",
            flat(
                *(
                    both(label, _HEURISTIC, thesis, f"mot17_{label.replace(', ', '_')}")
                    for label, thesis in _THESIS_2_10.items()
                ),
                both("det, det", queries("det"), (53.1, 50.4)),
            ),
            (
                Claim(
                    "queries that carry something on do better than det queries alone",
                    beats("pos, id", ("det, det",)),
                ),
                Claim(
                    "pos for the place and id for the identity beat either for both",
                    beats("pos, id", ("pos, pos", "id, id")),
                ),
            ),
        ),
    ),
)


# "Standard 7-way split cross-validation for MOT17": each training sequence is held out once. StoryWorld has enough
# sequences that training never shows.
_SEVEN = tuple((("data.held_out", (f"MOT17-{number}",)),) for number in ("02", "04", "05", "09", "10", "11", "13"))


def _offline(name: str, *more: tuple[str, Any]) -> Variant:
    """Returns a run with two passes and the detections of the best simulated detector: "Private+".

    On real data those are the files of another detector (external_detections.py).
    """
    passes = (*more, ("model.offline", True), ("model.tracker.protocol", "public"))
    variant = trained(name, *passes, ("data.detector", "SDP"))
    real = (*(variant.real or ()), ("model.tracker.min_hits", 1), *PRIVATE_PLUS)
    return replace(variant, real=real, real_folds=_SEVEN)


def _enhancements(variant: Variant, thesis: dict[str, tuple[float, float]]) -> tuple[Row, ...]:
    ways = {"as it is": "online", "B2F track": "b2f_track", "B2F track, B2F id": "b2f_id"}
    ways |= {"B2F track, B2F id, TF": "b2f_id_tf", "TF": "tf"}
    return flat(*(both(label, variant, thesis[label], f"mot17_offline/{way}") for label, way in ways.items()))


_HELPS = (Claim("all three together beat none of them", beats("B2F track, B2F id, TF", ("as it is",))),)

TABLE_2_11 = Table(
    number="2.11",
    title="offline enhancements (§2.6.4)",
    ours="StoryWorld (its held-out sequences; detections of an imitated detector)",
    theirs="MOT17, 7-fold cross-validation, Private+",
    quick=QUICK,
    panels=(
        Panel(
            "a",
            "with both queries alone",
            "method",
            _enhancements(
                _offline("offline_both", ("model.mqt.kinds", ("both",)), ("model.mqt.detect", False)),
                {
                    "as it is": (56.9, 56.2),
                    "B2F track": (60.1, 59.8),
                    "B2F track, B2F id": (62.7, 62.0),
                    "B2F track, B2F id, TF": (63.4, 64.2),
                    "TF": (58.0, 58.6),
                },
            ),
            _HELPS,
        ),
        Panel(
            "b",
            "with all queries",
            "method",
            _enhancements(
                _offline("offline_all"),
                {
                    "as it is": (68.3, 66.1),
                    "B2F track": (69.7, 69.8),
                    "B2F track, B2F id": (71.6, 71.1),
                    "B2F track, B2F id, TF": (72.1, 73.3),
                    "TF": (68.9, 72.1),
                },
            ),
            _HELPS,
        ),
    ),
)

TABLES = (TABLE_2_8, TABLE_2_10, TABLE_2_11)
