"""Telling voices apart (ECAPA-TDNN, §6.1.6); ships as storyjax/weights/shipped/storyworld_voices.

    python -m storyjax.main --config=configs/subtitles_voices.py:embedded --workdir=runs/subtitles_voices

`embedded` is the recipe of the shipped weights: a small ECAPA-TDNN on StoryWorld's voices. `paper` is the network at
its published size; the thesis takes it as SpeechBrain trained it (storyjax import ecapa).
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.experiment = "subtitles.training.voices"
    config.seed = 0
    config.model = ConfigDict({"norm": "group", "channels_in_group": 32})
    config.data = ConfigDict({"scales": 48, "seconds": 3.0, "scale": 30.0, "margin": 0.2})
    config.train = ConfigDict({"steps": 20_000, "batch_size": 128})
    config.optim = ConfigDict({"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 1000})
    config.eval = ConfigDict({"every": 2000, "batch_size": 32})
    config.checkpoint = ConfigDict({"every": 1000})
    if variant == "embedded":
        config.model = ConfigDict(
            {
                "mels": 40,
                "channels": (48, 48, 48, 48, 96),
                "attention_width": 24,
                "squeeze_width": 16,
                "scale": 4,
                "embedding_dim": 48,
                "norm": "group",
                "channels_in_group": 12,
            }
        )
        config.data = ConfigDict({"scales": 12, "seconds": 1.6})
        config.train = ConfigDict({"steps": 350, "batch_size": 32})
        config.optim = ConfigDict({"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 30})
        config.eval = ConfigDict({"every": 0, "batch_size": 22})
        config.checkpoint = ConfigDict({"every": 100})
    return config
