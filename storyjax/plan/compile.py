"""`storyjax plan`: what a run takes of a TPU slice, from the TPU's own compiler and without any TPU.

The programs are those of the loop: the training step of step.py and the evaluation step of evaluation.py, traced with
the experiment's shapes alone, on a mesh of the slice's devices. Nothing is materialised. Whether a program fits is what
the compiler says; FLOPs and bytes are counted in what it made (hlo_cost.py), loops as often as they run.
"""

import dataclasses
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from storyjax.core.config import choose, config_topologies, load_config, override
from storyjax.core.errors import StoryjaxError
from storyjax.core.mesh_axes import AXES
from storyjax.plan.collectives import bytes_by_kind, collectives
from storyjax.plan.hlo_cost import program_cost
from storyjax.plan.programs import TRAIN, Lowered, eval_programs, lower_evaluation, lower_training
from storyjax.plan.tpu import Slice, find_slice
from storyjax.train.experiment import Experiment, build_experiment
from storyjax.train.mesh import check_batch_size, mesh_shape
from storyjax.train.settings import CHAPTER_SECTIONS, Settings, complete, read_settings

PROGRAMS = (TRAIN, "inference")
GIB = 2**30


@dataclass(frozen=True)
class Report:
    """What one program takes of one device (a chip, or half of one where a chip is two devices). Sizes in bytes.

    Attributes:
        program: one of PROGRAMS.
        fits: whether the compiler could place it.
        limit: what a program may use.
        used: what it uses or, where it does not fit, would.
        weights: parameters and optimiser state, as they are stored.
        batch: the step's input.
        features: what is kept of the batch between passes; part of the temporaries.
        temporaries: all that lives during a step; None where the compiler gave up before it knew.
        flops, bytes: of one step, None where it does not fit or the program cannot be read.
        seconds: that compiling took.
        collectives: bytes that a device exchanges in a step, by kind (collectives.py); None as of `flops`.
        examples: of a global batch; of several tasks, together.
    """

    program: str
    fits: bool
    limit: float | int
    used: float | int
    weights: int
    batch: int
    features: int
    temporaries: float | int | None
    flops: float | int | None
    bytes: float | int | None
    seconds: float | int
    collectives: dict[str, int] | None = None
    examples: int = 0

    @property
    def intensity(self) -> float | int | None:
        """FLOPs for a byte of memory traffic."""
        return self.flops / self.bytes if self.flops and self.bytes else None


@dataclass(frozen=True)
class Plan:
    """The programs of a config on a slice.

    Attributes:
        slice_, mesh: devices, and how many of them along each axis.
        frames: of a video, None where the config has no such key.
        batch_size: global.
        reports: one for each program.
        tried: numbers of frames that a search compiled for, with whether they fitted.
    """

    slice_: Slice
    mesh: dict[str, int]
    frames: int | None
    batch_size: int
    reports: tuple[Report, ...]
    tried: tuple[tuple[int, bool], ...] = field(default=())

    @property
    def fits(self) -> bool:
        """Whether every program fits."""
        return all(report.fits for report in self.reports)


