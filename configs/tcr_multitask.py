"""One TCR for NExT-QA, EgoSchema, Ego4D LTA and MQ at once (thesis §3.6.2, Table 3.8).

    python -m storyjax.main --config=configs/tcr_multitask.py:embedded --workdir=runs/tcr_multitask
    python -m storyjax.main --config=configs/tcr_multitask.py --workdir=DIR (the paper's; needs data and weights)

Gradients are accumulated over the data sets with equal weight. Zero- and k-shot rows of Table 3.8 are evaluations with
`--config.data.tasks.mq.shots=2` and so on (`--mode=eval`; `--config.init.checkpoint` says of which model), or of the
same run with `ablations=("two_shots",)` of a task, as `storyjax reproduce 3.8` has them.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | 20 epochs; the thesis gives no more, so batch 64 a task, 1e-5 and 1k warm-up steps | TPU | Table 3.8 |
| embedded | the same on StoryWorld, from the resampler that ships | two CPU cores, minutes | storyjax/tcr/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import ANNOTATED, PRACTISED, ROUTINES, SHORT_SIGHT, embed, paper, small

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    ego = {"root": "data/ego4d/v2", "frames": 92}
    tasks = {
        "narration": {**ego, "task": "narration"},
        "egoschema": {
            **ego,
            "root": "data/egoschema",
            "task": "egoschema",
            "train_split": None,
            "eval_splits": ("subset",),
            "prompt_length": 512,  # five options, each a sentence
        },
        "lta": {**ego, "task": "lta", "eval_splits": ("val",), "prompt_length": 160, "target_length": 240},
        "mq": {**ego, "task": "mq", "eval_splits": ("val",), "target_length": 48},
    }
    nextqa = {"root": "data/nextqa", "frames": 92, "eval_splits": ("val",), "eval_examples": 16}
    if variant == "embedded":
        once = {"examples_per_video": 1, "eval_examples": 1}
        tasks = {
            "narration": {**small("egoschema", ANNOTATED, options={"who": "person"}, prompt_length=16)},
            "egoschema": {
                **small("egoschema", ANNOTATED, prompt_length=62),
                "train_split": None,
                "eval_splits": ("subset",),
            },
            "lta": {
                **small("ego4d", ROUTINES, options=SHORT_SIGHT, prompt_length=64, target_length=62),
                **once,
                "eval_splits": ("val",),
            },
            "mq": {**small("ego4d", ROUTINES, options={"bins": 50}, target_length=10), "eval_splits": ("val",)},
        }
        tasks = {name: {**section, "task": name} for name, section in tasks.items()}
        nextqa = {
            "root": "runs/storyworld/nextqa_small",
            "cache_dir": "runs/storyworld/prepared",
            "synthetic": {"counts": {"train": 40, "val": 10, "test": 40}},
            "eval_splits": ("test",),
            "frames": 32,
            "examples_per_video": 4,
            "eval_examples": 16,
            "condition_length": 12,
            "prompt_length": 62,
        }
    tasks["nextqa"] = {**nextqa, "task": "nextqa"}
    config = paper("tcr", tasks, batch_size=64, epochs=20, learning_rate=1e-5, warmup_steps=1000)
    config.data.epochs_of = "lta"
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    return embed(config, weights=PRACTISED) if variant == "embedded" else config
