"""Filtering exemplars by their neighbours, and naming by the nearest centroid."""

import numpy as np
import pytest

from storyjax.subtitles.exemplars import assign, keep_nearest, keep_pure, make_centroids


def around(centre: int, count: int, rng: np.random.Generator, spread: float = 0.2, dim: int = 8) -> np.ndarray:
    vectors = np.eye(dim)[centre] + spread * rng.standard_normal((count, dim)) / dim**0.5
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_wrong_label_among_many_is_dropped() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([around(0, 8, rng), around(1, 8, rng)])
    names = ["ana"] * 8 + ["ben"] * 8
    assert keep_pure(vectors, names).all()
    names[2] = "ben"  # ana's voice, labelled ben
    kept = keep_pure(vectors, names)
    assert not kept[2]
    assert kept[8:].all()


def test_few_samples_are_all_kept_and_exactly_five_can_be() -> None:
    rng = np.random.default_rng(1)
    vectors = np.concatenate([around(0, 9, rng), around(1, 4, rng), around(2, 5, rng)])
    names = ["ana"] * 9 + ["ben"] * 4 + ["leo"] * 5
    assert keep_pure(vectors, names).all()
    vectors[9:13] = around(0, 4, rng)  # ben sounds like ana: four are too few to judge
    kept = keep_pure(vectors, names)
    assert kept[9:13].all()
    assert kept[13:].all()


def test_the_number_of_neighbours_matters() -> None:
    rng = np.random.default_rng(2)
    vectors = np.concatenate([around(0, 6, rng, 0.1), around(0, 1, rng, 0.1), around(1, 6, rng, 0.1)])
    names = ["ana"] * 6 + ["ben"] * 7
    assert not keep_pure(vectors, names, 5)[6]
    assert keep_pure(vectors, names, 8)[6]  # ben has fewer than eight


def test_a_voice_nearer_to_another_mean_is_dropped_however_few_there_are() -> None:
    rng = np.random.default_rng(3)
    vectors = np.concatenate([around(0, 3, rng), around(1, 3, rng), around(2, 1, rng)])
    names = ["ana"] * 3 + ["ben"] * 3 + ["leo"]
    assert keep_nearest(vectors, names).all()
    names[1] = "ben"  # ana's voice, labelled ben
    np.testing.assert_array_equal(keep_nearest(vectors, names), [True, False, True, True, True, True, True])


def test_a_voice_does_not_speak_for_itself() -> None:
    ana, ben = np.eye(3, dtype=np.float32)[[0, 0]], np.array([[0.6, 0.8, 0], [0, 0.6, 0.8]], np.float32)
    vectors, names = np.concatenate([ana, ben]), ["ana", "ana", "ben", "ben"]
    np.testing.assert_array_equal(keep_nearest(vectors, names), [True, True, False, True])


def test_an_outlier_does_not_cost_a_character_all_samples() -> None:
    far = np.array([0.0, 0.6, 0.8, 0, 0, 0, 0, 0], np.float32)  # ana's, but her others are further from it than ben's
    ana = np.array([[0.8, 0.6, 0, 0, 0, 0, 0, 0], [0.8, 0, 0.6, 0, 0, 0, 0, 0]], np.float32)
    ben = np.tile(np.array([[0, 0.5, 0, 0.866, 0, 0, 0, 0]], np.float32), (3, 1))
    vectors, names = np.concatenate([far[None], ana, ben]), ["ana"] * 3 + ["ben"] * 3
    assert keep_nearest(vectors, names).all()


def test_nobody_is_kept_of_nothing() -> None:
    assert keep_pure(np.zeros((0, 4), np.float32), []).shape == (0,)
    assert keep_nearest(np.zeros((0, 4), np.float32), []).shape == (0,)
    empty = make_centroids(np.zeros((0, 4), np.float32), [])
    given = assign(np.ones((2, 4), np.float32), empty, 0.5)
    assert [g.name for g in given] == [None, None]
    assert [g.nearest for g in given] == [None, None]


def test_the_nearest_centroid_within_the_distance() -> None:
    rng = np.random.default_rng(3)
    centroids = make_centroids(np.concatenate([around(0, 4, rng), around(1, 2, rng)]), ["ana"] * 4 + ["ben"] * 2)
    assert centroids.counts == (4, 2)
    np.testing.assert_allclose(np.linalg.norm(centroids.vectors, axis=1), 1, atol=1e-6)
    voices = np.concatenate([around(1, 1, rng), around(5, 1, rng)])
    near, far = assign(voices, centroids, 0.4)
    assert (near.name, near.nearest, near.runner_up) == ("ben", "ben", "ana")
    assert near.distance < 0.2 < near.runner_up_distance
    assert far.name is None
    assert far.nearest in ("ana", "ben")
    assert assign(voices, centroids, 2.0)[1].name == far.nearest


def test_whom_the_episode_does_not_have_is_not_named() -> None:
    rng = np.random.default_rng(4)
    centroids = make_centroids(np.concatenate([around(0, 3, rng), around(1, 3, rng)]), ["ana"] * 3 + ["ben"] * 3)
    (given,) = assign(around(1, 1, rng), centroids, 0.5, present=["ana"])
    assert given.name is None
    assert given.nearest == "ana"
    assert given.runner_up is None
    assert given.distance == pytest.approx(1.0, abs=0.3)