class Planner:
    """Compiles the programs of one config for one slice, for any number of frames.

    Args:
        config: as main.py has it, overrides included.
        slice_: what to compile for.
        batch_size: global; None: the config's, of training and of evaluation.
        programs: which of PROGRAMS, or names of evaluations (programs.eval_programs).

    Raises:
        StoryjaxError: the config, the mesh or the batch does not suit the slice.
    """

    def __init__(
        self, config: ConfigDict, slice_: Slice, batch_size: int | None = None, programs: tuple[str, ...] = PROGRAMS
    ) -> None:
        self.config, self.slice_, self.programs = complete(config), slice_, programs
        settings = read_settings(self.config)
        shape = mesh_shape(settings.mesh, len(slice_.devices))
        self.mesh = Mesh(np.array(slice_.devices).reshape(shape), AXES)
        self.batch_size = batch_size
        try:
            check_batch_size(self.mesh, self.examples, settings.train.accumulate, "the batch size")
        except StoryjaxError as error:
            raise StoryjaxError(f"{error} {self._another_mesh()}".rstrip()) from error

    @property
    def examples(self) -> int:
        """Returns the examples of a global batch."""
        return self.batch_size or int(self.config.train.batch_size)

    def _another_mesh(self) -> str:
        devices = len(self.slice_.devices)
        data = math.gcd(self.examples, devices)
        hint = f" --mesh data={data},seq={devices // data} divides it." if data < devices else ""
        return f"This one has {dict(self.mesh.shape)}.{hint}"

    @property
    def frames(self) -> int | None:
        """Frames of a video as the config has them, or None where it has no such key."""
        return next(iter(_frames_by_section(self.config).values()), None)

    @property
    def unit(self) -> int:
        """Frames that every device of a video gets are even in number (storyjax/tcr/frame_stream.py)."""
        return 2 * self.mesh.shape["seq"]

    def plan(self, frames: int | None = None, say: Callable[[str], None] = lambda line: None) -> Plan:
        """Compiles every program; `say` gets a line before each."""
        config = self.config.copy_and_resolve_references()
        if frames is not None:
            if self.frames is None:
                raise StoryjaxError("this config has no config.data.frames to change.")
            for section in _frames_by_section(config):
                config.update_from_flattened_dict({f"{section}.frames": frames})
        else:
            frames = self.frames
        reports, experiment = [], build_experiment(config)
        of = "" if frames is None else f", {frames} frames"
        for program in self.programs:
            say(f"compiling {program} for {self.slice_.name}{of} ...")
            reports.append(self.compile(program, self._lower(read_settings(config), experiment, program)))
        mesh = dict(self.mesh.shape)
        return Plan(self.slice_, mesh, frames, self.examples, tuple(reports))

    def lower(self, program: str) -> Lowered:
        """Returns a program of the config as it is, ready to be compiled."""
        return self._lower(read_settings(self.config), build_experiment(self.config), program)

    def compile(self, program: str, made: Lowered) -> Report:
        """Returns what the compiler says of a program, one of PROGRAMS or the name of an evaluation.

        Raises:
            StoryjaxError: it refuses the program for another reason than memory.
        """
        weights, batch = made.weights, made.batch
        began = time.perf_counter()
        sizes: dict[str, Any] = {
            "program": program,
            "weights": weights,
            "batch": batch,
            "features": made.features,
            "examples": made.examples,
        }
        nominal = self.slice_.chip.memory_gib * GIB / self.slice_.devices_per_chip
        try:
            compiled = made.lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            used, limit = _overrun(str(error))
            seconds = time.perf_counter() - began
            return Report(
                fits=False,
                limit=limit or nominal,
                used=used,
                temporaries=max(used - weights - batch, 0.0) if used < math.inf else None,
                flops=None,
                bytes=None,
                seconds=seconds,
                **sizes,
            )
        memory, (flops, traffic, sent) = compiled.memory_analysis(), counted(compiled)
        arguments = memory.argument_size_in_bytes
        used = float(
            arguments
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
            + memory.temp_size_in_bytes
            + memory.generated_code_size_in_bytes
        )
        return Report(
            fits=True,
            limit=nominal,
            used=used,
            temporaries=used - arguments,
            flops=flops,
            bytes=traffic,
            seconds=time.perf_counter() - began,
            collectives=sent,
            **sizes,
        )

    def _lower(self, settings: Settings, experiment: Experiment, program: str) -> Lowered:
        """The training step, "inference" (the first evaluator in batches), or the evaluation of that name."""
        if program == TRAIN:
            return lower_training(experiment, settings, self.mesh, self.batch_size)
        known, missing = eval_programs(experiment)
        if program == "inference":
            chosen = [one for one in known if not one.alone][:1]
            if not chosen:
                names = ", ".join(missing) or "(none)"
                raise StoryjaxError(f"{experiment.name} does not say what a batch of evaluator {names} is.")
        else:
            chosen = [one for one in known if one.name == program]
        return lower_evaluation(chosen[0], experiment, settings, self.mesh, self.batch_size)


def counted(compiled: Any) -> tuple[float | int | None, float | int | None, dict[str, int] | None]:
    """(FLOPs, bytes, bytes by kind of collective) of a program; None each where jaxlib cannot read a newer libtpu's."""
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError:
        return None, None, None
    cost = program_cost(text)
    return cost.flops, cost.bytes, bytes_by_kind(collectives(text))


@dataclass(frozen=True)
class Request:
    """What a person asks of `storyjax plan`.

    Attributes:
        config: a file of configs/, with :variant.
        topology: as "v5e:4x4"; None: what the config names for its variant (`TOPOLOGIES`).
        overrides: (dotted key, text) of the config, as main.py takes them.
        mesh: "data=4,seq=2"; axes left out are 1, and `data` what is left over. None: the config's; for a search over
            frames, all devices along `seq`.
        frames: of a video, None: the config's.
        max_frames: whether to search for the most frames that fit.
        batch_size: global, None: the config's; for a search, one video for each group of devices that shares one.
        programs: "train", "inference" or both.
    """

    config: str
    topology: str | None
    overrides: tuple[tuple[str, str], ...] = ()
    mesh: str | None = None
    frames: int | None = None
    max_frames: bool = False
    batch_size: int | None = None
    programs: tuple[str, ...] = PROGRAMS


def make_plan(request: Request, say: Callable[[str], None]) -> Plan:
    """The plan that a person asks for; `say` gets lines of progress.

    Raises:
        StoryjaxError: an unknown slice, config, key or axis, or a batch that the mesh does not divide.
    """
    for name, value in (("frames", request.frames), ("batch", request.batch_size)):
        if value is not None and value < 1:
            raise StoryjaxError(f"--{name} is {value}; it must be at least 1.")
    slice_ = find_slice(request.topology or _own_topology(request.config))
    config = complete(load_config(request.config))
    for key, text in request.overrides:
        override(config, key, text, open_sections=CHAPTER_SECTIONS)
    mesh = request.mesh or (f"seq={len(slice_.devices)}" if request.max_frames else None)
    for axis, size in parse_mesh(mesh).items():
        config.mesh[axis] = size
    batch_size = request.batch_size
    if batch_size is None and request.max_frames:
        shape = mesh_shape(read_settings(config).mesh, len(slice_.devices))
        batch_size = shape[AXES.index("data")] * shape[AXES.index("fsdp")]
    planner = Planner(config, slice_, batch_size, request.programs)
    return most_frames(planner, say) if request.max_frames else planner.plan(request.frames, say)


