"""CLIP-PAD on Celebrities in Action: who does what, where (thesis §4.5.2; Tables 4.3, 4.4, 4.5, 4.7).

    python -m storyjax.main --config=configs/clip_pad_cia.py --workdir=runs/clip_pad_cia
    python -m storyjax.main --config=configs/clip_pad_cia.py:embedded --workdir=runs/pad_cia

`paper`: 5 epochs on the training clips, from the run of configs/clip_pad_vggface2.py. `embedded`: photos of people and
clips at once, from scratch but for the frozen networks, on StoryWorld. Results are
cia/{action,place,action_place}/{zero_shot,text,face,text_face,two_stage}/{r1,r5}, and accuracies.

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:2x4.
"""

import importlib.util
import pathlib

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:2x4"}


def _people():
    """configs/clip_pad_vggface2.py, of which this is the second part."""
    spec = importlib.util.spec_from_file_location("_people", pathlib.Path(__file__).with_name("clip_pad_vggface2.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def get_config(variant: str = "paper") -> ConfigDict:
    config = _people().get_config("paper")
    config.data.tasks, config.data.eval_splits = ("clips",), ("cia:test",)
    config.train = ConfigDict({"epochs": 5, "batch_size": 64})
    config.optim.warmup_steps = 0
    config.eval = ConfigDict({"every": 0, "batch_size": 64})
    config.init = ConfigDict({"checkpoint": "runs/clip_pad_vggface2"})
    if variant == "embedded":
        _people().use_storyworld(config)
        config.init = ConfigDict({"checkpoint": None})
        config.data.tasks = ("photos", "clips")
        config.train = ConfigDict({"steps": 300, "batch_size": 48})
        config.eval = ConfigDict({"every": 0, "batch_size": 100})
    return config
