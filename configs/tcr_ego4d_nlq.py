"""TCR for Ego4D's natural language queries (thesis Tables 3.1 and 3.11, "TCR w/ LLM").

    python -m storyjax.main --config=configs/tcr_ego4d_nlq.py:embedded --workdir=runs/tcr_ego4d_nlq
    python -m storyjax.main --config=configs/tcr_ego4d_nlq.py --workdir=DIR (the paper's; needs data and weights)

Table 3.7 has no row for it: it is trained as moment queries are.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | batch 128, 1e-5, 10 epochs, 500 warm-up steps, 192 frames | TPU | MR@1 10.12, MR@5 18.99 |
| standalone | a head on the frozen TCR, no language model (Table 3.11) | TPU | MR@1 11.42, MR@5 19.95 |
| embedded, standalone_embedded | 50 timestamps, on StoryWorld's routines | two CPU cores | storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:8x8; standalone v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import ego4d_spans

VARIANTS = ("paper", "embedded", "standalone", "standalone_embedded")
TOPOLOGIES = {"paper": "v5e:8x8", "standalone": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    return ego4d_spans(task="nlq", head="queries", variant=variant)
