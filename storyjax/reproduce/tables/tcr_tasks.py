"""Tables 3.1 to 3.5 of the thesis, on StoryWorld. Table 3.7 is hyper-parameters, which the configs hold.

Distances and counting errors are in hundredths here, as accuracies are; the lower, the better they are.
"""

from dataclasses import replace

from storyjax.reproduce.schema import Above, Claim, Overrides, Panel, Row, Table, Variant
from storyjax.reproduce.tables.tcr import FRAMES, MEASURED

NEXTQA, SCHEMA = "configs/tcr_nextqa.py:embedded", "configs/tcr_egoschema.py:embedded"
LTA, MQ, NLQ = (f"configs/tcr_ego4d_{name}.py:embedded" for name in ("lta", "mq", "nlq"))
MSRVTT, COUNTIX = "configs/tcr_msrvtt.py:embedded", "configs/tcr_countix.py:embedded"
KINETICS, SELECTION = "configs/tcr_kinetics.py:embedded", "configs/tcr_kinetics.py:selection_embedded"
MULTI, _INIT = "configs/tcr_multitask.py:embedded", "configs/tcr_ytt_init.py:embedded"
_PRETRAIN = "configs/tcr_ytt_pretrain.py:embedded"
MQ_HEAD, NLQ_HEAD = (f"configs/tcr_ego4d_{name}.py:standalone_embedded" for name in ("mq", "nlq"))
OURS = "StoryWorld (its held-out stories)"


def _small(task: str, world: str, **counts: int) -> Overrides:
    """A task's data so few that a run only shows that it runs."""
    key = f"data.tasks.{task}" if task else "data"
    places = ((f"{key}.root", f"runs/quick/{world}"), (f"{key}.cache_dir", "runs/quick/prepared"))
    return (*places, (f"{key}.synthetic", {"counts": counts}))


_SCHEMA_FEW = (*_small("narration", "egoschema", train=4, test=5), *_small("egoschema", "egoschema", train=4, test=5))
_EGO_FEW = {"train": 4, "val": 2}
_YTT_FEW = {"train": 8, "val": 4}
_NEXTQA_FEW = {"train": 16, "val": 2, "test": 8}
_STEPS = ("train.steps", 2)
QUICK: dict[str, Overrides] = {
    NEXTQA: (_STEPS, *_small("nextqa", "nextqa", **_NEXTQA_FEW)),
    SCHEMA: (_STEPS, *_SCHEMA_FEW),
    LTA: (_STEPS, *_small("lta", "ego4d", **_EGO_FEW)),
    MQ: (_STEPS, *_small("mq", "ego4d", **_EGO_FEW)),
    NLQ: (_STEPS, *_small("nlq", "ego4d", **_EGO_FEW)),
    MSRVTT: (_STEPS, *_small("msrvtt", "msrvtt", train=8, test=4)),
    _INIT: (_STEPS, *_small("ytt", "yttemporal", **_YTT_FEW)),
    _PRETRAIN: (
        _STEPS,
        *(pair for task in ("captioning", "grounding", "denoising") for pair in _small(task, "yttemporal", **_YTT_FEW)),
    ),
    MULTI: (
        _STEPS,
        *_SCHEMA_FEW,
        *_small("lta", "ego4d", **_EGO_FEW),
        *_small("mq", "ego4d", **_EGO_FEW),
        *_small("nextqa", "nextqa", **_NEXTQA_FEW),
    ),
    # Not every action of other clips is one of so few.
    KINETICS: (_STEPS, *_small("", "kinetics", train=32, val=8), ("data.eval_splits", ("train",))),
    SELECTION: (_STEPS, *_small("", "kinetics", train=32, val=8)),
    COUNTIX: (
        _STEPS,
        ("data.root", {"countix": "runs/quick/countix", "kinetics400": "runs/quick/kinetics"}),
        ("data.cache_dir", "runs/quick/prepared"),
        (
            "data.synthetic",
            {"countix": {"counts": {"train": 2, "val": 8}}, "kinetics400": {"counts": {"train": 32, "val": 8}}},
        ),
    ),
    MQ_HEAD: (_STEPS, *_small("", "ego4d", **_EGO_FEW)),
    NLQ_HEAD: (_STEPS, *_small("", "ego4d", **_EGO_FEW)),
}


