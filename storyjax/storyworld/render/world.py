"""A world on disk: many stories rendered by several processes, and what says that a folder holds exactly this world.

Rendering runs in processes of its own, started afresh: a program that has set up JAX, or whose main module lacks an
import guard, may call it at any time, and the workers import neither.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

import storyjax
from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.render.render import render_frames, render_story
from storyjax.storyworld.story.questions import questions
from storyjax.storyworld.story.story import StoryStyle, make_story

Job = tuple[int, Path]
"""A story's seed and where its video goes."""

_CANARIES = range(4)  # seeds of the stories that show whether tales, questions or looks have changed


def render_missing(
    jobs: Sequence[Job],
    style: StoryStyle | None = None,
    size: int = 96,
    fps: int = 4,
    processes: int | None = None,
    progress: bool = True,
) -> int:
    """Renders the stories whose videos are not there yet, and returns how many those were.

    `size` in pixels, `fps` in frames per second; `processes` None means one for each core. A video appears whole or not
    at all, so that a later call goes on where a killed one stopped. Raises StoryjaxError where one can't be written.
    """
    missing = [(seed, path) for seed, path in jobs if not path.exists()]
    if not missing:
        return 0
    style = style or StoryStyle()
    for folder in {path.parent for _, path in missing}:
        make_folder(folder)
    # A process takes about half a second to start, a story a tenth to render.
    processes = max(1, min(processes or os.cpu_count() or 1, len(missing) // 8))
    done = (
        _render_here(missing, style, size, fps)
        if processes == 1
        else _render_apart(missing, style, size, fps, processes)
    )
    try:
        for _ in tqdm(done, total=len(missing), desc="rendering stories", unit="video", disable=not progress):
            pass
    except OSError as error:
        raise StoryjaxError(f"can't write the videos of stories to {missing[0][1].parent}: {error}") from error
    return len(missing)


def _render_here(jobs: Sequence[Job], style: StoryStyle, size: int, fps: int) -> Iterator[int]:
    """Renders one after another and yields the seeds."""
    for seed, path in jobs:
        render_story(make_story(seed, style), path, size, fps)
        yield seed


def _render_apart(jobs: Sequence[Job], style: StoryStyle, size: int, fps: int, processes: int) -> Iterator[int]:
    """Deals the jobs out to processes and yields the seeds in the order in which they are done."""
    root = str(Path(storyjax.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    reading, writing = os.pipe()
    workers = []
    with tempfile.TemporaryFile("w+") as complaints, os.fdopen(reading) as finished:
        try:
            for first in range(processes):
                worker = subprocess.Popen(
                    [sys.executable, "-m", "storyjax.storyworld.render.world"],
                    stdin=subprocess.PIPE,
                    stdout=writing,
                    stderr=complaints,
                    env=environment,
                    text=True,
                )
                workers.append(worker)
                dealt = [[seed, str(path)] for seed, path in jobs[first::processes]]
                assert worker.stdin is not None
                with worker.stdin:
                    json.dump({"style": asdict(style), "size": size, "fps": fps, "jobs": dealt}, worker.stdin)
        finally:
            os.close(writing)  # the workers' ends alone keep the pipe open: it ends when all of them have
        try:
            for line in finished:
                yield int(line)
            codes = [worker.wait() for worker in workers]
            if any(codes):
                complaints.seek(0)
                lines = complaints.read().strip().splitlines() or ["a rendering process was killed"]
                raise OSError(lines[-1])
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def _work() -> int:
    """What a rendering process does: reads its jobs from standard input and says on standard output which are done."""
    order = json.load(sys.stdin)
    style: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in order["style"].items()
    }
    jobs = [(seed, Path(path)) for seed, path in order["jobs"]]
    try:
        for seed in _render_here(jobs, StoryStyle(**style), order["size"], order["fps"]):
            os.write(1, f"{seed}\n".encode())  # at one go: the processes share a pipe
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def fingerprint(style: StoryStyle | None = None, size: int = 96, asked: bool = True) -> str:
    """Returns a name that changes when stories of this style would be planned, drawn or (if `asked`) questioned
    differently."""
    digest = hashlib.sha256()
    for seed in _CANARIES:
        story = make_story(seed, style)
        digest.update(repr((story, questions(story) if asked else ())).encode())
        digest.update(render_frames(story, [(e.start + e.end) / 2 for e in story.events], size).tobytes())
    return digest.hexdigest()[:16]


def make_folder(folder: Path) -> None:
    """Makes a folder with its parents; a StoryjaxError says why where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoryjaxError(f"can't make the folder {folder}: {error.strerror}; choose another one") from error


def write_text(path: Path, text: str) -> None:
    """Writes a file so that it appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StoryjaxError(f"can't write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(_work())
