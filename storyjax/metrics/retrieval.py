"""Metrics of retrieval: rankings of a pool of items by their similarity to queries.

`scores` is (queries, items), higher is nearer; `relevant` says which items answer which query. Ties count against the
query: an item is ranked behind every other that scores the same, so that a constant score never looks good. A query
without any relevant item is left out of every mean.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

Scores = Float[np.ndarray, "q n"]
Relevant = Bool[np.ndarray, "q n"]


def ranks(scores: Scores, relevant: Relevant) -> Int[np.ndarray, "q n"]:
    """Returns the 1-based place of every item in its query's ranking; among equals irrelevant items come first."""
    order = np.lexsort((relevant, -scores), axis=1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(1, scores.shape[1] + 1)[None, :], axis=1)
    return places


def answerable(relevant: Relevant) -> Bool[np.ndarray, " q"]:
    """Returns, for each query, whether any item is relevant to it."""
    return np.any(relevant, axis=1)


def _mean(values: np.ndarray, relevant: Relevant) -> float:
    kept = values[answerable(relevant)]
    if not len(kept):
        raise ValueError("no query has a relevant item")
    return float(kept.mean())


def first_ranks(scores: Scores, relevant: Relevant) -> Int[np.ndarray, " q"]:
    """Returns the place of each query's best relevant item; one more than there are items where there is none."""
    return np.where(relevant, ranks(scores, relevant), scores.shape[1] + 1).min(axis=1)


def mean_reciprocal_rank(scores: Scores, relevant: Relevant) -> float:
    """Returns MRR: the mean of one over the place of the first relevant item."""
    return _mean(1.0 / first_ranks(scores, relevant), relevant)


def hit_at(scores: Scores, relevant: Relevant, k: int) -> float:
    """Returns R@k (thesis §5.4.2): the fraction of queries with any relevant item in the first k."""
    return _mean((first_ranks(scores, relevant) <= k).astype(np.float64), relevant)


def true_recall_at(scores: Scores, relevant: Relevant, k: int) -> float:
    """Returns tR@k (thesis §5.5.1): the relevant items in the first k, over all relevant items. At most k over their
    number."""
    found = ((ranks(scores, relevant) <= k) & relevant).sum(axis=1)
    return _mean(found / np.maximum(relevant.sum(axis=1), 1), relevant)


def best_true_recall_at(relevant: Relevant, k: int) -> float:
    """Returns the highest tR@k that any ranking can reach."""
    count = relevant.sum(axis=1)
    return _mean(np.minimum(count, k) / np.maximum(count, 1), relevant)


def precision_at(scores: Scores, relevant: Relevant, k: int) -> float:
    """Returns P@k (thesis §5.5.1): the relevant items in the first k, over k (over the pool's size where that is
    smaller)."""
    k = min(k, scores.shape[1])
    return _mean(((ranks(scores, relevant) <= k) & relevant).sum(axis=1) / k, relevant)


def mean_average_precision(scores: Scores, relevant: Relevant) -> float:
    """Returns mAP: for each query the mean, over its relevant items, of the precision at their places."""
    places = ranks(scores, relevant)
    by_place = np.take_along_axis(relevant, np.argsort(places, axis=1), axis=1)
    precision = np.cumsum(by_place, axis=1) / np.arange(1, scores.shape[1] + 1)
    return _mean((precision * by_place).sum(axis=1) / np.maximum(relevant.sum(axis=1), 1), relevant)
