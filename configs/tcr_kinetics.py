"""The TCR without a language model on Kinetics-400: recognition and frame selection (thesis §3.6.3, Table 3.9).

    python -m storyjax.main --config=configs/tcr_kinetics.py:embedded --workdir=runs/tcr_kinetics
    python -m storyjax.main --config=configs/tcr_kinetics.py:selection_embedded --workdir=runs/tcr_selection
    python -m storyjax.main --config=configs/tcr_kinetics.py --workdir=DIR (the paper's; needs data and weights)

`--config.data.sampler=random` and `=attention` are Table 3.9's baselines. The thesis gives 10 epochs, 300 frames and 32
queries; batch size and learning rate are those of MSR-VTT's fine-tuning times ten, for a TCR from scratch.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | recognition: 300 frames, 32 queries, 400 classes, 10 epochs | TPU | 75.7 % (random 74.3, attention 75.2) |
| selection | 128 frames of up to 8 clips | TPU | precision 0.75, recall 0.68 |
| embedded, selection_embedded | the same on StoryWorld's clips | two CPU cores | storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:4x8; selection v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import embed, paper

VARIANTS = ("paper", "selection", "embedded", "selection_embedded")
TOPOLOGIES = {"paper": "v5e:4x8", "selection": "v5e:4x8"}
CLIP_INIT = "storyjax.embedded.tcr_clip_init:start_from_clip"


def get_config(variant: str = "paper") -> ConfigDict:
    config = paper("tcr.heads", {}, batch_size=128, epochs=10, learning_rate=1e-4, warmup_steps=1000)
    config.model.tcr.queries = 32
    data = {"task": "recognition", "root": "data/kinetics400", "frames": 300, "classes": 400}
    if variant.startswith("selection"):
        data |= {"task": "selection", "frames": 128}
    if variant.endswith("embedded"):
        embed(config, steps=400, batch_size=16)
        config.init = ConfigDict({"checkpoint": None})
        config.model.tcr = ConfigDict({"width": 128, "heads": 4, "queries": 8, "max_prompt": 8})
        config.optim.learning_rate = 1e-3
        places = {"root": "runs/storyworld/kinetics", "cache_dir": "runs/storyworld/prepared"}
        data |= {**places, "synthetic": {"counts": {"train": 400, "val": 100}}, "condition_length": 4}
        data |= {"classes": 40, "cached": True}
        if data["task"] == "recognition":
            data |= {"frames": 12, "kept": 4, "hidden": 128}
        else:
            data |= {"frames": 24, "videos": 6, "most_frames": 12, "clip_init": CLIP_INIT}
            config.train = ConfigDict({"steps": 1500, "batch_size": 32})
    config.data = ConfigDict(data)
    return config
