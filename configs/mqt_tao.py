"""MQT on TAO, user-initialised ("init first"), and on TAO-person (thesis §2.6.1, §2.6.2, Tables 2.2, 2.4 and 2.7).

    python -m storyjax.main --config=configs/mqt_tao.py:embedded --workdir=runs/mqt_tao --mode=eval
    python -m storyjax.main --config=configs/mqt_tao.py --workdir=DIR (the paper's; needs data and the COCO pairs run)
    python -m storyjax.main --config=configs/mqt_tao.py:person --workdir=DIR --mode=eval (needs the MOT17 run)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | from `configs/mqt_coco.py:pairs`, 10 epochs of TAO at 1e-5 for all modules; absent below 0.65 | TPU or GPU, \
batch 32 | Table 2.4 |
| person | the model of `configs/mqt_mot17.py`; people only; τ_conf 0.80, τ_agree 0.2 | the same | Table 2.2 |
| person_search | the linear search on the training set that found this τ_conf | the same | 0.80 (Table 2.7) |
| embedded | the same code on StoryWorld's sequences, from the shipped weights (mqt_storyworld) | two CPU cores, \
minutes | see storyjax/mqt/README.md |

Compiled for TPU slices (docs/results/full_size.md): paper v5e:4x8; person v5e:4x8; person_search v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import storyworld_data, storyworld_model

VARIANTS = ("paper", "person", "person_search", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8", "person": "v5e:4x8", "person_search": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    tracker = {"protocol": "user", "match_threshold": 0.65, "agreement_threshold": 0.1}
    config.model = ConfigDict({"mqt": {}, "loss": {}, "tracker": tracker})
    config.data = ConfigDict({"dataset": "tao", "mode": "pairs", "eval_splits": ("tao:validation",)})
    config.init = ConfigDict({"checkpoint": "runs/mqt_coco_pairs"})
    config.train = ConfigDict({"epochs": 10, "batch_size": 32})
    config.optim = ConfigDict({"learning_rate": 1e-5, "schedule": "constant", "weight_decay": 1e-4, "clip_norm": 0.1})
    config.eval = ConfigDict({"every": 0})
    if variant in ("person", "person_search"):
        config.data.only = "person"
        config.init.checkpoint = "runs/mqt_mot17"
        config.model.tracker.match_threshold, config.model.tracker.agreement_threshold = 0.80, 0.2
    if variant == "person_search":
        config.model.search = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
    if variant == "embedded":
        config.precision = "float32"
        config.model = ConfigDict(storyworld_model(protocol="user", match_threshold=0.65, min_hits=1))
        config.data = ConfigDict(storyworld_data("tao", "pairs", ("tao:validation",)))
        config.init = ConfigDict({"checkpoint": "shipped:mqt_storyworld"})
        config.train = ConfigDict({"steps": 200, "batch_size": 8})
        config.optim = ConfigDict({"learning_rate": 2e-4, "warmup_steps": 20, "weight_decay": 1e-4})
        config.eval = ConfigDict({"every": 0, "batch_size": 16})
    return config
