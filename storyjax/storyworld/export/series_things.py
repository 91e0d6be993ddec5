"""The particular things of the held-out series, and their photographs.

things.json               [{"name": "Chia", "category": "dog", "owner": "Ana", "photos": ["things/Chia/1.jpg", ...],
                          "boxes": [[left, top, right, bottom], ...]}], boxes as fractions of each photo
things/Chia/1.jpg ...
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from storyjax.storyworld.draw.personal_objects import PersonalObject, draw_scene, render_scene
from storyjax.storyworld.render.world import make_folder, write_text
from storyjax.storyworld.story.belongings import Belonging

PHOTO_SIZE = 128
# Dogs, bears and cups of several owners: a category alone does not say which of them is meant.
THINGS: tuple[Belonging, ...] = (
    Belonging("ana", PersonalObject("dog", "brown", "spotted", "white", "chia")),
    Belonging("ben", PersonalObject("dog", "grey", "plain", "white", "rolo")),
    Belonging("ben", PersonalObject("cup", "red", "striped", "white", "pip")),
    Belonging("mia", PersonalObject("bear", "yellow", "banded", "purple", "bruno")),
    Belonging("leo", PersonalObject("guitar", "blue", "plain", "white", "flash")),
    Belonging("zoe", PersonalObject("bear", "pink", "plain", "white", "dot")),
    Belonging("tom", PersonalObject("cup", "green", "spotted", "yellow", "fudge")),
    Belonging("ada", PersonalObject("car", "orange", "striped", "black", "rusty")),
    Belonging("alan", PersonalObject("ball", "blue", "banded", "orange", "bee")),
)


def write_things(folder: Path, photos: int, seed: int) -> None:
    """Writes `photos` photographs of each of THINGS and things.json: every photo in another scene."""
    listed = []
    for index, belonging in enumerate(THINGS):
        rng = np.random.default_rng([seed, index, 0x7416])
        name, files, boxes = belonging.thing.name.capitalize(), [], []
        for number in range(1, photos + 1):
            path = folder / "things" / name / f"{number}.jpg"
            make_folder(path.parent)
            frames, places = render_scene(draw_scene(belonging.thing, rng), [0.0], PHOTO_SIZE)
            Image.fromarray(frames[0]).save(path, quality=92)
            files.append(path.relative_to(folder).as_posix())
            boxes.append([round(v, 4) for v in places[0]])
        owner, category = belonging.owner.capitalize(), belonging.thing.kind
        listed.append({"name": name, "category": category, "owner": owner, "photos": files, "boxes": boxes})
    write_text(folder / "things.json", json.dumps(listed, indent=1))
