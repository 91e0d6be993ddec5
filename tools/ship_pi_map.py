"""Turns a pre-training run of π-map into weights that ship with the package.

    python tools/ship_pi_map.py RUN NAME      e.g. runs/pi_map_imagenet pi_map_storyworld

Writes storyjax/weights/shipped/NAME/{model.safetensors,things.bank,config.json,results.json}. The bank holds other
things of StoryWorld, the negatives of enrolment (storyjax/pi_map/enrolment.py); no test or benchmark uses them. NAME's
README is written by hand. Weights are stored in half precision.
"""

import argparse
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from storyjax.core.params_io import save_tree
from storyjax.data.images import Square
from storyjax.pi_map.config import frozen_embed, frozen_parameters, make_model
from storyjax.pi_map.enrolment import NegativeBank
from storyjax.pi_map.localise import draw_ellipse
from storyjax.storyworld.draw.personal_objects import COLOURS, MARKINGS, draw_personal_objects, draw_scene, render_scene
from storyjax.storyworld.export.thisismy import describe_fully
from storyjax.train.checkpoint import load_trainable

SHIPPED = Path(__file__).resolve().parents[1] / "storyjax" / "weights" / "shipped"
THINGS, PHOTOGRAPHS, SEED = 30, 2, 9_000
PROMPT = "a photo of * ."
ENROLMENT = {"prompt": PROMPT, "steps": 200, "learning_rate": 1e-3, "warmup_steps": 20, "negatives": 15}


def make_bank(model: dict) -> NegativeBank:
    """Photographs of things, embedded as they are and with an ellipse around the thing."""
    built, section = make_model(model)
    embed = frozen_embed(built, frozen_parameters(section.clip))
    square = Square(built.config.vision.image_size, built.config.keep_aspect)
    rng = np.random.default_rng(SEED)
    things = draw_personal_objects(THINGS, SEED)
    plain, marked = [], []
    for thing in things:
        for _ in range(PHOTOGRAPHS):
            frames, boxes = render_scene(draw_scene(thing, rng), [float(rng.uniform(0, 3))])
            plain.append(square(frames[0]))
            marked.append(square(draw_ellipse(frames[0], boxes[0])))
    captions = tuple(
        (describe_fully(thing), PROMPT.replace("*", thing.title), PROMPT.replace("*", f"a {thing.kind}"))
        for thing in things
    )
    objects = np.repeat(np.arange(THINGS, dtype=np.int32), PHOTOGRAPHS)
    return NegativeBank(embed(np.stack(plain)), embed(np.stack(marked)), objects, captions)


def attributes() -> list[str]:
    """Returns the possible looks of a thing of StoryWorld, in words."""
    marked = itertools.product(MARKINGS[1:], itertools.permutations(COLOURS, 2))
    return [*COLOURS, *(f"{marking} {first} and {second}" for marking, (first, second) in marked)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="workdir of a finished run of configs/pi_map_imagenet.py")
    parser.add_argument("name", help="folder name under storyjax/weights/shipped")
    arguments = parser.parse_args()
    config = ConfigDict(json.loads((arguments.run / "config.json").read_text()))
    folder = SHIPPED / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    weights = {path: array for path, array in load_trainable(arguments.run).items() if path.startswith("pi/")}
    save_tree(folder / "model.safetensors", weights, {"experiment": config.experiment}, dtype=np.float16)
    make_bank(config.model).save(folder / NegativeBank.FILE)
    stored = {"model": config.model.to_dict(), "attributes": attributes(), "enrolment": ENROLMENT, "ending": " ."}
    (folder / "config.json").write_text(json.dumps(stored, indent=1) + "\n")
    if (arguments.run / "results.json").exists():
        shutil.copy(arguments.run / "results.json", folder / "results.json")
    for path in folder.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    main()
