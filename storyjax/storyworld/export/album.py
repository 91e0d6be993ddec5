"""An album to try `storyjax find` with: photos of a few people and of a few things, and videos in which they appear.

photos/ana/0.jpg ...        loose crops of a face; of some people no image was ever learned from
photos/chia/0.jpg ...       photos of a particular thing, each somewhere else
films/story-00.mp4 ...      StoryWorld's stories, with all of its people
films/scene-00.mp4 ...      a few seconds each of the things, and of their rivals of the same kind
truth.json                  who, or what, does what, where and when (seconds) in each video
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from storyjax.storyworld.draw.faces import photograph
from storyjax.storyworld.draw.personal_objects import (
    PersonalObject,
    draw_personal_objects,
    draw_scene,
    photographs,
    render_scene,
)
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.render.render import encode_mp4
from storyjax.storyworld.render.world import make_folder, render_missing, write_text
from storyjax.storyworld.story.cast import PLACES
from storyjax.storyworld.story.story import StoryStyle, make_story

PEOPLE = ("ana", "ben", "ivy", "noah")  # the last two are nobody that a model has seen
KINDS = ("dog", "cup", "car")
COUNTS = {"stories": 12, "photos": 5, "scenes": 3}
_RIVALS = 2  # personal objects of each kind; the first of them is enrolled
_FIRST_SEED = 13_000_000  # beyond all stories that something is trained on
_STYLE = StoryStyle(known_people=False)
_SIZE, _FPS, _SCENE_S = 96, 8, 4.0


def export_album(directory: str | Path, counts: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """Writes `counts` (stories; photos of each person and thing; scenes of each thing); see `export_once`."""
    counts = {**COUNTS, **(counts or {})}
    looks = photographs(2, 3)[0].tobytes() + photograph("ana", np.random.default_rng(0))[0].tobytes()
    return export_once(directory, {"counts": counts, "seed": seed}, looks, lambda folder: _write(folder, counts, seed))


def belongings(seed: int = 0) -> tuple[PersonalObject, ...]:
    """Returns the things of an album's videos; the first of each kind has photos."""
    return draw_personal_objects(_RIVALS * len(KINDS), seed, KINDS)


def _write(folder: Path, counts: Mapping[str, int], seed: int) -> None:
    make_folder(folder / "films")
    rng = np.random.default_rng([seed, 0xA1B])
    for person in PEOPLE:
        for index in range(counts["photos"]):
            _photo(folder / "photos" / person / f"{index}.jpg", photograph(person, rng, _SIZE)[0])
    truth: dict[str, list[dict]] = {}
    for number, thing in enumerate(belongings(seed)):
        if number < len(KINDS):
            for index in range(counts["photos"]):
                picture = render_scene(draw_scene(thing, rng), [1.0], _SIZE)[0][0]
                _photo(folder / "photos" / thing.name / f"{index}.jpg", picture)
        for index in range(counts["scenes"]):
            # Each scene of a thing plays in another place, so that no background gives it away.
            scene = draw_scene(thing, rng, (list(PLACES)[(number + 3 * index) % len(PLACES)],))
            file = f"scene-{counts['scenes'] * number + index:02d}.mp4"
            frames, _ = render_scene(scene, [i / _FPS for i in range(round(_SCENE_S * _FPS))], _SIZE)
            encode_mp4(frames, folder / "films" / file, _SIZE, _FPS)
            here = {"who": [thing.name], "what": [thing.looks], "where": scene.place}
            truth[file] = [here | {"start_s": 0.0, "end_s": _SCENE_S}]
    seeds = range(_FIRST_SEED + 1000 * seed, _FIRST_SEED + 1000 * seed + counts["stories"])
    files = {s: f"story-{index:02d}.mp4" for index, s in enumerate(seeds)}
    render_missing(
        [(s, folder / "films" / file) for s, file in files.items()], _STYLE, size=_SIZE, fps=_FPS, progress=False
    )
    for s, file in files.items():
        truth[file] = [
            {
                "who": [p.person for p in event.performances],
                "what": [" ".join(filter(None, p.phrase)) for p in event.performances],
                "where": event.place,
                "start_s": event.start,
                "end_s": event.end,
            }
            for event in make_story(s, _STYLE).events
        ]
    write_text(folder / "truth.json", json.dumps(truth, indent=1))


def _photo(path: Path, picture: np.ndarray) -> None:
    make_folder(path.parent)
    Image.fromarray(picture).save(path, quality=92)
