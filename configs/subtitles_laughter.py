"""Where an audience laughs (Gillick et al. 2021, §6.1.3); ships as storyjax/weights/shipped/storyworld_laughter.

    python -m storyjax.main --config=configs/subtitles_laughter.py:embedded --workdir=runs/subtitles_laughter

`embedded` is the recipe of the shipped weights: a small detector on StoryWorld's sound. `paper` is the network at the
size that its authors recommend; the thesis takes it as they trained it (storyjax import laughter).

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:2x2.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:2x2"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "embedded.laughter_detector"
    config.seed = 0
    config.model = ConfigDict({"widths": (128, 64, 32, 32), "norm": "group"})
    config.data = ConfigDict({"train_episodes": 500})
    config.train = ConfigDict({"steps": 20_000, "batch_size": 32})
    config.optim = ConfigDict({"learning_rate": 3e-4, "schedule": "cosine", "warmup_steps": 200})
    config.eval = ConfigDict({"every": 2000, "batch_size": 64})
    config.checkpoint = ConfigDict({"every": 1000})
    if variant == "embedded":
        config.model = ConfigDict(
            {"mels": 64, "stem_width": 8, "stem_stride": 2, "widths": (8, 16, 16), "hidden": 16, "norm": "group"}
        )
        config.data = ConfigDict({"train_episodes": 6, "test_episodes": 2, "windows_per_episode": 150})
        config.train = ConfigDict({"steps": 90, "batch_size": 24})
        config.optim = ConfigDict({"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 10})
        config.eval = ConfigDict({"every": 0, "batch_size": 24})
        config.checkpoint = ConfigDict({"every": 100})
    return config
