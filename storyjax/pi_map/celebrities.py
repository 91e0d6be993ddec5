"""Celebrities in Action as a collection of particular "objects", the actors (thesis §5.4.2): learned from their
training clips, searched for in the test clips.

A clip stands for the first actor in it who is learned. What is searched are the test clips with an action and a scene
(§4.7.4), whether anybody in them is learned or not. There is one query for each (actor, action, place) of a learned
actor in them, and every clip that shows all three answers it (§5.4.2). Actors have no boxes: a detector of people can
give them.

Actors may also be learned from the photos in faces/ instead of clips, and searched for in another collection in the
same layout (§5.7.3, Table 5.7: Condensed Movies): clips of its split "test" in annotations.csv, whose `action` is what
a caption says after "ACTOR is", with or without a `scene`. A caption looks for its clip alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.media import MediaSource
from storyjax.data.registry import prepare_split

CATEGORY = "person"


class ActorClips:
    """Clips of a split by record, as `storyjax.pi_map.data` reads them.

    Args:
        source: the split.
        numbers: of the actors that are learned, by name.
    """

    def __init__(self, source: MediaSource, numbers: dict[str, int]):
        self.source, self.numbers = source, numbers
        self.places = [self._place(labels) for labels in source.labels]
        self.kept = [index for index, labels in enumerate(source.labels) if self._is_kept(index, labels)]

    def _is_kept(self, index: int, labels: dict[str, Any]) -> bool:
        """Whether a clip is of this collection: here all are."""
        return True

    def _place(self, labels: dict[str, Any]) -> int:
        """The position of the first learned actor of a clip; -1 for none."""
        return next((i for i, actor in enumerate(labels["actors"]) if actor in self.numbers), -1)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.record(self.kept[index])

    def record(self, index: int) -> dict[str, Any]:
        """Returns the clip with this number in the prepared split."""
        record, place = self.source[index], self.places[index]
        known = place >= 0
        actor = record["actors"][place] if known else ""
        return {
            "segment_id": record["path"],
            "video": record["media"],
            "instance": self.numbers.get(actor, -1),
            "name": actor,
            "category": CATEGORY,
            "contexts": self._contexts(record),
            "caption": "",
            "boxes": np.zeros((0, 4), np.float32),
        }

    def _contexts(self, record: Mapping[str, Any]) -> list[tuple[int, str]]:
        """(number of a learned actor, caption) of all that is done in a clip, where action and scene are known."""
        done = zip(record["actors"], record["actions"], strict=True)
        return [
            (self.numbers[actor], f"* {action} in the {record['scene']}")
            for actor, action in done
            if actor in self.numbers and action and record["scene"]
        ]


class KnownActorClips(ActorClips):
    """The clips of a split that show a learned actor."""

    def _is_kept(self, index: int, labels: dict[str, Any]) -> bool:
        return self.places[index] >= 0


class LabelledClips(ActorClips):
    """The clips of a split with an action and a scene."""

    def _is_kept(self, index: int, labels: dict[str, Any]) -> bool:
        return any(labels["actions"]) and bool(labels["scene"])


class UnseenClips(ActorClips):
    """All clips of another collection; each has the caption of its actor as its query, if it has any."""

    def record(self, index: int) -> dict[str, Any]:
        """Returns the clip with this number in the prepared split."""
        record = super().record(index)
        own = [caption for number, caption in record["contexts"] if number == record["instance"]]
        return {**record, "contexts": [], "caption": own[0] if own else ""}

    def _contexts(self, record: Mapping[str, Any]) -> list[tuple[int, str]]:
        """(number of a learned actor, caption) of all that is done in a clip, wherever it is."""
        where = f" in the {record['scene']}" if record["scene"] else ""
        done = zip(record["actors"], record["actions"], strict=True)
        return [
            (self.numbers[actor], f"* {action}{where}") for actor, action in done if actor in self.numbers and action
        ]


class ActorPhotos:
    """The photos of the learned actors, as `storyjax.pi_map.data` reads them; arguments as of `ActorClips`."""

    def __init__(self, source: MediaSource, numbers: dict[str, int]):
        self.source, self.numbers = source, numbers
        self.kept = [i for i, labels in enumerate(source.labels) if labels["celebrity"] in numbers]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.source[self.kept[index]]
        return {
            "image_name": record["path"],
            "image": record["media"],
            "instance": self.numbers[record["celebrity"]],
            "name": record["celebrity"],
            "category": CATEGORY,
            "caption": "",
            "boxes": np.zeros((0, 4), np.float32),
        }


def actor_splits(
    root: str | Path,
    cache_dir: str | Path,
    learned: str = "train",
    *,
    max_broken_fraction: float = 0.05,
) -> dict[str, ActorClips | ActorPhotos]:
    """Returns the split that is learned from, and "test"; the learned actors are those in both.

    Args:
        root, cache_dir, max_broken_fraction: as of `prepare_split`, whose errors are raised.
        learned: "train", the clips, or "faces", the photos.

    Raises:
        StoryjaxError: another split to learn from, or nobody is in both.
    """
    choose(learned, ("train", "faces"), "config.data.train_split")
    sources = {
        split: prepare_split("cia", root, cache_dir, split, max_broken_fraction=max_broken_fraction)
        for split in (learned, "test")
    }
    # The first actor is the one that a clip is about.
    first = {
        split: {row["actors"][0] if row["actors"] else row["celebrity"] for row in source.labels}
        for split, source in sources.items()
    }
    numbers = {actor: number for number, actor in enumerate(sorted((first[learned] & first["test"]) - {""}))}
    if not numbers:
        raise StoryjaxError(f"nobody of the split '{learned}' in {root} is the first actor of a test clip")
    known = (ActorPhotos if learned == "faces" else KnownActorClips)(sources[learned], numbers)
    return {learned: known, "test": LabelledClips(sources["test"], numbers)}


def unseen_clips(
    root: str | Path, cache_dir: str | Path, numbers: Mapping[str, int], *, max_broken_fraction: float = 0.05
) -> UnseenClips:
    """Returns the clips of another collection of the same layout.

    Args:
        root, cache_dir, max_broken_fraction: as of `prepare_split`, whose errors are raised.
        numbers: of the actors that were learned, by name.
    """
    source = prepare_split("cia", root, cache_dir, "test", max_broken_fraction=max_broken_fraction)
    return UnseenClips(source, dict(numbers))
