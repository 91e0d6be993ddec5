"""StoryWorld in the official layouts of VGGFace, VGGFace2, Celebrities in Places and Celebrities in Action.

Who is where:

    learn       in VGGFace(2) and in clips and images to be found ("seen" there)
    meet        in no VGGFace, but in the training clips of Celebrities in Action
    unseen      only in what is to be found, and in photos to ask with

The last are people in no training image (`Person.known` is False). Look-alikes are in all three.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from storyjax.storyworld.draw.faces import photograph
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.render.render import encode_mp4, frame_times, render_frames
from storyjax.storyworld.render.world import make_folder, write_text
from storyjax.storyworld.story.cast import PLACES
from storyjax.storyworld.story.language import verb_phrase
from storyjax.storyworld.story.population import EVERYONE, FURTHER_PEOPLE
from storyjax.storyworld.story.story import Camera, Event, Performance, Story, make_story

# The doings of Celebrities in Action: as many classes as Hollywood2 has. The last three are High-Five's.
ACTIONS: tuple[tuple[str, str | None], ...] = (
    ("dance", None),
    ("jump", None),
    ("sleep", None),
    ("sing", None),
    ("eat", "cake"),
    ("kick", "ball"),
    ("read", "book"),
    ("play", "guitar"),
    ("fly", "kite"),
    ("wave", None),
    ("wash", "dog"),
    ("hug", "bear"),
)
HIGH_FIVE = ACTIONS[-3:]
SIZE, FPS, SECONDS = 96, 4, 2.0


def cast_of_clips() -> dict[str, tuple[str, ...]]:
    """Returns the people of clips and images to be found, by group ("learn", "meet", "unseen"): all of the stories'
    own cast, and as many again."""
    known = [name for name, person in EVERYONE.items() if person.known and name not in FURTHER_PEOPLE]
    more = [name for name, person in FURTHER_PEOPLE.items() if person.known]
    unseen = [name for name, person in EVERYONE.items() if not person.known]
    return {"learn": (*known[:6], *more[:6]), "meet": (*known[6:], *more[6:10]), "unseen": tuple(unseen[:10])}


def people_to_learn(count: int | None = None) -> tuple[str, ...]:
    """Returns the people in VGGFace(2), or the first `count` of them; those in clips come first."""
    groups = cast_of_clips()
    others = [name for name, person in EVERYONE.items() if person.known and name not in groups["meet"]]
    return (*groups["learn"], *(name for name in others if name not in groups["learn"]))[:count]


def class_name(performance: Performance) -> str:
    """Returns the name of an action in files: "kicking_the_ball"."""
    return verb_phrase(performance, "gerund").replace(" ", "_")


def looks() -> bytes:
    """Returns bytes that change when photos or clips are drawn differently."""
    rng = np.random.default_rng(0)
    clip = render_frames(make_story(1), [1.0], 48).tobytes()
    return b"".join(photograph(name, rng)[0].tobytes() for name in list(EVERYONE)[::20]) + clip


def _jpeg(path: Path, picture: np.ndarray) -> None:
    make_folder(path.parent)
    Image.fromarray(picture).save(path, quality=92)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table with commas, and makes its folder."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    make_folder(path.parent)
    write_text(path, text.getvalue())


def _export(directory: str | Path, kind: str, counts: Mapping[str, Any], seed: int, write: Callable) -> Path:
    return export_once(directory, {"kind": kind, **counts, "seed": seed}, looks(), partial(write, counts, seed))


def export_vggface2(
    directory: str | Path, photos: int = 40, test_people: int = 8, people: int | None = None, seed: int = 0
) -> Path:
    """VGGFace2: `photos` of each (or the first `people`) to learn from; in test/ those of `test_people` unseen ones."""
    counts = {"photos": photos, "test_people": test_people, "people": people}
    return _export(directory, "vggface2", counts, seed, _write_vggface2)


def _write_vggface2(counts: Mapping[str, Any], seed: int, folder: Path) -> None:
    unseen = [name for name, person in EVERYONE.items() if not person.known]
    people = {"train": people_to_learn(counts["people"]), "test": tuple(unseen[-counts["test_people"] :])}
    write_vggface2(folder, people, counts["photos"], seed)


def write_vggface2(folder: Path, people: Mapping[str, Sequence[str]], photos: int, seed: int) -> None:
    """`photos` of each of `people` (split -> names) in VGGFace2's layout."""
    meta = []
    for split, names in people.items():
        boxes = []
        for name in tqdm(names, desc=f"rendering photos ({split})", unit="people"):
            number = list(EVERYONE).index(name) + 1
            rng = np.random.default_rng([seed, number, 0xFACE])
            identity = f"n{number:06d}"
            for index in range(photos):
                picture, box = photograph(name, rng)
                _jpeg(folder / split / identity / f"{index:04d}_01.jpg", picture)
                left, top, right, bottom = (round(v) for v in box)
                boxes.append((f"{identity}/{index:04d}_01", left, top, right - left, bottom - top))
            gender = "f" if EVERYONE[name].pronoun == "she" else "m"
            meta.append((identity, name, photos, int(split == "train"), gender))
        write_table(folder / "bb_landmark" / f"loose_bb_{split}.csv", ("NAME_ID", "X", "Y", "W", "H"), boxes)
    columns = ("Class_ID", "Name", "Sample_Num", "Flag", "Gender")
    write_table(folder / "meta" / "identity_meta.csv", columns, sorted(meta))


