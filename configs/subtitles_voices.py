"""Distinguishing voices (ECAPA-TDNN, §6.1.6); ships as storyjax/weights/shipped/storyworld_voices.

    python -m storyjax.main --config=configs/subtitles_voices.py:embedded --workdir=runs/subtitles_voices

`embedded` is the recipe of the shipped weights: a small ECAPA-TDNN on StoryWorld's voices. `paper` is the network at
its published size; the thesis takes it as SpeechBrain trained it (storyjax import ecapa).

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:2x2.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:2x2"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "embedded.speaker_encoder"
    config.seed = 0
    config.model = ConfigDict({"norm": "group", "channels_in_group": 32})
    config.data = ConfigDict(
        {"voices_per_base": 48, "sentences_per_voice": 40, "seconds": 3.0, "scale": 30.0, "margin": 0.2}
    )
    config.train = ConfigDict({"steps": 20_000, "batch_size": 128})
    config.optim = ConfigDict({"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 1000})
    config.eval = ConfigDict({"every": 2000, "batch_size": 32})
    config.checkpoint = ConfigDict({"every": 1000})
    if variant == "embedded":
        config.model = ConfigDict(
            {
                "mels": 40,
                "channels": (48, 48, 48, 96),
                "kernels": (5, 3, 3, 1),
                "dilations": (1, 2, 3, 1),
                "attention_width": 24,
                "squeeze_width": 16,
                "scale": 2,
                "embedding_dim": 48,
                "norm": "group",
                "channels_in_group": 12,
                "distance": 0.23,
            }
        )
        config.data = ConfigDict({"voices_per_base": 10, "seconds": 1.2})
        config.train = ConfigDict({"steps": 100, "batch_size": 24})
        config.optim = ConfigDict({"learning_rate": 5e-3, "schedule": "cosine", "warmup_steps": 15})
        config.eval = ConfigDict({"every": 0, "batch_size": 24})
        config.checkpoint = ConfigDict({"every": 100})
    return config
