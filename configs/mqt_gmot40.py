"""MQT on GMOT-40: many objects of one kind, which training may not contain (thesis §2.6.1, Tables 2.3 and 2.7).

    python -m storyjax.main --config=configs/mqt_gmot40.py:embedded --workdir=runs/mqt_gmot40 --mode=eval
    python -m storyjax.main --config=configs/mqt_gmot40.py --workdir=DIR (the paper's; needs data and the COCO run)

One-shot (Bai et al. 2021): the box of one object in the first frame says what kind is to be tracked; det queries that
resemble it start the other tracks.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | from `configs/mqt_coco.py`, pairs simulated from COCO, 50 epochs, the rate a tenth after the 20th and 40th; \
GMOT-40 is used for evaluation only; τ_conf 0.85, τ_agree 0.2 | TPU or GPU, batch 32 | MOTA 23.95, IDF1 31.06, \
MT 182, ML 1077 (Table 2.3) |
| detr | from `configs/mqt_coco.py:detr` | the same | not in the thesis |
| embedded | the same code on StoryWorld's sequences, from the shipped weights (mqt_storyworld) | two CPU cores, \
minutes | see storyjax/mqt/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:4x8; detr v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import PHOTOGRAPHS, paper_model, paper_optim, storyworld_data, storyworld_model, use_published

VARIANTS = ("paper", "detr", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8", "detr": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    thresholds = {"match_threshold": 0.85, "agreement_threshold": 0.2}
    config.model = ConfigDict(paper_model(protocol="one_shot", max_tracks=250, max_detections=1, **thresholds))
    config.data = ConfigDict({"dataset": "coco", "mode": "simulated", "eval_splits": ("gmot40:test",)})
    config.data.update(PHOTOGRAPHS)
    config.init = ConfigDict({"checkpoint": "runs/mqt_coco"})
    config.train = ConfigDict({"epochs": 50, "batch_size": 32})
    config.optim = ConfigDict(paper_optim(boundaries=(0.4, 0.8)))
    config.eval = ConfigDict({"every": 0})
    use_published(config, variant)
    if variant == "embedded":
        config.precision = "float32"
        config.model = ConfigDict(storyworld_model(protocol="one_shot", max_detections=1))
        config.data = ConfigDict(storyworld_data("coco", "simulated", ("gmot40:test",)))
        config.init = ConfigDict({"checkpoint": "shipped:mqt_storyworld"})
        config.train = ConfigDict({"steps": 200, "batch_size": 8})
        config.optim = ConfigDict({"learning_rate": 2e-4, "warmup_steps": 20, "weight_decay": 1e-4})
        config.eval = ConfigDict({"every": 0, "batch_size": 16})
    return config
