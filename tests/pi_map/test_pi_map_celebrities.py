"""Actors as particular objects: the actor of a clip, and its query."""

from typing import Any

import pytest

from storyjax.data.builders.media import MediaSource
from storyjax.pi_map.celebrities import ActorClips, KnownActorClips


class Clips(MediaSource):
    """Clips in memory."""

    labels: list[dict[str, Any]] = []  # noqa: RUF012 (given below)

    def __init__(self, rows: list[dict[str, Any]]):
        self.__dict__["labels"] = rows

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"media": b"", "path": f"clip{index}", **self.labels[index]}


@pytest.fixture
def clips() -> Clips:
    return Clips(
        [
            {"actors": ["ben"], "actions": ["dancing"], "scene": "park", "celebrity": ""},
            {"actors": ["ivy", "ana"], "actions": ["sleeping", "waving"], "scene": "garden", "celebrity": ""},
            {"actors": ["ivy"], "actions": ["singing"], "scene": "forest", "celebrity": ""},
        ]
    )


def test_a_clip_stands_for_its_first_learned_actor(clips: Clips) -> None:
    found = ActorClips(clips, {"ana": 0, "ben": 1})
    assert [found[i]["instance"] for i in range(len(found))] == [1, 0, -1]
    assert found[1]["caption"] == "* waving in the garden"
    assert found[1]["name"] == "ana"
    assert found[2]["caption"] == ""


def test_only_clips_of_such_actors_are_learned_from(clips: Clips) -> None:
    known = KnownActorClips(clips, {"ana": 0})
    assert len(known) == 1
    assert known[0]["segment_id"] == "clip1"
    with pytest.raises(IndexError):
        known[1]
