"""What the ledger is made of: tables of panels of rows, each the metric of a run, and claims that compare rows."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Overrides = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Variant:
    """A config with changes; its runs, one for each seed, lie under its name.

    `start` is a variant that is run once (seed 0), for all seeds of this one to start from.
    """

    name: str
    config: str
    overrides: Overrides = ()
    start: "Variant | None" = None


@dataclass(frozen=True)
class Row:
    """One number. `thesis_label` says what the thesis measured where that is not what `label` says."""

    label: str
    variant: Variant
    metric: str
    thesis: float | None = None
    thesis_label: str | None = None


@dataclass(frozen=True)
class Above:
    """`high` exceeds `low` by at least `by`. Either is the label of a row, or a number in the table's unit.

    `by` 0 means by anything at all; a negative one allows `high` to be that much lower.
    """

    high: str | float
    low: str | float
    by: float = 0.0

    def holds(self, values: Mapping[str, float]) -> bool:
        high, low = (values[side] if isinstance(side, str) else side for side in (self.high, self.low))
        return high - low >= self.by if self.by else high > low


@dataclass(frozen=True)
class Claim:
    """A sentence about a panel, and the comparisons that must all be true for it to hold."""

    text: str
    needs: tuple[Above, ...]

    def holds(self, values: Mapping[str, float]) -> bool:
        return all(need.holds(values) for need in self.needs)


@dataclass(frozen=True)
class Panel:
    """A part of a table. `head` is what its rows vary."""

    key: str
    title: str
    head: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of the thesis.

    Attributes:
        number, title: the thesis's number; what it shows and where it stands.
        ours, theirs: what the two columns of numbers were measured on.
        panels: its parts.
        quick: by config, overrides that make a run so small that it only shows that everything runs.
        scale: from a metric to the thesis's unit.
        plot: whether the panels are also drawn, as curves over their rows' labels, which are numbers then.
    """

    number: str
    title: str
    ours: str
    theirs: str
    panels: tuple[Panel, ...]
    quick: Mapping[str, Overrides] = field(default_factory=dict)
    scale: float = 100.0
    plot: bool = False

    def variants(self) -> list[Variant]:
        """Every variant of the table once; a name stands for one variant."""
        found: dict[str, Variant] = {}
        for row in (row for panel in self.panels for row in panel.rows):
            if found.setdefault(row.variant.name, row.variant) != row.variant:
                raise ValueError(f"two variants are called {row.variant.name}")
        return list(found.values())


def rising(*labels: str) -> tuple[Above, ...]:
    """Each row above the one before."""
    return tuple(Above(high, low) for low, high in itertools.pairwise(labels))
