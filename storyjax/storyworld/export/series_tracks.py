"""Episodes of StoryWorld's series to track people and things in, in the layout of MOTChallenge.

    train/Series-0001/{seqinfo.ini, img1/000001.jpg, gt/gt.txt}         an episode to train with, two images a second
    train/Series-8001-003/...                                           a shot of a held-out episode, five a second

Tracks keep their number throughout an episode: somebody who comes back in another shot is the same track, elsewhere and
in front of another place. Boxes are of whole figures as far as they are in the image. Classes (the eighth column of
gt.txt) are 1 for people and 2 for things. The episodes to train with have seeds and things of their own, and the people
that all networks learn from; those held out are of the series that `storyjax data series --things` writes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.export.series import held_out_episode, training_episode
from storyjax.storyworld.export.tracks_mot import encode_jpeg
from storyjax.storyworld.render.episode_video import FPS, SIZE, episode_frames, frame_count, shot_boxes
from storyjax.storyworld.render.world import make_folder, write_text
from storyjax.storyworld.story.episodes import Episode

COUNTS = {"train": 300, "held_out": 2}
PERSON, THING = 1, 2
_TRAIN_RATE, _HELD_OUT_RATE = 2, 5  # images a second
_FIRST_TRAIN, _FIRST_HELD_OUT = 1, 8001
_FIRST_NUMBER = 500_000  # of the episodes to train with; those that other networks learn from lie below


def export_series_tracks(
    directory: str | Path, counts: Mapping[str, int] | None = None, seconds: float = 60.0, seed: int = 0
) -> Path:
    """Writes `counts` episodes (train, held_out) of about `seconds`; see
    `storyjax.storyworld.export.export_once.export_once`."""
    counts = {**COUNTS, **(counts or {})}

    def write(folder: Path) -> None:
        for index in tqdm(range(counts["train"]), desc="drawing episodes", unit="episode"):
            episode = training_episode(_FIRST_NUMBER + 10_000 * seed + index, seconds, things=True)
            numbers = list(range(0, frame_count(episode), round(FPS / _TRAIN_RATE)))
            _write_sequence(folder, f"Series-{_FIRST_TRAIN + index:04d}", episode, numbers, _TRAIN_RATE)
        for index in range(counts["held_out"]):
            episode = held_out_episode(index + 1, seconds, seed, things=True)
            for shot, numbers in enumerate(_by_shot(episode, FPS // _HELD_OUT_RATE), 1):
                name = f"Series-{_FIRST_HELD_OUT + index:04d}-{shot:03d}"
                _write_sequence(folder, name, episode, numbers, _HELD_OUT_RATE)

    made_of = {"kind": "series tracks", "counts": counts, "seconds": float(seconds), "seed": seed}
    return export_once(directory, made_of, _looks(), write)


def _by_shot(episode: Episode, step: int) -> list[list[int]]:
    """The numbers of every `step`th image, by shot; shots that none is of are left out."""
    shots: dict[int, list[int]] = {}
    for number in range(0, frame_count(episode), step):
        shots.setdefault(shot_of(episode, number), []).append(number)
    return list(shots.values())


def shot_of(episode: Episode, number: int) -> int:
    """Returns which shot an image (25 a second, from 0) is of."""
    starts = np.array([shot.start for shot in episode.shots])
    return max(0, int(np.searchsorted(starts, number / FPS + 1e-6, side="right")) - 1)


def _write_sequence(folder: Path, name: str, episode: Episode, numbers: list[int], rate: int) -> None:
    place = folder / "train" / name
    for part in ("img1", "gt"):
        make_folder(place / part)
    for index, frame in enumerate(episode_frames(episode, numbers), 1):
        (place / "img1" / f"{index:06d}.jpg").write_bytes(encode_jpeg(frame))
    info = {"name": name, "imDir": "img1", "frameRate": rate, "seqLength": len(numbers)}
    info |= {"imWidth": SIZE, "imHeight": SIZE, "imExt": ".jpg"}
    write_text(place / "seqinfo.ini", "\n".join(["[Sequence]", *(f"{key}={value}" for key, value in info.items()), ""]))
    write_text(place / "gt" / "gt.txt", "".join(_truth_lines(episode, numbers)))


def _truth_lines(episode: Episode, numbers: list[int]) -> list[str]:
    """Rows by track: frame, id, box (pixels from 1), considered, class, visibility."""
    people = {figure.name for shot in episode.shots for figure in shot.figures}
    things = {placed.thing.name for shot in episode.shots for placed in shot.things}
    ids = {(kind, name): i for i, (kind, name) in enumerate(_keys(people, things), 1)}
    boxes = [shot_boxes(shot) for shot in episode.shots]
    lines = []
    for index, number in enumerate(numbers, 1):
        which = shot_of(episode, number)
        shot, (of_people, of_things) = episode.shots[which], boxes[which]
        rows = [((PERSON, f.name), box) for f, box in zip(shot.figures, of_people, strict=True)]
        rows += [((THING, p.thing.name), box) for p, box in zip(shot.things, of_things, strict=True)]
        for key, box in rows:
            left, top, right, bottom = (SIZE * v for v in box)
            box_px = f"{left + 1:.0f},{top + 1:.0f},{right - left:.0f},{bottom - top:.0f}"
            lines.append((ids[key], index, f"{index},{ids[key]},{box_px},1,{key[0]},1.00000\n"))
    return [line for _, _, line in sorted(lines)]


def _keys(people: set[str], things: set[str]) -> list[tuple[int, str]]:
    return [*((PERSON, name) for name in sorted(people)), *((THING, name) for name in sorted(things))]


def _looks() -> bytes:
    """What changes when an episode is written or drawn in another way."""
    episode = held_out_episode(1, 10.0, things=True)
    return repr(episode).encode() + b"".join(frame.tobytes() for frame in episode_frames(episode, (60, 120)))
