"""A series on disk, in the layout of the thesis's evaluation files (Look, Listen and Recognise):

    video/StoryWorld/StoryWorld_01x01.mp4 ...
    csv/StoryWorld/StoryWorld_01x01.csv         start,end,speaker,transcript; seconds; no heading
    rttm/StoryWorld/StoryWorld_01x01.rttm       who speaks when
    castlist/StoryWorld/StoryWorld_01x01.txt    character,actor: who is in the episode, but for the extras

and what else comes with it, in layouts of ours:

    cast.json                                   the cast list that `storyjax subtitle` takes; photos/NAME/*.jpg
    cast_voices.json                            the same with samples of voices for photos; voices/NAME/*.wav
    transcripts/StoryWorld_01x01.txt            "Ana: ...", without times, for the annotation aid
    truth/StoryWorld_01x01.json                 lines, laughs, and who and what is in which shot (truth_of)
    questions/StoryWorld_01x01.json             questions about the episode with their answers (series_questions.py)
    things.json                                 with `things` alone: particular things of the cast; things/NAME/*.jpg
"""

import csv
import io
import json
import wave
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from storyjax.storyworld.draw.faces import photograph
from storyjax.storyworld.export.celebrities import people_to_learn
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.export.series_things import THINGS, write_things
from storyjax.storyworld.render.episode_video import (
    episode_frames,
    episode_sound,
    shot_boxes,
    write_episode_video,
)
from storyjax.storyworld.render.speech import RATE, Speaker, draw_speaker, speak
from storyjax.storyworld.render.world import make_folder, write_text
from storyjax.storyworld.story.belongings import draw_belongings, with_things
from storyjax.storyworld.story.dialogue import text_numbers
from storyjax.storyworld.story.episodes import Character, Episode, EpisodeShot, EpisodeStyle, write_episode
from storyjax.storyworld.story.series_questions import series_questions

SHOW = "StoryWorld"
# The held-out series. Its voices are no drawn ones, and two of the same base are a fifth or more apart.
CAST: tuple[Character, ...] = (
    Character("ana", Speaker("slt", 1.0)),
    Character("ben", Speaker("kal16", 0.9)),
    Character("mia", Speaker("slt", 1.2)),
    Character("leo", Speaker("rms", 1.1)),
    Character("zoe", Speaker("awb", 1.2)),
    Character("tom", Speaker("rms", 0.86)),
    Character("ada", Speaker("kal16", 1.18)),
    Character("alan", Speaker("awb", 0.92)),
)
EXTRAS: tuple[Character, ...] = (
    Character("hilda", Speaker("slt", 0.82), listed=False),
    Character("oscar", Speaker("awb", 1.05), listed=False),
    Character("ruth", Speaker("kal16", 1.04), listed=False),
)
_IN_AN_EPISODE = 5
_FIRST_SEED = {"train": 50_000_000, "test": 51_000_000}


def episode_cast(number: int) -> tuple[Character, ...]:
    """Returns who of CAST is in the episode of that number (from 1): the first three always, the others in turn."""
    others = CAST[3:]
    return CAST[:3] + tuple(others[(2 * number + i) % len(others)] for i in range(_IN_AN_EPISODE - 3))


def held_out_episode(number: int, seconds: float = 120.0, seed: int = 0, things: bool = False) -> Episode:
    """Returns an episode of the held-out series, with or without THINGS: its sentences are in no training episode."""
    style = EpisodeStyle(seconds=seconds, held_out=True)
    episode = write_episode(_FIRST_SEED["test"] + 1000 * seed + number, episode_cast(number), EXTRAS, style)
    return with_things(episode, THINGS) if things else episode


def training_episode(number: int, seconds: float = 60.0, things: bool = False) -> Episode:
    """Returns an episode to train networks on: four people and an extra with voices at random, and the training
    sentences; with `things`, six drawn at random, of which none looks like one of THINGS."""
    rng = np.random.default_rng([number, 0x7E])
    names = rng.permutation(people_to_learn())[:5]
    people = [Character(str(name), draw_speaker(rng)) for name in names]
    style = EpisodeStyle(seconds=seconds, held_out=False)
    episode = write_episode(_FIRST_SEED["train"] + number, people[:4], people[4:], style)
    if not things:
        return episode
    held_out = {replace(belonging.thing, name="") for belonging in THINGS}
    drawn = draw_belongings([c.name for c in people], 6, number)
    return with_things(episode, [each for each in drawn if replace(each.thing, name="") not in held_out])


def shown_name(name: str) -> str:
    """Returns what the character that somebody plays is called."""
    return name.capitalize()


def episode_name(number: int) -> str:
    """Returns the name of an episode's files: StoryWorld_01x01."""
    return f"{SHOW}_01x{number:02d}"


def export_series(
    directory: str | Path,
    episodes: int = 6,
    seconds: float = 120.0,
    photos: int = 5,
    seed: int = 0,
    things: bool = False,
) -> Path:
    """Writes the held-out series, with or without THINGS in its shots; see
    `storyjax.storyworld.export.export_once.export_once`."""
    counts: dict[str, Any] = {"episodes": episodes, "seconds": float(seconds), "photos": photos}
    counts |= {"things": True} if things else {}
    return export_once(
        directory,
        {"kind": "series", **counts, "seed": seed},
        _looks(seconds, seed, things),
        lambda folder: _write(folder, counts, seed),
    )


def _looks(seconds: float, seed: int, things: bool) -> bytes:
    """What changes when an episode is written, drawn or sounds in another way."""
    episode = held_out_episode(1, seconds, seed, things)
    frames = b"".join(frame.tobytes() for frame in episode_frames(episode, (60, 300)))
    listed = [character.name for character in episode_cast(1)]
    asked = json.dumps(series_questions({episode_name(1): truth_of(episode, listed)}, seed=seed))
    return (repr(episode) + asked).encode() + frames + np.round(episode_sound(episode)[:: 4 * RATE] * 1000).tobytes()


