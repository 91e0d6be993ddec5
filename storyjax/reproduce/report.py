"""The results of a table's runs beside the thesis's numbers, and which claims hold."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from storyjax.reproduce.schema import Claim, Panel, Table

REAL = "real data"


@dataclass(frozen=True)
class Report:
    """The results: the values of every row over seeds, in the table's unit, by (panel, label)."""

    table: Table
    seeds: int
    values: dict[tuple[str, str], list[float]]
    quick: bool = False


def markdown(report: Report) -> str:
    """Returns the table in Markdown, which also lines up as plain text."""
    table, plural = report.table, "s" * (report.seeds != 1)
    spread = "mean ± standard deviation of" if report.seeds > 1 else "from"
    lines = [
        f"# Table {table.number}: {table.title}",
        "",
        f"Ours: {table.ours}, {spread} {report.seeds} seed{plural}. Thesis: {table.theirs}.",
        *(
            ["The two worlds differ, so compare differences between rows, not the columns."]
            if table.world != REAL
            else []
        ),
    ]
    if report.quick:
        lines += [
            "",
            "**Made with --quick: this shows that everything runs; the numbers mean nothing, and no claim is judged.**",
        ]
    for panel in table.panels:
        lines += ["", f"## ({panel.key}) {panel.title}", ""]
        cells = [(panel.head, f"ours ({table.world})", "thesis")]
        for row in panel.rows:
            beside = f" ({row.thesis_label})" if row.thesis_label else ""
            values = report.values[panel.key, row.label]
            # Percentages and ranks have one decimal, fractions two.
            digits = 2 if table.scale == 1.0 and max(values) <= 1.0 else 1
            theirs = "" if row.thesis is None else f"{row.thesis:.{digits}f}{beside}"
            cells.append((row.label, _spread(values, digits), theirs))
        digits = 2 if table.scale == 1.0 else 1
        cells += [(f"{label}, not made here", "–", f"{value:.{digits}f}") for label, value in panel.cited]
        lines += [*_aligned(cells), ""]
        for claim in panel.claims if not report.quick else ():
            holds, in_seeds = judge(report, panel, claim)
            verdict = "holds" if holds else "DOES NOT HOLD"
            lines.append(f"- {verdict} ({in_seeds} of {report.seeds} seed{plural}): {claim.text}")
    return "\n".join(lines) + "\n"


def judge(report: Report, panel: Panel, claim: Claim) -> tuple[bool, int]:
    """Returns whether a claim holds of the means over seeds, and in how many seeds it holds by itself."""
    values = {row.label: report.values[panel.key, row.label] for row in panel.rows}
    by_seed = [claim.holds({label: each[seed] for label, each in values.items()}) for seed in range(report.seeds)]
    return claim.holds({label: statistics.mean(each) for label, each in values.items()}), sum(by_seed)


def to_json(report: Report) -> dict[str, Any]:
    """Returns the table as JSON objects."""
    table, rows, claims = report.table, [], []
    for panel in table.panels:
        for row in panel.rows:
            values = report.values[panel.key, row.label]
            line: dict[str, Any] = {"panel": panel.key, "label": row.label, "metric": row.metric, "values": values}
            line |= {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else None}
            rows.append(line | {"thesis": row.thesis, "thesis_label": row.thesis_label or row.label})
        for claim in panel.claims:
            holds, in_seeds = judge(report, panel, claim)
            claims.append({"panel": panel.key, "claim": claim.text, "holds": holds, "seeds_in_which": in_seeds})
    about = {"table": table.number, "title": table.title, "ours": table.ours, "thesis": table.theirs}
    return about | {"seeds": report.seeds, "quick": report.quick, "rows": rows, "claims": claims}


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _aligned(cells: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns also line up as plain text; the first row is its head."""
    cells = list(cells)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return [lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]]
