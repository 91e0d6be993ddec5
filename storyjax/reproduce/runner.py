"""Making the runs of a table, or finding them made."""

import json
import re
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
from ml_collections import ConfigDict

from storyjax.core.config import load_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.data.registry import resolve
from storyjax.reproduce.missing import refuse_missing
from storyjax.reproduce.plot import svg
from storyjax.reproduce.report import REAL, Report, markdown, to_json
from storyjax.reproduce.schema import Overrides, Table, Variant
from storyjax.search.ranked_page import write_ranked_page
from storyjax.train import loop
from storyjax.train.settings import complete
from storyjax.train.workdir import check_same_run, plain


@dataclass
class _Job:
    """A run; `results` are there once it is made."""

    variant: Variant
    seed: int
    config: ConfigDict
    folder: Path
    results: dict[str, float] | None


def reproduce(table: Table, workdir: str | Path, seeds: int = 3, quick: bool = False, progress: bool = True) -> Report:
    """Makes the table's runs under `workdir`, less those that are there already, and writes NUMBER.md and NUMBER.json.

    And, where the table has them, NUMBER.svg, its curves, and NUMBER.html, single results.

    Args:
        seeds: runs of each variant, with seeds 0, 1 ...
        quick: so few steps and stories that the numbers mean nothing, in a folder of its own.

    Raises:
        StoryjaxError: a run cannot be made, or one of another config is in its place; on real data, before the first
            run, all data sets, weights and earlier runs that are not there.
    """
    if seeds < 1:
        raise StoryjaxError(f"--seeds is {seeds}: at least one run of each variant is needed")
    workdir = Path(workdir) / "quick" if quick else Path(workdir)
    jobs = _plan(table, workdir, seeds, quick)
    if table.world == REAL:
        to_make = [job.config for job in jobs.values() if job.results is None]
        refuse_missing(f"table {table.number} on real data", to_make, jobs)
    _run_missing(list(jobs.values()), progress)
    values = {}
    for panel in table.panels:
        for row in panel.rows:
            runs = row.variant.runs()
            found = [[jobs[_folder(workdir, one, seed)].results or {} for one in runs] for seed in range(seeds)]
            if missing := [one for folds in found for one in folds if row.metric not in one]:
                raise StoryjaxError(
                    f"the runs of '{row.variant.name}' under {workdir} give no {row.metric}, only"
                    f" {', '.join(missing[0]) or 'nothing'}: remove them to have them made anew"
                )
            scale = table.scale if row.scale is None else row.scale
            means = (statistics.fmean(one[row.metric] for one in folds) for folds in found)
            values[panel.key, row.label] = [scale * mean for mean in means]
    report = Report(table, seeds, values, quick)
    number = table.number
    write_atomically(workdir / f"{number}.md", markdown(report), durable=True)
    text = json.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n"
    write_atomically(workdir / f"{number}.json", text, durable=True)
    if table.plot:
        write_atomically(workdir / f"{number}.svg", svg(report), durable=True)
    if table.page is not None:
        queries = resolve(table.page.function)(_folder(workdir, table.page.variant, 0), table.page.argument)
        write_ranked_page(workdir / f"{number}.html", f"{table.number}: {table.title}, {table.ours}", queries)
    return report


def _folder(workdir: Path, variant: Variant, seed: int) -> Path:
    """Where a run lies, whichever tables it is part of."""
    config = re.sub(r"\W+", "_", Path(variant.config.replace(".py", "")).name)
    return workdir / config / variant.name / f"seed_{seed}"


def _plan(table: Table, workdir: Path, seeds: int, quick: bool) -> dict[Path, _Job]:
    """All runs by folder, in the order in which they are to be made: every variant's first seed comes first.

    What is there already is looked at now: a run of another config is better met before the first run than after hours.
    """
    jobs: dict[Path, _Job] = {}

    def add(variant: Variant, seed: int) -> None:
        folder = _folder(workdir, variant, seed)
        if folder in jobs:
            return
        more = table.quick.get(variant.config, ()) if quick else ()
        if variant.start is not None:
            more = (*more, ("init.checkpoint", str(_folder(workdir, variant.start, 0))))
        config = make_config(variant, seed, more)
        results = _made(config, folder)
        if results is None and variant.start is not None:
            add(variant.start, 0)
        jobs[folder] = _Job(variant, seed, config, folder, results)

    for seed in range(seeds):
        for variant in table.variants():
            for one in variant.runs():
                add(one, seed)
    return jobs


def _run_missing(jobs: list[_Job], progress: bool) -> None:
    """Makes the runs that are not there."""
    left = sum(job.results is None for job in jobs)
    taken: list[float] = []
    for number, job in enumerate(jobs, 1):
        if job.results is not None:
            continue
        if progress:
            ahead = f", {_duration(statistics.mean(taken) * left)} left" if taken else ""
            what = f"{job.folder.parent.parent.name} {job.variant.name}, seed {job.seed}"
            line = f"storyjax: run {number} of {len(jobs)}: {what} ({left} to be made{ahead})"
            print(line, file=sys.stderr, flush=True)
        begun = time.perf_counter()
        (job.folder / "results.json").unlink(missing_ok=True)  # of a shorter run
        job.results = loop.run(job.config, job.folder, progress=progress)
        jax.clear_caches()  # dozens of runs' programs would fill the memory
        taken.append(time.perf_counter() - begun)
        left -= 1


def make_config(variant: Variant, seed: int, more: Overrides = ()) -> ConfigDict:
    """The config of a run, every key of the loop spelt out."""
    config = complete(load_config(variant.config))
    for key, value in (*variant.overrides, *more, ("seed", seed)):
        *sections, last = key.split(".")
        section = config
        for name in sections:
            section = section[name]
        # A key that a chapter's section leaves out may be set all the same; `build` knows them all.
        with section.unlocked(), section.ignore_type():
            section[last] = value
    return config


def _made(config: ConfigDict, folder: Path) -> dict[str, float] | None:
    """The results of a finished run of exactly this config, or None. Raises StoryjaxError for one of another config."""
    check_same_run(folder, config)
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        same = json.loads((folder / "config.json").read_text(encoding="utf-8")) == plain(config)
    except (OSError, ValueError):
        return None
    return results if same else None


def _duration(seconds: float) -> str:
    return f"about {seconds / 3600:.1f} h" if seconds > 5400 else f"about {max(1, round(seconds / 60))} min"
