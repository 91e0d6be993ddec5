"""MQT on MOT17: the last stage, on pairs of real frames (thesis §2.6.1, Tables 2.1 and 2.5 to 2.7).

    python -m storyjax.main --config=configs/mqt_mot17.py:embedded --workdir=runs/mqt_mot17 --mode=eval
    python -m storyjax.main --config=configs/mqt_mot17.py:embedded --workdir=DIR --config.init.checkpoint=runs/mqt_coco
    python -m storyjax.main --config=configs/mqt_mot17.py:storyworld --workdir=DIR --config.init.checkpoint=DIR_OF_COCO
    python -m storyjax.main --config=configs/mqt_mot17.py --workdir=DIR (the paper's; needs data and the CrowdHuman run)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | from `configs/mqt_crowdhuman.py`, 20 epochs, the rate a tenth after half of them | TPU or GPU, batch 32 | \
MOTA 68.3, IDF1 66.1 on the held-out sequence (Table 2.5) |
| embedded | the same code on StoryWorld's sequences; it starts from, and with --mode=eval evaluates, the shipped \
weights (mqt_storyworld) | two CPU cores, minutes | see storyjax/mqt/README.md |
| storyworld | the same on 1,600 sequences of many more kinds (2 GB of disk), as the weights that ship were trained | \
one CPU core, hours | see storyjax/mqt/README.md |

Results: `mot17/{mota,idf1,hota,...}` of held-out sequences in the private setting, `mot17/unseen_*` of kinds that
training never shows, `mot17/iou_baseline_*` of a tracker by overlap alone with the same detections.

Compiled for TPU slices (docs/results/full_size.md): paper v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import paper_optim, storyworld_data, storyworld_model

VARIANTS = ("paper", "embedded", "storyworld")
TOPOLOGIES = {"paper": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict({"mqt": {}, "loss": {}, "tracker": {"match_threshold": 0.75, "agreement_threshold": 0.1}})
    config.data = ConfigDict(
        {"dataset": "mot17", "mode": "pairs", "eval_splits": ("mot17:held_out",), "held_out": ("MOT17-09",)}
    )
    config.init = ConfigDict({"checkpoint": "runs/mqt_crowdhuman"})
    config.train = ConfigDict({"epochs": 20, "batch_size": 32})
    config.optim = ConfigDict(paper_optim(boundaries=(0.5,)))
    config.eval = ConfigDict({"every": 0})
    if variant in ("embedded", "storyworld"):
        config.precision = "float32"
        config.model = ConfigDict(storyworld_model())
        config.data = ConfigDict(storyworld_data("mot17", "pairs"))
        config.init = ConfigDict({"checkpoint": "shipped:mqt_storyworld"})
        config.train = ConfigDict({"steps": 1000, "batch_size": 8})
        config.optim = ConfigDict({"learning_rate": 5e-4, "warmup_steps": 20, "weight_decay": 1e-4})
        config.eval = ConfigDict({"every": 0, "batch_size": 16})
        config.checkpoint = ConfigDict({"every": 100})
    if variant == "storyworld":
        # MOT20's layout has one detector, and thus a third of the files.
        many = {"counts": {"train": 1600, "held_out": 1, "unseen": 1}, "seed": 3, "more_kinds": True, "odd_rides": True}
        config.data = ConfigDict(storyworld_data("mot20", "pairs", mot20=many))
        config.data.root.mot20 = "runs/storyworld/many"
        # Objects that return are recognised by their appearance alone, which pairs of adjacent frames do not teach.
        config.data.far_prob, config.data.far_gap, config.data.mirror_prob = 0.6, 40, 0.3
        config.model.loss.negative_weight = 1.0
        config.model.loss.batch_negatives = True
        config.train.steps = 9_000
        config.optim.learning_rate = 8e-4
        config.checkpoint.every = 500
    return config
