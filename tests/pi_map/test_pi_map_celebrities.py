"""Actors as particular objects: the actor of a clip, and its query."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.media import MediaSource
from storyjax.data.images import Square
from storyjax.pi_map import data
from storyjax.pi_map.celebrities import (
    ActorClips,
    KnownActorClips,
    LabelledClips,
    UnseenClips,
    actor_splits,
    unseen_clips,
)
from storyjax.pi_map.config import DataConfig
from storyjax.pi_map.evaluate import CONTEXT, score
from storyjax.pi_map.experiment import open_collection
from storyjax.storyworld.export.celebrities import export_cia


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
    assert found[1]["contexts"] == [(0, "* waving in the garden")]
    assert found[1]["name"] == "ana"
    assert found[2]["contexts"] == []


def test_only_clips_of_such_actors_are_learned_from(clips: Clips) -> None:
    known = KnownActorClips(clips, {"ana": 0})
    assert len(known) == 1
    assert known[0]["segment_id"] == "clip1"
    with pytest.raises(IndexError):
        known[1]


def test_a_query_is_unique_and_any_right_clip_answers_it(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    """§5.4.2: clips 0 and 3 show the same; clip 4 has no scene, clip 5 no action: neither is searched."""
    same = {"actors": ["ben"], "actions": ["dancing"], "scene": "park"}
    clips.labels.extend([same, {**same, "scene": ""}, {**same, "actions": [""]}])
    found = LabelledClips(clips, {"ana": 0, "ben": 1})
    assert [found[i]["segment_id"] for i in range(len(found))] == ["clip0", "clip1", "clip2", "clip3"]
    monkeypatch.setattr(data, "record_frames", lambda record, count: ([np.zeros((2, 2, 3), np.uint8)], np.zeros(1)))
    pool = data.embed_pool(found, lambda images: np.eye(len(images), dtype=np.float32), Square(2, True))
    assert [(each.object, each.records) for each in pool.contexts] == [(1, (0, 3)), (0, (1,))]
    queries = {"kind": np.full(2, CONTEXT), "object": np.array([1, 0]), "answer": np.array([0, 1])}
    # The first query's best clip is the later of its two; the second's is a wrong one, the right one second.
    queries["text"] = np.array([[0.1, 0.0, 0.0, 0.9], [0.0, 0.5, 0.9, 0.0]], np.float32)
    results = score(queries, pool, "cia", ("text",))
    assert results["cia/context/text/r1"] == 0.5
    assert results["cia/context/text/r5"] == 1.0


def test_a_caption_of_another_collection_looks_for_its_clip_alone(clips: Clips) -> None:
    """§5.7.3: captions need no scene, and two clips with the same one are two answers to two queries."""
    clips.labels.append({"actors": ["ben"], "actions": ["drinking coffee in a bar"], "scene": "", "celebrity": ""})
    found = UnseenClips(clips, {"ana": 0, "ben": 1})
    assert [(found[i]["instance"], found[i]["caption"]) for i in range(len(found))] == [
        (1, "* dancing in the park"),
        (0, "* waving in the garden"),
        (-1, ""),
        (1, "* drinking coffee in a bar"),
    ]
    assert all(found[i]["contexts"] == [] for i in range(len(found)))


def test_actors_are_learned_from_photos_and_found_in_another_collection(tmp_path: Path) -> None:
    root = export_cia(tmp_path / "cia", train=1, val=1, test=16, faces=2)
    other = export_cia(tmp_path / "movies", train=1, val=1, test=8, faces=1, seed=5)
    options = {"root": str(root), "cache_dir": str(tmp_path / "prepared"), "localise": "none", "query_frames": 1}
    data_config = DataConfig(dataset="cia", train_split="faces", held_out=0, unseen_root=str(other), **options)

    def embed(pixels: np.ndarray) -> np.ndarray:
        return pixels.reshape(len(pixels), -1).astype(np.float32) + 1.0

    collection = open_collection(data_config, embed, Square(4, True), seed=0)
    names = [each.name for each in collection.objects]
    assert np.bincount(collection.templates.objects).tolist() == [2] * len(names)
    seen = unseen_clips(other, tmp_path / "prepared", {name: i for i, name in enumerate(names)})
    assert collection.pools["unseen"].objects.tolist() == [seen[i]["instance"] for i in range(len(seen))]
    asked = [(each.caption, each.records) for each in collection.pools["unseen"].contexts]
    known = [i for i in range(len(seen)) if seen[i]["instance"] >= 0]
    assert asked == [(seen[i]["caption"], (i,)) for i in known]
    assert known
    with pytest.raises(StoryjaxError, match=r"config\.data\.train_split.*'photos'|unknown 'photos'"):
        actor_splits(root, tmp_path / "prepared", "photos")
