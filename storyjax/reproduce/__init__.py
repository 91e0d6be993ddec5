"""The tables of the thesis: which runs stand for which row, and whether the claims of the thesis hold in them.

A table is data (schema.py): a file or two for each chapter in tables/, listed here. runner.py makes the runs of a
table, or finds them made; report.py writes their results beside the thesis's numbers.
"""

import dataclasses
from collections.abc import Sequence

from storyjax.core.config import choose
from storyjax.reproduce.schema import Table
from storyjax.reproduce.tables import (
    clip_pad,
    clip_pad_supplement,
    mqt,
    mqt_benchmarks,
    mqt_supplement,
    pi_map,
    pi_map_supplement,
    qualitative,
    subtitles,
    tcr,
    tcr_multitask,
    tcr_standalone,
    tcr_tasks,
)

_MQT = mqt_benchmarks.TABLES + mqt.TABLES + mqt_supplement.TABLES
_CHAPTER_2 = sorted(_MQT, key=lambda table: int(table.number.partition(".")[2]))
_CHAPTER_3 = tcr.TABLES + tcr_tasks.TABLES + tcr_multitask.TABLES + tcr_standalone.TABLES
_CHAPTER_4 = sorted(clip_pad.TABLES + clip_pad_supplement.TABLES, key=lambda table: table.number)
_CHAPTER_5 = pi_map.TABLES + pi_map_supplement.TABLES
TABLES = tuple(_CHAPTER_2) + _CHAPTER_3 + tuple(_CHAPTER_4) + _CHAPTER_5 + subtitles.TABLES + qualitative.TABLES


def find(name: str, tables: Sequence[Table] = TABLES) -> Table:
    """Returns the table of that number ("3.6"), or one panel of it alone ("3.6a"); StoryjaxError names the nearest."""
    known = {table.number: table for table in tables}
    for table in tables:
        for panel in table.panels:
            number = f"{table.number}{panel.key}"
            known[number] = dataclasses.replace(table, number=number, panels=(panel,))
    return known[choose(name, known, "table")]


def listing(tables: Sequence[Table] = TABLES) -> str:
    """Returns all tables and panels as lines of text."""
    lines = []
    for table in tables:
        variants = table.variants()
        configs = ", ".join(dict.fromkeys(variant.config for variant in variants))
        starts = {variant.start.name for variant in variants if variant.start is not None}
        more = f", and {len(starts)} that they start from" if starts else ""
        lines.append(f"{table.number:5}  {table.title}; {len(variants)} runs of {configs} for each seed{more}")
        for panel in table.panels:
            labels = ", ".join(row.label for row in panel.rows)
            lines.append(f"{table.number + panel.key:5}  {panel.title}: {labels}")
    return "\n".join(lines)
