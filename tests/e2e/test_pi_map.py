"""The π-map that ships: a thing enrolled from five photos is found among its rivals, in places it was never seen in."""

import time

import numpy as np
import pytest

from storyjax.data.images import Square
from storyjax.metrics.retrieval import mean_average_precision
from storyjax.pi_map.predict import ThingFinder
from storyjax.storyworld.draw.personal_objects import PersonalObject, draw_scene, render_scene

THINGS = (
    PersonalObject("dog", "red", "spotted", "white", "pizza"),
    PersonalObject("dog", "blue", name="drum"),
    PersonalObject("dog", "yellow", "striped", "black", "chia"),
    PersonalObject("dog", "green", name="kite"),
)
LEARNT, SEARCHED = ("kitchen", "forest"), ("park", "desert", "library", "harbour", "garage")


@pytest.fixture(scope="module")
def finder() -> ThingFinder:
    return ThingFinder.from_pretrained()


def photograph(thing: PersonalObject, places: tuple[str, ...], count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [render_scene(draw_scene(thing, rng, places), [0.0])[0][0] for _ in range(count)]


def test_things_are_found_better_by_their_tokens_than_by_words(finder: ThingFinder) -> None:
    shown = [photo for i, thing in enumerate(THINGS) for photo in photograph(thing, SEARCHED, 10, i)]
    square = Square(finder.image_size, finder.keep_aspect)
    pool = finder.embed_images(np.stack([square(photo) for photo in shown]))
    relevant = np.arange(len(THINGS))[:, None] == np.repeat(np.arange(len(THINGS)), 10)[None]
    begun = time.process_time()
    tokens = {t.name: finder.enrol(photograph(t, LEARNT, 5, 100 + i), "dog") for i, t in enumerate(THINGS)}
    assert time.process_time() - begun < 240  # four of them; a thing may take two minutes
    by_token = np.stack([finder.embed_query(f"an image of <{t.name}>", tokens) for t in THINGS])
    by_word = np.stack([finder.embed_query(f"an image of my dog {t.name}", {}) for t in THINGS])
    found, named = (mean_average_precision(queries @ pool.T, relevant) for queries in (by_token, by_word))
    assert named < 0.5  # a quarter of the photographs show each thing
    assert found > 0.7


def test_one_index_serves_people_and_things(finder: ThingFinder) -> None:
    from storyjax.core.params_io import load_flat, shipped
    from storyjax.pi_map.predict import clip_fingerprint

    tower = load_flat(shipped("storyworld_clip_generic") / "model.safetensors")
    assert finder.vision_fingerprint == clip_fingerprint({f"clip/{k}": v for k, v in tower.items()}, "vision")
