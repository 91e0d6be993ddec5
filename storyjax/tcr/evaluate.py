"""NExT-QA accuracy: overall, by group of question types as the thesis reports it (Table 3.2), and by type."""

from typing import Any

from storyjax.tcr.data import GROUPS, TYPES

# The temporal questions that turn on a word which can be swapped for its opposite (§3.3.5).
ORDER = ("TN", "TP")


def accuracies(sums: dict[str, Any], prefix: str = "nextqa") -> dict[str, float]:
    """`sums` of `QuestionAnswering.measure` to "nextqa/acc", "nextqa/acc_causal" ... "nextqa/acc_TN", and of the
    questions for what came before or after, "nextqa/acc_order".

    The overall accuracy is over questions, not over types (Table 3.2, caption).
    """
    asked = dict(zip(TYPES, sums["asked"], strict=True))
    right = dict(zip(TYPES, sums["right"], strict=True))
    groups = {**GROUPS, "order": ORDER}
    cells = {"": TYPES, **{f"_{group}": types for group, types in groups.items()}, **{f"_{t}": (t,) for t in TYPES}}
    results = {}
    for suffix, types in cells.items():
        count = sum(asked[t] for t in types)
        if count:
            results[f"{prefix}/acc{suffix}"] = float(sum(right[t] for t in types) / count)
    # A model that has collapsed to one letter shows here: 1 / options is even, 1 is a collapse.
    results[f"{prefix}/most_chosen"] = float(sums["chosen"].max() / max(sums["chosen"].sum(), 1))
    return results
