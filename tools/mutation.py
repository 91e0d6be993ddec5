"""Whether the tests see wrong code: puts small mistakes into the package, one at a time, and runs the tests on each.

    python tools/mutation.py cover --out runs/mutation/covered.json tests/metrics tests/nn
    python tools/mutation.py run --covered runs/mutation/covered.json --sample 40 --seed 0 --out runs/mutation/0.jsonl
    python tools/mutation.py report runs/mutation/0.jsonl

`cover` runs tests once and notes which test executes which line, and how long it takes. `run` draws mistakes
(tools/mutants.py) from the lines that are covered, and runs against each the tests that execute its line, the fastest
first, in a copy of the checkout; it goes on where it was stopped. `report` says how many were seen, by module, and
lists those that were not. A mistake that changes nothing is no fault of the tests: `--equivalent FILE` (lines of
"name: why") counts it apart.

Why no published tool: mutmut forks a process that has loaded the package, which JAX's threads do not survive, and
cosmic-ray runs one command, the whole suite, for every mistake.
"""

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from mutants import Mutant, mutants_of, sample

ROOT = Path(__file__).parents[1]
PACKAGE = "storyjax"
COPIED = ("storyjax", "tests", "configs", "tools", "docs", "pyproject.toml", "README.md", "CHANGELOG.md", "mkdocs.yml")
KILLED, SURVIVED, SLOW = "killed", "survived", "killed by time"


def cover(out: Path, arguments: Sequence[str]) -> int:
    """Runs pytest and writes {"tests": {name: seconds}, "lines": {file: {line: [number of a test, ...]}}}."""
    import coverage
    import pytest

    class Noted:
        """Switches the context to each test, and notes how long it takes."""

        def __init__(self) -> None:
            self.seconds: dict[str, float] = collections.defaultdict(float)

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item: Any) -> Any:
            measured.switch_context(item.nodeid)
            return (yield)

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" and report.passed:
                self.seconds[report.nodeid] += report.duration

    measured = coverage.Coverage(data_file=None, source_pkgs=[PACKAGE])
    measured.start()
    ended = pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[noted := Noted()])
    measured.stop()
    data, names = measured.get_data(), sorted(noted.seconds)
    number = {name: index for index, name in enumerate(names)}
    lines: dict[str, dict[int, list[int]]] = {}
    for file in data.measured_files():
        by_line = {
            line: sorted(number[context] for context in contexts if context in number)
            for line, contexts in data.contexts_by_lineno(file).items()
        }
        lines[os.path.relpath(file, ROOT)] = {line: tests for line, tests in by_line.items() if tests}
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"tests": {name: round(noted.seconds[name], 3) for name in names}, "lines": lines})
    out.write_text(text)
    print(f"{len(names)} tests cover lines of {sum(map(bool, lines.values()))} files: {out}")
    return int(ended)


