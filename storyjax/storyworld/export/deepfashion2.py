"""StoryWorld in the official layout of PerVL-DeepFashion2 (Cohen et al. 2022): photographs of particular garments.

    train/image/NNNNNN.jpg train/annos/NNNNNN.json       the photographs of DeepFashion2, and its boxes
    annotations/deep_fashion/test_fsl_train.txt          which photographs are learnt from
    annotations/deep_fashion/test_captions.csv           detailed captions of those that are searched
    annotations/deep_fashion/shortened_deepfashion2_captions.csv   short ones
    annotations/deep_fashion/train_coarse_grained_names.csv        the kind of each garment
    captions.json                                        StoryWorld's own: what each garment looks like, in words

As there, "a person" stands in a caption for the wearer of the garment. The short caption names the place, the detailed
one also what is beside.
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from storyjax.storyworld.draw.personal_objects import (
    PersonalObject,
    Scene,
    draw_personal_objects,
    draw_scene,
    photographs,
    render_scene,
)
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.export.thisismy import describe_fully
from storyjax.storyworld.render.world import make_folder, write_text
from storyjax.storyworld.story.cast import PLACES

KINDS = ("hat", "umbrella", "guitar", "vase", "balloon")
COUNTS = {"garments": 20, "train": 8, "eval": 5}
SIZE = 96


def export_deepfashion2(directory: str | Path, counts: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """Writes `counts` (garments, and for each of them train and eval photographs); see `export_once`."""
    counts = {**COUNTS, **(counts or {})}
    looks = photographs(2, 3)[0].tobytes()
    return export_once(directory, {"counts": counts, "seed": seed}, looks, lambda folder: _write(folder, counts, seed))


def _write(folder: Path, counts: Mapping[str, int], seed: int) -> None:
    things = draw_personal_objects(counts["garments"], seed + 1000, KINDS)
    rng = np.random.default_rng([seed, 0xDF])
    for name in ("train/image", "train/annos", "annotations/deep_fashion"):
        make_folder(folder / name)
    learnt, detailed, short, kinds = [], [], [], []
    number = 0
    for pair, thing in enumerate(things, 1):
        places = [list(PLACES)[i] for i in rng.permutation(len(PLACES))]
        learnt.append(f"codes_infer/{pair}:")
        kinds.append((pair, thing.kind))
        for index in range(counts["train"] + counts["eval"]):
            number += 1
            held_back = index >= counts["train"]
            # The photographs to learn from come from two places, those to be found from one each of the others.
            where = places[2 + (index - counts["train"]) % (len(places) - 2)] if held_back else places[index % 2]
            scene = draw_scene(thing, rng, (where,))
            _photograph(folder, number, pair, scene, rng)
            if not held_back:
                learnt.append(f"{number:06d}.jpg")
                continue
            image = f"train/image/{number:06d}.jpg"
            # "person" alone is the place of the concept; an article before it would stay.
            detailed.append((image, pair, f"person {scene.context}"))
            short.append((image, pair, f"person in the {scene.place}"))
    annotations = folder / "annotations" / "deep_fashion"
    write_text(annotations / "test_fsl_train.txt", "\n".join(learnt) + "\n")
    _table(annotations / "test_captions.csv", ("image_name", "pair_id", "caption"), detailed)
    _table(annotations / "shortened_deepfashion2_captions.csv", ("image_name", "pair_id", "caption"), short)
    _table(annotations / "train_coarse_grained_names.csv", ("unique_pair_ids", "pair_id_categories"), kinds)
    titles = {f"{thing.kind} {pair}": describe_fully(thing) for pair, thing in enumerate(things, 1)}
    write_text(folder / "captions.json", json.dumps(titles, indent=1))


def _photograph(folder: Path, number: int, pair: int, scene: Scene, rng: np.random.Generator) -> None:
    pixels, boxes = render_scene(scene, [float(rng.uniform(0, 3))], SIZE)
    data = io.BytesIO()
    Image.fromarray(pixels[0]).save(data, "JPEG", quality=92)
    (folder / "train" / "image" / f"{number:06d}.jpg").write_bytes(data.getvalue())
    box = [round(v * SIZE) for v in boxes[0]]
    thing: PersonalObject = scene.subject
    annotation = {
        "source": "shop",
        "pair_id": pair,
        "item1": {"category_name": thing.kind, "bounding_box": box, "style": 1},
    }
    write_text(folder / "train" / "annos" / f"{number:06d}.json", json.dumps(annotation))


def _table(path: Path, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())