def _write(folder: Path, counts: Mapping[str, Any], seed: int) -> None:
    episodes, truths, things = {}, {}, bool(counts.get("things"))
    for number in tqdm(range(1, counts["episodes"] + 1), desc="rendering episodes", unit="episode"):
        episode, name = held_out_episode(number, counts["seconds"], seed, things), episode_name(number)
        listed = [c.name for c in episode_cast(number)]
        episodes[name] = [shown_name(n) for n in listed]
        make_folder(folder / "video" / SHOW)
        write_episode_video(episode, folder / "video" / SHOW / f"{name}.mp4")
        write_annotations(folder, name, episode, listed)
        truths[name] = truth_of(episode, listed)
    make_folder(folder / "questions")
    for name, questions in series_questions(truths, seed=seed).items():
        write_text(folder / "questions" / f"{name}.json", json.dumps(questions, indent=1, ensure_ascii=False))
    _write_cast(folder, episodes, counts["photos"], seed)
    if things:
        write_things(folder, counts["photos"], seed)


def write_annotations(folder: Path, name: str, episode: Episode, listed: Sequence[str]) -> None:
    """Writes the CSV, RTTM, cast list, transcript and truth of an episode."""
    lines = sorted(episode.lines, key=lambda line: line.start)
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    for line in lines:
        writer.writerow((f"{line.start:.2f}", f"{line.end:.2f}", shown_name(line.speaker), line.text))
    rttm = "".join(
        f"SPEAKER {name} 1 {line.start:.2f} {line.end - line.start:.2f} <NA> <NA> {shown_name(line.speaker)}"
        " <NA> <NA>\n"
        for line in lines
    )
    files = {
        f"csv/{SHOW}/{name}.csv": table.getvalue(),
        f"rttm/{SHOW}/{name}.rttm": rttm,
        f"castlist/{SHOW}/{name}.txt": "".join(f"{shown_name(n)},{n}\n" for n in listed),
        f"transcripts/{name}.txt": "".join(f"{shown_name(line.speaker)}: {line.text}\n" for line in lines),
        f"truth/{name}.json": json.dumps(truth_of(episode, listed), indent=1),
    }
    for path, text in files.items():
        make_folder((folder / path).parent)
        write_text(folder / path, text)


def truth_of(episode: Episode, listed: Sequence[str]) -> dict[str, Any]:
    """Returns what is true of an episode, as JSON has it; times are seconds.

    lines: [{start, end, speaker, listed, visible, text}]; laughs: [[start, end]]; shots: [{start, end, place, people:
    [{name, listed, box}], things: [{name, category, owner, box}]}]. Boxes (left, top, right, bottom, fractions of the
    image, of whole figures as far as they are in it) hold throughout their shot (`shot_boxes`). Names are those of the
    cast list; whom it does not list has a name too.
    """
    lines = [
        {
            "start": round(line.start, 3),
            "end": round(line.end, 3),
            "speaker": shown_name(line.speaker),
            "listed": line.speaker in listed,
            "visible": line.visible,
            "text": line.text,
        }
        for line in sorted(episode.lines, key=lambda line: line.start)
    ]
    laughs = [[round(noise.start, 3), round(noise.end, 3)] for noise in episode.laughs]
    return {"lines": lines, "laughs": laughs, "shots": [_true_shot(shot, listed) for shot in episode.shots]}


def _true_shot(shot: EpisodeShot, listed: Sequence[str]) -> dict[str, Any]:
    people, things = ([[round(v, 4) for v in box] for box in boxes] for boxes in shot_boxes(shot))
    return {
        "start": round(shot.start, 3),
        "end": round(shot.end, 3),
        "place": shot.place,
        "people": [
            {"name": shown_name(figure.name), "listed": figure.name in listed, "box": box}
            for figure, box in zip(shot.figures, people, strict=True)
        ],
        "things": [
            {
                "name": shown_name(placed.thing.name),
                "category": placed.thing.kind,
                "owner": shown_name(placed.owner),
                "box": box,
            }
            for placed, box in zip(shot.things, things, strict=True)
        ],
    }


def _write_cast(folder: Path, episodes: Mapping[str, Sequence[str]], photos: int, seed: int) -> None:
    by_face, by_voice = [], []
    sentences = list(text_numbers(held_out=False)[0])
    for index, character in enumerate(CAST):
        rng = np.random.default_rng([seed, index, 0xCA57])
        name, files = shown_name(character.name), []
        for number in range(1, photos + 1):
            path = folder / "photos" / name / f"{number}.jpg"
            make_folder(path.parent)
            Image.fromarray(photograph(character.name, rng)[0]).save(path, quality=92)
            files.append(str(path.relative_to(folder)))
        by_face.append({"name": name, "actor": character.name, "photos": files})
        samples = []
        for number, saying in enumerate(rng.choice(sentences, 3, replace=False), 1):
            path = folder / "voices" / name / f"{number}.wav"
            make_folder(path.parent)
            write_wav(path, speak(character.voice, int(saying)))
            samples.append(str(path.relative_to(folder)))
        by_voice.append({"name": name, "voices": samples})
    for file, cast in (("cast.json", by_face), ("cast_voices.json", by_voice)):
        write_text(folder / file, json.dumps({"cast": cast, "episodes": dict(episodes)}, indent=1))


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    """Mono sound of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.round(samples * 32767), -32768, 32767).astype("<i2").tobytes())
