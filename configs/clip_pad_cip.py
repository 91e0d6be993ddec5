"""CLIP-PAD on Celebrities in Places: who is where (thesis §4.5.1; Tables 4.2a, 4.2b).

    python -m storyjax.main --config=configs/clip_pad_cip.py --workdir=runs/clip_pad_cip
    python -m storyjax.main --config=configs/clip_pad_cip.py:embedded --workdir=runs/pad_cip

`paper`: VGGFace instead of VGGFace2, which holds some of the unseen people of the test (§4.3.1); stopped at 85 %
on people of VGGFace2 who are not trained on.
`embedded`: the same on StoryWorld, with the small networks that come with storyjax. Results are
cip/{face_seen,face_unseen,places,compound}/{zero_shot,text,face,text_face}/map, and r1 and r5 of compound queries.

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:2x4.
"""

import importlib.util
import pathlib

from ml_collections import ConfigDict

VARIANTS = ("paper", "embedded")
TOPOLOGIES = {"paper": "v5e:2x4"}


def _people():
    """configs/clip_pad_vggface2.py, of which this is a variation."""
    spec = importlib.util.spec_from_file_location("_people", pathlib.Path(__file__).with_name("clip_pad_vggface2.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def get_config(variant: str = "paper") -> ConfigDict:
    config = _people().get_config("paper")
    config.data.dataset, config.data.eval_splits = "vggface", ("cip:test", "vggface2:test")
    config.train.stop_value = 0.85
    # An epoch has 2.6 M images.
    config.eval.every = 10000
    if variant == "embedded":
        _people().use_storyworld(config)
        config.data.eval_splits = ("cip:test", "val")
        config.train = ConfigDict({"steps": 300, "batch_size": 64, "stop_metric": "faces/acc", "stop_value": 0.85})
        # Photos of people alone do not train places, and a high rate forgets them. Names are learned in the token
        # embeddings; the rest of the text tower holds the places.
        config.optim.learning_rate = 3e-4
        config.optim.lr_multipliers = ((r"clip/text(/(encoder|norm|position)|_projection).*", 0.3),)
        config.eval = ConfigDict({"every": 300, "batch_size": 100})
    return config
