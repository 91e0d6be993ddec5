"""StoryWorld in the official layouts of thesis Ch. 3's data sets, NExT-QA's apart (nextqa.py).

| writer | layout | what it is here |
|---|---|---|
| `export_yttemporal` | YT-Temporal-1B | videos, and a sentence for every event at its time |
| `export_egoschema` | EgoSchema, Ego4D narrations | videos with one question each; others with tagged narrations |
| `export_ego4d` | Ego4D LTA, MQ, NLQ | routines (routines.py): their actions, moments, and questions for when |
| `export_msrvtt` | MSR-VTT | clips of one event with several captions |
| `export_kinetics` | Kinetics-400 | clips of one person doing one thing |
| `export_countix` | Countix | clips in which a movement is made so many times; all equally long |

The readers are those of the real data sets (storyjax/data/builders/). Splits share no story.
"""

import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.export.celebrities import write_table
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.render.render import encode_mp4, render_frames, render_story
from storyjax.storyworld.render.world import make_folder, render_missing, write_text
from storyjax.storyworld.story.language import clause, sentence, verb_phrase
from storyjax.storyworld.story.questions import questions
from storyjax.storyworld.story.routines import action, routine
from storyjax.storyworld.story.story import Event, Story, StoryStyle, make_story

SIZE = 96
_FIRST_SEED = 200_000_000  # beyond those of NExT-QA's worlds
_ROOM = 1_000_000
SPLITS = ("train", "val", "test")
SHORT = StoryStyle(events=10, scenes=2, mishaps=1)  # half a minute


def seeds(split: str, count: int, kind: int = 0) -> range:
    """Returns the seeds of a split's stories; kinds and splits share none."""
    if not 0 < count <= _ROOM:
        raise StoryjaxError(f"a split of StoryWorld has 1 to {_ROOM} stories, not {count}")
    first = _FIRST_SEED + (len(SPLITS) * kind + SPLITS.index(split)) * _ROOM
    return range(first, first + count)


def _export(
    directory: str | Path,
    kind: str,
    counts: Mapping[str, int],
    write: Callable[[Path], None],
    layout: bytes = b"",
    **more: Any,
) -> Path:
    """`layout`: bytes that change with the files of this kind, so that a world of older files is made anew."""
    if not counts:
        raise StoryjaxError(f"no split of {kind} is to have any story: give at least one")
    unknown = [split for split in counts if split not in SPLITS]
    if unknown:
        raise StoryjaxError(f"StoryWorld has no split '{unknown[0]}', only {', '.join(SPLITS)}")
    return export_once(directory, {"kind": kind, **counts, **more}, _looks() + layout, write)


def _looks() -> bytes:
    """Bytes that change when videos are planned or drawn differently."""
    return render_frames(make_story(1), [1.0, 20.0], 48).tobytes() + repr(routine(1)).encode()


def _dump(path: Path, content: Any) -> None:
    make_folder(path.parent)
    write_text(path, json.dumps(content, indent=0))


def clip(story: Story, times: list[float], path: Path, fps: int) -> None:
    """Writes the moments of a story at `times` (seconds) as a video of its own."""
    make_folder(path.parent)
    encode_mp4(iter(render_frames(story, times, SIZE)), path, SIZE, fps)


def export_yttemporal(
    directory: str | Path, counts: Mapping[str, int], style: StoryStyle = SHORT, fps: int = 4
) -> Path:
    """Writes videos with sentences for their events; every fourth video lies in a tar shard."""

    def write(folder: Path) -> None:
        make_folder(folder / "asr")
        make_folder(folder / "shards")
        for split, count in counts.items():
            stories = [make_story(seed, style) for seed in seeds(split, count)]
            render_missing([(s.seed, folder / "videos" / f"sw{s.seed}.mp4") for s in stories], style, SIZE, fps)
            write_table(
                folder / f"yttemporal1b_ids_{split}.csv", ("video_id",), [(f"sw{story.seed}",) for story in stories]
            )
            lines = [json.dumps(_spoken(story)) for story in stories]
            write_text(folder / "asr" / f"{split}.jsonl", "\n".join(lines) + "\n")
            with tarfile.open(folder / "shards" / f"{split}-00000.tar", "w") as shard:
                for story in stories[::4]:
                    path = folder / "videos" / f"sw{story.seed}.mp4"
                    shard.add(path, path.name)
                    path.unlink()

    return _export(directory, "yttemporal", counts, write, fps=fps, style=asdict(style))


def _spoken(story: Story) -> dict[str, Any]:
    return {
        "video_id": f"sw{story.seed}",
        "start": [round(event.start, 2) for event in story.events],
        "end": [round(event.end, 2) for event in story.events],
        "text": [sentence(event) for event in story.events],
    }


