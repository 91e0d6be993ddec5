"""Sections that the configs of thesis Ch. 3 share: the paper's model, and the small one that trains on StoryWorld."""

import json
from typing import Any

from ml_collections import ConfigDict

from storyjax.core.params_io import shipped

SHIPPED = "tcr_storyworld"
# What goes on from it with times and sequences of actions (storyworld/practice.py); its T5 is one of its own.
PRACTISED = "tcr_storyworld_practised"
ROUTINES = {"train": 60, "val": 40}
# Of anticipation: a routine comes round after three to six actions, so eight observed ones would tell all to come.
SHORT_SIGHT = {"video": "whole", "brackets": False, "observed": 2, "conditioned": 2, "stride": 4}
TOLD = {"train": 40, "test": 200}  # films with narrations, and with a question each


def paper(experiment: str, tasks: dict[str, dict[str, Any]], **train: Any) -> ConfigDict:
    """The thesis's sizes (§3.2.3) between ViT-g and Flan-T5-XL; `tasks` as in tcr.finetune.TasksData.

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
    """`config.model` of a resampler that ships, towers and all; its sizes are those of the file."""
    return json.loads((shipped(weights) / "config.json").read_text("utf-8"))["model"]


def embed(config: ConfigDict, steps: int = 60, batch_size: int = 4, weights: str = SHIPPED) -> ConfigDict:
    """Makes a config small: a resampler that ships, StoryWorld's stories, minutes on two cores. The tasks' own sizes
    are the caller's."""
    config.precision = "float32"
    config.model = ConfigDict(embedded_model(weights))
    config.init = ConfigDict({"checkpoint": f"shipped:{weights}"})
    config.train = ConfigDict({"steps": steps, "batch_size": batch_size})
    config.optim = ConfigDict({"learning_rate": 5e-5, "schedule": "cosine", "warmup_steps": max(1, steps // 10)})
    config.eval = ConfigDict({"every": 0, "batch_size": 4})
    config.checkpoint = ConfigDict({"every": 100})
    return config


def small(world: str, storyworld: dict[str, int], **more: Any) -> dict[str, Any]:
    """A task's section on StoryWorld: where it lies, and lengths that fit its words and the small resampler."""
    lengths = {"frames": 32, "condition_length": 12, "prompt_length": 48, "target_length": 24}
    places = {"manual_dir": f"runs/storyworld/{world}", "data_dir": "runs/storyworld/prepared"}
    return {**places, "storyworld": storyworld, **lengths, "exercises_per_video": 4, **more}


def ego4d_spans(recipe: str, task: str, variant: str) -> ConfigDict:
    """Ego4D's tasks that find spans of a video, which are trained alike: moment and natural language queries.

    Args:
        recipe: of the fine-tuning with the language model (tcr.recipes).
        task: of the head without one (tcr.standalone_data).
        variant: paper, embedded, standalone or standalone_embedded.
    """
    if variant.startswith("standalone"):
        return _standalone_spans(task, variant)
    section = {"manual_dir": "data/ego4d/v2", "frames": 192, "target_length": 48}
    if variant == "embedded":
        section = small("ego4d", ROUTINES, options={"bins": 50}, target_length=10)
    tasks = {recipe: {**section, "recipe": recipe, "eval": "val"}}
    config = paper("tcr", tasks, batch_size=128, epochs=10, learning_rate=1e-5, warmup_steps=500)
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    return embed(config, weights=PRACTISED) if variant == "embedded" else config


def _standalone_spans(task: str, variant: str) -> ConfigDict:
    """Table 3.11: the pre-trained TCR and the tower are frozen, and a two-layer head is trained."""
    config = paper("tcr.heads", {}, batch_size=128, epochs=10, learning_rate=1e-4, warmup_steps=500)
    data = {"task": task, "manual_dir": "data/ego4d/v2", "frames": 192, "resampler": "runs/tcr_ytt_pretrain"}
    if variant.endswith("embedded"):
        embed(config, steps=1000 if task == "moments" else 300, batch_size=8, weights=PRACTISED)
        config.init = ConfigDict({"checkpoint": None})
        config.optim.learning_rate = 1e-3
        keys = ("manual_dir", "data_dir", "storyworld", "frames", "condition_length", "exercises_per_video")
        section = small("ego4d", ROUTINES)
        data |= {key: section[key] for key in keys}
        data |= {"resampler": f"shipped:{PRACTISED}", "bins": 60, "most_moments": 8, "hidden": 128}
    config.data = ConfigDict(data)
    return config
