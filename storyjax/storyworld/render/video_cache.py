"""Videos of stories: a folder of mp4 files, one for each seed, rendered when they are first asked for.

For training the embedded networks, which need stories and their videos but none of the official layouts of data sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from storyjax.storyworld.render.render import render_story
from storyjax.storyworld.render.world import fingerprint, make_folder, render_missing
from storyjax.storyworld.story.routines import routine
from storyjax.storyworld.story.story import Story, make_story

# Seeds of each split; a world has at most a million stories a split.
FIRST_SEED = {"train": 10_000_000, "val": 11_000_000, "test": 12_000_000}
FIRST_ROUTINE = {"train": 13_000_000, "val": 14_000_000}


@dataclass(frozen=True)
class StoryVideo:
    """The path of an mp4 file, and the story that it shows."""

    video: str
    story: Story


class StoryVideoCache:
    """A random-access source of StoryVideos. Those that are missing are rendered on all cores, with a progress bar."""

    def __init__(self, folder: str | Path, split: str, counts: Mapping[str, int], processes: int | None = None):
        self.seeds = range(FIRST_SEED[split], FIRST_SEED[split] + counts[split])
        # A world that is planned or drawn in another way gets a folder of its own, so that no video is out of date.
        self.folder = Path(folder) / fingerprint(asked=False) / split
        render_missing([(seed, self._path(seed)) for seed in self.seeds], processes=processes)

    def _path(self, seed: int) -> Path:
        return self.folder / f"{seed}.mp4"

    def _story(self, seed: int) -> Story:
        return make_story(seed)

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> StoryVideo:
        seed = self.seeds[int(index)]
        return StoryVideo(str(self._path(seed)), self._story(seed))


class RoutineVideoCache(StoryVideoCache):
    """Videos of routines (routines.py)."""

    def __init__(self, folder: str | Path, split: str, count: int):
        self.seeds = range(FIRST_ROUTINE[split], FIRST_ROUTINE[split] + count)
        self.folder = Path(folder) / fingerprint(asked=False) / f"routines_{split}"
        make_folder(self.folder)
        missing = [seed for seed in self.seeds if not self._path(seed).exists()]
        for seed in tqdm(missing, desc="rendering routines", unit="video", disable=not missing):
            render_story(self._story(seed), self._path(seed))

    def _story(self, seed: int) -> Story:
        return routine(seed)
