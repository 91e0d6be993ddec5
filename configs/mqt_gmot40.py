"""MQT on GMOT-40: many objects of one kind, which training may not contain (thesis §2.6.1, Tables 2.3 and 2.7).

    python -m storyjax.main --config=configs/mqt_gmot40.py:embedded --workdir=runs/mqt_gmot40 --mode=eval
    python -m storyjax.main --config=configs/mqt_gmot40.py --workdir=DIR (the paper's; needs data and the COCO run)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | from `configs/mqt_coco.py`, pairs simulated from COCO, 50 epochs, the rate a tenth after the 20th and 40th; \
GMOT-40 is used for evaluation only; τ_conf 0.85, τ_agree 0.2 | TPU or GPU, batch 32 | Table 2.3 |
| embedded | the same code on StoryWorld's sequences, from the shipped weights (mqt_storyworld) | two CPU cores, \
minutes | see storyjax/mqt/README.md |

Compiled for TPU slices (docs/results/full_size.md): paper v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import paper_optim, storyworld_data, storyworld_model

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict({"mqt": {}, "loss": {}, "tracker": {"match_threshold": 0.85, "agreement_threshold": 0.2}})
    config.data = ConfigDict({"dataset": "coco", "mode": "simulated", "eval_splits": ("gmot40:test",)})
    config.init = ConfigDict({"checkpoint": "runs/mqt_coco"})
    config.train = ConfigDict({"epochs": 50, "batch_size": 32})
    config.optim = ConfigDict(paper_optim(boundaries=(0.4, 0.8)))
    config.eval = ConfigDict({"every": 0})
    if variant == "embedded":
        config.precision = "float32"
        config.model = ConfigDict(storyworld_model())
        config.data = ConfigDict(storyworld_data("coco", "simulated", ("gmot40:test",)))
        config.init = ConfigDict({"checkpoint": "shipped:mqt_storyworld"})
        config.train = ConfigDict({"steps": 200, "batch_size": 8})
        config.optim = ConfigDict({"learning_rate": 2e-4, "warmup_steps": 20, "weight_decay": 1e-4})
        config.eval = ConfigDict({"every": 0, "batch_size": 16})
    return config