def make_table(number: str, title: str, theirs: str, panels: tuple[Panel, ...], plot: bool = False) -> Table:
    """Returns the table of these panels, with the quick settings of every config that a row trains or starts from."""
    configs = set()
    for row in (row for panel in panels for row in panel.rows):
        variant: Variant | None = row.variant
        while variant is not None:
            configs.add(variant.config)
            variant = variant.start
    return Table(number, title, OURS, theirs, panels, {config: QUICK[config] for config in sorted(configs)}, plot=plot)


# BLIP-2's Q-Former, as small as the small TCR and trained from random weights: nothing of BLIP-2 fits StoryWorld.
_QFORMER: Overrides = (
    ("model.qformer", {"sizes": {"queries": 8, "width": 128, "depth": 4, "heads": 4, "mlp_width": 512}}),
    ("init.checkpoint", None),
    ("optim.learning_rate", 1e-3),
)


def qformer(name: str, config: str, task: str, frames: int, *more: tuple[str, object], real: int = 8) -> Variant:
    """Returns the run of a task with BLIP-2's Q-Former in the TCR's place.

    Args:
        name: of the run, behind "qformer_".
        config: of the task.
        task: its key in config.data.tasks.
        frames: on StoryWorld; beyond 8, the mean of clips of 8.
        more: further overrides.
        real: frames on the real data.
    """
    key = f"data.tasks.{task}.frames"
    full = (("model.qformer", {"weights": "weights/blip2-flan-t5-xl"}), ("init.checkpoint", None), (key, real), *more)
    measured = MEASURED if config == NEXTQA else ()
    return Variant(f"qformer_{name}", config, (*measured, *_QFORMER, (key, frames), *more), real=full)


# Table 3.1. Stages are chained: a run starts from the run of the stage before. On StoryWorld the initialisation is the
# one that ships (embedded/tcr_alignment.py), and all is done through the language model that knows times.
_TASKS = ("grounding", "captioning", "denoising")  # (i), (ii), (iii) of §3.2.2
_SKIP = "(head|tcr/llm_projection)/.*"
_STAGE_ONE = Variant("stage_one", _INIT, real=())
_READER: Overrides = (("model.llm.weights", "shipped:storyworld_t5_practised"),)
_BEGIN: dict[bool, Overrides] = {
    True: (("init.checkpoint", "shipped:tcr_storyworld"),),
    False: (("init.checkpoint", None), ("optim.learning_rate", 1e-3)),  # random weights need more than a polish
}


def _pretrained(initialised: bool, kept: tuple[str, ...]) -> Variant | None:
    """The run that fine-tuning starts from; None where nothing is trained before it on StoryWorld."""
    if not kept:
        return None
    dropped = tuple((f"data.tasks.{task}.train_split", None) for task in _TASKS if task not in kept)
    name = "_".join((*(["init"] if initialised else []), *kept))
    real = (*dropped, *((("init.skip", _SKIP),) if initialised else (("init.checkpoint", None),)))
    real_start = _STAGE_ONE if initialised else None
    return Variant(name, _PRETRAIN, (*_READER, *dropped, *_BEGIN[initialised]), real=real, real_start=real_start)


def _stages(config: str, metric: str, thesis: tuple[float | None, ...]) -> tuple[Row, ...]:
    """Each row's fine-tuning is equally long; half as long on StoryWorld's questions as that of the other tables."""
    rows = []
    short: Overrides = (*MEASURED, ("train.steps", 100)) if config == NEXTQA else ()
    for initialised, kept, value in ((*stages, value) for stages, value in zip(_STAGES, thesis, strict=True)):
        label = " + ".join((*(["init"] if initialised else []), *kept)) or "nothing"
        start = _pretrained(initialised, kept)
        begin = _BEGIN[initialised] if start is None else ()
        name = f"{metric.partition('/')[0]}_after_{label.replace(' + ', '_')}"
        alone = start is None and initialised  # stage (i), and nothing after it
        real: Overrides | None = (("init.skip", _SKIP),) if alone else ()
        size = "short" if config == NEXTQA else "paper"
        variant = Variant(name, config, (*_READER, *short, *begin), start, real, _STAGE_ONE if alone else None, size)
        if value is None:  # not in the thesis
            variant = replace(variant, real=None)
        rows.append(Row(label, variant, metric, value))
    return tuple(rows)


