"""Table 4.6's protocol: stamps, added clips, and what counts as right."""

import dataclasses
import json

import numpy as np
import pytest
import small

from storyjax.clip_pad.config import DataConfig, Roots
from storyjax.clip_pad.data import PhotoIndex
from storyjax.clip_pad.experiment import Sources
from storyjax.clip_pad.season import cut_clips, season_evaluator, season_metrics
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.season import Season, read_season
from storyjax.reproduce import find
from storyjax.reproduce.runner import make_config
from storyjax.storyworld.export.season import CAST, export_season


def test_clips_are_cut_at_fixed_times_and_added_between_them():
    # Two clips in a minute of 12 seconds: at 0, 6, 12 ...; four: at 0, 3, 6 ...
    windows = cut_clips(20.0, [(8.4, 11.0), (12.5, 15.0)], minute=12.0)
    two = [start for start, pools in windows if pools[0]]
    four = [start for start, pools in windows if pools[1]]
    assert two == [0.0, 6.0, 8.7, 12.0, 18.0]  # 8.4 to 11 lies between stamps, 12.5 to 15 does not
    assert four == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]
    assert all(start + 2 <= 20 for start, _ in windows)
    assert cut_clips(1.0, [], minute=12.0) == [(0.0, (True, True))]


def test_recall_and_the_last_rank():
    matrix = np.linspace(1, 0, 60)[None]
    right = np.zeros((1, 60), bool)
    right[0, [0, 24, 25, 55]] = True
    results = season_metrics("s", matrix, right)
    assert (results["s/r25"], results["s/r50"], results["s/last_rank"]) == (0.5, 0.75, 56)
    assert (results["s/right"], results["s/clips"]) == (4, 60)


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    return export_season(tmp_path_factory.mktemp("season") / "s", episodes=3, photos=2, faces=1)


def evaluator(season, tmp_path, person: str, action: str):
    source, faces = (Season.prepare(season, tmp_path, split) for split in Season.SPLITS)
    return season_evaluator(
        small.MODEL, source, PhotoIndex(faces), person, action, 12.0, small.SIZES, lambda: small.TOKENIZER
    )


def test_a_season_is_cut_and_ranked(season, tmp_path):
    labels = read_season(season, "episodes").items[0].labels
    assert set(labels["actors"]) <= set(CAST)
    person, action = labels["actors"][0], labels["actions"][0]
    found = evaluator(season, tmp_path, person.upper(), action)
    assert found.load(1).shape == (16, 16, 16, 3)
    assert found.queries[0].prompt == f"an image of {person} {action}"
    # Embeddings that rank every clip alike put the right ones last.
    from storyjax.clip_pad.evaluate import Embeddings

    count = len(found.records)
    same = Embeddings(np.ones((count, 8)), np.ones((3, 8)), np.ones((3, 8)), np.ones(count, bool))
    results = found.compute(same)
    assert results["season/4_per_minute/face/last_rank"] == results["season/4_per_minute/face/clips"]
    assert results["season/2_per_minute/face/clips"] < results["season/4_per_minute/face/clips"]


def test_what_a_season_lacks_is_one_line(season, tmp_path):
    for person, action, line in (
        ("ivi", "dancing", "Did you mean 'ivy'"),
        ("ivy", "knitting", "say nowhere that 'ivy'"),
    ):
        with pytest.raises(StoryjaxError, match=line) as caught:
            evaluator(season, tmp_path, person, action)
        assert "\n" not in str(caught.value)
    with pytest.raises(StoryjaxError, match=r"there is no season in .*occurrences.csv is missing"):
        read_season(tmp_path, "episodes")


def test_table_4_6_evaluates_the_model_of_the_other_tables():
    season = next(variant for variant in find("4.6").variants() if variant.name == "season")
    assert season.start in find("4.4").variants()
    assert make_config(season, 0).train.steps == 0  # it is evaluated as it is


def test_a_data_set_without_synthetic_arguments_is_read_from_its_folder(season, tmp_path):
    sizes = json.loads((season / "manifest.json").read_text())["parameters"]
    named = {"season": {name: sizes[name] for name in ("episodes", "photos", "faces")}}
    root = Roots(season=str(season), vggface2=str(season / "cast"))
    data = DataConfig(root=root, cache_dir=str(tmp_path), synthetic=named, val_photos=1)
    assert set(Sources(data).people().names) == set(CAST)
    with pytest.raises(StoryjaxError, match="holds something else"):
        Sources(dataclasses.replace(data, synthetic={**named, "vggface2": {}})).people()
