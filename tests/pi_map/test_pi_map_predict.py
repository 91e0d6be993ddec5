"""Enrolling a thing: the token moves to what the thing looks like, and every slip is told in one line."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.pi_map.enrolment import CHUNK, Bank, EnrolmentConfig
from storyjax.pi_map.predict import ThingFinder
from storyjax.pi_map.towers import FrozenClip
from storyjax.storyworld.draw.personal_objects import Belonging, Scene, render_scene

WIDTH = 32  # of the random CLIP


@pytest.fixture(scope="module")
def checkpoint(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like those that ship: a random π, a bank and two attributes."""
    from storyjax.pi_map.config import make_model

    folder = tmp_path_factory.mktemp("pi_map")
    described = {"clip": {"weights": str(tiny_clip)}, "pi": {"width": WIDTH}}
    model, _ = make_model(described)
    pi = {"pi": model.init(jax.random.key(1))["pi"]}
    save_tree(folder / "model.safetensors", flatten(pi))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, WIDTH)).astype(np.float32)
    captions = tuple((f"a red {kind}", f"my {kind} pip", f"a photo of a {kind}") for kind in ("car", "cup", "ball"))
    Bank(vectors, vectors, np.repeat(np.arange(3, dtype=np.int32), 2), captions).save(folder / Bank.FILE)
    enrolment = {"steps": 2 * CHUNK, "learning_rate": 3e-3, "warmup_steps": 2, "negatives": 4}
    config = {"model": described, "attributes": ["red", "blue"], "enrolment": enrolment, "ending": " ."}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    dog = Belonging("dog", "blue", name="chia")
    return [render_scene(Scene(dog, place, "drum", seed=i), [0.0])[0][0] for i, place in enumerate(("park", "garden"))]


def test_enrolling_brings_the_token_to_the_description(checkpoint: Path, photos: list[np.ndarray]) -> None:
    finder = ThingFinder.from_checkpoint(checkpoint)
    seen: list[tuple[int, int]] = []
    token = finder.enrol(photos, "dog", lambda done, of: seen.append((done, of)), caption="a blue dog .")
    assert seen == [(10, 20), (20, 20)]
    assert token.shape == (1, WIDTH)
    assert token.dtype == np.float32
    told = finder.embed_query("a blue dog", {})
    untrained = finder.token_of(photos, "dog")
    prompt = "a photo of <it>"
    before, after = (told @ finder.embed_query(prompt, {"it": one}) for one in (untrained, token))
    assert after > before
    # A copy of π was trained: the next enrolment starts from the same place.
    np.testing.assert_allclose(finder.enrol(photos, "dog", caption="a blue dog ."), token, atol=1e-6)


def test_it_is_a_personaliser(checkpoint: Path, tiny_clip: Path, photos: list[np.ndarray]) -> None:
    finder = ThingFinder.from_checkpoint(checkpoint)
    assert (finder.kind, finder.width, finder.dim, finder.image_size) == ("thing", WIDTH, WIDTH, 32)
    images = np.zeros((3, 32, 32, 3), np.uint8)
    embedded = finder.embed_images(images)
    assert embedded.shape == (3, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, rtol=1e-5)
    assert finder.embed_images(images[:0]).shape == (0, WIDTH)
    token = np.random.default_rng(0).normal(size=(2, WIDTH)).astype(np.float32)
    one = finder.embed_query("a photo of <chia> in the park", {"chia": token})
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    # Stars of a person's own are words, and the full stop is put only once.
    same = finder.embed_query("a photo of * <chia> in the park .", {"chia": token})
    np.testing.assert_allclose(one, same, atol=1e-6)
    other = finder.embed_query("a photo of <chia> in the park", {"chia": -token})
    assert np.abs(one - other).max() > 1e-4
    assert finder.vision_fingerprint != finder.fingerprint


def test_without_a_caption_the_attribute_that_fits_is_taken(checkpoint: Path, photos: list[np.ndarray]) -> None:
    finder = ThingFinder.from_checkpoint(checkpoint)
    finder.ending = ""  # as in training, whose prompt here has none
    whole, _ = finder._embed_photos(photos, "dog")
    fits = {
        words: finder.embed_query(f"a photo of a {words} dog", {}) @ whole.mean(axis=0) for words in ("red", "blue")
    }
    assert finder._describe(whole, "dog") == f"a photo of a {max(fits, key=fits.get)} dog"
    finder.attributes = ()
    assert finder._describe(whole, "dog") == "a photo of a dog"


def test_a_detector_rings_the_thing(checkpoint: Path, photos: list[np.ndarray]) -> None:
    class Middle:
        def detect(self, image: np.ndarray, category: str, key: str = "", share: float = 0.0) -> tuple:
            assert category == "dog"
            return (0.2, 0.2, 0.8, 0.8)

    plain = ThingFinder.from_checkpoint(checkpoint)
    ringed = ThingFinder.from_checkpoint(checkpoint, detector=Middle())
    assert np.abs(plain.token_of(photos, "dog") - ringed.token_of(photos, "dog")).max() > 1e-4


def test_slips_are_told(checkpoint: Path, photos: list[np.ndarray], tmp_path: Path) -> None:
    finder = ThingFinder.from_checkpoint(checkpoint)
    with pytest.raises(StoryjaxError, match="no photos"):
        finder.enrol([], "dog")
    with pytest.raises(StoryjaxError, match="general word"):
        finder.enrol(photos, None)
    with pytest.raises(StoryjaxError, match="<rolo>"):
        finder.embed_query("a photo of <rolo>", {})
    with pytest.raises(StoryjaxError, match="shorten it"):
        finder.embed_query("a photo of <it> " * 10, {"it": np.ones((1, WIDTH), np.float32)})
    with pytest.raises(StoryjaxError, match=r"config\.json cannot be read"):
        ThingFinder.from_checkpoint(tmp_path)
    with pytest.raises(StoryjaxError, match="is not there; get a published CLIP"):
        FrozenClip(str(tmp_path / "clip")).config  # noqa: B018
    broken = Path(shutil.copytree(checkpoint, tmp_path / "broken"))
    save_tree(broken / Bank.FILE, {"whole": np.zeros((1, 2))})
    with pytest.raises(StoryjaxError, match="no bank"):
        ThingFinder.from_checkpoint(broken)
    assert EnrolmentConfig().learning_rate == pytest.approx(1e-4)