def export_vggface(directory: str | Path, photos: int = 40, people: int | None = None, seed: int = 0) -> Path:
    """VGGFace: whole images, tighter boxes and the lists of files/."""
    return _export(directory, "vggface", {"photos": photos, "people": people}, seed, _write_vggface)


def _write_vggface(counts: Mapping[str, Any], seed: int, folder: Path) -> None:
    make_folder(folder / "files")
    for name in tqdm(people_to_learn(counts["people"]), desc="rendering photos", unit="people"):
        rng = np.random.default_rng([seed, list(EVERYONE).index(name), 0xFACE1])
        lines = []
        for index in range(1, counts["photos"] + 1):
            picture, (left, top, right, bottom) = photograph(name, rng, size=96, loose=(0.3, 0.6))
            _jpeg(folder / "images" / name / f"{index:08d}.jpg", picture)
            # The loose crop, twice the box, is to show about as much as one of VGGFace2 does.
            grow = 0.35 * (right - left)
            box = f"{left - grow:.2f} {top - grow:.2f} {right + grow:.2f} {bottom + grow:.2f}"
            lines.append(f"{index:08d} storyworld:{name}/{index} {box} 3.00 1.00 1")
        write_text(folder / "files" / f"{name}.txt", "\n".join(lines) + "\n")


def write_query_faces(folder: Path, names: Iterable[str], photos: int, seed: int) -> None:
    """faces/NAME/0000.jpg ...: photos to ask with."""
    for name in names:
        rng = np.random.default_rng([seed, list(EVERYONE).index(name), 0xA5C])
        for index in range(photos):
            _jpeg(folder / "faces" / name / f"{index:04d}.jpg", photograph(name, rng)[0])


def export_cip(
    directory: str | Path, pictures: int = 300, distractors: int = 60, faces: int = 3, seed: int = 0
) -> Path:
    """Celebrities in Places: images with a celebrity (half with somebody else too), and without any."""
    counts = {"pictures": pictures, "distractors": distractors, "faces": faces}
    return _export(directory, "cip", counts, seed, _write_cip)


def _write_cip(counts: Mapping[str, int], seed: int, folder: Path) -> None:
    groups = cast_of_clips()
    celebrities = (*groups["learn"], *groups["unseen"])
    strangers = [name for name in FURTHER_PEOPLE if name not in {n for names in groups.values() for n in names}]
    rows, pairs = [], set()
    for index in tqdm(range(counts["pictures"] + counts["distractors"]), desc="rendering images", unit="images"):
        rng = np.random.default_rng([seed, index, 0xC1B])
        famous = index < counts["pictures"]
        name = str(rng.choice(celebrities if famous else strangers))
        place = str(rng.choice(list(PLACES)))
        others = [str(rng.choice(strangers))] if rng.random() < 0.3 else []
        story = _moment(index, name, ACTIONS[int(rng.integers(len(ACTIONS)))], place, others, rng)
        file = f"{index:06d}.jpg"
        _jpeg(folder / "images" / file, render_frames(story, [float(rng.uniform(0.1, SECONDS - 0.1))], SIZE)[0])
        seen = str(int(name in groups["learn"])) if famous else ""
        rows.append((file, name if famous else "", place if famous else "", seen))
        if famous:
            pairs.add((name, place))
    write_table(folder / "annotations.csv", ("image", "celebrity", "place", "seen"), rows)
    write_table(folder / "queries.csv", ("celebrity", "place"), sorted(pairs))
    write_query_faces(folder, celebrities, counts["faces"], seed)


