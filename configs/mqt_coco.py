"""MQT's first stages: detection on COCO, with pos queries of perturbed boxes (thesis §2.6.1, Table 2.8).

    python -m storyjax.main --config=configs/mqt_coco.py:embedded --workdir=runs/mqt_coco
    python -m storyjax.main --config=configs/mqt_coco.py --workdir=DIR (the paper's; needs data and weights)
    python -m storyjax.main --config=configs/mqt_coco.py:pairs --workdir=DIR --config.init.checkpoint=DIR_OF_PAPER

| variant | what | hardware | expected |
|---|---|---|---|
| paper | ResNet-50, 4 levels, 6 + 6 layers, 50 epochs of detection | TPU or GPU, batch 32 | Table 2.8a |
| pairs | then pairs simulated from COCO, without losing objects, 50 epochs | the same | Table 2.8b |
| embedded | detection with the same code on StoryWorld's images, a small MQT from scratch; the first stage of the \
shipped weights | two CPU cores, minutes | see storyjax/mqt/README.md |

Compiled for TPU slices (docs/results/full_size.md): paper v5e:4x8; pairs v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import paper_optim, storyworld_data, storyworld_model

VARIANTS = ("paper", "pairs", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8", "pairs": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict({"mqt": {}, "loss": {}, "tracker": {"match_threshold": 0.85, "agreement_threshold": 0.2}})
    config.model.weights = "weights/resnet-50"
    config.data = ConfigDict(
        {"dataset": "coco", "mode": "detection", "eval_splits": ("coco:val",), "root": {"coco": "data/coco"}}
    )
    config.train = ConfigDict({"epochs": 50, "batch_size": 32})
    config.optim = ConfigDict(paper_optim(boundaries=(0.8,)))
    config.eval = ConfigDict({"every": 5000})
    if variant == "pairs":
        # "decreasing the learning rate after 20th and 40th epoch" (§2.6.1, GMOT40)
        config.model.weights = None
        config.data.mode = "simulated"
        config.optim = ConfigDict(paper_optim(boundaries=(0.4, 0.8)))
    if variant == "embedded":
        config.precision = "float32"
        config.model = ConfigDict(storyworld_model())
        counts = {"counts": {"train": 2000, "val": 100}}
        config.data = ConfigDict(storyworld_data("coco", "detection", ("coco:val",), coco=counts))
        config.train = ConfigDict({"steps": 3000, "batch_size": 16})
        config.optim = ConfigDict(
            {"learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 50, "weight_decay": 1e-4}
        )
        config.eval = ConfigDict({"every": 0, "batch_size": 16})
        config.checkpoint = ConfigDict({"every": 250})
    return config
