"""TCR on NExT-QA (thesis §3.3.2, Tables 3.2, 3.6 and 3.7).

    python -m storyjax.main --config=configs/tcr_nextqa.py:embedded --workdir=runs/tcr_nextqa
    python -m storyjax.main --config=configs/tcr_nextqa.py --workdir=DIR (the paper's; needs data and weights, and goes
        on from configs/tcr_ytt_pretrain.py at runs/tcr_ytt_pretrain)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | ViT-g + Flan-T5-XL, 92 frames, 128 queries, 40 epochs (Table 3.7) | TPU, batch 128 | 73.5 % (Table 3.2) |
| short | the schedule of the ablations: 10 epochs, batch 64 (Table 3.7) | TPU | 66.2 % (Table 3.6b) |
| embedded | the same code on StoryWorld's stories, small towers | two CPU cores, minutes | see storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:8x8; short v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import embedded_model

VARIANTS = ("paper", "short", "embedded")
TOPOLOGIES = {"paper": "v5e:8x8", "short": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.experiment = "tcr"
    config.seed = 0
    config.precision = "bfloat16"
    config.model = ConfigDict(
        {
            "vision": {"preset": "vit_g14_blip2", "weights": "weights/blip2-flan-t5-xl"},
            "llm": {"preset": "flan_t5_xl", "weights": "weights/blip2-flan-t5-xl"},
            "tcr": {"width": 512, "blocks": 4, "heads": 8, "queries": 128},
            "streaming": {"chunk_frames": 16},
        }
    )
    nextqa = {
        "task": "nextqa",
        "root": "data/nextqa",
        "cache_dir": "data/prepared",
        "eval_splits": ("val",),
        "frames": 92,
        "examples_per_video": 1,
        "eval_examples": 16,
        "condition_length": 64,
        "prompt_length": 256,
    }
    config.data = ConfigDict({"tasks": {"nextqa": nextqa}})
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    config.train = ConfigDict({"epochs": 40, "batch_size": 128})
    config.optim = ConfigDict({"learning_rate": 1e-5, "schedule": "cosine", "warmup_steps": 2000, "clip_norm": 1.0})
    config.eval = ConfigDict({"every": 2000})
    if variant == "short":
        config.train = ConfigDict({"epochs": 10, "batch_size": 64})
        config.optim.learning_rate = 5e-5
        config.optim.warmup_steps = 1000
    if variant == "embedded":
        embed(config)
    return config


def embed(config: ConfigDict) -> None:
    """Small towers, small stories, the TCR that ships; everything else is the paper's."""
    config.precision = "float32"
    config.model = ConfigDict(embedded_model())
    config.init = ConfigDict({"checkpoint": "shipped:tcr_storyworld"})
    nextqa = {
        "task": "nextqa",
        "root": "runs/storyworld/nextqa_embedded",
        "cache_dir": "runs/storyworld/prepared",
        "synthetic": {"counts": {"train": 160, "test": 100}},
        "cached": True,  # the frozen tower sees every video once
        "eval_splits": ("test",),
        "frames": 32,
        "examples_per_video": 4,
        "eval_examples": 16,
        "condition_length": 12,
        "prompt_length": 62,
    }
    config.data = ConfigDict({"tasks": {"nextqa": nextqa}})
    config.train = ConfigDict({"steps": 100, "batch_size": 8})
    config.optim = ConfigDict({"learning_rate": 5e-5, "schedule": "cosine", "warmup_steps": 20})
    config.eval = ConfigDict({"every": 0, "batch_size": 4})
    config.checkpoint = ConfigDict({"every": 100})
