"""TCR's pre-training with the language model, stage (ii), on YT-Temporal-1B (thesis §3.2.2, §3.6.2, Fig. 3.5).

    python -m storyjax.main --config=configs/tcr_ytt_pretrain.py:embedded --workdir=runs/tcr_ytt_pretrain
    python -m storyjax.main --config=configs/tcr_ytt_pretrain.py --workdir=DIR (the paper's; needs data and weights)

Captioning, temporal grounding and denoising with weights 1.0, 0.5 and 0.5, gradients accumulated over the three.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | batch 256 a task, 1e-4, 10 epochs, 1k warm-up steps (Table 3.7); starts from tcr_ytt_init | TPU | Table 3.1 |
| embedded | the same on StoryWorld, from the resampler that ships | two CPU cores, minutes | storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:8x16.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import embed, paper, small

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:8x16"}
WEIGHTS = {"captioning": 1.0, "grounding": 0.5, "denoising": 0.5}


def get_config(variant: str = "paper") -> ConfigDict:
    section = {"root": "data/yttemporal", "frames": 92}
    if variant == "embedded":
        section = small("yttemporal", {"train": 60, "val": 12})
    tasks = {
        name: {**section, "task": name, "weight": weight, "eval_splits": ("val",) if name == "captioning" else ()}
        for name, weight in WEIGHTS.items()
    }
    config = paper("tcr", tasks, batch_size=256, epochs=10, learning_rate=1e-4, warmup_steps=1000)
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_init", "skip": "(head|tcr/llm_projection)/.*"})
    return embed(config) if variant == "embedded" else config
