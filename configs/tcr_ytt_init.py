"""TCR's initialisation without the language model, stage (i), on YT-Temporal-1B (thesis §3.2.2).

    python -m storyjax.main --config=configs/tcr_ytt_init.py:embedded --workdir=runs/tcr_ytt_init
    python -m storyjax.main --config=configs/tcr_ytt_init.py --workdir=DIR (the paper's; needs data and weights)

Contrastive and matching objectives after BLIP-2. Table 3.7 has no row for this stage: it has pre-training's.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | batch 256, 1e-4, 10 epochs, 1k warm-up steps | TPU | Table 3.1, third row against first |
| embedded | the same on StoryWorld, from random weights between the towers that ship | two CPU cores | not measured |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:8x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import embed, paper, small

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:8x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    section = {"root": "data/yttemporal", "frames": 92}
    if variant == "embedded":
        section = small("yttemporal", {"train": 60, "val": 12})
    # One sentence a video: two of one video would be negatives of each other.
    section |= {"examples_per_video": 1, "eval_examples": 1, "prompt_length": 1, "target_length": 1}
    ytt = {**section, "task": "matching", "eval_splits": ("val",)}
    config = paper("tcr.contrastive", {"ytt": ytt}, batch_size=256, epochs=10, learning_rate=1e-4, warmup_steps=1000)
    if variant == "embedded":
        embed(config, batch_size=8)
        config.init = ConfigDict({"checkpoint": None})
        config.optim.learning_rate = 1e-3
    return config
