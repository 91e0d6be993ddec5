"""`storyjax plan --all`: every config's variants of full size, compiled for the slices that the configs name.

Each program is a line of FOLDER/full_size.jsonl as soon as it is compiled, and FOLDER/full_size.md is made of them.
Started again, the command goes on with what is missing, or has another config than when it was compiled. A program
that the compiler died of twice is reported as such, and not tried again.
"""

import dataclasses
import datetime
import fnmatch
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from storyjax.core.config import config_folder, config_topologies, load_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.plan.compile import Planner
from storyjax.plan.programs import TRAIN, eval_programs
from storyjax.plan.tpu import Slice, find_slice
from storyjax.train.experiment import build_experiment
from storyjax.train.settings import complete

RECORDS, TABLE = "full_size.jsonl", "full_size.md"
NO_PROGRAM = "no program of its own on the devices"
_STARTED, _DIED = "begun, not finished", "the compiler died"
_ON_HOST = " (host)"
Key = tuple[str, str, str, str]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One program of one variant, or why there is none.

    Attributes:
        config: "tcr_nextqa:paper".
        program: "train", or the name of an evaluation.
        topology: the slice.
        fingerprint: of the config.
        date, machine: when and where it was compiled.
        note: why there are no numbers.
        report: fields of `compile.Report`, infinite numbers as None.
        mesh: devices along each axis.
        digest: of the program (programs.Lowered).
        same_as: the config whose program it is, down to the last operation, and whose numbers these are.
    """

    config: str
    program: str
    topology: str
    fingerprint: str
    date: str = ""
    machine: str = ""
    note: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    mesh: dict[str, int] = field(default_factory=dict)
    digest: str = ""
    same_as: str = ""

    @property
    def key(self) -> Key:
        """Returns what makes it this row and no other."""
        return self.config, self.program, self.topology, self.fingerprint

    @property
    def is_to_be_tried_again(self) -> bool:
        """Returns whether an error stopped it, which another version of the code may not have."""
        return not self.report and self.note not in (NO_PROGRAM, _DIED)


def full_size_variants(only: str, topology: str | None) -> list[tuple[str, str]]:
    """Returns ("NAME:VARIANT", slice) of every variant that a config names a slice for.

    Args:
        only: a pattern ("mqt_*", "tcr_nextqa:paper") of names, with or without the variant.
        topology: a slice for all of them; None: each config's.

    Raises:
        StoryjaxError: no config fits the pattern.
    """
    found = []
    for path in sorted(config_folder().glob("*.py")):
        for variant, named in config_topologies(str(path)).items():
            spec = f"{path.stem}:{variant}"
            if fnmatch.fnmatch(path.stem, only) or fnmatch.fnmatch(spec, only):
                found.append((spec, topology or named))
    if not found:
        raise StoryjaxError(f"--only={only}: no config has a variant of full size of that name.")
    return found


def plan_all(folder: Path, only: str, topology: str | None, say: Say) -> bool:
    """Compiles what is missing of the table, and returns whether all that was asked for fits.

    Raises:
        StoryjaxError: no config fits the pattern, or a slice does not exist.
    """
    variants = full_size_variants(only, topology)
    slices = _slices(variants)
    folder.mkdir(parents=True, exist_ok=True)
    done = read_rows(folder / RECORDS)
    fits = True
    say(f"{len(variants)} variants: looking at their programs ...")
    work = [
        (Row(spec, program.removesuffix(_ON_HOST), name, _fingerprint(config)), config, program.endswith(_ON_HOST))
        for spec, name in variants
        for config in [complete(load_config(spec))]
        for program in _programs(config)
    ]
    # What is trained first: the larger programs, and if one does not fit nothing else of its config matters.
    for number, (row, config, on_host) in enumerate(sorted(work, key=lambda one: one[0].program != TRAIN), 1):
        made = done.get(row.key)
        if made is None or made.is_to_be_tried_again:
            say(f"[{number}/{len(work)}] {row.config} on {row.topology}: {row.program}")
            if on_host:
                made = _dated(row, NO_PROGRAM)
            else:
                _append(folder / RECORDS, _dated(row, _STARTED))
                made = compile_row(row, config, slices[row.topology], done.values())
            done[row.key] = made
            _append(folder / RECORDS, made)
            say(f"    {verdict(made)}")
            write_atomically(folder / TABLE, table(_current(done, topology)))
        fits &= bool(made.report.get("fits", made.note == NO_PROGRAM))
    write_atomically(folder / TABLE, table(_current(done, topology)))
    return fits


def _slices(variants: list[tuple[str, str]]) -> dict[str, Slice]:
    """The slices that variants are planned for; the error of one that does not exist says which config names it."""
    slices: dict[str, Slice] = {}
    for spec, name in variants:
        try:
            slices[name] = slices.get(name) or find_slice(name)
        except StoryjaxError as error:
            raise StoryjaxError(f"{spec}: {error}") from error
    return slices


def _current(done: dict[Key, Row], topology: str | None) -> list[Row]:
    """The rows of the configs as they are now, in the order of their names; one that says so where there are none."""
    rows = []
    for spec, name in full_size_variants("*", topology):
        mark = _fingerprint(complete(load_config(spec)))
        own = [row for row in done.values() if (row.config, row.topology, row.fingerprint) == (spec, name, mark)]
        rows += own or [Row(spec, "", name, mark, note="not compiled yet")]
    return rows


def _programs(config: ConfigDict) -> Iterator[str]:
    """Names of the programs of a config; _ON_HOST is behind those of evaluators without any."""
    experiment = build_experiment(config)
    if experiment.tasks:
        yield TRAIN
    programs, missing = eval_programs(experiment)
    yield from (program.name for program in programs)
    yield from (f"{name}{_ON_HOST}" for name in missing)


def compile_row(row: Row, config: ConfigDict, slice_: Slice, done: Iterable[Row]) -> Row:
    """Returns the row with what the compiler says, or with the error that stopped it as its note.

    Stages often differ in their data alone: a program that is one of `done` already is not compiled again.
    """
    try:
        jax.clear_caches()  # of the program before, which is not traced again
        planner = Planner(config, slice_, programs=(row.program,))
        made = planner.lower(row.program)
        row = dataclasses.replace(row, digest=made.digest, mesh=dict(planner.mesh.shape))
        own = (row.topology, row.mesh, row.digest)
        same = next(
            (other for other in done if other.report and own == (other.topology, other.mesh, other.digest)), None
        )
        if same is not None:
            return dataclasses.replace(_dated(row, ""), report=same.report, same_as=same.same_as or same.config)
        report = planner.compile(row.program, made)
    except Exception as error:  # whatever it is, the other programs are to be compiled
        return _dated(row, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200])
    numbers = {name: None if value == math.inf else value for name, value in dataclasses.asdict(report).items()}
    return dataclasses.replace(_dated(row, ""), report=numbers)


def _dated(row: Row, note: str) -> Row:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    compiler = importlib.metadata.version("libtpu")
    machine = f"{platform.system()} {platform.machine()}, {cores} cores, with libtpu {compiler}"
    return dataclasses.replace(row, note=note, date=f"{datetime.date.today():%Y-%m-%d}", machine=machine)


def _fingerprint(config: ConfigDict) -> str:
    return hashlib.sha256(config.to_json(sort_keys=True).encode()).hexdigest()[:12]


def read_rows(path: Path) -> dict[Key, Row]:
    """Returns the rows of a file, the last of each key; a line that was cut off is left out.

    A program that was begun and not finished is tried again, but only once: its compiler may end the process.
    """
    rows: dict[Key, Row] = {}
    begun: dict[Key, int] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = Row(**json.loads(line))
        except (ValueError, TypeError):
            continue
        begun[row.key] = begun.get(row.key, 0) + 1 if row.note == _STARTED else 0
        rows[row.key] = dataclasses.replace(row, note=_DIED) if begun[row.key] > 1 else row
    return rows


def _append(path: Path, row: Row) -> None:
    with path.open("a") as file:
        file.write(json.dumps(dataclasses.asdict(row)) + "\n")


def verdict(row: Row) -> str:
    """Returns a line of what came out."""
    if not row.report:
        return row.note
    used, limit = row.report["used"], row.report["limit"]
    size = "more than it has" if used is None else f"{used / 2**30:.2f} of {limit / 2**30:.2f} GiB"
    how = f"as {row.same_as}" if row.same_as else f"compiled in {row.report['seconds']:.0f} s"
    return f"{'fits' if row.report['fits'] else 'DOES NOT FIT'}: {size}, {how}"


_HEAD = """\
# Every variant of full size, compiled

