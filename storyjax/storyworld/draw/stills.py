"""Still images with what is true of them, drawn once and kept in a folder: what a small general CLIP learns from."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.draw import personal_objects
from storyjax.storyworld.render.render import render_frames
from storyjax.storyworld.render.world import fingerprint
from storyjax.storyworld.story.population import EVERYONE
from storyjax.storyworld.story.story import Story, StoryStyle, make_story

_CAST = 4
Embed = Callable[[np.ndarray], np.ndarray]
"""Pictures (n, y, x, 3) to embeddings (n, p)."""
_FIRST_SEED = {"train": 20_000_000, "val": 21_000_000}


def shrink(frames: UInt8[np.ndarray, "n y x 3"], size: int) -> UInt8[np.ndarray, "n {size} {size} 3"]:
    """Returns the images resized to `size` x `size` (bicubic), as networks see them."""
    return np.stack([np.asarray(Image.fromarray(f).resize((size, size), Image.Resampling.BICUBIC)) for f in frames])


class _Kept:
    """Images drawn once and kept in a file whose name changes with what is in it."""

    def __init__(self, folder: str | Path, kind: str, split: str, count: int, size: int, embed: Embed):
        self.split, self.count, self.size, self._embed = split, count, size, embed
        looks = hashlib.sha256(f"{fingerprint(asked=False)} {kind} {split} {count} {size}".encode())
        looks.update(personal_objects.photographs(2, 1)[0].tobytes())
        self.path = Path(folder) / f"{kind}-{split}-{looks.hexdigest()[:12]}.npy"

    def draw(self, index: int) -> UInt8[np.ndarray, "n y x 3"]:
        """Returns the images of a row, drawn now."""
        raise TypeError("each kind of stills draws its own")

    @cached_property
    def pixels(self) -> UInt8[np.ndarray, "r n y x 3"]:
        """The images of all rows, drawn now or read from the file."""
        if not self.path.exists():
            rows = tqdm(range(self.count), desc=f"drawing stills ({self.split})", unit="rows")
            drawn = np.stack([shrink(self.draw(index), self.size) for index in rows])
            partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with partial.open("wb") as file:
                    np.save(file, drawn)
                partial.replace(self.path)
            except OSError as error:
                raise StoryjaxError(f"can't write stills to {self.path.parent}: {error.strerror}") from error
            finally:
                partial.unlink(missing_ok=True)
        return np.load(self.path, mmap_mode="r")

    def look(self) -> None:
        """Draws and embeds all stills now, rather than in a loader's threads."""
        assert len(self.embedded) == self.count

    @cached_property
    def embedded(self) -> np.ndarray:
        """The embedding of every still, (rows, n, p)."""
        rows = tqdm(range(self.count), desc=f"embedding stills ({self.split})", unit="rows")
        return np.stack([self._embed(self.pixels[index]) for index in rows])

    def __len__(self) -> int:
        return self.count


class EventStills(_Kept):
    """A still of every event of many stories about many people (none of the unseen ones)."""

    def __init__(self, folder: str | Path, split: str, count: int, size: int, embed: Embed):
        super().__init__(folder, "events", split, count, size, embed)

    @cached_property
    def stories(self) -> list[Story]:
        """The story of each row."""
        return [self._story(index) for index in range(self.count)]

    def _story(self, index: int) -> Story:
        rng = np.random.default_rng([_FIRST_SEED[self.split] + index, 0x57])
        names = [name for name, person in EVERYONE.items() if person.known]
        cast = tuple(names[i] for i in rng.permutation(len(names))[:_CAST])
        return make_story(_FIRST_SEED[self.split] + index, StoryStyle(names=cast))

    def draw(self, index: int) -> UInt8[np.ndarray, "n y x 3"]:
        """Returns the images of a row, drawn now."""
        story = self.stories[index]
        rng = np.random.default_rng([story.seed, 0x511])
        return render_frames(story, [rng.uniform(e.start + 0.1, e.end - 0.1) for e in story.events])

    def __getitem__(self, index: int) -> tuple[np.ndarray, Story]:
        """The embedded stills of a story, and the story."""
        return self.embedded[index], self.stories[index]


class ThingStills(_Kept):
    """Photographs of particular things, some to a row."""

    ROW = 16

    def __init__(self, folder: str | Path, split: str, count: int, size: int, embed: Embed):
        super().__init__(folder, "things", split, count, size, embed)

    def _seed(self, index: int) -> int:
        return _FIRST_SEED[self.split] + index

    def draw(self, index: int) -> UInt8[np.ndarray, "n y x 3"]:
        """Returns the images of a row, drawn now."""
        return personal_objects.photographs(self.ROW, self._seed(index))[0]

    @cached_property
    def scenes(self) -> list[list[personal_objects.Scene]]:
        """The scene of every photograph."""
        path = self.path.with_suffix(".scenes.json")
        if not path.exists():
            drawn = [personal_objects.photographs(self.ROW, self._seed(i), size=8)[1] for i in range(self.count)]
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{os.getpid()}.part")
            partial.write_text(json.dumps([[asdict(scene) for scene in row] for row in drawn]), "utf-8")
            partial.replace(path)
        rows = json.loads(path.read_text("utf-8"))
        return [
            [
                personal_objects.Scene(**{**scene, "subject": personal_objects.PersonalObject(**scene["subject"])})
                for scene in row
            ]
            for row in rows
        ]

    def __getitem__(self, index: int) -> tuple[np.ndarray, list[personal_objects.Scene]]:
        """The embedded photographs of a row, and what they show."""
        return self.embedded[index], self.scenes[index]
