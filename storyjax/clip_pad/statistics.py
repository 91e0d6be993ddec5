"""What Celebrities in Action holds, split by split (thesis Table 4.1)."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

SPLITS = ("train", "val", "test")


def clip_statistics(labels: Iterable[Mapping[str, Any]], trained: Collection[str]) -> dict[str, float]:
    """Returns what the labels of a split's clips say.

    Args:
        labels: of each clip: equally long "actors" and "actions", and "scene"; unknown actions and scenes are empty.
        trained: lower-case names of the people in VGGFace2.

    Returns:
        "clips", their number; "trained", the fraction of the annotated people who are in VGGFace2; "people", the mean
        number of annotated people in a clip; "actions" and "scenes", the mean number of different ones of a person.
    """
    clips, people = 0, 0
    actions: dict[str, set[str]] = {}
    scenes: dict[str, set[str]] = {}
    for row in labels:
        actors = [actor.lower() for actor in row["actors"]]
        clips, people = clips + 1, people + len(set(actors))
        for actor, action in zip(actors, row["actions"], strict=True):
            actions.setdefault(actor, set()).update({action} - {""})
            scenes.setdefault(actor, set()).update({row["scene"]} - {""})
    count = max(len(actions), 1)
    return {
        "clips": float(clips),
        "trained": sum(actor in trained for actor in actions) / count,
        "people": people / max(clips, 1),
        "actions": sum(map(len, actions.values())) / count,
        "scenes": sum(map(len, scenes.values())) / count,
    }