`storyjax plan --all --out DIR` compiles the training step and the evaluation programs of every config's variants of
full size with the TPU's own compiler (libtpu), on a machine without any TPU, for the slice that the config names in
`TOPOLOGIES`. It goes on where it was stopped. Sizes are of one device: what the program takes, of what a chip has.
TFLOP and GB exchanged (all-gather, all-reduce and so on, loops counted as often as they run) are of one step and one
device. Stages that differ in their data alone have the same program, which is compiled once ("as"). A program that
is not in the table was not compiled yet. Nothing here has run on a TPU: this says what fits and what is exchanged, not
how fast it is.

| config | program | slice (mesh) | batch | GiB | fits | TFLOP | GB exchanged | compiled in |
|---|---|---|---|---|---|---|---|---|
"""


def table(rows: list[Row]) -> str:
    """Returns the page with a line for each row."""
    lines = [_line(row) for row in rows]
    dates, machines = (sorted({value for value in column if value}) for column in zip(*_origins(rows), strict=True))
    when = f"\nCompiled {' to '.join(sorted({dates[0], dates[-1]}))} on {'; '.join(machines)}.\n" if dates else ""
    return _HEAD + "\n".join(lines) + "\n" + when


def _origins(rows: list[Row]) -> list[tuple[str, str]]:
    """When and where each row was compiled."""
    return [(row.date, row.machine) for row in rows] or [("", "")]


def _line(row: Row) -> str:
    report = row.report
    mesh = " ".join(f"{axis}={size}" for axis, size in row.mesh.items() if size > 1)
    cells = [row.config, row.program, f"{row.topology} ({mesh or 'one device'})" if row.mesh else row.topology]
    if not report:
        return "| " + " | ".join([*cells, "", "", row.note.replace("|", "/"), "", "", ""]) + " |"
    used, limit = report["used"], report["limit"]
    sent = report["collectives"]
    cells += [
        str(report["examples"]),
        f"{'?' if used is None else f'{used / 2**30:.1f}'} of {limit / 2**30:.0f}",
        "yes" if report["fits"] else "**no**",
        "" if report["flops"] is None else f"{report['flops'] / 1e12:,.2f}",
        "" if sent is None else _sent(sent),
        f"as {row.same_as}" if row.same_as else f"{report['seconds']:.0f} s",
    ]
    return "| " + " | ".join(cells) + " |"


def _sent(sent: dict[str, int]) -> str:
    parts = [f"{kind} {size / 1e9:.2f}" for kind, size in sent.items() if size >= 5e6]
    return ", ".join(parts) or "< 0.01"
