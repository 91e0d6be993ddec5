"""TCR for EgoSchema, fine-tuned on Ego4D's narrations (thesis §3.3.3, §3.6.2, Tables 3.3 and 3.7).

    python -m storyjax.main --config=configs/tcr_egoschema.py:embedded --workdir=runs/tcr_egoschema
    python -m storyjax.main --config=configs/tcr_egoschema.py --workdir=DIR (the paper's; needs data and weights)

| variant | what | hardware | expected |
|---|---|---|---|
| paper | batch 64, 1e-5, 20 epochs, 1k warm-up steps (Table 3.7), 92 frames | TPU | 34.2 % (Table 3.3) |
| embedded | the same on StoryWorld, from the resampler that ships | two CPU cores, minutes | storyjax/tcr/README.md |

Compiled for TPU slices (docs/results/full_size.md): paper v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.tcr.presets import ANNOTATED, embed, paper, small

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:4x8"}


def get_config(variant: str = "paper") -> ConfigDict:
    ego, schema = {"root": "data/ego4d/v2", "frames": 92}, {"root": "data/egoschema", "frames": 92}
    schema["prompt_length"] = 512  # five options, each a sentence
    if variant == "embedded":
        ego = small("egoschema", ANNOTATED, options={"who": "person"}, prompt_length=16)
        schema = small("egoschema", ANNOTATED, prompt_length=62)
    tasks = {
        "narration": {**ego, "task": "narration"},
        "egoschema": {**schema, "task": "egoschema", "train_split": None, "eval_splits": ("subset",)},
    }
    config = paper("tcr", tasks, batch_size=64, epochs=20, learning_rate=1e-5, warmup_steps=1000)
    config.init = ConfigDict({"checkpoint": "runs/tcr_ytt_pretrain"})
    return embed(config) if variant == "embedded" else config
