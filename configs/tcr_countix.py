"""The TCR without a language model counts repetitions: Countix (thesis §3.6.3, Table 3.10).

    python -m storyjax.main --config=configs/tcr_countix.py:embedded --workdir=runs/tcr_countix
    python -m storyjax.main --config=configs/tcr_countix.py --workdir=DIR (the paper's; needs data and weights)

Countix's clips are of Kinetics-700. Trained on synthetic repetitions made of Kinetics-400's clips, for 24 epochs; batch
size and learning rate are not given.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | 24 epochs of synthetic repetitions, 250 frames of 10 s at full rate | TPU | MAE 0.33, OBO 0.28 |
| embedded | the same on StoryWorld's clips, 64 frames of 8 s | two CPU cores | storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:4x4.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import embed, paper

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:4x4"}


def get_config(variant: str = "paper") -> ConfigDict:
    config = paper("tcr.heads", {}, batch_size=64, epochs=24, learning_rate=1e-4, warmup_steps=1000)
    config.model.tcr.queries = 32
    data = {
        "task": "counting",
        "root": {"countix": "data/countix", "kinetics400": "data/kinetics400"},
        "frames": 250,
        "most_count": 20,
        "fps": 25.0,
    }
    if variant == "embedded":
        embed(config, steps=1500, batch_size=16)
        config.init = ConfigDict({"checkpoint": None})
        config.model.tcr = ConfigDict({"width": 128, "heads": 4, "queries": 16, "max_prompt": 8})
        config.optim.learning_rate = 1e-3
        config.optim.warmup_steps = 50
        data |= {
            "root": {"countix": "runs/storyworld/countix", "kinetics400": "runs/storyworld/kinetics"},
            "cache_dir": "runs/storyworld/prepared",
            "synthetic": {
                "countix": {"counts": {"train": 4, "val": 60}},
                "kinetics400": {"counts": {"train": 400, "val": 100}},
            },
            "frames": 64,
            "fps": 8.0,
            "most_count": 8,
            "movement": 1.0,  # a movement of StoryWorld takes a second and comes again by itself
            "temporal_difference": True,
            "cached": True,
            "condition_length": 4,
            "hidden": 128,
        }
    config.data = ConfigDict(data)
    return config
