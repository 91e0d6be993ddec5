"""TCR for Ego4D's moment queries (thesis §3.3.4, Tables 3.5 and 3.7).

    python -m storyjax.main --config=configs/tcr_ego4d_mq.py:embedded --workdir=runs/tcr_ego4d_mq
    python -m storyjax.main --config=configs/tcr_ego4d_mq.py --workdir=DIR (the paper's; needs data and weights)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | batch 128, 1e-5, 10 epochs, 500 warm-up steps (Table 3.7), 192 frames | TPU | avg. mAP 25.45, R@1 43.72 |
| standalone | a head on the frozen TCR, no language model (Table 3.11) | TPU | 26.71 and 44.96 |
| embedded, standalone_embedded | 50 timestamps, on StoryWorld's routines | two CPU cores | storyjax/tcr/README.md |
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import embed, paper, small

VARIANTS = ("paper", "embedded", "standalone", "standalone_embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    if variant.startswith("standalone"):
        return _standalone(variant)
    section = {"manual_dir": "data/ego4d/v2", "frames": 192, "target_length": 48}
    if variant == "embedded":
        section = small("ego4d", {"train": 30, "val": 8}, options={"bins": 50}, target_length=10)
    mq = {**section, "recipe": "mq", "eval": "val"}
    config = paper("tcr.finetune", {"mq": mq}, batch_size=128, epochs=10, learning_rate=1e-5, warmup_steps=500)
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    return embed(config) if variant == "embedded" else config


def _standalone(variant: str) -> ConfigDict:
    """Table 3.11: the pre-trained TCR and the tower are frozen, and a two-layer head is trained."""
    config = paper("tcr.discriminative", {}, batch_size=128, epochs=10, learning_rate=1e-4, warmup_steps=500)
    data = {"task": "moments", "manual_dir": "data/ego4d/v2", "frames": 192, "resampler": "runs/tcr_ytt_pretrain"}
    if variant.endswith("embedded"):
        embed(config, steps=200)
        config.init = ConfigDict({"checkpoint": None})
        config.optim.learning_rate = 1e-3
        keys = ("manual_dir", "data_dir", "storyworld", "frames", "condition_length", "exercises_per_video")
        section = small("ego4d", {"train": 30, "val": 8})
        data |= {key: section[key] for key in keys}
        data |= {"resampler": "shipped:tcr_storyworld", "bins": 60, "most_moments": 8, "hidden": 128}
    config.data = ConfigDict(data)
    return config