_STAGES: tuple[tuple[bool, tuple[str, ...]], ...] = (
    (True, _TASKS),
    (True, ()),
    (False, _TASKS),
    (True, ("grounding",)),
    (True, ("grounding", "captioning")),
    (True, ("captioning",)),
    (True, ("grounding", "denoising")),
    (False, ()),
)
_ALL = "init + grounding + captioning + denoising"
_STAGE_CLAIMS = (
    Claim("every stage helps", (Above(_ALL, "init + grounding + captioning"), Above(_ALL, "init + grounding"))),
    Claim("initialisation helps", (Above(_ALL, "grounding + captioning + denoising"),)),
    Claim("all stages are better than none", (Above(_ALL, "nothing"),)),
    Claim(
        "leaving pre-training out costs most", (Above("init + captioning", "init"), Above("init + grounding", "init"))
    ),
)
TABLE_3_1 = make_table(
    "3.1",
    "initialisation and pre-training tasks (§3.2.2)",
    "NExT-QA and Ego4D NLQ",
    (
        Panel(
            "a",
            "question answering",
            "trained on before",
            _stages(NEXTQA, "nextqa/acc", (66.1, 52.1, 63.3, 64.1, 65.6, 63.4, 64.2, None)),
            _STAGE_CLAIMS,
        ),
        Panel(
            "b",
            "language queries, MR@1",
            "trained on before",
            _stages(NLQ, "nlq/mr@1", (11.42, 7.88, 9.41, 8.94, 9.37, 8.91, 8.13, None)),
            _STAGE_CLAIMS,
        ),
    ),
)

QA_QFORMER = qformer("8", NEXTQA, "nextqa", 8)
TABLE_3_2 = make_table(
    "3.2",
    "question answering against BLIP-2's Q-Former (§3.3.2)",
    "NExT-QA, validation set",
    tuple(
        Panel(
            key,
            title,
            "model",
            (Row("Q-Former, 8 frames", QA_QFORMER, metric, low, "BLIP2"), Row("TCR", FRAMES[32], metric, high)),
            (Claim("the TCR is better", (Above("TCR", "Q-Former, 8 frames"),)),),
        )
        for key, title, metric, low, high in (
            ("a", "causal questions", "nextqa/acc_causal", 64.9, 73.5),
            ("b", "temporal questions", "nextqa/acc_temporal", 59.7, 69.8),
            ("c", "descriptive questions", "nextqa/acc_descriptive", 77.8, 82.2),
            ("d", "all questions", "nextqa/acc", 63.5, 73.5),
        )
    ),
)


def _schema_frames(count: int) -> Overrides:
    return tuple((f"data.tasks.{task}.frames", count) for task in ("narration", "egoschema"))


# Of the run at the usual number of frames: Table 3.3's 92 × 2 and Table 3.8's worked examples.
_ALSO = (("data.tasks.egoschema.ablations", ("twice", "two_shots")),)
SCHEMA_FRAMES = {
    n: Variant(f"schema_frames_{n}", SCHEMA, _schema_frames(n), real=_schema_frames(full))
    for n, full in {1: 1, 8: 8, 16: 32}.items()
}
SCHEMA_FRAMES[32] = Variant(
    "schema_frames_32", SCHEMA, (*_schema_frames(32), *_ALSO), real=(*_schema_frames(92), *_ALSO)
)
# The starred row: the config's variant says what share of patches is dropped.
SCHEMA_FRAMES[64] = Variant("schema_frames_64", SCHEMA, _schema_frames(64), real=(), real_size="more_frames")
_NARRATED_8 = ("data.tasks.narration.frames", 8)
SCHEMA_QFORMER = {
    8: qformer("8", SCHEMA, "egoschema", 8, _NARRATED_8),
    32: qformer("average", SCHEMA, "egoschema", 32, _NARRATED_8, real=96),
}
TABLE_3_3 = make_table(
    "3.3",
    "questions about long videos (§3.3.3)",
    "EgoSchema, public subset",
    (
        Panel(
            "a",
            "accuracy",
            "model",
            (
                Row(
                    "Q-Former, 8 frames",
                    SCHEMA_QFORMER[8],
                    "egoschema/acc",
                    27.2,
                    "BLIP2, 8",
                ),
                Row(
                    "Q-Former, 4 clips of 8",
                    SCHEMA_QFORMER[32],
                    "egoschema/acc",
                    29.9,
                    "BLIP2, 8 × 12",
                ),
                Row("TCR, 32 frames", SCHEMA_FRAMES[32], "egoschema/acc", 34.2, "92"),
                Row("TCR, 32 frames twice", SCHEMA_FRAMES[32], "egoschema_twice/acc", 34.5, "92 × 2"),
                Row("TCR, 64 frames", SCHEMA_FRAMES[64], "egoschema/acc", 35.1, "184, more patches dropped"),
            ),
            (
                Claim(
                    "the TCR beats the Q-Former, averaged or not",
                    (
                        Above("TCR, 32 frames", "Q-Former, 8 frames"),
                        Above("TCR, 32 frames", "Q-Former, 4 clips of 8"),
                    ),
                ),
            ),
        ),
    ),
)

