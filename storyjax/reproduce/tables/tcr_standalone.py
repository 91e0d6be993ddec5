"""Tables 3.9 to 3.11 of the thesis, the TCR without a language model, and Fig. 3.3; on StoryWorld."""

from storyjax.reproduce.schema import Above, Claim, Panel, Row, Variant
from storyjax.reproduce.tables.tcr import FRAMES
from storyjax.reproduce.tables.tcr_tasks import (
    COUNTIX,
    KINETICS,
    LTA,
    LTA_FRAMES,
    LTA_QFORMER,
    MQ_FRAMES,
    MQ_HEAD,
    MSRVTT,
    NEXTQA,
    NLQ,
    NLQ_HEAD,
    QA_QFORMER,
    SCHEMA,
    SCHEMA_FRAMES,
    SCHEMA_QFORMER,
    SELECTION,
    make_table,
    qformer,
)

_SAMPLERS = {
    name: Variant(name, KINETICS, (("data.sampler", name),), real=(("data.sampler", name),))
    for name in ("random", "attention", "tcr")
}
_SELECTIONS = {
    "TCR": Variant("selection", SELECTION, real=()),
    "each frame classified": Variant(
        "selection_random", SELECTION, (("data.sampler", "random"),), real=(("data.sampler", "random"),)
    ),
}
TABLE_3_9 = make_table(
    "3.9",
    "the TCR without a language model samples frames (§3.6.3)",
    "Kinetics-400",
    (
        Panel(
            "a",
            "action recognition",
            "sampling",
            tuple(
                Row(name, variant, "kinetics/acc", value)
                for (name, variant), value in zip(_SAMPLERS.items(), (74.3, 75.2, 75.7), strict=True)
            ),
            (Claim("the TCR samples better", (Above("tcr", "random"), Above("tcr", "attention"))),),
        ),
        Panel(
            "b",
            "frames of an action in stitched films",
            "over frames",
            tuple(
                Row(f"{name}, {metric}", _SELECTIONS[name], f"selection/{metric}", value)
                for name, values in (("TCR", (75.0, 68.0)), ("each frame classified", (70.0, 44.0)))
                for metric, value in zip(("precision", "recall"), values, strict=True)
            ),
            (
                Claim(
                    "the TCR selects better than a classifier of frames",
                    tuple(Above(f"TCR, {m}", f"each frame classified, {m}") for m in ("precision", "recall")),
                ),
            ),
        ),
    ),
)

_COUNTS = {
    n: Variant(
        f"counts_frames_{n}",
        COUNTIX,
        (("data.frames", n), ("data.fps", n / 8)),
        real=(("data.frames", 4 * n), ("data.fps", 4 * n / 10)),
    )
    for n in (8, 16, 32, 64)
}
TABLE_3_10 = make_table(
    "3.10",
    "counting repetitions without a language model (§3.6.3)",
    "Countix",
    (
        Panel(
            "a",
            "errors (less is better)",
            "error",
            (Row("MAE", _COUNTS[64], "countix/mae", 33.0), Row("OBO", _COUNTS[64], "countix/obo", 28.0)),
        ),
    ),
)

_HEADS = {
    "mq": (Variant("mq_head", MQ_HEAD, real=()), MQ_FRAMES[32]),
    "nlq": (Variant("nlq_head", NLQ_HEAD, real=()), Variant("nlq", NLQ, real=())),
}
TABLE_3_11 = make_table(
    "3.11",
    "heads on the frozen TCR against the language model (§3.6.3)",
    "Ego4D MQ and NLQ",
    tuple(
        Panel(
            key,
            title,
            "model",
            (
                Row("TCR", _HEADS[kind][0], f"standalone_{kind}/{metric}", alone),
                Row("TCR with language model", _HEADS[kind][1], f"{kind}/{metric}", together),
                Row("nothing seen", _HEADS[kind][0], f"standalone_{kind}/unseen_{metric}"),
            ),
            (
                Claim("the head alone is better", (Above("TCR", "TCR with language model"),)),
                Claim("it is above chance", (Above("TCR", "nothing seen"),)),
            ),
        )
        for key, title, kind, metric, alone, together in (
            ("a", "moment queries, average mAP", "mq", "avg_map", 26.71, 25.45),
            ("b", "moment queries, R@1", "mq", "recall_1x_0.5", 44.96, 43.72),
            ("c", "language queries, MR@1", "nlq", "mr@1", 11.42, 10.12),
            ("d", "language queries, MR@5", "nlq", "mr@5", 19.95, 18.99),
        )
    ),
)


