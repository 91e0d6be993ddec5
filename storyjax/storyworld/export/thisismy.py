"""StoryWorld in the official layout of this-is-my (Yeh et al. 2023): videos of particular things.

    this-is-my-dataset/segments.csv               segment_id,is_anchor,instance_name,video_id,channel_id,start_time,…
    this-is-my-dataset/this-is-my_test-set.json   {anchor segment: [the other segments that show its object]}
    this-is-my-dataset/this-is-my_eval-captions.csv   segs,ids,item,class,caption    with "*" for the object
    train_segment/ID.mp4 eval_segment/ID.mp4      the segments
    boxes.json, captions.json                     StoryWorld's own: where the object is; what it looks like, in words

Every object has rivals of its own kind. All rivals appear in the same contexts, so that neither the object nor the
context alone says which segment is meant; and the videos to learn from show each object in two places where no other
video does, so that a model that learns the background finds the wrong ones.
"""

import csv
import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from storyjax.storyworld.draw.personal_objects import (
    PersonalObject,
    Scene,
    draw_personal_objects,
    draw_scene,
    photographs,
    render_scene,
    with_article,
)
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.render.render import encode_mp4
from storyjax.storyworld.render.world import make_folder, write_text
from storyjax.storyworld.story.cast import PLACES

SEGMENT_COLUMNS = (
    *("segment_id", "is_anchor", "instance_name", "video_id", "channel_id", "start_time", "end_time", "query"),
)
CAPTION_COLUMNS = ("segs", "ids", "item", "class", "caption")
KINDS = ("dog", "car", "bear", "cup", "ball")
SECONDS, FPS, SIZE = 3.0, 4, 96
# `scenes` draws where the objects are filmed: another number gives other videos of the same objects.
COUNTS = {"instances": 15, "train": 6, "eval": 8, "test": 4, "scenes": 0}
TRAIN_PLACES = 2


def export_thisismy(directory: str | Path, counts: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """Writes `counts` (instances, and for each of them train, eval and captioned test segments); see `export_once`."""
    counts = {**COUNTS, **(counts or {})}
    looks = photographs(2, 3)[0].tobytes()
    return export_once(directory, {"counts": counts, "seed": seed}, looks, lambda folder: _write(folder, counts, seed))


def _write(folder: Path, counts: Mapping[str, int], seed: int) -> None:
    things = draw_personal_objects(counts["instances"], seed, KINDS)
    rng = np.random.default_rng([seed, counts["scenes"], 0x717])
    contexts = {kind: _contexts(kind, counts["test"], rng) for kind in KINDS}
    for name in ("this-is-my-dataset", "train_segment", "eval_segment"):
        make_folder(folder / name)
    rows, captions, boxes = [], [], {}
    test_set: dict[str, list[str]] = {}
    for number, thing in enumerate(things):
        scenes = _scenes(thing, counts, contexts[thing.kind], rng)
        ids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in scenes]
        for index, (segment, (part, scene)) in enumerate(zip(ids, scenes, strict=True)):
            where = folder / ("train_segment" if part == "train" else "eval_segment") / f"{segment}.mp4"
            boxes[segment] = _write_segment(scene, where)
            anchor = index == 0
            video = f"sw_{seed}_{number}_{'t' if part == 'train' else 'e'}"
            start = SECONDS * index
            named = (thing.title, thing.kind) if anchor else ("", "")
            rows.append((segment, anchor, named[0], video, f"channel_{number}", start, start + SECONDS, named[1]))
            if part == "test":
                captions.append((segment, number, thing.title, thing.kind, f"* {scene.context}"))
        test_set[ids[0]] = ids[1:]
    _table(folder / "this-is-my-dataset" / "segments.csv", SEGMENT_COLUMNS, rows)
    _table(folder / "this-is-my-dataset" / "this-is-my_eval-captions.csv", CAPTION_COLUMNS, captions)
    write_text(folder / "this-is-my-dataset" / "this-is-my_test-set.json", json.dumps(test_set, indent=1))
    write_text(folder / "boxes.json", json.dumps(boxes))
    write_text(folder / "captions.json", json.dumps({thing.title: describe_fully(thing) for thing in things}, indent=1))


def describe_fully(thing: PersonalObject) -> str:
    """Returns the dense caption y* that a captioning model would give: 'a photo of a spotted red and white dog .'"""
    return f"a photo of {with_article(thing.looks)} ."


def _contexts(kind: str, count: int, rng: np.random.Generator) -> list[Scene]:
    """Contexts with a place of their own each, as scenes of nobody's thing."""
    nobodys = PersonalObject(kind, "red")
    places = [list(PLACES)[i] for i in rng.permutation(len(PLACES))]
    return [draw_scene(nobodys, rng, (places[i % len(places)],)) for i in range(count)]


def _scenes(
    thing: PersonalObject, counts: Mapping[str, int], contexts: list[Scene], rng: np.random.Generator
) -> list[tuple[str, Scene]]:
    """(part, scene) of every segment of a thing; those to learn from come first and play in places of their own."""
    tested = {scene.place for scene in contexts}
    free = [place for place in PLACES if place not in tested] or list(PLACES)
    places = [free[i] for i in rng.permutation(len(free))[:TRAIN_PLACES]]
    others = [place for place in PLACES if place not in places]
    found = [("train", draw_scene(thing, rng, places)) for _ in range(counts["train"])]
    found += [("test", replace(c, subject=thing, seed=int(rng.integers(2**31)))) for c in contexts]
    found += [("eval", draw_scene(thing, rng, others)) for _ in range(counts["eval"])]
    return found


def _write_segment(scene: Scene, path: Path) -> list[list[float]]:
    """Writes a segment; its boxes (left, top, right, bottom as fractions), one a frame."""
    frames, boxes = render_scene(scene, [i / FPS for i in range(round(SECONDS * FPS))], SIZE)
    encode_mp4(frames, path, SIZE, FPS)
    return [[round(v, 4) for v in box] for box in boxes]


def _table(path: Path, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())
