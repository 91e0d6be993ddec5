"""π-map on this-is-my: finding *my dog Chia*, anywhere and in a context (thesis §5.4.1, Tables 5.1 to 5.3).

    python -m storyjax.main --config=configs/pi_map_thisismy.py:embedded --workdir=runs/pi_map_thisismy
    python -m storyjax.main --config=configs/pi_map_thisismy.py --workdir=gs://... (the paper's; needs data and weights)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | CLIP ViT-B/16, 50 epochs, 1e-4 (§5.3.5), from a run of pi_map_imagenet | TPU or GPU | Table 5.3 |
| embedded | the same code on StoryWorld's videos of things | two CPU cores, minutes | storyjax/pi_map/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:2x2.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:2x2"}


def get_config(variant: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.experiment = "pi_map"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict(
        {
            "clip": {"preset": "clip_vit_b16", "weights": "weights/clip_vit_b16"},
            "pi": {"width": 512},
            "loss": {"alpha": 0.25, "temperature": 0.07},
            "init_scheme": True,
        }
    )
    config.data = ConfigDict(
        {
            "dataset": "thisismy",
            "root": "data/thisismy",
            "cache_dir": "data/prepared",
            "frames": 10,
            "localise": "weights/grounding_dino",
            "captions": "data/thisismy/captions.json",
            "eval_splits": ("test", "eval"),
        }
    )
    config.init = ConfigDict({"checkpoint": "runs/pi_map_imagenet"})
    config.train = ConfigDict({"epochs": 50, "batch_size": 16})
    config.optim = ConfigDict({"learning_rate": 1e-4, "schedule": "cosine", "warmup_steps": 200})
    if variant == "embedded":
        embed(config)
    return config


def embed(config: ConfigDict) -> None:
    """Changes a config to the small CLIP and π that ship, and StoryWorld's videos; all else stays the paper's."""
    config.precision = "float32"
    config.model.clip = ConfigDict({"weights": "shipped:storyworld_clip_generic"})
    config.model.pi.width = 128
    config.init.checkpoint = "shipped:pi_map_storyworld"
    config.data.update(
        {
            "root": "runs/storyworld/thisismy",
            "cache_dir": "runs/storyworld/prepared",
            "synthetic": {"counts": {"instances": 15, "train": 12, "eval": 8, "test": 4}},
            "localise": "data",
            # This image tower was not trained on red ellipses, as CLIP was on the web.
            "point": "crop",
            "captions": "data",
            "templates": 5,
            "held_out": 2,
            "prompt": "a photo of * .",
            "generic": "an image of * .",
            "context": "a photo of {caption} .",
            "text_length": 24,
        }
    )
    config.train = ConfigDict({"epochs": 50, "batch_size": 15})
    config.optim.update({"learning_rate": 1e-3, "warmup_steps": 20})
    config.eval = ConfigDict({"batch_size": 25})