def _moment(
    seed: int,
    name: str,
    doing: tuple[str, str | None],
    place: str,
    others: Sequence[str],
    rng: np.random.Generator,
) -> Story:
    """A story of one event: somebody does something somewhere, others do something else beside them."""
    free = [action for action in ACTIONS if action != doing]
    performances = [Performance(name, *doing)]
    performances += [Performance(other, *free[int(rng.integers(len(free)))]) for other in others]
    event = Event(0.0, SECONDS, "neutral", place, tuple(performances))
    camera = Camera(float(rng.uniform(0, 0.01)), float(rng.uniform(0, 0.06)), float(rng.uniform(8, 20)))
    cast = tuple(EVERYONE[p.person] for p in performances)
    return Story(30_000_000 + seed, cast, (), (event,), (), camera)


def export_cia(
    directory: str | Path,
    train: int = 700,
    val: int = 100,
    test: int = 400,
    faces: int = 3,
    companions: float = 0.35,
    seed: int = 0,
) -> Path:
    """Celebrities in Action: clips of two seconds, in some of which two act; all that anybody does is annotated."""
    counts = {"train": train, "val": val, "test": test, "faces": faces, "companions": companions}
    return _export(directory, "cia", counts, seed, _write_cia)


def _write_cia(counts: Mapping[str, Any], seed: int, folder: Path) -> None:
    groups = cast_of_clips()
    rows: list[tuple[str, ...]] = []
    sets: dict[str, list[str]] = {}
    for name in ("Hollywood2/AVIClips", "Hollywood2/ClipSets", "tv_human_interactions_videos"):
        make_folder(folder / name)
    for split in ("train", "val", "test"):
        everybody = (*groups["learn"], *groups["meet"], *(groups["unseen"] if split == "test" else ()))
        for index in tqdm(range(counts[split]), desc=f"rendering clips ({split})", unit="clips"):
            rng = np.random.default_rng([seed, index, ("train", "val", "test").index(split), 0xC1A])
            # In turn, so that every actor is in about as many clips as another.
            name = everybody[index % len(everybody)]
            doing = ACTIONS[int(rng.integers(len(ACTIONS)))]
            place = str(rng.choice(list(PLACES)))
            with_companion = rng.random() < counts["companions"]
            others = [str(rng.choice([n for n in everybody if n != name]))] if with_companion else []
            number = ("train", "val", "test").index(split) * 100_000 + index
            story = _moment(number, name, doing, place, others, rng)
            high_five = split == "test" and doing in HIGH_FIVE and not others
            prefix = "highFive_" if high_five else f"actionclip{split}"
            where = "tv_human_interactions_videos" if high_five else "Hollywood2/AVIClips"
            clip = f"{prefix}{index + 1:05d}"
            frames = render_frames(story, frame_times(story, FPS), SIZE)
            encode_mp4(frames, folder / where / f"{clip}.mp4", SIZE, FPS)
            for performance in story.events[0].performances:
                # Hollywood2's own lists say what is done and where; who does it only Celebrities in Action does.
                listed = not high_five and not others
                action = class_name(performance)
                labels = ("", "") if listed else (action, f"PLACE-{place}")
                rows.append((clip, split, performance.person, *labels))
                if listed:
                    part = "test" if split == "test" else "train"
                    sets.setdefault(f"{action}_{part}", []).append(clip)
                    sets.setdefault(f"PLACE-{place}_{'test' if split == 'test' else 'autotrain'}", []).append(clip)
    for name, clips in sets.items():
        write_text(folder / "Hollywood2" / "ClipSets" / f"{name}.txt", "".join(f"{clip}  1\n" for clip in clips))
    write_table(folder / "annotations.csv", ("clip", "split", "actor", "action", "scene"), rows)
    queried = [name for names in groups.values() for name in names]
    write_query_faces(folder, queried, counts["faces"], seed)
    write_text(folder / "people.json", json.dumps(groups, indent=1))
