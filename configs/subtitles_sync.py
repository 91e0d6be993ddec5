"""Which place of an image makes the sound (LWTNet, §6.1.5); ships as storyjax/weights/shipped/storyworld_sync.

    python -m storyjax.main --config=configs/subtitles_sync.py:embedded --workdir=runs/subtitles_sync

`embedded` is the recipe of the shipped weights: a small LWTNet on seven minutes of StoryWorld. `paper` is the
network at its published size with 15 images' shift either way, as it is published; the thesis takes it as it is.

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:2x2.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:2x2"}
SMALL = {
    "video": (
        {"width": 8, "kernel": (5, 5), "stride": (2, 2)},
        {"width": 16, "kernel": (3, 3), "stride": (2, 2)},
        {"width": 24, "kernel": (3, 3), "padding": (1, 1)},
    ),
    "audio": (
        {"width": 8, "kernel": (5, 3), "stride": (4, 1), "padding": (2, 1)},
        {"width": 16, "kernel": (3, 3), "padding": (1, 1), "pool": (2, 3), "pool_stride": (2, 2)},
        {"width": 16, "kernel": (3, 3), "padding": (1, 1), "pool": (2, 3), "pool_stride": (2, 2)},
        {"width": 32, "kernel": (5, 4)},
    ),
    "hidden": 32,
    "embedding_dim": 16,
    "short_side": 64,
    "pixel_mean": 110.0,
    "pixel_scale": 60.0,
    "mel_floor": 1.0,
    "mel_mean": 3.5,
    "mel_scale": 2.0,
    "heat": "probability",
    "agreement": "correlation",
    "smooth": 50,
    "norm": "group",
}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "embedded.av_sync"
    config.seed = 0
    config.model = ConfigDict({"norm": "group", "heat": "probability", "short_side": 256})
    config.data = ConfigDict({"moments": 20, "max_shift": 15, "shift_step": 1})
    config.data.episodes = ConfigDict(
        {"cache_dir": "runs/storyworld/episodes_256", "train_episodes": 200, "image_size": 256}
    )
    config.train = ConfigDict({"steps": 50_000, "batch_size": 16})
    config.optim = ConfigDict({"learning_rate": 1e-4, "schedule": "cosine", "warmup_steps": 500})
    config.eval = ConfigDict({"every": 5000, "batch_size": 16})
    config.checkpoint = ConfigDict({"every": 1000})
    if variant == "embedded":
        config.model = ConfigDict(SMALL)
        config.data = ConfigDict({"moments": 16, "max_shift": 12, "shift_step": 6})
        config.data.episodes = ConfigDict({"train_episodes": 5, "test_episodes": 1})
        config.train = ConfigDict({"steps": 120, "batch_size": 6})
        config.optim = ConfigDict(
            {"learning_rate": 5e-3, "schedule": "cosine", "warmup_steps": 10, "weight_decay": 0.01}
        )
        config.eval = ConfigDict({"every": 0, "batch_size": 6})
        config.checkpoint = ConfigDict({"every": 100})
    return config
