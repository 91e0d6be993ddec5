"""MQT on MOT20: as MOT17, in denser crowds (thesis §2.6.1, Tables 2.1 and 2.7).

    python -m storyjax.main --config=configs/mqt_mot20.py:embedded --workdir=runs/mqt_mot20 --mode=eval
    python -m storyjax.main --config=configs/mqt_mot20.py --workdir=DIR (the paper's; needs data and the CrowdHuman run)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | from `configs/mqt_crowdhuman.py`, 20 epochs, the rate a tenth after half of them; τ_conf 0.65, \
τ_agree 0.05 | TPU or GPU, batch 32 | Table 2.1 |
| detr | from `configs/mqt_crowdhuman.py:detr` | the same | not in the thesis |
| embedded | the same code on StoryWorld's sequences, from the shipped weights (mqt_storyworld) | two CPU cores, \
minutes | see storyjax/mqt/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:4x8; detr v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import (
    BROAD_FRAMES,
    paper_model,
    paper_optim,
    storyworld_data,
    storyworld_model,
    use_published,
)

VARIANTS = ("paper", "detr", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8", "detr": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    # Up to 246 people in a frame, besides those who are lost.
    thresholds = {"match_threshold": 0.65, "agreement_threshold": 0.05}
    config.model = ConfigDict(paper_model(**thresholds, max_tracks=400, max_detections=400))
    config.data = ConfigDict(
        {"dataset": "mot20", "mode": "pairs", "eval_splits": ("mot20:held_out",), "held_out": ("MOT20-01",)}
    )
    config.data.update(BROAD_FRAMES)
    config.data.max_objects = 250
    # MOT20 has up to 246 people in a frame: the thesis's 100 det queries would miss most of them, and it does not say
    # what it did. With more queries the weights of det queries of the earlier stages cannot be used.
    config.init = ConfigDict({"checkpoint": "runs/mqt_crowdhuman", "skip": "queries"})
    detr = {"mlp_width": 2048, "queries": 300, "classes": 0, "size_bias": 0.0, "loop_layers": True}
    config.model.mqt.detr = ConfigDict(detr)
    config.train = ConfigDict({"epochs": 20, "batch_size": 32})
    config.optim = ConfigDict(paper_optim(boundaries=(0.5,)))
    config.eval = ConfigDict({"every": 0})
    use_published(config, variant)
    if variant == "embedded":
        config.precision = "float32"
        config.model = ConfigDict(storyworld_model())
        counts = {"counts": {"train": 20, "held_out": 4, "unseen": 2}}
        config.data = ConfigDict(storyworld_data("mot20", "pairs", ("mot20:held_out", "mot20:unseen"), mot20=counts))
        config.init = ConfigDict({"checkpoint": "shipped:mqt_storyworld"})
        config.train = ConfigDict({"steps": 200, "batch_size": 8})
        config.optim = ConfigDict({"learning_rate": 2e-4, "warmup_steps": 20, "weight_decay": 1e-4})
        config.eval = ConfigDict({"every": 0, "batch_size": 16})
    return config
