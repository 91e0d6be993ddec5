"""Stories on film: a folder of mp4 files, one for each seed, made when they are first asked for.

For training towers, which need stories and pictures but none of the official layouts of data sets.
"""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from storyjax.storyworld.render import render_story
from storyjax.storyworld.story import Story, tell

# Seeds of each split; a world has at most a million stories a split.
FIRST_SEED = {"train": 10_000_000, "val": 11_000_000, "test": 12_000_000}


@dataclass(frozen=True)
class Take:
    """One film: the path of its mp4 file and the story that it tells."""

    video: str
    story: Story


class Footage:
    """A random-access source of takes. Renders those that are missing, in all cores, with a progress bar."""

    def __init__(self, folder: str | Path, split: str, counts: Mapping[str, int], processes: int | None = None):
        self.seeds = range(FIRST_SEED[split], FIRST_SEED[split] + counts[split])
        self.folder = Path(folder) / split
        render_missing([(seed, self._path(seed)) for seed in self.seeds], processes=processes)

    def _path(self, seed: int) -> Path:
        return self.folder / f"{seed}.mp4"

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> Take:
        seed = self.seeds[int(index)]
        return Take(str(self._path(seed)), tell(seed))


def render_missing(jobs: Sequence[tuple[int, Path]], processes: int | None = None) -> None:
    """Renders the stories of (seed, path) pairs whose file is not there yet."""
    missing = [(seed, str(path)) for seed, path in jobs if not path.exists()]
    for folder in {os.path.dirname(path) for _, path in missing}:
        os.makedirs(folder, exist_ok=True)
    if not missing:
        return
    # Spawned, because JAX's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes or os.cpu_count(), mp_context=context) as pool:
        done = pool.map(_render, missing, chunksize=max(1, min(32, len(missing) // 16)))
        for _ in tqdm(done, total=len(missing), desc="filming StoryWorld", unit="videos"):
            pass


def _render(job: tuple[int, str]) -> None:
    seed, path = job
    render_story(tell(seed), path)
