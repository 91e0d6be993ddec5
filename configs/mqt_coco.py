"""MQT's first stage: detection on COCO with det queries, and pos queries of perturbed boxes (thesis §2.6.1, Table 2.8a).

    python -m storyjax.main --config=configs/mqt_coco.py:embedded --workdir=runs/mqt_coco
    python -m storyjax.main --config=configs/mqt_coco.py --workdir=DIR (the paper's; needs data and weights)
    python -m storyjax.main --config=configs/mqt_coco.py:pairs --workdir=DIR --config.init.checkpoint=DIR_OF_PAPER

| variant | what | hardware | expected |
|---|---|---|---|
| paper | ResNet-50, 4 levels, 6 + 6 layers, 50 epochs | TPU or GPU, batch 32 | 43.8 AP of det queries (Table 2.8a) |
| pairs | the second stage for GMOT-40 and TAO: pairs simulated from COCO, 50 epochs | the same | Table 2.8b |
| embedded | the same code on StoryWorld's pictures, 96 × 160, a small detector from scratch; the first stage of the \
checkpoint that ships | two CPU cores, see storyjax/mqt/README.md | see there |
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "pairs", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict({"mqt": {}, "loss": {}, "weights": "weights/resnet-50"})
    config.data = ConfigDict(
        {"dataset": "coco", "mode": "detection", "measure": "mot17", "coco_dir": "data/coco", "max_objects": 100}
    )
    config.train = ConfigDict({"epochs": 50, "batch_size": 32})
    config.optim = ConfigDict(
        {
            "learning_rate": 1e-4,
            "schedule": "step",
            "boundaries": (0.8,),
            "weight_decay": 1e-4,
            "clip_norm": 0.1,
            "slow": "pyramid/backbone/.*",
            "slow_scale": 0.1,
        }
    )
    config.eval = ConfigDict({"every": 5000})
    if variant == "pairs":
        # "decreasing the learning rate after 20th and 40th epoch" (§2.6.1, GMOT40)
        config.model.weights = None
        config.data.mode = "simulated"
        config.optim.boundaries = (0.4, 0.8)
    if variant == "embedded":
        embed(config)
    return config


def embed(config: ConfigDict) -> None:
    """A detector of a third of a million parameters, small pictures; everything else is the paper's."""
    config.precision = "float32"
    config.model = ConfigDict({"mqt": small(), "loss": {"det_targets": "all"}})
    config.data = ConfigDict(
        {
            "dataset": "coco",
            "mode": "detection",
            "measure": "mot17",
            "storyworld": {"coco": {"counts": {"train": 2000, "val": 100}}, "mot17": {"counts": COUNTS}},
            "coco_dir": "runs/storyworld/coco",
            "mot17_dir": "runs/storyworld/mot17",
            "data_dir": "runs/storyworld/prepared_tracks",
            "held_out": ("*-8???-*",),
            "unseen": ("*-9???-*",),
            "size": (96, 160),
            "max_objects": 12,
        }
    )
    config.train = ConfigDict({"steps": 3000, "batch_size": 16})
    config.optim = ConfigDict(
        {"learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 50, "weight_decay": 1e-4, "clip_norm": 1.0}
    )
    config.eval = ConfigDict({"every": 0, "batch_size": 16})
    config.checkpoint = ConfigDict({"every": 250})


COUNTS = {"train": 60, "held_out": 8, "unseen": 8}


def small() -> dict:
    """The MQT that fits StoryWorld."""
    return {
        "detr": {
            "backbone": {
                "stem_width": 16,
                "widths": (24, 32, 48, 64),
                "depths": (1, 1, 1, 1),
                "block": "basic",
                "norm": "group",
            },
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
        },
        "isolate_det": True,
    }
