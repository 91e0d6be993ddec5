"""MQT's second stage for MOT17 and MOT20: pairs simulated from CrowdHuman (thesis §2.6.1).

    python -m storyjax.main --config=configs/mqt_crowdhuman.py:embedded --workdir=runs/mqt_crowdhuman
    python -m storyjax.main --config=configs/mqt_crowdhuman.py --workdir=runs/mqt_crowdhuman (the paper's; needs data \
and the run of configs/mqt_coco.py)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | from `configs/mqt_coco.py`, 50 epochs, 1e-4 (the backbone 1e-5), a tenth after the 40th | 6 V100 GPUs, \
8 days, the thesis says (§2.6.5) | the starting point of Tables 2.1 and 2.5 |
| embedded | the same code on StoryWorld's images of people | two CPU cores, minutes | see storyjax/mqt/README.md |

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
    config.model = ConfigDict({"mqt": {}, "loss": {}, "tracker": {"match_threshold": 0.75, "agreement_threshold": 0.1}})
    # Objects may be lost between views here; the thesis excludes this only for COCO (§2.3.2).
    config.data = ConfigDict(
        {"dataset": "crowdhuman", "mode": "simulated", "eval_splits": ("mot17:held_out",), "keep_all": False}
    )
    config.data.held_out = ("MOT17-09",)
    config.init = ConfigDict({"checkpoint": "runs/mqt_coco"})
    config.train = ConfigDict({"epochs": 50, "batch_size": 32})
    config.optim = ConfigDict(paper_optim(boundaries=(0.8,)))
    config.eval = ConfigDict({"every": 5000})
    if variant == "embedded":
        config.precision = "float32"
        config.model = ConfigDict(storyworld_model())
        config.data = ConfigDict({**storyworld_data("crowdhuman", "simulated"), "keep_all": False})
        config.init = ConfigDict()
        config.train = ConfigDict({"steps": 600, "batch_size": 8})
        config.optim = ConfigDict({"learning_rate": 1e-3, "warmup_steps": 50, "weight_decay": 1e-4})
        config.eval = ConfigDict({"every": 0, "batch_size": 16})
        config.checkpoint = ConfigDict({"every": 200})
    return config
