"""storyjax: human-centric story understanding in video, in JAX and Flax.

import storyjax

model = storyjax.load("tcr")            # the small model that comes with the package
model = storyjax.load("runs/tcr")       # a run of your own
answer = model.ask("video.mp4", "who danced ?")
"""

import importlib
import os
from typing import Any

__version__ = "0.2.0"

# By chapter, the class that a trained model of it is used with.
PREDICTORS = {
    "tcr": "storyjax.tcr.predict:Predictor",
    "mqt": "storyjax.mqt.predict:Tracker",
    "clip_pad": "storyjax.clip_pad.predict:PersonFinder",
    "pi_map": "storyjax.pi_map.predict:ThingFinder",
    "subtitles": "storyjax.subtitles.predict:Subtitler",
}


def load(model: str | os.PathLike[str], *, precision: str | None = None, **options: Any) -> Any:
    """Returns a trained model, ready to be used.

    Args:
        model: the name of a chapter ("tcr", "mqt", "clip_pad", "pi_map", "subtitles") for the small model of StoryWorld
            that comes with the package; else a run's workdir, a folder with config.json and model.safetensors, or
            "shipped:NAME".
        precision: "float32" or "bfloat16", instead of what the model's config says.
        options: of the class's `from_pretrained`, which the keys of PREDICTORS name.

    Returns:
        An instance of the chapter's class: a tcr Predictor (`ask`), an mqt Tracker (`start`, `step`), a clip_pad
        PersonFinder or pi_map ThingFinder (`enrol`, `embed_query`, `embed_images`), or a Subtitler (`subtitle`).

    Raises:
        StoryjaxError: there is no such model, or it is of a chapter that has no predictor.
    """
    name = os.fspath(model)
    place: str | None = None
    if name not in PREDICTORS:
        from storyjax.train.restore import chapter_of

        place, name = name, chapter_of(name, PREDICTORS)
    module, _, attribute = PREDICTORS[name].partition(":")
    predictor = getattr(importlib.import_module(module), attribute)
    return predictor.from_pretrained(place, precision=precision, **options)
