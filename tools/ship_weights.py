"""Turns a finished run into weights that ship with the package.

    python tools/ship_weights.py RUN NAME      e.g. runs/t5 storyworld_t5

Writes storyjax/weights/shipped/NAME/{model.safetensors,config.json,results.json} and, for a network that reads text,
tokenizer.json. The README of NAME is written by hand. Weights are stored in half precision.
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.params_io import flatten, save_tree
from storyjax.core.renames import modernise
from storyjax.data.text import WordTokenizer
from storyjax.models.clip import ClipConfig
from storyjax.models.ecapa import EcapaConfig
from storyjax.models.laughter import LaughterConfig
from storyjax.models.lwtnet import LwtConfig
from storyjax.models.seresnet import SEResNetConfig
from storyjax.models.t5 import T5Config
from storyjax.storyworld.story.descriptions import generic_vocabulary
from storyjax.storyworld.story.vocabulary import vocabulary
from storyjax.train.checkpoint import load_trainable
from storyjax.train.experiment import build_experiment

SHIPPED = Path(__file__).resolve().parents[1] / "storyjax" / "weights" / "shipped"


# The keys of config.data that predictors read, by experiment.
_DATA = {
    "clip_pad": ("frames", "text_length", "face_crop", "ending", "detector"),
    "mqt": ("size", "shorter", "longer"),
    "tcr": ("frames", "condition_length"),
    "tcr.heads": ("task", "frames", "condition_length", "classes", "hidden", "temporal_difference"),
}

# The networks that subtitles need: the class of their config, and the prefix of their parameters; a run has others
# that are for training only.
_NETWORKS = {
    "embedded.speaker_encoder": (EcapaConfig, "voice/"),
    "embedded.laughter_detector": (LaughterConfig, "laughter/"),
    "embedded.av_sync": (LwtConfig, "lwtnet/"),
}


# The networks of storyjax/embedded that config.model describes alone, and those of them that read text.
_TEXT_NETWORKS = ("embedded.clip", "embedded.clip_generic", "embedded.t5")
_FROZEN_NETWORKS = (*_TEXT_NETWORKS, "embedded.face_encoder")


def make_tokenizer(config: dict) -> WordTokenizer:
    """Returns the tokenizer that the network was trained with."""
    generic = config["experiment"] == "embedded.clip_generic"
    return WordTokenizer.from_words(generic_vocabulary() if generic else vocabulary())


def architecture(config: dict) -> dict:
    """Returns the config.json to ship, from which the model can be built without the run's config."""
    if config["experiment"] in _NETWORKS:
        return dataclasses.asdict(from_config(_NETWORKS[config["experiment"]][0], config["model"]))
    tokenizer = WordTokenizer.from_words(vocabulary())
    if config["experiment"] == "embedded.t5":
        llm = from_config(T5Config, {**config["model"], "vocab_size": tokenizer.vocab_size})
        return {"llm": dataclasses.asdict(llm)}
    if config["experiment"] == "embedded.face_encoder":
        return dataclasses.asdict(from_config(SEResNetConfig, config["model"]))
    if config["experiment"] in ("embedded.clip", "embedded.clip_generic"):
        tokenizer = make_tokenizer(config)
        text = {**config["model"]["text"], "vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
        return dataclasses.asdict(from_config(ClipConfig, {**config["model"], "text": text}))
    return trained_model(config)


def trained_model(config: dict) -> dict:
    """Returns the config.json to ship of a chapter's model: the sections of the run's config that predictors read."""
    experiment, data = config["experiment"], config["data"]
    if experiment == "tcr":
        data = data.get("tasks", {}).get("nextqa", data)
    kept = {key: data[key] for key in _DATA.get(experiment, _DATA["tcr"]) if key in data}
    if experiment == "tcr.heads":  # no predictor reads the data sets
        kept["root"] = dict.fromkeys(data["root"], "") if isinstance(data["root"], dict) else ""
    named = {"experiment": experiment} if experiment in ("mqt", "tcr.heads") else {}
    return {**named, "model": config["model"], "data": kept}


def main() -> None:
    """Ships the run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="workdir of a finished run")
    parser.add_argument("name", help="folder name under storyjax/weights/shipped")
    arguments = parser.parse_args()
    config = modernise(json.loads((arguments.run / "config.json").read_text()))
    folder = SHIPPED / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    weights = load_trainable(arguments.run)
    if config["experiment"] in _FROZEN_NETWORKS:
        # Parameters that the run kept frozen (the T5's embedding) are as its seed drew them.
        drawn = jax.jit(build_experiment(ConfigDict(config)).init)(jax.random.key(config["seed"]))
        experiment = build_experiment(ConfigDict(config))
        given = experiment.pretrained() if experiment.pretrained is not None else {}
        weights = {**flatten(drawn), **given, **weights}
        weights = {path: array for path, array in weights.items() if not path.startswith(("pointer/", "people/"))}
        # A face encoder ships without the classifier that it was trained with.
        weights = {path.removeprefix("face/"): array for path, array in weights.items()}
    if config["experiment"] in _NETWORKS:
        prefix = _NETWORKS[config["experiment"]][1]
        weights = {path.removeprefix(prefix): array for path, array in weights.items() if path.startswith(prefix)}
    metadata = {"experiment": config["experiment"], "made_by": "tools/ship_weights.py"}
    save_tree(folder / "model.safetensors", weights, metadata, dtype=np.float16)
    (folder / "config.json").write_text(json.dumps(architecture(config), indent=2) + "\n")
    if (arguments.run / "results.json").exists():
        shutil.copy(arguments.run / "results.json", folder / "results.json")
    if config["experiment"] in _TEXT_NETWORKS:
        make_tokenizer(config).save(folder / "tokenizer.json")


if __name__ == "__main__":
    main()
