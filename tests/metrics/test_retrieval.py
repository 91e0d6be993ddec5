"""Retrieval metrics on rankings worked out by hand."""

import numpy as np
import pytest

from storyjax.metrics.retrieval import (
    best_true_recall_at,
    hit_at,
    mean_average_precision,
    mean_reciprocal_rank,
    precision_at,
    ranks,
    true_recall_at,
)

SCORES = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.4, 0.6]])
# Query 0 finds its two items at places 2 and 4, query 1 its only one at place 3.
RELEVANT = np.array([[False, True, True, False], [False, False, True, False]])


def test_worked_example() -> None:
    assert ranks(SCORES, RELEVANT).tolist() == [[1, 4, 2, 3], [4, 1, 3, 2]]
    assert mean_reciprocal_rank(SCORES, RELEVANT) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert hit_at(SCORES, RELEVANT, 1) == 0
    assert hit_at(SCORES, RELEVANT, 2) == pytest.approx(0.5)
    assert hit_at(SCORES, RELEVANT, 3) == 1
    assert true_recall_at(SCORES, RELEVANT, 3) == pytest.approx((1 / 2 + 1) / 2)
    assert best_true_recall_at(RELEVANT, 1) == pytest.approx((1 / 2 + 1) / 2)
    assert precision_at(SCORES, RELEVANT, 2) == pytest.approx((1 / 2 + 0) / 2)
    assert mean_average_precision(SCORES, RELEVANT) == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1 / 3) / 2)


def test_ties_count_against_the_query() -> None:
    same = np.zeros((1, 4))
    relevant = np.array([[True, False, False, False]])
    assert mean_reciprocal_rank(same, relevant) == pytest.approx(1 / 4)


def test_a_query_without_an_answer_is_left_out() -> None:
    more_scores = np.concatenate([SCORES, np.ones((1, 4))])
    more_relevant = np.concatenate([RELEVANT, np.zeros((1, 4), bool)])
    for metric in (mean_reciprocal_rank, mean_average_precision):
        assert metric(more_scores, more_relevant) == metric(SCORES, RELEVANT)
    with pytest.raises(ValueError, match="no query"):
        mean_reciprocal_rank(SCORES[:1], np.zeros((1, 4), bool))


def test_a_perfect_and_a_random_ranking() -> None:
    rng = np.random.default_rng(0)
    relevant = rng.random((50, 40)) < 0.2
    perfect = relevant + 0.5 * rng.random(relevant.shape)
    assert mean_average_precision(perfect, relevant) == pytest.approx(1)
    assert true_recall_at(perfect, relevant, 5) == pytest.approx(best_true_recall_at(relevant, 5))
    assert mean_average_precision(rng.random(relevant.shape), relevant) < 0.4
