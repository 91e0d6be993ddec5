"""Enrolling a thing: the token moves to its looks, and every error is one line."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.data.text import HubTokenizer
from storyjax.pi_map.config import make_model
from storyjax.pi_map.enrolment import CHUNK, EnrolmentConfig, NegativeBank
from storyjax.pi_map.predict import ThingFinder
from storyjax.pi_map.prompts import PromptEncoder
from storyjax.storyworld.draw.personal_objects import PersonalObject, Scene, render_scene

WIDTH = 32  # of the random CLIP


@pytest.fixture(scope="module")
def checkpoint(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like those that ship: a random π, a bank and two attributes."""
    folder = tmp_path_factory.mktemp("pi_map")
    described = {"clip": {"weights": str(tiny_clip)}, "pi": {"width": WIDTH}}
    model, _ = make_model(described)
    pi = {"pi": model.init(jax.random.key(1))["pi"]}
    save_tree(folder / "model.safetensors", flatten(pi))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, WIDTH)).astype(np.float32)
    captions = tuple((f"a red {kind}", f"my {kind} pip", f"a photo of a {kind}") for kind in ("car", "cup", "ball"))
    NegativeBank(vectors, vectors, np.repeat(np.arange(3, dtype=np.int32), 2), captions).save(
        folder / NegativeBank.FILE
    )
    enrolment = {"steps": 2 * CHUNK, "learning_rate": 3e-3, "warmup_steps": 2, "negatives": 4}
    config = {"model": described, "attributes": ["red", "blue"], "enrolment": enrolment, "ending": " ."}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    dog = PersonalObject("dog", "blue", name="chia")
    return [render_scene(Scene(dog, place, "drum", seed=i), [0.0])[0][0] for i, place in enumerate(("park", "garden"))]


def test_enrolling_brings_the_token_to_the_description(checkpoint: Path, photos: list[np.ndarray]) -> None:
    finder = ThingFinder.from_pretrained(checkpoint)
    seen: list[tuple[int, int]] = []
    token = finder.enrol(photos, "dog", lambda done, of: seen.append((done, of)), caption="a blue dog .")
    assert seen == [(10, 20), (20, 20)]
    assert token.shape == (1, WIDTH)
    assert token.dtype == np.float32
    described = finder.embed_query("a blue dog", {})
    untrained = finder.token_of(photos, "dog")
    prompt = "a photo of <it>"
    before, after = (described @ finder.embed_query(prompt, {"it": one}) for one in (untrained, token))
    assert after > before
    # A caption may come with the model, and its full stop is as in training.
    finder.caption = "a blue dog."
    np.testing.assert_allclose(finder.enrol(photos, "dog"), token, atol=1e-6)
    # A copy of π was trained: the next enrolment starts from the same place.
    np.testing.assert_allclose(finder.enrol(photos, "dog", caption="a blue dog ."), token, atol=1e-6)


def test_it_is_a_concept_encoder(checkpoint: Path, tiny_clip: Path, photos: list[np.ndarray]) -> None:
    finder = ThingFinder.from_pretrained(checkpoint)
    assert (finder.kind, finder.width, finder.dim, finder.image_size) == ("thing", WIDTH, WIDTH, 32)
    images = np.zeros((3, 32, 32, 3), np.uint8)
    embedded = finder.embed_images(images)
    assert embedded.shape == (3, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, rtol=1e-5)
    assert finder.embed_images(images[:0]).shape == (0, WIDTH)
    token = np.random.default_rng(0).normal(size=(2, WIDTH)).astype(np.float32)
    one = finder.embed_query("a photo of <chia> in the park", {"chia": token})
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    # Stars of the prompt itself are no tokens, and the full stop is added only once.
    same = finder.embed_query("a photo of * <chia> in the park .", {"chia": token})
    np.testing.assert_allclose(one, same, atol=1e-6)
    other = finder.embed_query("a photo of <chia> in the park", {"chia": -token})
    assert np.abs(one - other).max() > 1e-4
    assert finder.vision_fingerprint != finder.fingerprint


def test_without_a_caption_the_closest_attribute_is_used(checkpoint: Path, photos: list[np.ndarray]) -> None:
    finder = ThingFinder.from_pretrained(checkpoint)
    finder.ending = ""  # as in training, whose prompt here has none
    whole, _ = finder._embed_photos(photos, "dog")
    fits = {
        words: finder.embed_query(f"a photo of a {words} dog", {}) @ whole.mean(axis=0) for words in ("red", "blue")
    }
    assert finder._describe(whole, "dog") == f"a photo of a {max(fits, key=fits.get)} dog"
    finder.attributes = ()
    assert finder._describe(whole, "dog") == "a photo of a dog"


