"""The small general CLIP of StoryWorld (storyjax/embedded/clip_generic.py), which knows no names.

    python -m storyjax.main --config=configs/storyworld_clip_generic.py --workdir=runs/generic_clip

Ships as storyjax/weights/shipped/storyworld_clip_generic. `paper` is the recipe of the shipped weights (on two CPU
cores; events/rewrite_acc 0.848, chance 0.5); the image encoder is that of storyworld_clip. `embedded` is the same at a
size for tests.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant of VARIANTS."""
    config = ConfigDict()
    config.experiment = "embedded.clip_generic"
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
            "text": {"max_length": 40, "width": 128, "depth": 2, "heads": 4, "mlp_width": 256},
            "projection_dim": 128,
            "keep_aspect": False,
        }
    )
    config.data = ConfigDict({"root": "runs/storyworld/stills", "stories": 800, "things": 300, "val": 40})
    config.train = ConfigDict({"steps": 800, "batch_size": 8})
    config.optim = ConfigDict({"learning_rate": 2e-3, "schedule": "cosine", "warmup_steps": 100, "weight_decay": 0.02})
    config.eval = ConfigDict({"every": 0, "batch_size": 8})
    config.checkpoint = ConfigDict({"every": 250})
    if variant == "embedded":
        config.data.update({"stories": 40, "things": 20, "val": 10})
        config.train = ConfigDict({"steps": 20, "batch_size": 4})
        config.optim.warmup_steps = 5
        config.eval.every = 0
    return config
