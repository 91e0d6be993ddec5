"""The shipped CLIP-PAD on people and clips that were not in training."""

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.clip_pad.predict import PersonFinder
from storyjax.core.config import load_config
from storyjax.storyworld.draw.faces import photograph
from storyjax.storyworld.export.celebrities import cast_of_clips
from storyjax.storyworld.story.population import EVERYONE
from storyjax.train.loop import run

ROOT = Path(__file__).parents[2]


def test_the_generic_clip_distinguishes_moments_better_than_chance(tmp_path: Path) -> None:
    tower = load_config(f"{ROOT / 'configs' / 'storyworld_clip_generic.py'}:paper")
    tower.data.update({"root": str(tmp_path / "stills"), "val": 8})
    tower.init = ConfigDict({"checkpoint": "shipped:storyworld_clip_generic"})
    results = run(tower, tmp_path / "run", "eval", progress=False)
    # Chance is 0.5 of the one rewritten sentence, and 1 of the 80 of a batch; 8 rows are 80 stills of each kind.
    assert results["events/rewrite_acc"] > 0.65
    assert results["things/r1_in_batch"] > 0.1


def test_the_face_encoder_recognises_unseen_people() -> None:
    finder = PersonFinder.from_pretrained()
    rng = np.random.default_rng(0)
    strangers = [name for name, person in EVERYONE.items() if not person.known][:8]
    size = finder.sizes.face
    photos = np.stack([photograph(name, rng, size=size)[0] for name in strangers for _ in range(4)])
    described = finder.describe_faces(photos)
    similarity = described @ described.T
    np.fill_diagonal(similarity, -1)
    # Chance is 3 of 31.
    assert (similarity.argmax(axis=1) // 4 == np.arange(32) // 4).mean() > 0.6


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The shipped CLIP-PAD on clips that it has never seen."""
    root = tmp_path_factory.mktemp("pad")
    config = load_config(f"{ROOT / 'configs' / 'clip_pad_cia.py'}:embedded")
    world = {
        "vggface2": {"photos": 2, "test_people": 1},
        "cia": {"train": 36, "val": 1, "test": 112, "faces": 2, "seed": 5},
    }
    config.data.root.update({name: str(root / name) for name in world})
    config.data.update({"cache_dir": str(root / "prepared"), "eval_splits": ("cia:test",)})
    with config.data.ignore_type():
        config.data.synthetic = ConfigDict(world)
    config.init = ConfigDict({"checkpoint": "shipped:clip_pad_storyworld"})
    return run(config, root / "run", "eval", progress=False)


@pytest.mark.parametrize("kind", ["action", "place", "action_place"])
def test_name_and_face_find_more_than_clip(results: dict[str, float], kind: str) -> None:
    # About 110 queries: one standard error is 5 points; the shipped model is 20 and more above.
    assert results[f"cia/{kind}/text_face/r1"] > results[f"cia/{kind}/zero_shot/r1"] + 0.1
    assert results[f"cia/{kind}/face/r1"] > results[f"cia/{kind}/zero_shot/r1"]


def test_unseen_people_are_recognised_by_face(results: dict[str, float]) -> None:
    unseen = len(cast_of_clips()["unseen"])
    assert results["cia/actor_unseen/chance"] == pytest.approx(1 / unseen)
    assert results["cia/actor_unseen/face/acc"] > 1.5 / unseen
    assert results["cia/actor_unseen/gain"] > results["cia/actor_seen/gain"]