LTA_FRAMES = {
    n: Variant(f"lta_frames_{n}", LTA, (("data.tasks.lta.frames", n),), real=(("data.tasks.lta.frames", full),))
    for n, full in {1: 1, 8: 8, 16: 32, 32: 96}.items()
}
LTA_QFORMER = qformer("whole", LTA, "lta", 8)
_BEFORE = ("data.tasks.lta.options.video", "before")
_LTA_RUNS = {
    "language model alone": (LTA_FRAMES[32], "lta_text_only"),
    "Q-Former, before": (qformer("before", LTA, "lta", 8, _BEFORE), "lta"),
    "Q-Former, whole": (LTA_QFORMER, "lta"),
    "TCR, before": (Variant("lta_before", LTA, (_BEFORE,), real=(_BEFORE,)), "lta"),
    "TCR, whole": (LTA_FRAMES[32], "lta"),
    "TCR, whole, one by one": (LTA_FRAMES[32], "lta_iterative"),
    # Chance levels, which have metrics of their own.
    "last action again": (LTA_FRAMES[32], "lta/repeated"),
    "observed actions again": (LTA_FRAMES[32], "lta/cycled"),
}
TABLE_3_4 = make_table(
    "3.4",
    "long-term action anticipation, edit distance at 20 (§3.3.4)",
    "Ego4D LTA, validation set",
    tuple(
        Panel(
            key,
            f"{part}s (less is better)",
            "model, part of the video",
            tuple(
                Row(label, variant, f"{name}{'_' if 'again' in label else '/'}{part}_ed", value)
                for (label, (variant, name)), value in zip(_LTA_RUNS.items(), (*thesis, None, None), strict=True)
            ),
            (
                Claim("the TCR beats the Q-Former", (Above("Q-Former, whole", "TCR, whole"),)),
                Claim("seeing the whole video helps", (Above("TCR, before", "TCR, whole"),)),
                Claim("it beats the language model alone", (Above("language model alone", "TCR, whole"),)),
                Claim("and does before the last action too", (Above("language model alone", "TCR, before"),)),
                Claim("asking one by one helps", (Above("TCR, whole", "TCR, whole, one by one"),)),
                Claim(
                    "it is better than chance",
                    (Above("last action again", "TCR, whole"), Above("observed actions again", "TCR, whole")),
                ),
            ),
        )
        for key, part, thesis in (
            ("a", "verb", (71.65, 75.12, 75.00, 70.09, 67.63, 65.85)),
            ("b", "noun", (67.67, 68.73, 67.99, 64.72, 61.80, 61.71)),
            ("c", "action", (89.34, 91.03, 90.86, 87.92, 85.22, 84.82)),
        )
    ),
)

MQ_FRAMES = {
    n: Variant(f"mq_frames_{n}", MQ, (("data.tasks.mq.frames", n),), real=(("data.tasks.mq.frames", 6 * n),))
    for n in (16, 32)
}
TABLE_3_5 = make_table(
    "3.5",
    "moment queries (§3.3.4)",
    "Ego4D MQ, validation set",
    tuple(
        Panel(
            key,
            title,
            "frames",
            (
                Row("16", MQ_FRAMES[16], metric, few, "96 frames"),
                Row("32", MQ_FRAMES[32], metric, many, "192 frames"),
                Row("none, cut evenly", MQ_FRAMES[32], metric.replace("/", "/unseen_")),
            ),
            (
                Claim("more frames are better", (Above("32", "16"),)),
                Claim("it is above chance", (Above("32", "none, cut evenly"),)),
            ),
        )
        for key, title, metric, few, many in (
            ("a", "average mAP", "mq/avg_map", 24.51, 25.45),
            ("b", "R@1x, tIoU 0.5", "mq/recall_1x_0.5", 42.99, 43.72),
        )
    ),
)

TABLES = (TABLE_3_1, TABLE_3_2, TABLE_3_3, TABLE_3_4, TABLE_3_5)
