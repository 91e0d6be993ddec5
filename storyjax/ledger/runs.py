"""Making the runs of a table, or finding them made."""

import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
from ml_collections import ConfigDict

from storyjax.configuration import load_config
from storyjax.errors import StoryjaxError
from storyjax.ledger.entries import Overrides, Table, Variant
from storyjax.ledger.report import Report, markdown, to_json
from storyjax.train import loop
from storyjax.train.settings import complete
from storyjax.train.workdir import check_same_run, plain, write_atomically


def reproduce(table: Table, workdir: str | Path, seeds: int = 3, quick: bool = False, progress: bool = True) -> Report:
    """Makes the table's runs under `workdir`, less those that are there already, and writes NUMBER.md and NUMBER.json.

    Args:
        seeds: runs of each variant, with seeds 0, 1 ...
        quick: so few steps and stories that the numbers mean nothing, in a folder of its own.

    Raises:
        StoryjaxError: a run cannot be made, or one of another config is in its place.
    """
    if seeds < 1:
        raise StoryjaxError(f"--seeds is {seeds}: at least one run of each variant is needed")
    workdir = Path(workdir) / "quick" if quick else Path(workdir)
    results = dict(_results(table, workdir, seeds, quick, progress))
    values = {}
    for panel in table.panels:
        for row in panel.rows:
            found = [results[row.variant.name, seed] for seed in range(seeds)]
            if missing := [one for one in found if row.metric not in one]:
                raise StoryjaxError(
                    f"the runs of '{row.variant.name}' under {workdir} give no {row.metric}, only"
                    f" {', '.join(missing[0]) or 'nothing'}: remove them to have them made anew"
                )
            values[panel.key, row.label] = [table.scale * one[row.metric] for one in found]
    report = Report(table, seeds, values, quick)
    _write(report, workdir)
    return report


def _results(
    table: Table, workdir: Path, seeds: int, quick: bool, progress: bool
) -> Iterator[tuple[tuple[str, int], dict[str, float]]]:
    """((variant, seed), results) of every run, made if need be. All of the first seed come first."""
    jobs = []
    for seed in range(seeds):
        for variant in table.variants():
            config = make_config(variant, seed, table.quick if quick else ())
            stem = re.sub(r"\W+", "_", Path(variant.config.replace(".py", "")).name)
            jobs.append(((variant.name, seed), config, workdir / stem / variant.name / f"seed_{seed}"))
    # Looked at before the first run is made: a run of another config is better met now than after hours.
    made = {name: _made(config, folder) for name, config, folder in jobs}
    left = sum(results is None for results in made.values())
    taken: list[float] = []
    for number, (name, config, folder) in enumerate(jobs, 1):
        results = made[name]
        if results is None:
            ahead = f", {_duration(statistics.mean(taken) * left)} left" if taken else ""
            _say(progress, f"run {number} of {len(jobs)}: {name[0]}, seed {name[1]} ({left} to be made{ahead})")
            begun = time.perf_counter()
            (folder / "results.json").unlink(missing_ok=True)  # of a shorter run
            results = loop.run(config, folder, progress=progress)
            jax.clear_caches()  # dozens of runs' programs would fill the memory
            taken.append(time.perf_counter() - begun)
            left -= 1
        yield name, results


def make_config(variant: Variant, seed: int, more: Overrides = ()) -> ConfigDict:
    """The config of a run, every key of the loop spelt out."""
    path = Path(variant.config.partition(":")[0])
    spec = variant.config if path.exists() else str(Path(__file__).parents[2] / variant.config)
    config = complete(load_config(spec))
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


def _say(shown: bool, line: str) -> None:
    if shown:
        print(f"storyjax: {line}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"about {seconds / 3600:.1f} h" if seconds > 5400 else f"about {max(1, round(seconds / 60))} min"


def _write(report: Report, workdir: Path) -> None:
    number = report.table.number
    write_atomically(workdir / f"{number}.md", markdown(report))
    write_atomically(workdir / f"{number}.json", json.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n")
