"""The small CLIP of StoryWorld (storyjax/embedded/clip.py); ships as storyjax/weights/shipped/storyworld_clip.

    python -m storyjax.main --config=configs/storyworld_clip.py --workdir=runs/clip

`paper` is the recipe of the shipped weights (13 minutes on two CPU cores; frames/rewrite_acc 0.970, chance 0.33),
`embedded` the same at a size for tests.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant of VARIANTS."""
    config = ConfigDict()
    config.experiment = "embedded.clip"
    config.seed = 0
    config.model = ConfigDict(
        {
            "vision": {
                "image_size": 64,
                "patch_size": 16,
                "width": 128,
                "depth": 4,
                "heads": 4,
                "mlp_width": 512,
            },
            "text": {"max_length": 20, "width": 128, "depth": 1, "heads": 4, "mlp_width": 256},
            "projection_dim": 128,
            "keep_aspect": False,
        }
    )
    config.data = ConfigDict({"root": "runs/footage", "train_stories": 1500, "val_stories": 50, "rewrites": 2})
    config.train = ConfigDict({"steps": 1000, "batch_size": 16})
    config.optim = ConfigDict({"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 100, "weight_decay": 0.05})
    config.eval = ConfigDict({"every": 500, "batch_size": 10})
    config.checkpoint = ConfigDict({"every": 200})
    if variant == "embedded":
        config.data.train_stories = 60
        config.data.val_stories = 20
        config.train = ConfigDict({"steps": 30, "batch_size": 8})
        config.optim.warmup_steps = 5
        config.eval.every = 0
    return config
