"""Celebrities in Action as a collection of particular "objects", the actors (thesis §5.4.2): learned from their
training clips, searched for in the test clips.

A clip stands for the first actor in it who is learned. What is searched are the test clips with an action and a scene
(§4.7.4), whether anybody in them is learned or not. There is one query for each (actor, action, place) of a learned
actor in them, and every clip that shows all three answers it (§5.4.2). Actors have no boxes: a detector of people can
give them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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


def actor_splits(
    root: str | Path, cache_dir: str | Path, *, max_broken_fraction: float = 0.05
) -> dict[str, ActorClips]:
    """Returns the splits "train" and "test"; the learned actors are those in both. Errors as of `prepare_split`."""
    sources = {
        split: prepare_split("cia", root, cache_dir, split, max_broken_fraction=max_broken_fraction)
        for split in ("train", "test")
    }
    # The first actor is the one that a clip is about.
    first = {split: {row["actors"][0] for row in source.labels if row["actors"]} for split, source in sources.items()}
    numbers = {actor: number for number, actor in enumerate(sorted(first["train"] & first["test"]))}
    return {"train": KnownActorClips(sources["train"], numbers), "test": LabelledClips(sources["test"], numbers)}