def _frames(name: str, config: str, key: str, counts: dict[int, int]) -> dict[int, Variant]:
    """Runs of so many frames; `counts` says how many on the real data."""
    return {n: Variant(f"{name}_frames_{n}", config, ((key, n),), real=((key, full),)) for n, full in counts.items()}


def _curve(
    key: str, title: str, variants: dict[int, Variant], metric: str, claim: Claim, baseline: dict[int, Variant] | None
) -> Panel:
    """The TCR's curve and, where it can do the task, that of the Q-Former, averaged over clips beyond 8 frames."""
    rows = [Row(str(n), v, metric) for n, v in variants.items()]
    rows += [Row(f"Q-Former, {n}", v, metric) for n, v in (baseline or {}).items()]
    return Panel(key, title, "frames", tuple(rows), (claim,))


_QA_BASELINE = {1: qformer("1", NEXTQA, "nextqa", 1, real=1), 8: QA_QFORMER} | {
    n: qformer(f"average_{n}", NEXTQA, "nextqa", n, real=full) for n, full in {16: 32, 32: 96}.items()
}
_NARRATED = {n: ("data.tasks.narration.frames", n) for n in (1, 8)}
_SCHEMA_BASELINE = {
    1: qformer("1", SCHEMA, "egoschema", 1, _NARRATED[1], real=1),
    8: SCHEMA_QFORMER[8],
    16: qformer("average_16", SCHEMA, "egoschema", 16, _NARRATED[8], real=32),
    32: SCHEMA_QFORMER[32],
}
_CAPTION_BASELINE = {n: qformer(f"captions_{n}", MSRVTT, "msrvtt", n, real=n) for n in (1, 4, 8)}
_LTA_BASELINE = {1: qformer("whole_1", LTA, "lta", 1, real=1), 8: LTA_QFORMER}
_MORE = Claim("more frames help", (Above("32", "8"),))
_FEWER_ERRORS = Claim("more frames help", (Above("8", "32"),))
_ENOUGH = Claim("8 frames are enough: no more than 3 points are gained beyond", (Above("8", "12", by=-3.0),))
FIGURE_3_3 = make_table(
    "fig3.3",
    "performance against the number of frames, six tasks (§3.3.1)",
    "the figure's curves, which the thesis gives no numbers of",
    (
        _curve(
            "a",
            "questions: accuracy",
            {n: FRAMES[n] for n in (1, 8, 16, 32)},
            "nextqa/acc",
            _MORE,
            _QA_BASELINE,
        ),
        _curve(
            "b",
            "long videos: accuracy",
            {n: SCHEMA_FRAMES[n] for n in (1, 8, 16, 32)},
            "egoschema/acc",
            _MORE,
            _SCHEMA_BASELINE,
        ),
        _curve(
            "c",
            "action recognition: accuracy",
            _frames("kinetics", KINETICS, "data.frames", {1: 1, 4: 8, 8: 32, 12: 128}),
            "kinetics/acc",
            _ENOUGH,
            None,  # a head on the TCR
        ),
        _curve(
            "d",
            "captions of short clips: CIDEr",
            _frames("captions", MSRVTT, "data.tasks.msrvtt.frames", {1: 1, 4: 8, 8: 32, 12: 64}),
            "msrvtt/cider",
            _ENOUGH,
            _CAPTION_BASELINE,
        ),
        _curve("e", "actions ahead: edit distance", LTA_FRAMES, "lta/action_ed", _FEWER_ERRORS, _LTA_BASELINE),
        _curve("f", "counting: relative error", _COUNTS, "countix/mae", _FEWER_ERRORS, None),
    ),
    plot=True,
)

TABLES = (TABLE_3_9, TABLE_3_10, TABLE_3_11, FIGURE_3_3)
