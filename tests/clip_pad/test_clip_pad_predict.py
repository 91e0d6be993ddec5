"""Enrolling people, queries for them, and one line for every error."""

import json

import numpy as np
import pytest
import small

from storyjax.clip_pad.predict import PersonFinder
from storyjax.core.errors import StoryjaxError
from storyjax.search.protocol import PhotoError, PhotoNote

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def finder(tmp_path_factory) -> PersonFinder:
    return PersonFinder.from_pretrained(small.checkpoint(tmp_path_factory.mktemp("finder")))


def photo(side: int = 40) -> np.ndarray:
    return RNG.integers(0, 256, (side, side + 5, 3), dtype=np.uint8)


def test_several_photos_make_one_token(finder):
    photos = [photo(), photo(60), photo()]
    reported = []
    token = finder.enrol(photos, progress=lambda done, of: reported.append((done, of)))
    assert token.shape == (1, finder.width)
    assert reported == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_allclose(finder.enrol(photos[::-1]), token, atol=1e-5)
    assert np.abs(finder.enrol(photos[:1]) - token).max() > 1e-4


def test_a_query_with_a_face(finder):
    tokens = {"ana": finder.enrol([photo()]), "ben": finder.enrol([photo()])}
    query = finder.embed_query("<ana> is dancing", tokens)
    assert query.shape == (finder.dim,)
    np.testing.assert_allclose(np.linalg.norm(query), 1, atol=1e-5)
    assert np.abs(finder.embed_query("<ben> is dancing", tokens) - query).max() > 1e-4
    np.testing.assert_allclose(finder.embed_query("<ana> is dancing .", tokens), query, atol=1e-6)
    both = finder.embed_query("<ana> in the park with <ben>", tokens)
    assert np.abs(finder.embed_query("<ben> in the park with <ana>", tokens) - both).max() > 1e-4
    assert np.isfinite(finder.embed_query("somebody in the park", tokens)).all()


def test_images_are_embedded_in_batches_of_any_size(finder):
    images = RNG.integers(0, 256, (35, 16, 16, 3), dtype=np.uint8)
    embedded = finder.embed_images(images)
    assert embedded.shape == (35, finder.dim)
    np.testing.assert_allclose(finder.embed_images(images[33:]), embedded[33:], atol=1e-5)
    assert finder.embed_images(images[:0]).shape == (0, finder.dim)


def test_fingerprints_differ_with_the_weights(finder, tmp_path):
    folder = small.checkpoint(tmp_path)
    same = PersonFinder.from_pretrained(folder)
    assert (same.fingerprint, same.vision_fingerprint) == (finder.fingerprint, finder.vision_fingerprint)
    other = PersonFinder(finder.model, small.random_params(1), finder.tokenizer, finder.sizes)
    assert other.vision_fingerprint != finder.vision_fingerprint
    params = {**finder.params, "adaptor": other.params["adaptor"]}
    changed = PersonFinder(finder.model, params, finder.tokenizer, finder.sizes)
    assert changed.vision_fingerprint == finder.vision_fingerprint
    assert changed.fingerprint != finder.fingerprint


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (lambda f: f.enrol([]), "at least one photo"),
        (lambda f: f.enrol([photo()], category="dog"), "has no category: leave out 'dog'"),
        (lambda f: f.enrol([photo(), np.zeros((1, 1, 3), np.uint8)]), "photo 2 has 1 × 1 pixels"),
        (lambda f: f.embed_query("<bea> dances", {}), "nobody is enrolled as 'bea'"),
        (lambda f: f.embed_query("*TOK* dances", {}), "has a meaning of its own"),
        (lambda f: f.embed_query("the park " * 20, {}), "but the text tower takes 20"),
    ],
)
def test_errors_are_one_line(finder, act, line):
    with pytest.raises(StoryjaxError, match=line) as caught:
        act(finder)
    assert "\n" not in str(caught.value)


def test_a_detector_crops_photos_to_the_face(finder):
    big = photo(80)
    boxes = [(20.0, 20.0, 40.0, 40.0)]

    def made(pick: str = "largest") -> PersonFinder:
        detector = lambda image: boxes  # noqa: E731
        return PersonFinder(finder.model, finder.params, finder.tokenizer, finder.sizes, detector, pick=pick)

    token = made().enrol([big])
    np.testing.assert_allclose(token, finder.enrol([big[17:43, 17:43]]), atol=1e-6)
    boxes.append((50.0, 20.0, 60.0, 30.0))
    noted = []
    np.testing.assert_allclose(made().enrol([big], notes=noted.append), token, atol=1e-6)
    assert noted == [PhotoNote(0, "shows 2 faces: the largest is taken (--pick chooses)")]
    np.testing.assert_allclose(made().enrol([big]), token, atol=1e-6)
    other = finder.enrol([big[18:32, 48:62]])
    for pick in ("right", "2"):
        np.testing.assert_allclose(made(pick).enrol([big]), other, atol=1e-6)
    with pytest.raises(PhotoError, match="photo 1 shows 2 faces, so there is no face 3"):
        made("3").enrol([big])
    boxes.clear()
    with pytest.raises(PhotoError, match="photo 1 shows no face"):
        made().enrol([big])
    boxes.append((0.0, 0.0, 2.0, 2.0))
    with pytest.raises(PhotoError, match="too small to recognise"):
        made().enrol([big])
    with pytest.raises(StoryjaxError, match="--pick is 'top': give largest, left"):
        made("top")


def test_photos_that_cannot_serve_are_left_out_and_named(finder):
    good, dot = photo(), np.zeros((1, 1, 3), np.uint8)
    noted = []
    token = finder.enrol([dot, good, dot], notes=noted.append)
    np.testing.assert_allclose(token, finder.enrol([good]), atol=1e-6)
    assert [(note.index, note.left_out) for note in noted] == [(0, True), (2, True)]
    with pytest.raises(PhotoError, match="photo 1 has 1 × 1 pixels"):
        finder.enrol([dot, dot], notes=noted.append)


def test_other_folders_are_refused(tmp_path, finder):
    def refusal(path) -> str:
        with pytest.raises(StoryjaxError) as caught:
            PersonFinder.from_pretrained(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "is no trained CLIP-PAD" in refusal(tmp_path)
    assert "which is not a CLIP-PAD" in refusal("shipped:storyworld_clip")
    folder = small.checkpoint(tmp_path / "one")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["adaptor_width"] = 13
    (folder / "config.json").write_text(json.dumps(config))
    assert "another model" in refusal(folder)
    config["model"]["clip"]["weights"] = str(tmp_path / "nowhere")
    (folder / "config.json").write_text(json.dumps(config))
    assert "--from openai/clip-vit-base-patch32" in refusal(folder)
