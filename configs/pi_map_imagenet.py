"""Pre-training of π-map on ImageNet (thesis §5.3.2, §5.3.5).

    python -m storyjax.main --config=configs/pi_map_imagenet.py:embedded --workdir=runs/pi_map_imagenet
    python -m storyjax.main --config=configs/pi_map_imagenet.py --workdir=gs://... (the paper's; needs data and weights)

| variant | what | hardware |
|---|---|---|
| paper | CLIP ViT-B/16, ImageNet, batch 256, 3e-4, 10 epochs | TPU or GPU |
| embedded | the same code on StoryWorld's photographs; ships as pi_map_storyworld | two CPU cores, minutes |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:2x4.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:2x4"}


def get_config(variant: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.experiment = "pi_map.pretrain"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict(
        {
            "clip": {"preset": "clip_vit_b16", "weights": "weights/clip_vit_b16"},
            "pi": {"width": 512},
            "loss": {"temperature": 0.07},
            "init_scheme": True,
        }
    )
    config.data = ConfigDict({"dataset": "imagenet", "root": "data/imagenet", "cache_dir": "data/prepared"})
    config.train = ConfigDict({"epochs": 10, "batch_size": 256})
    config.optim = ConfigDict({"learning_rate": 3e-4, "schedule": "cosine"})
    if variant == "embedded":
        config.precision = "float32"
        config.model.clip = ConfigDict({"weights": "shipped:storyworld_clip_generic"})
        config.model.pi.width = 128
        config.data = ConfigDict(
            {
                "dataset": "imagenet",
                "root": "runs/storyworld/imagenet",
                "cache_dir": "runs/storyworld/prepared_imagenet",
                "synthetic": {"counts": {"train": 2000, "val": 100}},
                "prompt": "a photo of * .",
                "text_length": 12,
            }
        )
        config.train = ConfigDict({"epochs": 10, "batch_size": 100})
        config.optim = ConfigDict({"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 20})
        config.eval = ConfigDict({"batch_size": 100})
        config.checkpoint = ConfigDict({"every": 200})
    return config
