"""TCR for captions of short clips, MSR-VTT (thesis §3.3.1, Fig. 3.3d, Table 3.7).

    python -m storyjax.main --config=configs/tcr_msrvtt.py:embedded --workdir=runs/tcr_msrvtt
    python -m storyjax.main --config=configs/tcr_msrvtt.py --workdir=DIR (the paper's; needs data and weights)

The thesis does not say how many frames: 32, about two a second of a clip.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | batch 128, 1e-5, 20 epochs, 2k warm-up steps (Table 3.7) | TPU | CIDEr of Fig. 3.3d |
| embedded | the same on StoryWorld, from the resampler that ships | two CPU cores, minutes | storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:8x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import embed, paper, small

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:8x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    section = {"root": "data/msrvtt", "frames": 32, "target_length": 32}
    if variant == "embedded":
        section = small("msrvtt", {"train": 80, "test": 40}, prompt_length=16, target_length=18)
    msrvtt = {**section, "task": "msrvtt", "eval_splits": ("test",)}
    config = paper("tcr", {"msrvtt": msrvtt}, batch_size=128, epochs=20, learning_rate=1e-5, warmup_steps=2000)
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    return embed(config) if variant == "embedded" else config