def drawn(covered: Mapping[str, Any], modules: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Returns a seeded sample of the mistakes in covered lines of the modules (paths that begin so; none: all)."""
    groups: dict[str, list[Mutant]] = collections.defaultdict(list)
    for path, lines in sorted(covered["lines"].items()):
        if modules and not any(path.startswith(f"{PACKAGE}/{module}") for module in modules):
            continue
        here = [one for one in mutants_of(path, (ROOT / path).read_text()) if str(one.line) in lines]
        groups[module_of(path)] += here
    return sample(list(groups.values()), count, seed)


def module_of(path: str) -> str:
    """Returns the folder of the package that a file is in."""
    return Path(path).parts[1].removesuffix(".py")


def tests_of(covered: Mapping[str, Any], mutant: Mutant, budget_s: float) -> list[str]:
    """Returns the tests that execute a mistake's line, the fastest first, of `budget_s` seconds together."""
    names = list(covered["tests"])
    found = sorted((covered["tests"][names[n]], names[n]) for n in covered["lines"][mutant.path][str(mutant.line)])
    chosen, total = [], 0.0
    for seconds, name in found:
        if chosen and total + seconds > budget_s:
            break
        chosen.append(name)
        total += seconds
    return chosen


def run(covered: Mapping[str, Any], mutants: Sequence[Mutant], out: Path, workers: int, budget_s: float) -> None:
    """Tries mistakes that `out` does not have yet, and adds a line of JSON for each."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {row["name"] for row in read(out)} if out.exists() else set()
    left = [one for one in mutants if one.name not in done]
    folders: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory() as place:
        for worker in range(workers):
            folders.put(_copy(Path(place) / str(worker)))

        def work(mutant: Mutant) -> dict[str, Any]:
            folder = folders.get()
            try:
                return attempt(folder, mutant, tests_of(covered, mutant, budget_s), budget_s)
            finally:
                folders.put(folder)

        with ThreadPoolExecutor(workers) as pool, out.open("a") as file:
            for number, row in enumerate(pool.map(work, left), len(done) + 1):
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(f"{number}/{len(done) + len(left)} {row['result']}: {row['name']}", flush=True)


def attempt(folder: Path, mutant: Mutant, tests: Sequence[str], budget_s: float) -> dict[str, Any]:
    """Returns what tests said of a mistake in the copy of the checkout in `folder`, which is as before afterwards."""
    path, began = folder / mutant.path, time.monotonic()
    text = path.read_text()
    path.write_text(mutant.applied(text))
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests]
    try:
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120 + 10 * budget_s
        )
        result = SURVIVED if ended.returncode == 0 else KILLED
        said = "" if ended.returncode == 0 else (ended.stdout.strip().splitlines() or [""])[-1]
    except subprocess.TimeoutExpired:
        result, said = SLOW, ""
    finally:
        path.write_text(text)
    row = {"name": mutant.name, "module": module_of(mutant.path), "old": mutant.old, "new": mutant.new}
    return row | {"result": result, "tests": len(tests), "said": said, "seconds": round(time.monotonic() - began, 1)}


def _copy(folder: Path) -> Path:
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file that `run` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def report(rows: Iterable[Mapping[str, Any]], equivalent: Mapping[str, str]) -> str:
    """Returns a page in Markdown: how many were seen by module, and those that were not."""
    rows = list(rows)
    judged = [row for row in rows if row["name"] not in equivalent]
    by_module: dict[str, list[bool]] = collections.defaultdict(list)
    for row in judged:
        by_module[row["module"]].append(row["result"] != SURVIVED)
    lines = ["| module | mistakes | seen | share |", "|---|---|---|---|"]
    for module, seen in [*sorted(by_module.items()), ("all", [row["result"] != SURVIVED for row in judged])]:
        lines.append(f"| {module} | {len(seen)} | {sum(seen)} | {sum(seen) / max(1, len(seen)):.0%} |")
    lines += ["", f"Equivalent, and not counted: {len(rows) - len(judged)}.", ""]
    for row in rows:
        if row["result"] == SURVIVED:
            why = equivalent.get(row["name"], "not seen")
            lines.append(f"- `{row['name']}` (was `{' '.join(row['old'].split())[:60]}`): {why}")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    covering = commands.add_parser("cover", help="notes which test executes which line")
    covering.add_argument("--out", type=Path, required=True)
    covering.add_argument("arguments", nargs="*", help="of pytest")
    running = commands.add_parser("run", help="tries a sample of mistakes")
    running.add_argument("--covered", type=Path, required=True, help="what `cover` wrote")
    running.add_argument("--out", type=Path, required=True, help="lines of JSON, one for each mistake")
    running.add_argument("--sample", type=int, default=400)
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--workers", type=int, default=2)
    running.add_argument("--budget", type=float, default=20.0, help="seconds of tests for a mistake (default: 20)")
    running.add_argument("--modules", nargs="*", default=[], help="paths in the package that files begin with")
    reporting = commands.add_parser("report", help="prints what was found")
    reporting.add_argument("rows", type=Path, nargs="+")
    reporting.add_argument("--equivalent", type=Path, help='lines of "name: why" of mistakes that change nothing')
    given = parser.parse_args(argv)
    if given.command == "cover":
        return cover(given.out, given.arguments)
    if given.command == "run":
        covered = json.loads(given.covered.read_text())
        chosen = drawn(covered, given.modules, given.sample, given.seed)
        run(covered, chosen, given.out, given.workers, given.budget)
        return 0
    equivalent = {}
    if given.equivalent is not None:
        pairs = (line.rpartition(": ") for line in given.equivalent.read_text().splitlines() if line.strip())
        equivalent = {name: why for name, _, why in pairs}
    print(report([row for path in given.rows for row in read(path)], equivalent), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