def test_a_detector_marks_the_thing(checkpoint: Path, photos: list[np.ndarray]) -> None:
    class Middle:
        def detect(self, image: np.ndarray, category: str, key: str = "", position: float = 0.0) -> tuple:
            assert category == "dog"
            return (0.2, 0.2, 0.8, 0.8)

    plain = ThingFinder.from_pretrained(checkpoint)
    ringed = ThingFinder.from_pretrained(checkpoint, detector=Middle())
    assert np.abs(plain.token_of(photos, "dog") - ringed.token_of(photos, "dog")).max() > 1e-4


def test_errors_are_one_line(checkpoint: Path, photos: list[np.ndarray], tmp_path: Path) -> None:
    finder = ThingFinder.from_pretrained(checkpoint)
    with pytest.raises(StoryjaxError, match="no photos"):
        finder.enrol([], "dog")
    with pytest.raises(StoryjaxError, match="general word"):
        finder.enrol(photos, None)
    with pytest.raises(StoryjaxError, match="<rolo>"):
        finder.embed_query("a photo of <rolo>", {})
    with pytest.raises(StoryjaxError, match="shorten it"):
        finder.embed_query("a photo of <it> " * 10, {"it": np.ones((1, WIDTH), np.float32)})
    with pytest.raises(StoryjaxError, match=r"config\.json cannot be read"):
        ThingFinder.from_pretrained(tmp_path)
    with pytest.raises(StoryjaxError, match=r"clip/config\.json is not there; get the weights of clip by"):
        make_model({"clip": {"weights": str(tmp_path / "clip")}, "pi": {"width": WIDTH}})
    broken = Path(shutil.copytree(checkpoint, tmp_path / "broken"))
    save_tree(broken / NegativeBank.FILE, {"whole": np.zeros((1, 2))})
    with pytest.raises(StoryjaxError, match="no bank"):
        ThingFinder.from_pretrained(broken)
    assert EnrolmentConfig().learning_rate == pytest.approx(1e-4)


def test_an_imported_clip_without_preset_gets_the_published_tokenizer(tiny_clip: Path, tmp_path: Path) -> None:
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    folder = Path(shutil.copytree(tiny_clip, tmp_path / "clip"))
    (folder / "tokenizer.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    end = config["text"]["vocab_size"] - 1
    config["text"]["eos_id"] = end
    (folder / "config.json").write_text(json.dumps(config))
    words = {f"{letter}</w>": index for index, letter in enumerate("abcdefgh")}
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE({**words, "<start>": end - 1, "<end>": end}, [], end_of_word_suffix="</w>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    published = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<start>", eos_token="<end>", pad_token="<end>"
    )
    published.save_pretrained(folder)
    model, section = make_model({"clip": {"weights": str(folder)}, "pi": {"width": WIDTH}})
    prompts = PromptEncoder(section.clip)
    assert isinstance(prompts.tokenizer, HubTokenizer)
    ids, slots = prompts.encode("a * b", 8)
    assert ids.tolist() == [end - 1, 0, 0, 1, end, end, end, end]
    assert slots.tolist() == [-1, -1, 0, -1, -1, -1, -1, -1]
    save_tree(tmp_path / "pi" / "model.safetensors", flatten({"pi": model.init(jax.random.key(1))["pi"]}))
    described = {"clip": {"weights": str(folder)}, "pi": {"width": WIDTH}}
    (tmp_path / "pi" / "config.json").write_text(json.dumps({"model": described}))
    finder = ThingFinder.from_pretrained(tmp_path / "pi")
    one, other = (finder.embed_query(sentence, {}) for sentence in ("a b c", "d e f"))
    assert np.abs(one - other).max() > 1e-3


def test_the_precision_of_the_config_is_used_and_can_be_chosen(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "half"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "precision": "bfloat16"}))
    for finder, clip_dtype in (
        (ThingFinder.from_pretrained(folder), "bfloat16"),
        (ThingFinder.from_pretrained(folder, precision="float32"), "float32"),
        (ThingFinder.from_pretrained(checkpoint), "float32"),
    ):
        params = flatten(finder.params)
        assert str(params["clip/text_projection/kernel"].dtype) == clip_dtype
        assert str(params["pi/layer_0/kernel"].dtype) == "float32"
        assert finder.embed_query("a blue dog", {}).dtype == np.float32
