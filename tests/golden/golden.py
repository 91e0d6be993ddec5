"""Takes the steps and makes the evaluations whose numbers are recorded, and says on which machine they were made."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict
from recipes import ALONE, CUT, EVERY, LONG, SHIPPED, SHORT, STEPPED, Overrides
from safetensors.numpy import load_file, save_file

from storyjax.core.config import load_config
from storyjax.train.checkpoint import load_trainable
from storyjax.train.experiment import build_experiment
from storyjax.train.loop import run
from storyjax.train.settings import complete

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WEIGHTS = ROOT / "storyjax" / "weights" / "shipped"

# All that takes part in the last bit of a number.
PACKAGES = ("jax", "jaxlib", "numpy", "flax", "optax", "scipy", "pillow", "av")
# Compiling takes most of the time of a few steps: XLA is told to make no effort, and equal programs are compiled once.
QUICKLY = {
    "jax_disable_most_optimizations": True,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def machine() -> dict[str, Any]:
    """What two machines must have in common to compute the same bits."""
    processor, flags = platform.machine(), ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        names = ("vendor_id", "cpu family", "model", "model name", "stepping")
        processor = " ".join(facts[name] for name in names if name in facts) or processor
        flags = " ".join(sorted(facts.get("flags", facts.get("Features", "")).split()))
    return {
        "processor": processor,
        "instructions": hashlib.sha256(flags.encode()).hexdigest()[:16],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


@contextlib.contextmanager
def compiled_quickly(folder: Path) -> Iterator[None]:
    """Within it programs are compiled without effort and kept in `folder`; none that was compiled before is used."""
    options = {**QUICKLY, "jax_compilation_cache_dir": str(folder)}
    before = {name: jax.config.values[name] for name in options}
    try:
        _set(options)
        yield
    finally:
        _set(before)


def _set(options: dict[str, Any]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    jax.clear_caches()


def load(spec: str, overrides: Overrides) -> ConfigDict:
    """The config "name:variant" with `overrides`, as `run` takes it."""
    name, variant = spec.split(":")
    config = load_config(f"{ROOT / 'configs' / name}.py:{variant}")
    for key, value in overrides.items():
        *sections, last = key.split(".")
        section = config
        for part in sections:
            if part not in section:
                with section.unlocked():
                    section[part] = ConfigDict()
            section = section[part]
        with section.unlocked(), section.ignore_type():
            section[last] = ConfigDict(value) if isinstance(value, dict) else value
    return complete(config)


def take_steps(spec: str, overrides: Overrides, world: Path, workdir: Path) -> dict[str, Any]:
    """Three steps of a variant: the losses of each step, and what the trainable parameters are then.

    Args:
        world: the folder that the paths of configs are relative to.
        workdir: of the run.
    """
    with contextlib.chdir(world):
        config = load(spec, {**EVERY, **overrides})
        experiment = build_experiment(config)
        # A task's name is part of its program; numbered, equal tasks of several variants are compiled once.
        numbered = tuple(dataclasses.replace(task, name=str(place)) for place, task in enumerate(experiment.tasks))
        experiment_alone = dataclasses.replace(experiment, tasks=numbered, evaluators=())
        run(config, workdir, experiment=experiment_alone, progress=False)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    losses = {task.name: [step[f"{place}/loss"] for step in steps] for place, task in enumerate(experiment.tasks)}
    losses["all"] = [step["loss"] for step in steps]
    return {"losses": losses, **described(load_trainable(workdir))}


def described(parameters: dict[str, np.ndarray]) -> dict[str, Any]:
    """A digest of parameters to the last bit; and, for other machines, of each top-level module the sum of its numbers
    and of their absolute values."""
    digest, sums = hashlib.sha256(), {}
    for path, array in sorted(parameters.items()):
        array = np.ascontiguousarray(array)
        digest.update(f"{path} {array.dtype} {array.shape} ".encode() + array.tobytes())
        total = sums.setdefault(path.split("/")[0], [0.0, 0.0])
        total[0] += float(array.sum(dtype=np.float64))
        total[1] += float(np.abs(array).sum(dtype=np.float64))
    return {"digest": digest.hexdigest(), "sums": sums}


def evaluate(weights: str, overrides: Overrides, world: Path, workdir: Path) -> dict[str, float]:
    """The results of weights that ship; further arguments as of `take_steps`."""
    spec, needed = SHIPPED[weights]
    init = f"weights/{weights}" if weights in ALONE else f"shipped:{weights}"
    config = load(spec, {"log.tensorboard": False, "init.checkpoint": init, **needed, **overrides})
    with contextlib.chdir(world):
        return run(config, workdir, "eval", progress=False)


def make(kind: str, name: str, world: Path, workdir: Path) -> dict[str, Any]:
    """What is recorded of a run; `kind` is the name of the file that it is recorded in."""
    if kind == "steps":
        return take_steps(name, STEPPED[name], world, workdir)
    return evaluate(name, {"short": SHORT, "long": LONG}[kind][name], world, workdir)


def surroundings(kind: str, world: Path) -> contextlib.AbstractContextManager[None]:
    """What all runs of a kind are made within; `world` is an empty folder, which all of them share."""
    if kind != "steps":
        name_module(world / "weights")
        return contextlib.nullcontext()
    cut_weights(world / "weights")
    return compiled_quickly(world / "programs")


def cut_weights(folder: Path) -> None:
    """Writes the weights that ship with the first block of each of their parts alone."""
    for name, overrides in CUT.items():
        shutil.copytree(WEIGHTS / name, folder / name)
        parameters = load_file(folder / name / "model.safetensors")
        kept = {path: array for path, array in parameters.items() if not re.search("/block_[1-9]", path)}
        save_file(kept, folder / name / "model.safetensors")
        config = json.loads((folder / name / "config.json").read_text())
        for key, value in overrides.items():
            *sections, last = key.split(".")
            section = config
            for part in sections:
                section = section[part]
            section[last] = value
        (folder / name / "config.json").write_text(json.dumps(config))


def name_module(folder: Path) -> None:
    """Writes the networks that ship alone as a run has them."""
    for name, module in ALONE.items():
        (folder / name).mkdir(parents=True)
        parameters = load_file(WEIGHTS / name / "model.safetensors")
        save_file({f"{module}/{path}": a for path, a in parameters.items()}, folder / name / "model.safetensors")


def read(kind: str) -> dict[str, Any]:
    """A file of recorded numbers: {"machine": ..., "recorded": {name: ...}}."""
    return json.loads((HERE / f"{kind}.json").read_text())


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes such a file, a line for each run."""
    lines = [f"  {json.dumps(name)}: {json.dumps(made)}" for name, made in content["recorded"].items()]
    text = f' "machine": {json.dumps(content["machine"])},\n "recorded": {{\n' + ",\n".join(lines) + "\n }"
    path.write_text("{\n" + text + "\n}\n")
