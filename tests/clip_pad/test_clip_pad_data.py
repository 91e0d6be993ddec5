"""Training examples, from pixels or from cached features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from PIL import Image

from storyjax.clip_pad.config import DataConfig, Roots, make_sizes
from storyjax.clip_pad.data import (
    FACE,
    WORD,
    CachedFeatures,
    ClipLoader,
    PhotoLoader,
    Sizes,
    draw_mode,
    read_clip,
)
from storyjax.clip_pad.experiment import Sources
from storyjax.clip_pad.face_photos import mean_description
from storyjax.clip_pad.feature_cache import FeatureCache
from storyjax.clip_pad.losses import PersonContrast
from storyjax.clip_pad.photos import read_face, read_photo
from storyjax.clip_pad.predict import PersonFinder
from storyjax.core.errors import StoryjaxError

MIX = (0.6, 0.2, 0.2)


@pytest.fixture(scope="module")
def sources(world, tmp_path_factory) -> Sources:
    root = Roots(**{name: str(world / name) for name in ("vggface2", "cip", "cia")})
    return Sources(DataConfig(root=root, cache_dir=str(tmp_path_factory.mktemp("prepared")), val_photos=1))


def test_the_modes_of_queries_have_the_given_frequencies():
    rng = np.random.default_rng(0)
    drawn = [draw_mode(MIX, rng) for _ in range(3000)]
    for mode, fraction in zip(("face", "text", "text_face"), MIX, strict=True):
        assert abs(drawn.count(mode) / 3000 - fraction) < 0.03
    assert {draw_mode((0.0, 1.0, 0.0), rng) for _ in range(20)} == {"text"}


def test_a_query_is_another_photo_of_the_same_person(sources):
    people = sources.people()
    assert not set(people.train) & set(people.val)
    assert len(people.train) == 18
    load = PhotoLoader(people, small.SIZES, small.TOKENIZER, MIX)
    record = people.train[4]
    seen = set()
    for draw in range(12):
        example = load(record, np.random.default_rng(draw))
        assert example["frames"].shape == (1, 16, 16, 3)
        assert example["faces"].shape == (2, 16, 16, 3)
        assert example["query_facts"][0] == example["facts"][0, 0] == people.person[record]
        has_name = small.TOKENIZER.encode(people.names[people.person[record]])[0] in example["ids"]
        has_face = (example["slots"] >= 0).any()
        assert has_name or has_face
        seen.add((bool(has_name), bool(has_face)))
        own = small.SIZES.face_square(people.read(record))
        assert all(np.abs(face.astype(int) - own).max() > 0 for face in example["faces"])
    assert seen == {(True, False), (False, True), (True, True)}


def test_an_unknown_name_occurs_only_beside_a_face(sources):
    people = sources.people()
    load = PhotoLoader(people, small.SIZES, small.TOKENIZER, (0.3, 0.2, 0.5), unknown_names=0.5)
    record = people.train[4]
    name = small.TOKENIZER.encode(people.names[people.person[record]])[0]
    seen = set()
    for draw in range(40):
        example = load(record, np.random.default_rng(draw))
        slots = example["slots"].tolist()
        seen.add((name in example["ids"], WORD in slots, FACE in slots))
        if WORD in slots:
            assert slots.index(WORD) + 1 == slots.index(FACE)  # where the name would be
            assert slots.count(WORD) == slots.count(FACE) == 1
    # by name, by face, by both, and by both with a name that says nothing
    assert seen == {(True, False, False), (False, False, True), (True, False, True), (False, True, True)}
    index, photos = sources.clips("train"), sources.query_photos("cia")
    clips = ClipLoader(index, photos, small.SIZES, small.TOKENIZER, (0.0, 0.0, 1.0), unknown_names=1.0)
    assert all(WORD in clips(index.usable[0], np.random.default_rng(draw))["slots"] for draw in range(5))
    with pytest.raises(StoryjaxError, match=r"unknown_names is 1\.5: give a fraction"):
        DataConfig(unknown_names=1.5)


def test_a_clips_query_matches_the_clip(sources):
    index, photos = sources.clips("train"), sources.query_photos("cia")
    load = ClipLoader(index, photos, small.SIZES, small.TOKENIZER, (0.0, 1.0, 0.0))
    queried = set()
    for draw in range(30):
        record = index.usable[draw % len(index.usable)]
        example = load(record, np.random.default_rng(draw))
        assert example["frames"].shape == (2, 16, 16, 3)
        words = small.TOKENIZER.decode([int(i) for i in example["ids"] if i > 1])
        actor, action = example["query_facts"]
        pairs = index.pairs[record]
        assert index.actors[actor] in words.split()
        assert any(a == actor and action in (-1, d) for a, d in pairs)
        place = index.places[index.place[record]]
        assert (place in words.split()) == (example["query_place"] >= 0)
        assert (action >= 0) == any(index.actions[d] in words for a, d in pairs if a == actor)
        queried.add((bool(action >= 0), bool(example["query_place"] >= 0)))
    assert queried == {(True, False), (False, True), (True, True)}


def test_cached_features_give_the_same_loss(sources):
    people, params = sources.people(), small.random_params()
    cache = FeatureCache(small.MODEL, lambda: params, small.SIZES)
    clips_of_photos = cache.clips(
        "photos", people.train, lambda record: small.SIZES.clip_square(people.read(record))[None]
    )
    cached = CachedFeatures(clips_of_photos, cache.faces("faces", people.train, people.read))
    losses = []
    for given in (None, cached):
        load = PhotoLoader(people, small.SIZES, small.TOKENIZER, MIX, given)
        rows = [load(record, np.random.default_rng(record)) for record in people.train[:6]]
        batch = {name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]}
        losses.append(PersonContrast(small.MODEL)(params, batch, jax.random.key(0))[0])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    index = sources.clips("train")
    clips = cache.clips("clips", index.usable[:3], lambda r: read_clip(index.source[r], small.SIZES, None))
    assert clips[index.usable[0]].shape == (8,)


def test_a_broken_record_stays_broken_in_the_cache():
    cache = FeatureCache(small.MODEL, small.random_params, small.SIZES)
    image = np.zeros((20, 20, 3), np.uint8)

    def read(record: int) -> np.ndarray:
        if record == 1:
            raise StoryjaxError("b.jpg is damaged")
        return image

    cached = CachedFeatures(
        cache.clips("photos", [0, 1], lambda r: small.SIZES.clip_square(read(r))[None]),
        cache.faces("faces", [0, 1], read),
    )
    assert cached(0, [0], 2)["face_valid"].tolist() == [True, False]
    for record, photos in ((1, [0]), (0, [1])):
        with pytest.raises(StoryjaxError, match="is damaged"):
            cached(record, photos, 2)


def test_photos_are_cropped_to_their_loose_crop(tmp_path):
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    Image.fromarray(np.stack([image] * 3, -1)).save(tmp_path / "a.png")
    record = {"media": (tmp_path / "a.png").read_bytes(), "path": "a.png", "crop": "2.0 -3.0 6.0 4.0"}
    np.testing.assert_array_equal(read_photo(record)[..., 0], image[0:4, 2:6])
    assert read_photo({**record, "crop": "50 50 60 60"}).shape == (10, 10, 3)
    for aspect in (True, False):
        middle = Sizes(clip=4, face=4, face_crop=0.4, face_aspect=aspect).face_square(
            read_photo({**record, "crop": ""})
        )
        np.testing.assert_allclose(middle[..., 0], image[3:7, 3:7], atol=1)


def test_training_and_enrolment_cut_faces_in_the_same_way(sources):
    people, sizes = sources.people(), dataclasses.replace(small.SIZES, face_loose=0.3)
    load = PhotoLoader(people, sizes, small.TOKENIZER, MIX)
    record = people.train[0]
    others = [photo for photo in people.photos[people.person[record]] if photo != record]
    seen: list[np.ndarray] = []

    def describe(faces: np.ndarray) -> np.ndarray:
        seen.extend(faces)
        return np.ones((len(faces), 6), np.float32)

    for other in others:
        box = tuple(float(number) for number in people.source.labels[other]["box"].split())
        mean_description([people.read(other)], sizes.face_square, describe, lambda photo, box=box: [box], "largest")
    example = load(record, np.random.default_rng(0))
    assert example["face_valid"].sum() == 2
    for face in example["faces"]:
        assert any(np.array_equal(face, cut) for cut in seen)
        assert not any(np.array_equal(face, sizes.face_square(people.read(other))) for other in others)
    # The world without boxes, and a box outside of the photo.
    item = people.source[others[0]]
    whole = read_photo(item)
    np.testing.assert_array_equal(read_face(item, None), whole)
    np.testing.assert_array_equal(read_face({**item, "box": ""}, 0.3), whole)
    np.testing.assert_array_equal(read_face({**item, "box": "-90 -90 -50 -50"}, 0.3), whole)


def test_squares_keep_the_aspect_ratio_but_for_storyworlds_networks():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    assert Sizes(clip=8, face=8).clip_square(wide).min() > 200
    assert Sizes(clip=8, face=8, clip_aspect=False).clip_square(wide).min() == 0
    # VGGFace2's networks: the central 224 pixels of a shorter side of 256.
    face = Sizes(clip=224, face=224, face_crop=0.875).face_square(wide)
    expected = Image.fromarray(wide).resize((768, 256), Image.Resampling.BICUBIC).crop((272, 16, 496, 240))
    np.testing.assert_allclose(face.astype(int), np.asarray(expected).astype(int), atol=1)
    assert make_sizes(small.MODEL, {}).face_aspect
    shipped = PersonFinder.from_pretrained()
    assert (shipped.keep_aspect, shipped.sizes.clip_aspect, shipped.sizes.face_aspect) == (False, False, False)
