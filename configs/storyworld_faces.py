"""The small face encoder of StoryWorld, which ships as storyjax/weights/shipped/storyworld_faces.

    python -m storyjax.main --config=configs/storyworld_faces.py --workdir=runs/faces

`paper` is the recipe of the shipped weights (two minutes on one CPU core; faces/unseen_nearest 0.81, chance 0.05),
`embedded` the same at a size for tests.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant of VARIANTS."""
    config = ConfigDict()
    config.experiment = "embedded.face_encoder"
    config.seed = 0
    config.model = ConfigDict(
        {
            "image_size": 48,
            "stem_width": 16,
            "stem_kernel": 5,
            "widths": (16, 24, 32),
            "depths": (1, 1, 1),
            "expansion": 2,
            "reduction": 4,
            "embedding_dim": 64,
            "norm": "group",
            "pixel_scale": 64.0,
            "keep_aspect": False,
        }
    )
    config.data = ConfigDict({"synthetic": {"photos": 40, "test_people": 20}})
    config.train = ConfigDict({"steps": 700, "batch_size": 64})
    config.optim = ConfigDict({"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 50, "weight_decay": 0.01})
    config.eval = ConfigDict({"every": 0, "batch_size": 100})
    config.checkpoint = ConfigDict({"every": 200})
    if variant == "embedded":
        config.data.update({"root": "runs/storyworld/vggface2_small", "synthetic": {"photos": 4, "test_people": 4}})
        config.train = ConfigDict({"steps": 20, "batch_size": 16})
        config.eval.batch_size = 16
    return config
