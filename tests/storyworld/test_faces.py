"""Photographs of people: seeded, with the head in its box."""

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.draw.faces import photograph
from storyjax.storyworld.export.celebrities import cast_of_clips, export_vggface2, people_to_learn
from storyjax.storyworld.story.population import EVERYONE


def test_a_photo_is_what_its_seed_says_and_no_two_are_alike():
    first, box = photograph("ana", np.random.default_rng(3))
    again, same_box = photograph("ana", np.random.default_rng(3))
    np.testing.assert_array_equal(first, again)
    assert box == same_box
    other, _ = photograph("ana", np.random.default_rng(4))
    assert np.abs(first.astype(int) - other).mean() > 5
    somebody_else, _ = photograph("eva", np.random.default_rng(3))
    assert np.abs(first.astype(int) - somebody_else).mean() > 3


def test_the_head_is_in_its_box():
    inside = []
    for seed in range(12):
        name = ("max", "ana", "noah")[seed % 3]
        picture, (left, top, right, bottom) = photograph(name, np.random.default_rng(seed), size=96)
        head = picture[round(top) : round(bottom), round(left) : round(right)].reshape(-1, 3).astype(int)
        skin = np.abs(head - np.array(EVERYONE[name].skin)).sum(1) < 90
        inside.append(skin.mean())
    assert min(inside) > 0.15


def test_unseen_people_are_in_no_training_data():
    groups = cast_of_clips()
    learnt = set(people_to_learn())
    assert set(groups["learn"]) <= learnt
    assert not learnt & {*groups["meet"], *groups["unseen"]}
    assert all(not EVERYONE[name].known for name in groups["unseen"])
    assert len({name for names in groups.values() for name in names}) == sum(map(len, groups.values()))


def test_a_world_is_written_once_and_never_over_another(tmp_path):
    folder = export_vggface2(tmp_path / "w", photos=1, test_people=1, people=2)
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    assert (export_vggface2(folder, photos=1, test_people=1, people=2) / "manifest.json").stat().st_mtime_ns == stamp
    with pytest.raises(StoryjaxError, match="another StoryWorld"):
        export_vggface2(folder, photos=2, test_people=1, people=2)
