"""Every small variant of thesis Ch. 3's configs trains and is measured: from stories to results.json, with a resampler
and towers of a few thousand weights, a handful of stories and two steps; all else is as the config says."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_tcr
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from storyjax.core.config import load_config
from storyjax.embedded import tcr_clip_init
from storyjax.storyworld.export import long_videos, nextqa
from storyjax.tcr.tasks import TASKS
from storyjax.train.loop import run

ROOT = Path(__file__).parents[2]
FEW = {
    "nextqa": {"train": 2, "val": 1, "test": 1},
    "yttemporal": {"train": 3, "val": 2},
    "egoschema": {"train": 3, "test": 3},
    "ego4d": {"train": 2, "val": 1},
    "msrvtt": {"train": 2, "test": 2},
    "kinetics": {"train": 8, "val": 2},
    "countix": {"train": 1, "val": 2},
}
WORLDS = {"nextqa_small": "nextqa", "nextqa_embedded": "nextqa"}  # of the configs which need fewer stories
EVERY: dict[tuple[str, str], tuple[str, ...]] = {
    ("tcr_nextqa", "embedded"): ("nextqa/acc", "nextqa/acc_temporal"),
    ("tcr_ytt_init", "embedded"): ("ytt/retrieved", "ytt/matched"),
    ("tcr_ytt_pretrain", "embedded"): ("captioning/cider",),
    ("tcr_egoschema", "embedded"): ("egoschema/acc",),
    ("tcr_msrvtt", "embedded"): ("msrvtt/cider", "msrvtt/different"),
    ("tcr_ego4d_lta", "embedded"): ("lta/action_ed", "lta_text_only/noun_ed", "lta_iterative/verb_ed"),
    ("tcr_ego4d_mq", "embedded"): ("mq/avg_map", "mq/recall_1x_0.5"),
    ("tcr_ego4d_nlq", "embedded"): ("nlq/mr@1", "nlq/mr@5"),
    ("tcr_multitask", "embedded"): ("nextqa/acc", "egoschema/acc", "lta/action_ed", "mq/avg_map"),
    ("tcr_ego4d_mq", "standalone_embedded"): ("standalone_mq/avg_map", "standalone_mq/recall_1x_0.5"),
    ("tcr_ego4d_nlq", "standalone_embedded"): ("standalone_nlq/mr@1", "standalone_nlq/mr@5"),
    ("tcr_kinetics", "embedded"): ("kinetics/acc",),
    ("tcr_kinetics", "selection_embedded"): ("selection/precision", "selection/recall"),
    ("tcr_countix", "embedded"): ("countix/mae", "countix/obo"),
    ("tcr_storyworld_init", "embedded"): ("align/notes", "align/words"),
}


# What compiling takes is most of what this file takes: XLA is told to make no effort, and programs that are equal for
# several data sets (shapes are made so below) are compiled once.
COMPILING = {
    "jax_disable_most_optimizations": True,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("small")
    tiny_tcr.write_checkpoint(root / "tiny", tcr={"cross_attention_blocks": (0,), "blocks": 1})
    before = {name: jax.config.values[name] for name in (*COMPILING, "jax_compilation_cache_dir")}
    for name, value in {**COMPILING, "jax_compilation_cache_dir": str(root / "programs")}.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(long_videos, "SIZE", 32)
        patched.setattr(tcr_clip_init, "_STORIES", range(60_000_000, 60_000_020))
        for name in ("yttemporal", "egoschema", "ego4d", "msrvtt", "kinetics", "countix"):
            export = getattr(long_videos, f"export_{name}")
            patched.setattr(long_videos, f"export_{name}", functools.partial(export, fps=2))
        patched.setattr(nextqa, "export_nextqa", functools.partial(nextqa.export_nextqa, size=32, fps=2))
        yield root
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def shrink(config: ConfigDict, root: Path) -> None:
    """Fewer stories and smaller networks; nothing else of the config changes."""
    tiny = json.loads((root / "tiny" / "tcr" / "config.json").read_text())["model"]
    if (
        config.experiment == "embedded.tcr_alignment"
    ):  # starts from the words of the CLIP that ships, so its towers stay
        config.model.tcr.update({"cross_attention_blocks": (0,), "blocks": 1})
        where = {"world": str(root / "footage"), "features": str(root / "features")}
        config.data.update({**where, "train": 2, "val": 2, "frames": 8})
    elif config.data.get("clip_init"):  # so does this one's TCR
        config.model.tcr.update({"cross_attention_blocks": (0,), "blocks": 1})
    else:
        config.model.vision.weights, config.model.llm.weights = tiny["vision"]["weights"], tiny["llm"]["weights"]
        frozen = config.model.tcr.get("weights") is not None
        config.model.tcr = ConfigDict(tiny["tcr"])
        if frozen:
            config.model.tcr.weights = str(root / "tiny" / "tcr")
    if config.get("init", ConfigDict()).get("checkpoint") is not None:
        config.init.checkpoint = str(root / "tiny" / "tcr")
    config.train = ConfigDict({"steps": 2, "batch_size": 2})
    config.optim.warmup_steps = 1
    config.eval = ConfigDict({"every": 0, "batch_size": 1})
    config.log = ConfigDict({"every": 1, "tensorboard": False})
    for section in (config.data, *config.data.get("tasks", {}).values()):
        place(section, root)


def place(section: ConfigDict, root: Path) -> None:
    """Has a section's data under `root`, of so few stories and in such shapes as will do."""
    if "cache_dir" in section:
        section.cache_dir = str(root / "prepared")
    if isinstance(section.get("root"), ConfigDict):
        for name, folder in section.root.items():
            section.root[name], section.synthetic[name] = small_world(folder, root)
    elif "root" in section:
        section.root, section.synthetic = small_world(section.root, root)
    if "frames" in section:
        section.frames = 8
    if section.get("task") in TASKS and section.task != "nextqa":
        one_row = section.task in ("lta", "matching")
        rows = {"examples_per_video": 1 if one_row else 2, "eval_examples": 1 if one_row else 2}
        section.update({"prompt_length": 62, "target_length": 62 if section.task == "lta" else 24, **rows})
    if "videos" in section:  # of stitched videos: as many frames as before must fit in
        section.videos, section.most_frames = 3, 4
    if "classes" in section:  # of so few training clips not every class of the others is one
        with section.ignore_type(), section.unlocked():
            section.eval_splits = ("train",)
    if section.get("task") == "lta":
        section.candidates = 2


