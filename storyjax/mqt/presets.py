"""What the configs of Chapter 2 share: the optimiser of §2.6.1, the StoryWorld data sets, the model that fits them."""

from typing import Any

# Folders that every embedded config reads or writes; StoryWorld's data sets are written once and shared.
_WORLD = "runs/storyworld"


def paper_optim(boundaries: tuple[float, ...], backbone: float = 0.1) -> dict[str, Any]:
    """1e-4, and `backbone` times that for the backbone, a tenth of it after each of `boundaries` (shares of the run).

    The thesis leaves open what is not here; weight decay and clipping are Deformable DETR's.
    """
    return {
        "learning_rate": 1e-4,
        "schedule": "step",
        "boundaries": boundaries,
        "weight_decay": 1e-4,
        "clip_norm": 0.1,
        "lr_multipliers": (("pyramid/backbone/.*", backbone),),
    }


def storyworld_model(**tracker: Any) -> dict[str, Any]:
    """An MQT of half a million parameters, from scratch, for pictures of 96 × 160.

    So small a model does better where det queries learn all objects and see no others: then they find in a frame what
    they would find without any tracks, and there is less to learn.
    """
    backbone = {"stem_width": 16, "widths": (24, 32, 48, 64), "depths": (1, 1, 1, 1), "block": "basic", "norm": "group"}
    detr = {
        "backbone": backbone,
        "width": 64,
        "mlp_width": 128,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "heads": 4,
        "points": 4,
        "levels": 3,
        "queries": 24,
        "classes": 0,
        "box_refine": True,
        "dropout": 0.0,
        "groups": 8,
        "size_bias": 0.0,
    }
    return {
        "mqt": {"detr": detr, "isolate_det": True},
        "loss": {"det_targets": "all"},
        "tracker": {
            "confirm": 0.45,
            "agree": 0.1,
            "capacity": 16,
            "given": 16,
            "start": 0.6,
            "overlap": 0.4,
            **tracker,
        },
    }


def storyworld_data(dataset: str, mode: str, measure: str = "mot17", **counts: dict[str, Any]) -> dict[str, Any]:
    """`config.data` of a StoryWorld; `counts` are of further data sets than the sequences to measure on."""
    sets = {"mot17": {"counts": {"train": 60, "held_out": 8, "unseen": 8}}, **counts}
    return {
        "dataset": dataset,
        "mode": mode,
        "measure": measure,
        "storyworld": {name: sets.get(name, {}) for name in sorted({dataset, measure})},
        **{f"{name}_dir": f"{_WORLD}/{name}" for name in sorted({dataset, measure})},
        "data_dir": f"{_WORLD}/prepared_tracks",
        "held_out": ("*-8???",),
        "unseen": ("*-9???",),
        "size": (96, 160),
        "max_objects": 12,
        "max_gap": 5,
    }
