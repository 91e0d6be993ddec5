"""TCR for Ego4D's long-term action anticipation (thesis §3.3.4, Tables 3.4 and 3.7).

    python -m storyjax.main --config=configs/tcr_ego4d_lta.py:embedded --workdir=runs/tcr_ego4d_lta
    python -m storyjax.main --config=configs/tcr_ego4d_lta.py --workdir=DIR (the paper's; needs data and weights)

`--config.data.tasks.lta.options.video=before` shows the video up to the last observed action only.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | batch 64, 1e-5, 20 epochs, 1k warm-up steps (Table 3.7), 96 frames | TPU | ED .6763 / .6180 / .8522 |
| embedded | the same on StoryWorld's routines, from the resampler that ships | two CPU cores | storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import PRACTISED, ROUTINES, SHORT_SIGHT, embed, paper, small

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    section = {
        "root": "data/ego4d/v2",
        "frames": 96,
        "condition_length": 64,
        "prompt_length": 160,
        "target_length": 240,
        "eval_examples": 1,  # under "before" each sees another part of the video
        "options": {"video": "whole"},
    }
    if variant == "embedded":
        section = small("ego4d", ROUTINES, options=SHORT_SIGHT, prompt_length=64, target_length=62)
        section |= {"examples_per_video": 1, "eval_examples": 1}
    lta = {**section, "task": "lta", "eval_splits": ("val",), "ablations": ("text_only", "iterative")}
    config = paper("tcr", {"lta": lta}, batch_size=64, epochs=20, learning_rate=1e-5, warmup_steps=1000)
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    return embed(config, weights=PRACTISED) if variant == "embedded" else config
