"""Initialising the small TCR on StoryWorld, which ships as storyjax/weights/shipped/tcr_storyworld.

    python -m storyjax.main --config=configs/tcr_storyworld_init.py --workdir=runs/tcr_init

The seed of the thesis's stages (i) and (ii) (§3.2.2). `paper` is the recipe of the shipped weights (the README beside
them tells the runs), `embedded` the same at a size for two CPU cores. `practised` goes on from the shipped ones,
between the tower and storyworld_t5_practised, with [TRG] and [LTA] (storyjax/embedded/tcr_sequences.py); ships as
tcr_storyworld_practised.
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded", "practised")
AUXILIARY_TASKS = {
    "telling": {
        "shares": {"moments": 0.1, "queries": 0.25, "grounding": 0.25, "actions": 0.4},
        "batch_size": 3,
        "count": 6,
    },
    "broken_off": {"shares": {"actions": 1.0}, "routines": 1000, "batch_size": 2, "count": 3, "cut": 0.7},
    "routines": {"shares": {"moments": 0.3, "queries": 0.25, "actions": 0.45}, "routines": 1000, "count": 6},
}


def get_config(variant: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.experiment = "embedded.tcr_alignment"
    config.seed = 0
    config.model = ConfigDict(
        {
            "vision": {"weights": "shipped:storyworld_clip"},
            "llm": {"weights": "shipped:storyworld_t5"},
            "tcr": {
                "width": 128,
                "blocks": 6,
                "cross_attention_blocks": (0, 2, 4),
                "heads": 4,
                "queries": 8,
                "max_prompt": 12,
            },
        }
    )
    config.data = ConfigDict({"world": "runs/footage", "features": "runs/features", "train": 8000, "val": 50})
    config.train = ConfigDict({"steps": 8000, "batch_size": 8})
    config.optim = ConfigDict({"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 200, "weight_decay": 0.01})
    config.eval = ConfigDict({"every": 500, "batch_size": 10})
    config.checkpoint = ConfigDict({"every": 250})
    if variant == "embedded":
        config.data.train = 60
        config.data.val = 20
        config.train = ConfigDict({"steps": 20, "batch_size": 4})
        config.optim.warmup_steps = 5
        config.eval.every = 0
    if variant == "practised":
        config.model.llm.weights = "shipped:storyworld_t5_practised"
        config.init = ConfigDict({"checkpoint": "shipped:tcr_storyworld"})
        config.data.requests = 8
        config.data.auxiliary_tasks = ConfigDict(AUXILIARY_TASKS)
        config.train = ConfigDict({"steps": 700, "batch_size": 2})
        config.optim.learning_rate = 8e-4
        config.optim.warmup_steps = 60
        config.eval.every = 0
    return config
