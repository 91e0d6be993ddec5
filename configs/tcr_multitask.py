"""One TCR for NExT-QA, EgoSchema, Ego4D LTA and MQ at once (thesis §3.6.2, Table 3.8).

    python -m storyjax.main --config=configs/tcr_multitask.py:embedded --workdir=runs/tcr_multitask
    python -m storyjax.main --config=configs/tcr_multitask.py --workdir=DIR (the paper's; needs data and weights)

Gradients are accumulated over the data sets with equal weight. Zero- and k-shot rows of Table 3.8 are evaluations with
`--config.data.tasks.mq.shots=2` and so on (`--mode=eval`; `--config.init.checkpoint` says of which model).

| variant | what | hardware | expected |
|---|---|---|---|
| paper | 20 epochs; the thesis gives no more, so batch 64 a task, 1e-5 and 1k warm-up steps | TPU | Table 3.8 |
| embedded | the same on StoryWorld, from the resampler that ships | two CPU cores, minutes | storyjax/tcr/README.md |
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import PRACTISED, ROUTINES, SHORT_SIGHT, TOLD, embed, paper, small

VARIANTS = ("paper", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    ego = {"manual_dir": "data/ego4d/v2", "frames": 92}
    tasks = {
        "narration": {**ego, "recipe": "narration"},
        "egoschema": {
            **ego,
            "manual_dir": "data/egoschema",
            "recipe": "egoschema",
            "train": None,
            "eval": "subset",
            "prompt_length": 512,  # five options, each a sentence
        },
        "lta": {**ego, "recipe": "lta", "eval": "val", "prompt_length": 160, "target_length": 240},
        "mq": {**ego, "recipe": "mq", "eval": "val", "target_length": 48},
    }
    nextqa = {"manual_dir": "data/nextqa", "data_dir": "data/prepared", "frames": 92}
    if variant == "embedded":
        once = {"exercises_per_video": 1, "eval_exercises": 1}
        tasks = {
            "narration": {**small("egoschema", TOLD, options={"who": "person"}, prompt_length=16)},
            "egoschema": {**small("egoschema", TOLD, prompt_length=62), "train": None, "eval": "subset"},
            "lta": {
                **small("ego4d", ROUTINES, options=SHORT_SIGHT, prompt_length=64, target_length=62),
                **once,
                "eval": "val",
            },
            "mq": {**small("ego4d", ROUTINES, options={"bins": 50}, target_length=10), "eval": "val"},
        }
        tasks = {name: {**section, "recipe": name} for name, section in tasks.items()}
        nextqa = {
            "manual_dir": "runs/storyworld/nextqa_small",
            "data_dir": "runs/storyworld/prepared",
            "storyworld": {"train": 40, "val": 10, "test": 40},
            "eval_split": "test",
            "frames": 32,
            "questions_per_video": 4,
            "condition_length": 12,
            "prompt_length": 62,
        }
    config = paper("tcr", tasks, batch_size=64, epochs=20, learning_rate=1e-5, warmup_steps=1000)
    config.data.nextqa = ConfigDict(nextqa)
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    return embed(config, weights=PRACTISED) if variant == "embedded" else config