def export_egoschema(directory: str | Path, counts: Mapping[str, int], style: StoryStyle = SHORT, fps: int = 4) -> Path:
    """Writes `counts["train"]` videos with narrations, and `counts["test"]` with a question each.

    Every fifth answer is not public; the first narrated video is one of the excluded, of the second all
    narrations are unsure; uid_to_ego4d.json says that all questions are about the first.
    """

    for split in ("train", "test"):
        if split not in counts:
            raise StoryjaxError(f"egoschema has videos with narrations (train) or questions (test): give '{split}'")

    def write(folder: Path) -> None:
        asked = [make_story(seed, style) for seed in seeds("test", counts["test"], 1)]
        render_missing([(s.seed, folder / "videos" / f"{s.seed}.mp4") for s in asked], style, SIZE, fps)
        rows, answers = [], {}
        for number, story in enumerate(asked):
            every = questions(story)
            chosen = every[number % len(every)]
            options = {f"option {i}": option for i, option in enumerate(chosen.options)}
            rows.append({"q_uid": str(story.seed), "question": chosen.question, **options})
            if number % 5 != 4:
                answers[str(story.seed)] = chosen.answer
        _dump(folder / "questions.json", rows)
        _dump(folder / "subset_answers.json", answers)
        narrated_stories = [make_story(seed, style) for seed in seeds("train", counts["train"], 1)]
        render_missing([(s.seed, folder / "full_scale" / f"{s.seed}.mp4") for s in narrated_stories], style, SIZE, fps)
        narrated = {
            str(story.seed): _narrated(story, unsure=number == 1) for number, story in enumerate(narrated_stories)
        }
        _dump(folder / "annotations" / "narration.json", {"version": "2.0", "videos": narrated})
        source = {"video_uid": str(narrated_stories[0].seed), "starting_sec": 0, "ending_sec": 180}
        _dump(folder / "uid_to_ego4d.json", dict.fromkeys([row["q_uid"] for row in rows] or ["-"], source))

    return _export(directory, "egoschema", counts, write, b"uid_to_ego4d", fps=fps, style=asdict(style))


def _narrated(story: Story, unsure: bool) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for event in story.events:
        # Whom the camera follows (the lead) is C, others are O.
        for tag, performance in zip(("#C", "#O"), event.performances, strict=False):
            rows.append({"timestamp_sec": round(event.start, 2), "narration_text": f"{tag} {clause(performance)}"})
    summaries: list[dict[str, Any]] = [
        {"start_sec": round(e.start, 2), "end_sec": round(e.end, 2), "summary_text": f"#summary {sentence(e)}"}
        for e in story.events
    ]
    if unsure:
        for row in rows:
            row["narration_text"] += " #unsure"
        for row in summaries:
            row["summary_text"] += " #unsure"
    return {"narration_pass_1": {"narrations": rows, "summaries": summaries}}


def export_ego4d(directory: str | Path, counts: Mapping[str, int], version: str = "2.0", fps: int = 4) -> Path:
    """Writes routines with the annotations of all three challenges. Every fifth clip is only in its whole video."""

    def write(folder: Path) -> None:
        verbs, nouns = set(), set()
        for split, count in counts.items():
            stories = [routine(seed) for seed in seeds(split, count, 2)]
            for number, story in enumerate(stories):
                place = ("full_scale", f"film-{story.seed}") if number % 5 == 4 else ("clips", f"clip-{story.seed}")
                make_folder(folder / place[0])
                render_story(story, folder / place[0] / f"{place[1]}.mp4", SIZE, fps)
            actions = [row for story in stories for row in _actions(story)]
            verbs |= {row["verb"] for row in actions}
            nouns |= {row["noun"] for row in actions}
            head = {"version": version, "split": split}
            _dump(folder / "annotations" / f"fho_lta_{split}.json", {**head, "clips": actions})
            moments = [_annotated_video(story, {"labels": _moments(story)}) for story in stories]
            _dump(folder / "annotations" / f"moments_{split}.json", {**head, "videos": moments})
            asked = [_annotated_video(story, {"language_queries": _asked(story)}) for story in stories]
            _dump(folder / "annotations" / f"nlq_{split}.json", {**head, "videos": asked})
        _dump(folder / "annotations" / "fho_lta_taxonomy.json", {"verbs": sorted(verbs), "nouns": sorted(nouns)})

    return _export(directory, "ego4d", counts, write, version=version, fps=fps)


def _actions(story: Story) -> list[dict[str, Any]]:
    rows = []
    for index, event in enumerate(story.events):
        verb, noun = action(event.lead, event.place)
        rows.append(
            {
                "clip_uid": f"clip-{story.seed}",
                "video_uid": f"film-{story.seed}",
                "clip_parent_start_sec": 0.0,
                "clip_parent_end_sec": story.duration,
                "action_idx": index,
                "action_clip_start_sec": event.start,
                "action_clip_end_sec": event.end,
                "verb": verb,
                "noun": noun,
            }
        )
    return rows


def _annotated_video(story: Story, annotations: dict[str, Any]) -> dict[str, Any]:
    clip = {
        "clip_uid": f"clip-{story.seed}",
        "video_start_sec": 0.0,
        "video_end_sec": story.duration,
        "clip_start_sec": 0.0,
        "clip_end_sec": story.duration,
        "annotations": [annotations],
    }
    return {"video_uid": f"film-{story.seed}", "clips": [clip]}


