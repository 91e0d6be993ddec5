"""Sections that the configs of thesis Ch. 3 share: the paper's model, and the small one that trains on StoryWorld."""

import json
from typing import Any

from ml_collections import ConfigDict

from storyjax.core.params_io import shipped

SHIPPED = "tcr_storyworld"
# What goes on from it with times and sequences of actions (embedded/tcr_sequences.py); its T5 is one of its own.
PRACTISED = "tcr_storyworld_practised"
ROUTINES = {"train": 60, "val": 40}
# Of anticipation: a routine comes round after three to six actions, so eight observed ones would tell all to come.
SHORT_SIGHT = {"video": "whole", "brackets": False, "observed": 2, "conditioned": 2, "stride": 4}
ANNOTATED = {"train": 40, "test": 200}  # videos with narrations, and with a question each


def paper(experiment: str, tasks: dict[str, dict[str, Any]], **train: Any) -> ConfigDict:
    """Returns a config of the thesis's sizes (§3.2.3) between ViT-g and Flan-T5-XL; `tasks` as in tcr.config.TasksData.

    Args:
        train: batch_size, epochs, learning_rate and warmup_steps (Table 3.7).
    """
    config = ConfigDict({"experiment": experiment, "seed": 0, "precision": "bfloat16"})
    config.model = ConfigDict(
        {
            "vision": {"preset": "vit_g14_blip2", "weights": "weights/blip2-flan-t5-xl"},
            "llm": {"preset": "flan_t5_xl", "weights": "weights/blip2-flan-t5-xl"},
            "tcr": {"width": 512, "blocks": 4, "heads": 8, "queries": 128},
            "streaming": {"chunk_frames": 16},
        }
    )
    config.data = ConfigDict({"tasks": tasks})
    config.train = ConfigDict({"epochs": train["epochs"], "batch_size": train["batch_size"]})
    config.optim = ConfigDict(
        {
            "learning_rate": train["learning_rate"],
            "schedule": "cosine",
            "warmup_steps": train["warmup_steps"],
            "clip_norm": 1.0,
        }
    )
    config.eval = ConfigDict({"every": 2000})
    return config


def embedded_model(weights: str = SHIPPED) -> dict[str, Any]:
    """Returns `config.model` of a resampler that ships, towers and all; its sizes are those of the file."""
    return json.loads((shipped(weights) / "config.json").read_text("utf-8"))["model"]


def embed(config: ConfigDict, steps: int = 60, batch_size: int = 4, weights: str = SHIPPED) -> ConfigDict:
    """Returns the config made small, for two cores: a resampler that ships. The tasks' sizes are the caller's."""
    config.precision = "float32"
    config.model = ConfigDict(embedded_model(weights))
    config.init = ConfigDict({"checkpoint": f"shipped:{weights}"})
    config.train = ConfigDict({"steps": steps, "batch_size": batch_size})
    config.optim = ConfigDict({"learning_rate": 5e-5, "schedule": "cosine", "warmup_steps": max(1, steps // 10)})
    config.eval = ConfigDict({"every": 0, "batch_size": 4})
    config.checkpoint = ConfigDict({"every": 100})
    return config


def small(world: str, counts: dict[str, int], **more: Any) -> dict[str, Any]:
    """Returns a task's section on StoryWorld, with lengths that fit its words and the small resampler.

    Args:
        world: the folder that it is written into.
        counts: stories of each split.
        more: further keys.
    """
    lengths = {"frames": 32, "condition_length": 12, "prompt_length": 48, "target_length": 24}
    places = {"root": f"runs/storyworld/{world}", "cache_dir": "runs/storyworld/prepared"}
    return {**places, "synthetic": {"counts": counts}, **lengths, "examples_per_video": 4, **more}


def ego4d_spans(task: str, head: str, variant: str) -> ConfigDict:
    """Returns the config of a task of Ego4D that finds spans of a video: moment or natural language queries.

    Args:
        task: of the fine-tuning with the language model (tcr.tasks).
        head: of the head without one (tcr.heads.config).
        variant: paper, embedded, standalone or standalone_embedded.
    """
    if variant.startswith("standalone"):
        return _standalone_spans(head, variant)
    section = {"root": "data/ego4d/v2", "frames": 192, "target_length": 48}
    if variant == "embedded":
        section = small("ego4d", ROUTINES, options={"bins": 50}, target_length=10)
    tasks = {task: {**section, "task": task, "eval_splits": ("val",)}}
    config = paper("tcr", tasks, batch_size=128, epochs=10, learning_rate=1e-5, warmup_steps=500)
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    return embed(config, weights=PRACTISED) if variant == "embedded" else config


def _standalone_spans(task: str, variant: str) -> ConfigDict:
    """Table 3.11: the pre-trained TCR and the tower are frozen, and a two-layer head is trained."""
    config = paper("tcr.heads", {}, batch_size=128, epochs=10, learning_rate=1e-4, warmup_steps=500)
    config.model.tcr.weights = "runs/tcr_ytt_pretrain"
    data = {"task": task, "root": "data/ego4d/v2", "frames": 192}
    if variant.endswith("embedded"):
        embed(config, steps=1000 if task == "moments" else 300, batch_size=8, weights=PRACTISED)
        config.init = ConfigDict({"checkpoint": None})
        config.optim.learning_rate = 1e-3
        config.model.tcr.weights = f"shipped:{PRACTISED}"
        keys = ("root", "cache_dir", "synthetic", "frames", "condition_length", "examples_per_video")
        section = small("ego4d", ROUTINES)
        data |= {key: section[key] for key in keys}
        data |= {"most_moments": 8, "hidden": 128, **({"bins": 60} if task == "queries" else {})}
    config.data = ConfigDict(data)
    return config
