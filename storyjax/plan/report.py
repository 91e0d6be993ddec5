"""A plan in words: the table that `storyjax plan` prints, what to change where a program does not fit, and JSON."""

import dataclasses
import math
from typing import Any

from storyjax.plan.compile import GIB, Plan, Report

_ROWS: tuple[tuple[str, str], ...] = (
    ("weights and optimiser", "weights"),
    ("batch (pixels, text)", "batch"),
    ("temporaries", "temporaries"),
    ("  of these, features kept", "features"),
    ("total", "used"),
    ("memory", "limit"),
)


def gib(size: float | int | None) -> str:
    """Bytes as people read them."""
    if size is None or math.isinf(size):
        return "-"
    return f"{size / GIB:.2f} GiB" if size >= 0.01 * GIB else f"{size / 2**20:.2f} MiB"


def table(plan: Plan) -> str:
    """The plan as lines of text, one column for each program."""
    of = plan.slice_
    mesh = ", ".join(f"{axis}={size}" for axis, size in plan.mesh.items())
    frames = "" if plan.frames is None else f"{plan.frames} frames a video, "
    per = "per chip" if of.devices_per_chip == 1 else f"per device (1/{of.devices_per_chip} chip)"
    lines = [
        f"{of.name}: {of.chips} chips of {of.chip.memory_gib} GiB; mesh {mesh}; {frames}batch {plan.batch_size}"
        f" (libtpu {of.compiler})",
        "",
        _line(per, [report.program for report in plan.reports]),
    ]
    lines += [_line(label, [gib(getattr(report, name)) for report in plan.reports]) for label, name in _ROWS]
    lines += [
        _line("fits", ["yes" if report.fits else "NO" for report in plan.reports]),
        _line("TFLOP a step", [_number(report.flops, 1e12) for report in plan.reports]),
        _line("GB moved a step", [_number(report.bytes, 1e9) for report in plan.reports]),
        _line("FLOP a byte", [_number(report.intensity, 1.0) for report in plan.reports]),
        _line("bound by", [_bound(plan, report) for report in plan.reports]),
        _line("step, at the very least", [_least(plan, report) for report in plan.reports]),
        _line("compiled in", [f"{report.seconds:.0f} s" for report in plan.reports]),
    ]
    if plan.tried:
        lines += ["", f"most frames that fit: {plan.frames if plan.fits else 'none of those tried'}"]
    advice = [] if plan.fits else advise(plan)
    return "\n".join([*lines, *(["", *advice] if advice else [])])


def advise(plan: Plan) -> list[str]:
    """What to change, most promising first, where a program does not fit."""
    worst = max((report for report in plan.reports if not report.fits), key=lambda report: report.used)
    videos = plan.batch_size // (plan.mesh["data"] * plan.mesh["fsdp"])
    devices = math.prod(plan.mesh.values())
    advice = [f"It does not fit: {worst.program} needs {gib(worst.used)} of {gib(worst.limit)}. What helps:"]
    if videos > 1:
        advice.append(
            f"- fewer videos at once: {videos} lie on each device; --batch {plan.batch_size // videos} is one."
        )
    if plan.frames is not None and plan.mesh["seq"] < devices:
        advice.append(f"- more devices to a video: --mesh seq={devices} (now {plan.mesh['seq']}).")
    if plan.mesh["fsdp"] == 1 and devices > 1 and worst.weights > 0.2 * worst.limit:
        advice.append("- weights cut over devices: --mesh fsdp=N with N of the data axis.")
    if worst.features > 0.1 * worst.limit:
        advice.append("- smaller features: --config.model.streaming.features=int8.")
    if worst.features or plan.frames is not None:
        advice.append("- fewer frames in the works: --config.model.streaming.chunk_frames=16.")
        advice.append("- fewer frames: --max-frames says how many fit.")
    advice.append("- a larger slice, or chips with more memory: another --topology.")
    return advice


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON knows it; sizes in bytes, None where a number is not known."""
    programs = []
    for report in plan.reports:
        fields = dataclasses.asdict(report) | {"flops_per_byte": report.intensity}
        programs.append({name: None if value == math.inf else value for name, value in fields.items()})
    return {
        "topology": plan.slice_.name,
        "chips": plan.slice_.chips,
        "devices_per_chip": plan.slice_.devices_per_chip,
        "memory_per_chip": plan.slice_.chip.memory_gib * GIB,
        "libtpu": plan.slice_.compiler,
        "mesh": plan.mesh,
        "frames": plan.frames,
        "batch_size": plan.batch_size,
        "fits": plan.fits,
        "programs": programs,
        "tried": [{"frames": frames, "fits": fits} for frames, fits in plan.tried],
        "advice": [] if plan.fits else advise(plan)[1:],
    }


def _line(label: str, cells: list[str]) -> str:
    return f"{label:<26}" + "".join(f"{cell:>16}" for cell in cells)


def _number(value: float | int | None, unit: float | int) -> str:
    return "-" if value is None else f"{value / unit:,.1f}"


def _bound(plan: Plan, report: Report) -> str:
    """Compute, if the program has more FLOPs a byte than the chip can do while a byte comes."""
    if report.intensity is None:
        return "-"
    chip = plan.slice_.chip
    return "compute" if report.intensity > chip.peak_flops / chip.bandwidth else "memory"


def _least(plan: Plan, report: Report) -> str:
    """No program can be faster than its FLOPs at the peak rate, or its bytes at the full bandwidth."""
    if report.flops is None or report.bytes is None:
        return "-"
    chip, devices = plan.slice_.chip, plan.slice_.devices_per_chip
    seconds = devices * max(report.flops / chip.peak_flops, report.bytes / chip.bandwidth)
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.2f} ms"
