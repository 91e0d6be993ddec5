"""MQT's first stages: detection on COCO, with pos queries of perturbed boxes (thesis §2.6.1, Table 2.8).

    python -m storyjax.main --config=configs/mqt_coco.py:embedded --workdir=runs/mqt_coco
    python -m storyjax.main --config=configs/mqt_coco.py --workdir=runs/mqt_coco (the paper's; needs data and weights)
    python -m storyjax.main --config=configs/mqt_coco.py:pairs --workdir=runs/mqt_coco_pairs (from runs/mqt_coco)
    python -m storyjax.main --config=configs/mqt_coco.py:detr --workdir=runs/mqt_coco_detr (needs data and weights)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | ResNet-50, 4 levels, 6 + 6 layers, 50 epochs of detection | TPU or GPU, batch 32 | Table 2.8a |
| pairs | then pairs simulated from COCO, without losing objects, 50 epochs | the same | Table 2.8b |
| detr, detr_pairs | the same two from a whole published Deformable DETR with box refinement, whose MLPs have 1024, \
not the thesis's 2048, and whose 300 queries become det queries | the same | not in the thesis |
| embedded | detection with the same code on StoryWorld's images, a small MQT from scratch; the first stage of the \
shipped weights | two CPU cores, minutes | see storyjax/mqt/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:4x8; pairs v5e:4x8; detr v5e:4x8;
detr_pairs v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import PHOTOGRAPHS, paper_model, paper_optim, storyworld_data, storyworld_model, use_published

VARIANTS = ("paper", "pairs", "detr", "detr_pairs", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8", "pairs": "v5e:4x8", "detr": "v5e:4x8", "detr_pairs": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict(paper_model(match_threshold=0.85, agreement_threshold=0.2))
    config.data = ConfigDict(
        {"dataset": "coco", "mode": "detection", "eval_splits": ("coco:val",), "root": {"coco": "data/coco"}}
    )
    config.data.update(PHOTOGRAPHS)
    config.train = ConfigDict({"epochs": 50, "batch_size": 32})
    config.optim = ConfigDict(paper_optim(boundaries=(0.8,)))
    config.eval = ConfigDict({"every": 5000})
    if variant.endswith("pairs"):
        # "decreasing the learning rate after 20th and 40th epoch" (§2.6.1, GMOT40)
        config.init = ConfigDict({"checkpoint": "runs/mqt_coco"})
        config.data.mode = "simulated"
        config.optim = ConfigDict(paper_optim(boundaries=(0.4, 0.8)))
    use_published(config, variant)
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