def _own_topology(spec: str) -> str:
    """The slice that a config names for its variant."""
    topologies, variant = config_topologies(spec), spec.partition(":")[2] or "paper"
    if variant not in topologies:
        raise StoryjaxError(f"--topology: {spec} names no TPU slice of its own; give one, for instance v5e:4x4.")
    return topologies[variant]


def parse_mesh(text: str | None) -> dict[str, int]:
    """{axis: devices} of "data=4,seq=2", all axes; of None, nothing.

    Raises:
        StoryjaxError: it does not parse, or there is no such axis.
    """
    if text is None:
        return {}
    sizes = {"data": -1, "fsdp": 1, "seq": 1}
    for part in text.split(","):
        axis, _, size = part.strip().partition("=")
        choose(axis, AXES, "--mesh")
        if not re.fullmatch(r"[1-9]\d*", size):
            raise StoryjaxError(f"--mesh: '{part.strip()}' does not say how many devices: for instance {axis}=4.")
        sizes[axis] = int(size)
    return sizes


def _frames_by_section(config: ConfigDict) -> dict[str, int]:
    """The sections of a config that say how many frames a video has, `config.data` or its tasks, and what they say."""
    sections = {"data": config.data} | {
        f"data.tasks.{name}": task for name, task in config.data.get("tasks", {}).items()
    }
    return {name: section.frames for name, section in sections.items() if section.get("frames") is not None}


def most_frames(planner: Planner, say: Callable[[str], None], precision: float | int = 0.02, most: int = 10) -> Plan:
    """The plan with the most frames that fit, to within `precision` of them, or with the fewest where none do.

    Memory grows about linearly with frames, so two compilations show where to look; where the line misleads, the search
    doubles or halves. At most `most` compilations.
    """
    if planner.frames is None:
        raise StoryjaxError("--max-frames: this config has no config.data.frames to search over.")
    unit = planner.unit
    fitting: Plan | None = None
    refused: Plan | None = None
    tried: list[tuple[int, bool]] = []
    points: list[tuple[int, float | int, float | int]] = []
    frames = max(1, math.ceil(planner.frames / unit)) * unit
    while len(tried) < most:
        plan = planner.plan(frames, say)
        tried.append((frames, plan.fits))
        tightest = max(plan.reports, key=lambda report: report.used / report.limit)
        points.append((frames, tightest.used, tightest.limit))
        verdict = "fits" if plan.fits else "does not fit"
        say(f"  {tightest.used / GIB:.2f} of {tightest.limit / GIB:.2f} GiB: {verdict}")
        if plan.fits:
            fitting = plan
        else:
            refused = plan
        low, high = _frames(fitting) or 0, _frames(refused)
        if high is not None and high - low <= max(unit, precision * low):
            break
        frames = _next_frames(points, low, high, unit)
    best = fitting or refused
    assert best is not None  # one compilation at least was made
    return dataclasses.replace(best, tried=tuple(tried))


def _frames(plan: Plan | None) -> int | None:
    return None if plan is None else plan.frames


def _next_frames(points: list[tuple[int, float | int, float | int]], low: int, high: int | None, unit: int) -> int:
    """Strictly between what fits (`low`) and what does not (`high`), in units: where a line says, or half-way."""
    middle = (low + high) / 2 if high is not None else 2 * low
    known = [point for point in points if point[1] < math.inf]
    if len(known) >= 2:
        (frames_a, used_a, limit), (frames_b, used_b, _) = sorted(known, key=lambda point: abs(point[1] - point[2]))[:2]
        if frames_a != frames_b and used_a != used_b and (slope := (used_b - used_a) / (frames_b - frames_a)) > 0:
            crossing = frames_a + (limit - used_a) / slope
            # A little less the first time, a little more once that fitted, so that both ends close in.
            guess = crossing * (0.995 if low < 0.98 * crossing else 1.01)
            # A line through few points is not trusted further than 64 times what is known to fit.
            middle = min(guess, 64 * low) if high is None else (guess if low < guess < high else middle)
    units = max(int(middle // unit), low // unit + 1)
    return unit * (units if high is None else min(units, high // unit - 1))


_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _overrun(message: str) -> tuple[float | int, float | int | None]:
    """(what a program would use, what it may) from the compiler's refusal for want of memory.

    Raises:
        StoryjaxError: the program does not compile for another reason.
    """
    if "RESOURCE_EXHAUSTED" not in message and "hbm" not in message.lower():
        raise StoryjaxError(f"the compiler refused the program: {message.splitlines()[0]}")
    found = re.search(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm", message)
    if found is None:
        return math.inf, None
    return float(found[1]) * _SIZES[found[2]], float(found[3]) * _SIZES[found[4]]
