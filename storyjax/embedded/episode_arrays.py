"""Episodes of StoryWorld as arrays to train on: rendered once into a folder, then memory-mapped from there.

sound_0000.npy     int16 (n,), 16 kHz
pictures_0000.npy  uint8 (t, y, x, 3), 25 a second
facts_0000.json    lines with who says them, whether and where they are seen; laughs; seconds
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16, UInt8
from tqdm import tqdm

from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.export.series import held_out_episode, training_episode
from storyjax.storyworld.render.episode_video import FPS, episode_frames, episode_sound
from storyjax.storyworld.story.episodes import Episode


@dataclass(frozen=True)
class EpisodeData:
    """Which episodes, and where they are rendered to.

    Attributes:
        cache_dir: the folder of "train" and "test".
        train_episodes, test_episodes: how many of each; those of "test" have other people, voices and sentences.
        episode_seconds: about how long each is.
        image_size: of the images, in pixels.
    """

    cache_dir: str = "runs/storyworld/episodes"
    train_episodes: int = 24
    test_episodes: int = 4
    episode_seconds: float = 60.0
    image_size: int = 64

    def count(self, split: str) -> int:
        """Returns the number of episodes of a split, "train" or "test"."""
        return self.train_episodes if split == "train" else self.test_episodes


def _episode(split: str, number: int, seconds: float) -> Episode:
    if split == "train":
        return training_episode(number, seconds)
    # Of a seed of their own, so that they are not the episodes that the pipeline is measured on.
    return held_out_episode(number + 1, seconds, seed=7)


def _facts(episode: Episode) -> dict[str, Any]:
    lines = []
    for line in episode.lines:
        middle = (line.start + line.end) / 2
        shot = next((shot for shot in episode.shots if shot.start <= middle < shot.end), None)
        figure = next((f for f in shot.figures if f.name == line.speaker), None) if shot else None
        lines.append(
            {
                "start": line.start,
                "end": line.end,
                "speaker": line.speaker,
                "shot": [shot.start, shot.end] if shot else None,
                # Fractions of the image: where the head is (row, column), and how large a person's unit is.
                "head": [figure.y, figure.x, figure.unit] if figure else None,
            }
        )
    return {"lines": lines, "laughs": [[noise.start, noise.end] for noise in episode.laughs], "fps": FPS}


def _write(folder: Path, split: str, data: EpisodeData) -> None:
    for number in tqdm(range(data.count(split)), desc=f"rendering {split} episodes", unit="episode"):
        episode = _episode(split, number, data.episode_seconds)
        sound = np.clip(np.round(episode_sound(episode) * 32767), -32768, 32767).astype(np.int16)
        np.save(folder / f"sound_{number:04d}.npy", sound)
        images = np.stack(list(episode_frames(episode, size=data.image_size)))
        np.save(folder / f"pictures_{number:04d}.npy", images)
        (folder / f"facts_{number:04d}.json").write_text(json.dumps(_facts(episode)))


class Episodes:
    """The episodes of a split, "train" or "test", rendered when they are first asked for.

    Raises:
        StoryjaxError: the folder cannot be written, or holds something else.
    """

    def __init__(self, data: EpisodeData, split: str) -> None:
        count, seconds, size = data.count(split), data.episode_seconds, data.image_size
        # The names of version 0.1: what it rendered is found again.
        parameters = {"split": split, "episodes": count, "seconds": seconds, "side": size}
        first = _episode(split, 0, seconds)
        shown = b"".join(frame.tobytes() for frame in episode_frames(first, (60, 300), size))
        looks = shown + np.round(episode_sound(first)[::64_000] * 1000).tobytes()
        self._folder = export_once(
            Path(data.cache_dir) / split, parameters, looks, lambda folder: _write(folder, split, data)
        )
        self._count = count

    def __len__(self) -> int:
        return self._count

    @functools.lru_cache(maxsize=256)  # noqa: B019 (a data set lives as long as its run)
    def facts(self, number: int) -> dict[str, Any]:
        """Returns what is known of an episode, as the module describes facts_0000.json."""
        return json.loads((self._folder / f"facts_{number:04d}.json").read_text())

    @functools.lru_cache(maxsize=256)  # noqa: B019
    def _mapped(self, name: str, number: int) -> np.ndarray:
        return np.load(self._folder / f"{name}_{number:04d}.npy", mmap_mode="r")

    def sound(self, number: int, first: int, last: int) -> Float32[np.ndarray, " n"]:
        """Returns samples `first` to `last` of an episode in −1..1, at 16 kHz; silence where there are none."""
        samples: Int16[np.ndarray, " n"] = self._mapped("sound", number)
        inside = np.asarray(samples[max(0, first) : max(0, last)], np.float32) / 32767
        inside = np.pad(inside, (max(0, -first), 0))
        return np.pad(inside, (0, max(0, last - first - len(inside))))

    def length(self, number: int) -> int:
        """Returns the number of samples of an episode's sound."""
        return len(self._mapped("sound", number))

    def images(self, number: int) -> UInt8[np.ndarray, "t y x 3"]:
        """Returns all images of an episode, 25 a second, mapped from its file."""
        return self._mapped("pictures", number)
