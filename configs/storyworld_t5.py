"""The small T5 of StoryWorld (storyjax/embedded/t5.py); ships as storyjax/weights/shipped/storyworld_t5.

    python -m storyjax.main --config=configs/storyworld_t5.py --workdir=runs/t5

`paper` is the recipe of the shipped weights (about 30 minutes on one CPU core; reading/evidence_acc 1.000), `embedded`
the same at a size that trains in minutes on two. Three more variants continue from them, one after the other, with the
auxiliary tasks of storyjax/embedded/sequence_tasks.py: `times` with all of them beside reading, `copying` with
sequences of actions alone, and `practised` with all again. The last ships as storyworld_t5_practised:

    python -m storyjax.main --config=configs/storyworld_t5.py:times --workdir=runs/t5_times
    python -m storyjax.main --config=configs/storyworld_t5.py:copying --workdir=runs/t5_copying
    python -m storyjax.main --config=configs/storyworld_t5.py:practised --workdir=runs/t5_practised
"""

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded", "times", "copying", "practised")
# By the length of their answers: a list of actions is four times as long as the others.
AUXILIARY_TASKS = {
    "times": {"mix": {"moments": 0.5, "queries": 0.5}, "batch_size": 4, "per_story": 4, "prompt_length": 28},
    "telling": {
        "mix": {"queries": 0.3, "grounding": 0.4, "filling": 0.3},
        "routines": False,
        "batch_size": 4,
        "per_story": 4,
        "prompt_length": 28,
    },
    "ahead": {
        "mix": {"actions": 1.0},
        "batch_size": 32,
        "per_story": 1,
        "no_note_prob": 0.1,
        "weight": 5.0,
        "copy_weight": 0.5,
        "target_length": 62,
    },
}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant of VARIANTS."""
    config = ConfigDict()
    config.experiment = "embedded.t5"
    config.seed = 0
    config.model = ConfigDict(
        {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_heads": 4, "num_layers": 3, "num_decoder_layers": 2}
    )
    config.data = ConfigDict({"workers": 0, "per_story": 6, "validation_stories": 50})
    config.train = ConfigDict({"steps": 2300, "batch_size": 10})
    config.optim = ConfigDict({"learning_rate": 2e-3, "schedule": "cosine", "warmup_steps": 100, "weight_decay": 0.01})
    config.eval = ConfigDict({"every": 1000, "batch_size": 10})
    config.checkpoint = ConfigDict({"every": 500})
    if variant == "embedded":
        config.train.steps = 200
        config.train.batch_size = 8
        config.optim.warmup_steps = 20
        config.eval.every = 0
        config.data.validation_stories = 20
    if variant in ("times", "copying", "practised"):
        config.data.auxiliary_tasks = ConfigDict(AUXILIARY_TASKS)
        config.eval.every = 0
    if variant == "times":
        config.init = ConfigDict({"checkpoint": "shipped:storyworld_t5", "skip": "pointer/.*"})
        config.data.auxiliary_tasks.ahead.update({"batch_size": 12, "weight": 1.0, "copy_weight": 0.0})
        config.train = ConfigDict({"steps": 2500, "batch_size": 2})
        config.optim.learning_rate = 1.5e-3
        config.optim.warmup_steps = 40
    if variant == "copying":  # alone: beside the large gradients of reading it is not learned
        config.data.copy_checkpoint = "runs/t5_times"
        config.data.weight = 0.0
        config.data.auxiliary_tasks = ConfigDict({"ahead": AUXILIARY_TASKS["ahead"]})
        config.train = ConfigDict({"steps": 1200, "batch_size": 2})
        config.optim.learning_rate = 3e-3
    if variant == "practised":
        config.init = ConfigDict({"checkpoint": "runs/t5_copying", "skip": "pointer/.*"})
        config.train = ConfigDict({"steps": 1200, "batch_size": 2})
        config.optim.learning_rate = 1.5e-3
        config.optim.warmup_steps = 40
    return config
