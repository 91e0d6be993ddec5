"""Table 3.8 of the thesis: models of several tasks and of one, without and with worked examples; on StoryWorld."""

from storyjax.reproduce.schema import Above, Claim, Overrides, Panel, Row, Variant
from storyjax.reproduce.tables.tcr import FRAMES
from storyjax.reproduce.tables.tcr_tasks import LTA_FRAMES, MQ, MULTI, SCHEMA_FRAMES, make_table

# Nothing is learnt at a rate of 0: what is measured is the model that the run starts from.
_FROZEN: Overrides = (("train.steps", 1), ("optim.learning_rate", 0.0))


def _two_shots(*tasks: str) -> Overrides:
    """Each task is evaluated with worked examples too: no run is trained for it."""
    return tuple((f"data.tasks.{task}.ablations", ("two_shots",)) for task in tasks)


def _on_all(name: str, rate: Overrides) -> Variant:
    overrides = (*rate, *_two_shots("nextqa", "mq", "egoschema"))
    return Variant(name, MULTI, overrides, real=overrides)


_NONE, _MULTITASK = _on_all("none", _FROZEN), _on_all("multitask", ())
# The run of a task by itself: that of its own table, but for moments, whose row has 96 frames.
_ALONE = {
    "nextqa": FRAMES[32],
    "lta": LTA_FRAMES[32],
    "mq": Variant("mq_alone", MQ, _two_shots("mq"), real=(("data.tasks.mq.frames", 96), *_two_shots("mq"))),
    "egoschema": SCHEMA_FRAMES[32],
}


def _shots_panel(key: str, title: str, task: str, metric: str, thesis: tuple[tuple[float, ...], ...]) -> Panel:
    """Of each model the row without worked examples and, where the thesis has it, with two; `thesis` by model."""
    less_is_better, shown = task == "lta", len(thesis[0]) > 1
    models = {"none": _NONE, "multitask": _MULTITASK, "per task": _ALONE[task]}

    def better(high: str, low: str) -> Above:
        return Above(low, high) if less_is_better else Above(high, low)

    claims = (
        Claim("joint fine-tuning helps", (better("multitask, 0-shot", "none, 0-shot"),)),
        Claim("a model of its own is better", (better("per task, 0-shot", "multitask, 0-shot"),)),
    )
    helped = (better(f"{model}, 2-shot", f"{model}, 0-shot") for model in ("none", "multitask"))
    return Panel(
        key,
        title,
        "fine-tuned on, shots",
        tuple(
            Row(f"{model}, {n}-shot", variant, f"{task}{'_two_shots' * (n > 0)}/{metric}", value)
            for (model, variant), values in zip(models.items(), thesis, strict=True)
            for n, value in zip((0, 2), values, strict=False)
        ),
        (*claims, *([Claim("worked examples help", tuple(helped))] if shown else [])),
    )


TABLE_3_8 = make_table(
    "3.8",
    "one model for all tasks, and worked examples in the prompt (§3.6.2)",
    "NExT-QA, Ego4D LTA and MQ, EgoSchema",
    (
        _shots_panel("a", "questions", "nextqa", "acc", ((34.2, 37.3), (61.7, 64.1), (73.5, 73.5))),
        _shots_panel("b", "actions ahead (less is better)", "lta", "action_ed", ((93.54,), (91.99,), (87.82,))),
        _shots_panel("c", "moments", "mq", "avg_map", ((19.88, 21.75), (21.74, 23.01), (24.51, 24.83))),
        _shots_panel("d", "long videos", "egoschema", "acc", ((14.5, 19.0), (28.7, 30.9), (34.2, 34.1))),
    ),
)

TABLES = (TABLE_3_8,)
