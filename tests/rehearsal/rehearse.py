"""Runs paper variants at small size on eight simulated devices, as a user would: `rehearse.py FOLDER RUN ...`.

FOLDER has `weights` and `data` where the configs look for them. A RUN is CONFIG:VARIANT=WORKDIR; WORKDIR is what the
configs of later stages name in `init.checkpoint`. For each run: a step, another after a resumption, both evaluated;
the evaluation again from the checkpoint; the export; and the predictor of the chapter, loaded from the run. A JSON line
of what happened goes to standard output.
"""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

import storyjax
from storyjax.cli.main import run as export
from storyjax.core.config import load_config
from storyjax.core.params_io import flatten
from storyjax.train.experiment import build_experiment
from storyjax.train.initial_state import restore_or_init
from storyjax.train.loop import run
from storyjax.train.mesh import make_mesh
from storyjax.train.settings import complete, read_settings

CONFIGS = Path(__file__).parents[2] / "configs"
DETR = {
    "backbone": {"stem_width": 8, "widths": (16, 24, 32, 40), "depths": (1, 1, 1, 1)},
    "width": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "heads": 4,
}


def shrink(config: ConfigDict) -> ConfigDict:
    """Returns a paper's config with small widths, depths and counts; every choice of structure is the paper's."""
    config = complete(config)
    with config.unlocked(), config.ignore_type():
        config.mesh = ConfigDict({"data": 2, "fsdp": 2, "seq": 2})
        config.train = ConfigDict({**complete(ConfigDict()).train, "steps": 1, "batch_size": 8, "accumulate": 2})
        config.optim.warmup_steps = min(config.optim.warmup_steps, 1)
        config.eval = ConfigDict({"every": 0, "batch_size": 4})
        config.log.every, config.log.tensorboard = 1, False
        (_shrink_mqt if config.experiment == "mqt" else _shrink_tcr)(config)
    return config


def _shrink_mqt(config: ConfigDict) -> None:
    given = config.model.mqt.get("detr", ConfigDict()).to_dict()
    queries = 16 if given.get("queries", 100) > 100 else 12  # a stage with more queries than the others stays one
    mlp = {"mlp_width": 32} if given.get("mlp_width", 2048) == 1024 else {"mlp_width": 64}
    kept = {**{"classes": 0, "size_bias": 0.0, "loop_layers": True}, **given}
    config.model.mqt.detr = ConfigDict({**kept, **DETR, **mlp, "queries": queries})
    config.model.tracker.max_tracks, config.model.tracker.max_detections = 8, 12
    config.data.size, config.data.max_objects = (64, 96), 10
    if config.data.get("held_out"):
        config.data.held_out = ("*-8???",)


def _shrink_tcr(config: ConfigDict) -> None:
    tcr = {"width": 32, "heads": 4, "queries": 6, "blocks": 2}
    config.model.tcr.update(tcr)
    for network in (config.model.vision, config.model.llm):
        network.preset = None  # the sizes are those of the published files that there are
    config.model.streaming.chunk_frames = 2
    for section in config.data.get("tasks", {"": config.data}).values():
        section.frames = 8
        if "classes" in section:  # of so few clips not every class of the others is one that is trained
            section.eval_splits = ("train",)
        for key, value in (("videos", 3), ("most_frames", 4), ("kept", 4), ("fps", 2.0), ("most_count", 8)):
            if key in section:
                section[key] = value
        for key, most in (("target_length", 24), ("eval_examples", 2)):
            if section.get(key):
                section[key] = min(section[key], most)


def rehearse(name: str, variant: str, workdir: Path) -> dict[str, object]:
    """Returns what happened: a step, the second after a resumption, evaluations, predictions, the frozen parameters."""
    began = time.perf_counter()
    config = shrink(load_config(f"{CONFIGS / name}.py:{variant}"))
    run(config, workdir, progress=False)
    config.train.steps = 2
    results = run(config, workdir, progress=False)
    again = run(config, workdir, mode="eval", progress=False)
    predicted = None
    if build_experiment(config).predictions:
        predicted = run(config, workdir, mode="predict", progress=False)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert export(["export", str(workdir), "--to", "safetensors", "--out", f"exported/{workdir.name}"]) == 0
    if config.experiment in ("mqt", "tcr"):
        storyjax.load(workdir)
    return {
        "run": f"{name}:{variant}",
        "seconds": round(time.perf_counter() - began, 1),
        "steps": [line["step"] for line in steps],
        "losses": [line["loss"] for line in steps],
        "results": results,
        "again": again,
        "predicted": predicted,
        "files": sorted(path.name for path in (workdir / "predictions").rglob("*.*") if path.stat().st_size),
        "frozen": frozen_parameters(config, workdir),
    }


def frozen_parameters(config: ConfigDict, workdir: Path) -> dict[str, bool]:
    """Returns for each frozen parameter whether it is the published one, to the precision that it is kept in."""
    experiment, settings = build_experiment(config), read_settings(config)
    state = restore_or_init(settings, experiment, workdir, make_mesh(settings.mesh))
    given = {} if experiment.pretrained is None else dict(experiment.pretrained())
    frozen = flatten(state.frozen)
    return {
        path: path in given and np.array_equal(np.asarray(leaf), np.asarray(given[path]).astype(leaf.dtype))
        for path, leaf in frozen.items()
    }


def main() -> None:
    """Runs what the command line names, in the folder that it names."""
    flags.FLAGS.mark_as_parsed()
    folder, *runs = sys.argv[1:]
    os.chdir(folder)
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(Path(folder) / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    for one in runs:
        what, _, workdir = one.partition("=")
        name, _, variant = what.partition(":")
        print(json.dumps(rehearse(name, variant, Path(workdir))), flush=True)


if __name__ == "__main__":
    main()
