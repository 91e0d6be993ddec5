"""MQT on MOT17: the last stage, on pairs of real frames (thesis §2.6.1, Tables 2.1 and 2.5 to 2.7).

    python -m storyjax.main --config=configs/mqt_mot17.py:embedded --workdir=runs/mqt_mot17 --mode=eval
    python -m storyjax.main --config=configs/mqt_mot17.py:embedded --workdir=DIR --config.init.checkpoint=runs/mqt_coco
    python -m storyjax.main --config=configs/mqt_mot17.py --workdir=DIR (the paper's; needs data and the CrowdHuman run)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | from `configs/mqt_crowdhuman.py`, 20 epochs, the rate a tenth after half of them | TPU or GPU, batch 32 | MOTA \
68.3, IDF1 66.1 on the held-out sequence (Table 2.5) |
| embedded | the same code on StoryWorld's sequences; it starts from, and with --mode=eval measures, the weights that \
ship (mqt_storyworld) | two CPU cores, minutes | see storyjax/mqt/README.md |

What is measured: `mot17/{mota,idf1,hota,...}` of held-out sequences in the private setting, `mot17/unseen_*` of kinds of
things that training never shows, `mot17/iou_baseline_*` of overlap alone with the same detections.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict({"mqt": {}, "loss": {}, "tracker": {"confirm": 0.75, "agree": 0.1}, "weights": None})
    config.data = ConfigDict(
        {
            "dataset": "mot17",
            "mode": "pairs",
            "measure": "mot17",
            "mot17_dir": "data/MOT17",
            "data_dir": "data/prepared",
            "held_out": ("MOT17-09*",),
        }
    )
    config.init = ConfigDict({"checkpoint": "runs/mqt_crowdhuman"})
    config.train = ConfigDict({"epochs": 20, "batch_size": 32})
    config.optim = ConfigDict(
        {
            "learning_rate": 1e-4,
            "schedule": "step",
            "boundaries": (0.5,),
            "weight_decay": 1e-4,
            "clip_norm": 0.1,
            "slow": "pyramid/backbone/.*",
            "slow_scale": 0.1,
        }
    )
    config.eval = ConfigDict({"every": 0})
    if variant == "embedded":
        embed(config)
    return config


def embed(config: ConfigDict) -> None:
    """The detector of `configs/mqt_coco.py:embedded`, small pictures, shorter memory of fewer tracks."""
    config.precision = "float32"
    config.model = ConfigDict(
        {
            "mqt": small(),
            "loss": {"det_targets": "all"},
            "tracker": {"confirm": 0.75, "agree": 0.1, "capacity": 16, "given": 16, "births": 2},
        }
    )
    config.data = ConfigDict(
        {
            "dataset": "mot17",
            "mode": "pairs",
            "measure": "mot17",
            "storyworld": {"mot17": {"counts": {"train": 60, "held_out": 8, "unseen": 8}}},
            "mot17_dir": "runs/storyworld/mot17",
            "data_dir": "runs/storyworld/prepared_tracks",
            "held_out": ("*-8???-*",),
            "unseen": ("*-9???-*",),
            "size": (96, 160),
            "max_objects": 12,
            "max_gap": 5,
        }
    )
    config.init = ConfigDict({"checkpoint": "shipped:mqt_storyworld"})
    config.train = ConfigDict({"steps": 1000, "batch_size": 8})
    config.optim = ConfigDict(
        {"learning_rate": 5e-4, "schedule": "cosine", "warmup_steps": 20, "weight_decay": 1e-4, "clip_norm": 1.0}
    )
    config.eval = ConfigDict({"every": 0, "batch_size": 16})
    config.checkpoint = ConfigDict({"every": 100})


def small() -> dict:
    """The MQT that fits StoryWorld: that of `configs/mqt_coco.py:embedded`."""
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