def _moments(story: Story) -> list[dict[str, Any]]:
    return [
        {
            "start_time": event.start,
            "end_time": event.end,
            "label": verb_phrase(event.lead, "gerund").replace(" ", "_"),
            "primary": True,
        }
        for event in story.events
    ]


def _asked(story: Story) -> list[dict[str, Any]]:
    """When somebody did something first; only its first time is an answer."""
    asked: dict[str, Event] = {}
    for event in story.events:
        asked.setdefault(f"when did {event.lead.person} first {verb_phrase(event.lead, 'base')} ?", event)
    return [{"query": text, "clip_start_sec": event.start, "clip_end_sec": event.end} for text, event in asked.items()]


def _alone(split: str, count: int, kind: int) -> list[tuple[Story, Event]]:
    """`count` ordinary events with one performer, each of another story."""
    found: list[tuple[Story, Event]] = []
    for seed in seeds(split, _ROOM, kind):
        if len(found) == count:
            break
        story = make_story(seed, SHORT)
        alone = [event for event in story.events if event.role == "neutral" and len(event.performances) == 1]
        if alone:
            found.append((story, alone[seed % len(alone)]))
    return found


def export_msrvtt(directory: str | Path, counts: Mapping[str, int], fps: int = 4) -> Path:
    """Writes clips of one event with up to four captions."""

    def write(folder: Path) -> None:
        videos, captions = [], []
        for split, count in counts.items():
            for story, event in _alone(split, count, 3):
                name = f"video{story.seed}"
                times = list(np.arange(event.start, event.end - 1e-6, 1 / fps))
                clip(story, times, folder / ("TestVideo" if split == "test" else "TrainValVideo") / f"{name}.mp4", fps)
                videos.append({"video_id": name, "split": {"val": "validate"}.get(split, split)})
                said = clause(event.lead)
                ways = (
                    sentence(event),
                    f"{said} .",
                    f"in the {event.place} {said} .",
                    f"{said} in the {event.place} .",
                )
                captions += [{"video_id": name, "caption": way} for way in dict.fromkeys(ways)]
        for name, official in (("train_val", ("train", "validate")), ("test", ("test",))):
            kept = [video for video in videos if video["split"] in official]
            ids = {video["video_id"] for video in kept}
            table = {"videos": kept, "sentences": [row for row in captions if row["video_id"] in ids]}
            _dump(folder / f"{name}_videodatainfo.json", table)

    return _export(directory, "msrvtt", counts, write, fps=fps)


def export_kinetics(directory: str | Path, counts: Mapping[str, int], fps: int = 8) -> Path:
    """Writes clips of somebody doing one thing; its name in the gerund, "kicking the ball", is the label."""

    def write(folder: Path) -> None:
        make_folder(folder / "annotations")
        for split, count in counts.items():
            rows = []
            for story, event in _alone(split, count, 4):
                name = f"sw{story.seed}"
                times = list(np.arange(event.start, event.end - 1e-6, 1 / fps))
                clip(story, times, folder / split / f"{name}_000000_000010.mp4", fps)
                rows.append((verb_phrase(event.lead, "gerund"), name, 0, 10, split))
            columns = ("label", "youtube_id", "time_start", "time_end", "split")
            write_table(folder / "annotations" / f"{split}.csv", columns, rows)

    return _export(directory, "kinetics", counts, write, fps=fps)


def export_countix(
    directory: str | Path, counts: Mapping[str, int], seconds: float = 8.0, most: int = 8, fps: int = 8
) -> Path:
    """Writes clips of `seconds` in which somebody repeats a movement 2 to `most` times.

    A movement of StoryWorld takes a second; the story's time runs faster or slower so that as many fit in as are asked
    for. All clips are equally long, so the count is not to be had from the length.
    """

    def write(folder: Path) -> None:
        for split, count in counts.items():
            rows = []
            for number, (story, event) in enumerate(_alone(split, count, 5)):
                times = int(np.random.default_rng([story.seed, number]).integers(2, most + 1))
                shown = np.arange(round(seconds * fps)) / fps
                # Whole movements of the event, over and over.
                whole = max(1.0, np.floor(event.end - np.ceil(event.start)))
                moments = np.ceil(event.start) + (shown * times / seconds) % whole
                name = f"sw{story.seed}"
                clip(story, list(moments), folder / split / f"{name}_000000_{round(seconds):06d}.mp4", fps)
                rows.append((name, verb_phrase(event.lead, "gerund"), 0, seconds, 0, seconds, times))
            columns = (
                "video_id",
                "class",
                "kinetics_start",
                "kinetics_end",
                "repetition_start",
                "repetition_end",
                "count",
            )
            write_table(folder / f"countix_{split}.csv", columns, rows)

    return _export(directory, "countix", counts, write, fps=fps, seconds=seconds, most=most)


EXPORTS: dict[str, Callable[[str | Path, Mapping[str, int]], Path]] = {
    "yttemporal": export_yttemporal,
    "egoschema": export_egoschema,
    "ego4d": export_ego4d,
    "msrvtt": export_msrvtt,
    "kinetics": export_kinetics,
    "countix": export_countix,
}