def small_world(folder: str, root: Path) -> tuple[str, ConfigDict]:
    name = Path(folder).name
    world = WORLDS.get(name, name)
    return str(root / world), ConfigDict({"counts": FEW[world]})


@pytest.mark.parametrize(("name", "variant"), EVERY, ids=lambda part: part)
def test_it_trains_and_is_measured(name: str, variant: str, root: Path, tmp_path: Path) -> None:
    config = load_config(f"{ROOT / 'configs' / name}.py:{variant}")
    shrink(config, root)
    results = run(config, tmp_path, progress=False)
    assert set(EVERY[name, variant]) <= set(results)
    assert all(np.isfinite(value) for value in results.values())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in steps] == [1, 2]
    losses = [value for line in steps for key, value in line.items() if "loss" in key]
    assert len(losses) >= 2
    assert np.isfinite(losses).all()
    assert min(losses) > 0


def test_no_small_variant_is_left_out() -> None:
    """Every config of the chapter and every variant of it that is small is in the table above."""
    there = set()
    for path in (ROOT / "configs").glob("tcr_*.py"):
        namespace: dict = {}
        exec(compile(path.read_text(), str(path), "exec"), namespace)
        there |= {(path.stem, variant) for variant in namespace["VARIANTS"] if variant.endswith("embedded")}
    assert there == set(EVERY)
