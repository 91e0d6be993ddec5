"""π-map on Celebrities in Action: actors as the particular "objects" (thesis §5.4.2, Table 5.4).

    python -m storyjax.main --config=configs/pi_map_cia.py:embedded --workdir=runs/pi_map_cia
    python -m storyjax.main --config=configs/pi_map_cia.py --workdir=gs://... (the paper's; needs data and weights)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | CLIP ViT-B/16, 50 epochs, 1e-4 (§5.3.5), from a run of pi_map_imagenet | TPU or GPU | Table 5.4 |
| embedded | the same code on StoryWorld's people | two CPU cores, minutes | storyjax/pi_map/README.md |

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
            "dataset": "cia",
            "root": "data/cia",
            "cache_dir": "data/prepared",
            "localise": "weights/grounding_dino",
            "captions": "data/cia/captions.json",
        }
    )
    config.init = ConfigDict({"checkpoint": "runs/pi_map_imagenet"})
    config.train = ConfigDict({"epochs": 50, "batch_size": 16})
    config.optim = ConfigDict({"learning_rate": 1e-4, "schedule": "cosine", "warmup_steps": 200})
    if variant == "embedded":
        config.precision = "float32"
        config.model.clip = ConfigDict({"weights": "shipped:storyworld_clip_generic"})
        config.model.pi.width = 128
        config.init.checkpoint = "shipped:pi_map_storyworld"
        config.data.update(
            {
                "root": "runs/storyworld/cia_pi",
                "cache_dir": "runs/storyworld/prepared",
                "synthetic": {"train": 200, "val": 1, "test": 200, "faces": 1},
                "localise": "none",
                "captions": "none",
                "prompt": "a photo of * .",
                "generic": "an image of * .",
                "context": "{caption} .",
                "templates": 5,
                "held_out": 2,
                "text_length": 20,
            }
        )
        config.train = ConfigDict({"epochs": 50, "batch_size": 20})
        config.optim.update({"learning_rate": 1e-3, "warmup_steps": 20})
        config.eval = ConfigDict({"batch_size": 50})
    return config
