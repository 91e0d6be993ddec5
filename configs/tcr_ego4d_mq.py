"""TCR for Ego4D's moment queries (thesis §3.3.4, Tables 3.5 and 3.7).

    python -m storyjax.main --config=configs/tcr_ego4d_mq.py:embedded --workdir=runs/tcr_ego4d_mq
    python -m storyjax.main --config=configs/tcr_ego4d_mq.py --workdir=DIR (the paper's; needs data and weights)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | batch 128, 1e-5, 10 epochs, 500 warm-up steps (Table 3.7), 192 frames | TPU | avg. mAP 25.45, R@1 43.72 |
| standalone | a head on the frozen TCR, no language model (Table 3.11) | TPU | 26.71 and 44.96 |
| embedded, standalone_embedded | 50 timestamps, on StoryWorld's routines | two CPU cores | storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:8x8; standalone v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import ego4d_spans

VARIANTS = ("paper", "embedded", "standalone", "standalone_embedded")
TOPOLOGIES = {"paper": "v5e:8x8", "standalone": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    return ego4d_spans(task="mq", head="moments", variant=variant)
