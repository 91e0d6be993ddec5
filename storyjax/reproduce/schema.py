"""What a table is made of: panels of rows, each the metric of a run, and claims that compare rows."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storyjax.core.errors import StoryjaxError

Overrides = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Variant:
    """A config with changes; its runs, one for each seed, lie under its name.

    `start` is a variant that is run once (seed 0), for all seeds of this one to start from. `real` are the changes of
    the config's full-size variant that make the same row on the real data; None where there is no such row.
    `real_start` is the start there, where StoryWorld's needs no run of its own; `real_size` names the config's variant
    there. `folds` are further changes, each of a run of its own, over which the row is the mean: cross-validation;
    `real_folds` those on the real data.
    """

    name: str
    config: str
    overrides: Overrides = ()
    start: "Variant | None" = None
    real: Overrides | None = None
    real_start: "Variant | None" = None
    real_size: str = "paper"
    folds: tuple[Overrides, ...] = ()
    real_folds: tuple[Overrides, ...] = ()

    def runs(self) -> "list[Variant]":
        """The variants that are run for it: itself, or one for each fold."""
        if not self.folds:
            return [self]
        return [
            replace(self, name=f"{self.name}_fold_{number}", overrides=(*self.overrides, *fold), folds=())
            for number, fold in enumerate(self.folds, 1)
        ]


@dataclass(frozen=True)
class Row:
    """One number. `thesis_label` says what the thesis measured where that is not what `label` says.

    `scale` is from the metric to the thesis's unit, where it is another than the table's.
    """

    label: str
    variant: Variant
    metric: str
    thesis: float | None = None
    thesis_label: str | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Above:
    """`high` exceeds `low` by at least `by`. Either is the label of a row, or a number in the table's unit.

    `by` 0 means by anything at all; a negative one allows `high` to be that much lower.
    """

    high: str | float
    low: str | float
    by: float = 0.0

    def holds(self, values: Mapping[str, float]) -> bool:
        """Returns whether it holds of `values`, by label of row."""
        high, low = (values[side] if isinstance(side, str) else side for side in (self.high, self.low))
        return high - low >= self.by if self.by else high > low


@dataclass(frozen=True)
class Claim:
    """A sentence about a panel, and the comparisons that must all be true for it to hold."""

    text: str
    needs: tuple[Above, ...]

    def holds(self, values: Mapping[str, float]) -> bool:
        """Returns whether all comparisons hold of `values`, by label of row."""
        return all(need.holds(values) for need in self.needs)


@dataclass(frozen=True)
class Panel:
    """A part of a table. `head` is what its rows vary.

    `cited` are the thesis's rows that no run makes (other people's methods), with their numbers. `real_rows` are made
    on the real data alone, in the place of the cited rows of the same names; their variants say `real`.
    """

    key: str
    title: str
    head: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    cited: tuple[tuple[str, float], ...] = ()
    real_rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Page:
    """A page of single results, right and wrong marked, of a variant's run with seed 0.

    Attributes:
        variant: one of the table's.
        function: "module:function" that returns `storyjax.search.ranked_page.RankedQuery`s of (run's folder, argument).
        argument: which queries are shown, in the function's words.
    """

    variant: Variant
    function: str
    argument: str


@dataclass(frozen=True)
class Table:
    """A table of the thesis.

    Attributes:
        number, title: the thesis's number; what it shows and where it stands.
        ours, theirs: what the two columns of numbers were measured on.
        real: what ours are measured on, on real data, where that is not what `theirs` says.
        panels: its parts.
        quick: by config, overrides that make a run so small that it only shows that everything runs.
        scale: from a metric to the thesis's unit.
        world: what the runs' data is, for the head of the table.
        plot: whether the panels are also drawn, as curves over their rows' labels, which are numbers then, or "CURVE,
            NUMBER" of further curves.
        page: single results, which go to NUMBER.html; or None.
    """

    number: str
    title: str
    ours: str
    theirs: str
    panels: tuple[Panel, ...]
    quick: Mapping[str, Overrides] = field(default_factory=dict)
    scale: float = 100.0
    plot: bool = False
    world: str = "StoryWorld"
    real: str | None = None
    page: Page | None = None

    def variants(self) -> list[Variant]:
        """Every variant once; a name stands for one variant of a config, with a row on real data or not."""
        found: dict[tuple[str, str], Variant] = {}
        for row in (row for panel in self.panels for row in panel.rows):
            first = found.setdefault((row.variant.config, row.variant.name), row.variant)
            if replace(first, real=None) != replace(row.variant, real=None):
                raise ValueError(f"two variants of {row.variant.config} are called {row.variant.name}")
        return list(found.values())


def rising(*labels: str) -> tuple[Above, ...]:
    """Each row above the one before."""
    return tuple(Above(high, low) for low, high in itertools.pairwise(labels))


def on_real_data(table: Table) -> Table:
    """The table as it is made on the real data: full-size configs, and the rows and claims that there are of them.

    Raises StoryjaxError where there are none.
    """
    panels = []
    for panel in table.panels:
        rows = tuple(
            replace(row, variant=_full_size(row.variant))
            for row in (*panel.rows, *panel.real_rows)
            if row.variant.real is not None
        )
        labels = {row.label for row in rows}
        cited = tuple((label, value) for label, value in panel.cited if label not in labels)
        sides = {claim: {side for need in claim.needs for side in (need.high, need.low)} for claim in panel.claims}
        claims = tuple(
            claim for claim in panel.claims if {side for side in sides[claim] if isinstance(side, str)} <= labels
        )
        if rows:
            panels.append(replace(panel, rows=rows, claims=claims, cited=cited, real_rows=()))
    if not panels:
        raise StoryjaxError(f"table {table.number} has no rows on real data; it is made on StoryWorld alone")
    page = table.page and replace(table.page, variant=_full_size(table.page.variant))
    return replace(table, panels=tuple(panels), ours=table.real or table.theirs, world="real data", page=page)


def _full_size(variant: Variant) -> Variant:
    """The variant on real data; its config's "embedded" becomes `real_size`, "standalone_embedded" "standalone".

    "storyworld", a larger run on StoryWorld, becomes `real_size` too.
    """
    path, _, name = variant.config.partition(":")
    name = "embedded" if name == "storyworld" else name
    config = f"{path}:{name.replace('_embedded', '').replace('embedded', variant.real_size)}"
    start = variant.real_start or variant.start
    start = None if start is None else _full_size(start)
    return Variant(variant.name, config, variant.real or (), start, folds=variant.real_folds)
