"""PerVL-DeepFashion2 from its official layout, as StoryWorld writes it."""

from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.deepfashion2 import DeepFashion2, with_concept
from storyjax.data.images import decode_image
from storyjax.pi_map.prompts import with_category
from storyjax.storyworld.export.deepfashion2 import export_deepfashion2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"garments": 5, "train": 2, "eval": 2}
    return export_deepfashion2(tmp_path_factory.mktemp("deepfashion2") / "world", counts)


def test_records_are_what_the_tables_say(world: Path, tmp_path: Path) -> None:
    short, detailed = (
        DeepFashion2.prepare_splits(world, tmp_path),
        DeepFashion2.prepare_splits(world, tmp_path, captions="detailed"),
    )
    assert {name: len(source) for name, source in short.items()} == {"train": 10, "test": 10}
    record = short["test"][0]
    assert decode_image(record["image"], "it").shape == (96, 96, 3)
    assert record["caption"].startswith("* in the ")
    assert len(detailed["test"][0]["caption"]) > len(record["caption"])
    assert record["name"].startswith(record["category"])
    assert record["boxes"].shape == (1, 4)
    left, top, right, bottom = record["boxes"][0]
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1
    assert [short["train"][i]["instance"] for i in range(10)] == np.repeat(np.arange(5), 2).tolist()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        # The benchmark replaces every "person" and nothing else (caption_retrival_eval.py of NVlabs/PALAVRA).
        ("the person is facing a glass store display.", "the * is facing a glass store display"),
        ('"behind a person, another person is at a desk."', "behind a *, another * is at a desk"),
        ("a bed is behind the posing person.", "a bed is behind the posing *"),
        ("a cabinet is behind a bent over person.", "a cabinet is behind a bent over *"),
        ("a curtain is the person's backdrop.", "a curtain is the *'s backdrop"),
        ("a beach at dawn", "* a beach at dawn"),
    ],
)
def test_the_person_of_a_caption_is_the_concept(caption: str, expected: str) -> None:
    assert with_concept(caption) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a photo of *", "a photo of a skirt"),
        ("* is standing", "a skirt is standing"),
        ("behind a *, another * is at a desk", "behind a skirt, another skirt is at a desk"),
        ("a bed is behind the posing *", "a bed is behind the posing skirt"),
        ("a man is riding *", "a man is riding a skirt"),
    ],
)
def test_a_category_takes_the_article_that_is_there(prompt: str, expected: str) -> None:
    assert with_category(prompt, "skirt") == expected


def test_what_is_missing_is_one_line(world: Path, tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="PerVLBenchmark"):
        DeepFashion2.prepare_splits(tmp_path / "nowhere", tmp_path)
