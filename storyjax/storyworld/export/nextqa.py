"""StoryWorld in the official layout of NExT-QA, so that the very same builder reads it as reads the real thing.

    train.csv val.csv test.csv      one line a question: video,frame_count,width,height,question,answer,qid,type,a0,…,a4
    map_vid_vidorID.json            {video: "folder/vidorid"}
    NExTVideo/folder/vidorid.mp4    the videos
    stories/video.json              StoryWorld's own: the true events, and the questions with their evidence
    manifest.json                   StoryWorld's own, written last: what this world is made of

`frame_count`, `width` and `height` are those of the video; `answer` is 0-based; `qid` counts a video's questions.
"""

import csv
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.storyworld.export.export_once import export_to_bucket
from storyjax.storyworld.render.render import frame_times
from storyjax.storyworld.render.world import fingerprint, make_folder, render_missing, write_text
from storyjax.storyworld.story.questions import OPTIONS, Question, questions
from storyjax.storyworld.story.story import Story, StoryStyle, make_story

COLUMNS = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type", "a0", "a1", "a2", "a3", "a4")
SPLITS = ("train", "val", "test")
STORIES = {"train": 600, "val": 100, "test": 100}

_MOST = 1_000_000  # stories a split: the room between the first seeds of two splits
_FIRST_SEED = 100_000_000  # beyond the seeds of the videos that embedded networks are trained on


def export_nextqa(
    directory: str | Path,
    counts: Mapping[str, int] | None = None,
    seed: int = 0,
    style: StoryStyle | None = None,
    size: int = 96,
    fps: int = 4,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes a world of `counts` (split -> how many stories) into a directory, and returns the directory.

    Splits and seeds have no story in common. A world that is there already is left as it is; one whose making was cut
    short is completed; one that this version would plan or draw differently is made anew. Raises StoryjaxError where
    the directory holds something else.
    """
    directory = place(directory)
    counts = dict(STORIES if counts is None else counts)
    _check(counts)
    style = style or StoryStyle()
    parameters = {"stories": counts, "seed": seed, "style": asdict(style), "size": size, "fps": fps}
    manifest = json.loads(json.dumps({"parameters": parameters, "fingerprint": fingerprint(style, size)}))
    if _found(directory, manifest):
        return directory
    if isinstance(directory, BucketPath):
        more = (counts, seed, style, size, fps, processes, progress)
        export_to_bucket(directory, manifest, lambda local: export_nextqa(local, *more))
        return directory

    make_folder(directory)
    (directory / "manifest.json").unlink(missing_ok=True)
    write_text(directory / "begun.json", json.dumps(manifest, indent=1))
    seeds = {split: story_seeds(split, count, seed) for split, count in counts.items()}
    jobs = [(s, directory / "NExTVideo" / f"{_vidor(s)}.mp4") for split in seeds for s in seeds[split]]
    render_missing(jobs, style, size, fps, processes, progress)
    make_folder(directory / "stories")
    for split in seeds:
        made = [make_story(s, style) for s in seeds[split]]
        _write_split(directory, split, made, size, fps)
    paths = {str(s): _vidor(s) for split in seeds for s in seeds[split]}
    write_text(directory / "map_vid_vidorID.json", json.dumps(paths, indent=0))
    for partial in directory.rglob(".*.part"):  # left behind by a process that was killed
        partial.unlink(missing_ok=True)
    write_text(directory / "manifest.json", json.dumps(manifest, indent=1))
    (directory / "begun.json").unlink(missing_ok=True)
    return directory


def story_seeds(split: str, count: int, seed: int = 0) -> range:
    """Returns the seeds of a split's stories; splits share none, within a world or with another `seed`."""
    first = _FIRST_SEED + (len(SPLITS) * seed + SPLITS.index(split)) * _MOST
    return range(first, first + count)


def _check(counts: dict[str, int]) -> None:
    for split, count in counts.items():
        if split not in SPLITS:
            raise StoryjaxError(
                f"stories: there is no split '{split}', only {', '.join(SPLITS)}.{nearest(split, SPLITS)}"
            )
        if not 0 < count <= _MOST:
            raise StoryjaxError(f"stories: split '{split}' should have 1 to {_MOST} stories, not {count}")


def _found(directory: Path, manifest: dict[str, Any]) -> bool:
    """Whether the directory holds the finished world already. Clears away one that would now look different."""
    finished, begun = (_read(directory / name) for name in ("manifest.json", "begun.json"))
    present = finished or begun
    if present is None:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StoryjaxError(f"{directory} holds something else than StoryWorld; choose an empty or a new directory")
        return False
    there, wanted = present.get("parameters", {}), manifest["parameters"]
    differing = [name for name in wanted if there.get(name) != wanted[name]]
    if differing:
        differences = ", ".join(f"{name} {there.get(name)} instead of {wanted[name]}" for name in differing)
        raise StoryjaxError(
            f"{directory} holds another StoryWorld ({differences}); delete it or choose another directory"
        )
    if present["fingerprint"] != manifest["fingerprint"]:
        shutil.rmtree(directory / "NExTVideo", ignore_errors=True)
        return False
    return finished is not None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "fingerprint" in found else None


def _vidor(story_seed: int) -> str:
    """Where a video lies under NExTVideo, a thousand to a folder. The real ids differ from the videos' names too."""
    return f"{(story_seed - _FIRST_SEED) // 1000:04d}/{2_000_000_000 + story_seed}"


def _write_split(directory: Path, split: str, stories: list[Story], size: int, fps: int) -> None:
    """Writes the questions and the ground truth of a split."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for story in stories:
        asked = questions(story)
        frames = len(frame_times(story, fps))
        for qid, q in enumerate(asked):
            assert len(q.options) == OPTIONS, "NExT-QA has five options to a question"
            writer.writerow((story.seed, frames, size, size, q.question, q.answer, qid, q.type, *q.options))
        write_text(directory / "stories" / f"{story.seed}.json", json.dumps(_truth(story, asked), indent=1))
    write_text(directory / f"{split}.csv", table.getvalue())


def _truth(story: Story, asked: list[Question]) -> dict[str, Any]:
    """All that is true of a story, for tests and for looking things up."""
    return {**asdict(story), "cast": [person.name for person in story.cast], "questions": [asdict(q) for q in asked]}
