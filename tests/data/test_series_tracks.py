"""Tracks of people and things of a series: what is written, and the records that are made of it."""

from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.mot import SeriesTracks
from storyjax.data.images import decode_image
from storyjax.storyworld.export.series import held_out_episode
from storyjax.storyworld.export.series_tracks import export_series_tracks, shot_of
from storyjax.storyworld.render.episode_video import FPS, SIZE, episode_frames, shot_boxes

SECONDS = 6.0


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory):
    """The prepared splits of a training episode and a held-out one."""
    folder: Path = tmp_path_factory.mktemp("series")
    export_series_tracks(folder / "tracks", {"train": 1, "held_out": 1}, SECONDS)
    return SeriesTracks.prepare_splits(folder / "tracks", folder / "prepared", held_out=("*-8???-*",))


def test_an_episode_is_a_sequence_to_train_on_and_a_shot_one_to_measure(splits) -> None:
    (train,) = splits["train"].sequences
    assert (train.name, train.fps, train.width, train.height) == ("Series-0001", 2.0, SIZE, SIZE)
    episode = held_out_episode(1, SECONDS, things=True)
    held_out = splits["held_out"].sequences
    assert [each.name for each in held_out][:2] == ["Series-8001-001", "Series-8001-002"]
    assert sum(each.length for each in held_out) == len(range(0, round(episode.duration * FPS), FPS // 5))
    assert {each.fps for each in held_out} == {5.0}
    firsts = np.cumsum([0, *(each.length for each in held_out)])[:-1] * (FPS // 5)
    assert [shot_of(episode, int(first)) for first in firsts] == list(range(len(episode.shots)))


def test_people_and_things_are_classes_and_all_count(splits) -> None:
    records = [splits["train"][i] for i in range(len(splits["train"]))]
    assert {int(kind) for record in records for kind in record["kinds"]} == {0, 1}
    assert SeriesTracks.LABELS == ("person", "thing")
    assert all(record["considered"].all() and not record["ignored"].any() for record in records)
    kinds: dict[int, set[int]] = {}
    for record in records:
        for number, kind in zip(record["ids"].tolist(), record["kinds"].tolist(), strict=True):
            kinds.setdefault(number, set()).add(kind)
    assert all(len(each) == 1 for each in kinds.values())


def test_boxes_are_those_of_the_images(splits) -> None:
    episode = held_out_episode(1, SECONDS, things=True)
    source, number = splits["held_out"], 0
    while not episode.shots[shot_of(episode, 5 * number)].things:
        number += 1
    record, shot = source[number], episode.shots[shot_of(episode, 5 * number)]
    people, things = shot_boxes(shot)
    corners = np.concatenate([record["boxes"][:, :2], record["boxes"][:, :2] + record["boxes"][:, 2:]], axis=1)
    for kind, boxes in ((0, people), (1, things)):
        found = sorted(corners[record["kinds"] == kind].tolist())
        assert found == pytest.approx(np.array(sorted(boxes)) * SIZE, abs=1e-3)
    drawn = next(episode_frames(episode, [5 * number])).astype(int)
    assert np.abs(decode_image(record["image"], "it").astype(int) - drawn).mean() < 3


def test_where_no_series_is_the_error_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match=r"StoryWorld's series are not in .*config.data.synthetic"):
        SeriesTracks.prepare_splits(tmp_path, tmp_path / "prepared")
