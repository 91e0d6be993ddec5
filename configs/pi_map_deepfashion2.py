"""π-map on DeepFashion2 in the personalisation split of Cohen et al. 2022 (thesis §5.4.3, Table 5.5).

    python -m storyjax.main --config=configs/pi_map_deepfashion2.py:embedded --workdir=runs/pi_map_deepfashion2
    python -m storyjax.main --config=configs/pi_map_deepfashion2.py --workdir=gs://... (the paper's)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | CLIP ViT-B/16, five photographs a garment, 80 epochs, 1e-4 (§5.3.5, §5.4.3) | TPU or GPU | Table 5.5 |
| embedded | the same code on StoryWorld's garments | two CPU cores, minutes | storyjax/pi_map/README.md |

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
            "dataset": "deepfashion2",
            "root": "data/deepfashion2",
            "cache_dir": "data/prepared",
            "templates": 5,
            "localise": "weights/grounding_dino",
            "captions": "data/deepfashion2/captions.json",
        }
    )
    config.init = ConfigDict({"checkpoint": "runs/pi_map_imagenet"})
    config.train = ConfigDict({"epochs": 80, "batch_size": 16})
    config.optim = ConfigDict({"learning_rate": 1e-4, "schedule": "cosine", "warmup_steps": 200})
    if variant == "embedded":
        config.precision = "float32"
        config.model.clip = ConfigDict({"weights": "shipped:storyworld_clip_generic"})
        config.model.pi.width = 128
        config.init.checkpoint = "shipped:pi_map_storyworld"
        config.data.update(
            {
                "root": "runs/storyworld/deepfashion2",
                "cache_dir": "runs/storyworld/prepared",
                "synthetic": {"counts": {"garments": 20, "train": 8, "eval": 5}},
                "localise": "data",
                "point": "crop",  # as in configs/pi_map_thisismy.py
                "captions": "data",
                "held_out": 3,
                "prompt": "a photo of * .",
                "generic": "an image of * .",
                "context": "a photo of {caption} .",
                "text_length": 24,
            }
        )
        config.train = ConfigDict({"epochs": 80, "batch_size": 20})
        config.optim.update({"learning_rate": 1e-3, "warmup_steps": 20})
        config.eval = ConfigDict({"batch_size": 20})
    return config
