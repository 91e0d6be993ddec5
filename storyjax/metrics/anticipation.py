"""Long-term action anticipation: the edit distance at Z = 20 of Ego4D (Grauman et al. 2022, §F.4; thesis §3.3.4).

A model gives K = 5 candidate sequences of Z future actions. Each is compared with what happened by the Levenshtein
distance (insertions, deletions and substitutions cost one each) over Z, the best candidate counts, and the mean is
taken over the examples. 0 is perfect, 1 is nothing right; verbs, nouns and actions (both at once) are compared apart,
each by its own best candidate.

The benchmark's paper and its evaluation's comments say Damerau–Levenshtein; the evaluation's code (GitHub,
EGO4D/forecasting, lta_metrics.py) counts a swap as two edits (Levenshtein), and so are all published numbers.
`transpositions` chooses; without it, the default of `edit_distances`, the numbers are the published code's.
"""

from collections.abc import Hashable, Sequence

import numpy as np

ACTIONS_AHEAD = 20
CANDIDATES = 5

Labels = Sequence[Hashable]


def damerau_levenshtein(a: Labels, b: Labels, transpositions: bool = True) -> int:
    """Returns the unrestricted Damerau–Levenshtein distance of two sequences; without `transpositions`, Levenshtein's.

    Unrestricted: what has been swapped may be edited further, so "CA" becomes "ABC" in two steps and not three.
    """
    far = len(a) + len(b)
    table = np.full((len(a) + 2, len(b) + 2), far, np.int64)
    table[1:, 1], table[1, 1:] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    last_row: dict[Hashable, int] = {}  # of each label in `a`
    for i, left in enumerate(a, 1):
        last_column = 0  # where this label last was in `b`
        for j, right in enumerate(b, 1):
            row, column = last_row.get(right, 0), last_column
            if left == right:
                last_column = j
            steps = [
                table[i, j] + (left != right),
                table[i + 1, j] + 1,
                table[i, j + 1] + 1,
            ]
            if transpositions:
                steps.append(table[row, column] + (i - row - 1) + 1 + (j - column - 1))
            table[i + 1, j + 1] = min(steps)
        last_row[left] = i
    return int(table[-1, -1])


def complete(actions: Sequence[Labels], length: int = ACTIONS_AHEAD, last: Labels = ("", "")) -> list[Labels]:
    """Returns `length` actions: cut, or filled up with the last of them (thesis §3.3.4); `last` where there are none at
    all."""
    kept = list(actions)[:length]
    return kept + [kept[-1] if kept else last] * (length - len(kept))


def edit_distances(
    candidates: Sequence[Sequence[tuple[Hashable, Hashable]]],
    truth: Sequence[tuple[Hashable, Hashable]],
    transpositions: bool = False,
) -> dict[str, float]:
    """Returns {"verb", "noun", "action"} -> the best candidate's distance over the length of the truth, for one
    example.

    Args:
        candidates: each a sequence of (verb, noun), as long as the truth (`complete` makes them so).
        truth: what happened, (verb, noun) each.
        transpositions: whether a swap of neighbours is one edit, as the benchmark's paper has it, or two, as its code.
    """
    if not candidates or not truth:
        raise ValueError("an edit distance needs at least one candidate and one action that happened")
    views = {"verb": lambda action: action[0], "noun": lambda action: action[1], "action": lambda action: action}
    return {
        name: min(
            damerau_levenshtein([view(a) for a in candidate], [view(a) for a in truth], transpositions)
            for candidate in candidates
        )
        / len(truth)
        for name, view in views.items()
    }
