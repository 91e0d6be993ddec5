"""Who or what the vectors of a whole track are of."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from storyjax.core.arrays import unit_norm

# Of the softmax over candidates: differences of cosines of about this much decide.
TEMPERATURE = 0.05


class Match(NamedTuple):
    """Whom a track was matched with.

    Attributes:
        id: of the entry; None where none is similar enough.
        confidence: probability of that answer, 0 to 1.
        runner_up: the id of the next most similar entry; where `id` is None, of the most similar. None: there is none.
    """

    id: str | None
    confidence: float
    runner_up: str | None


def similarities(
    vectors: Float32[np.ndarray, "n d"], known: Mapping[str, Float32[np.ndarray, "_ d"]]
) -> dict[str, float]:
    """Returns the similarity of a track with each entry: of every vector the cosine with the entry's nearest one, and
    the mean over all vectors of the track.

    Args:
        vectors: of the track, of any length.
        known: of entries, by id.
    """
    track = unit_norm(np.asarray(vectors, np.float32))
    return {
        id: float((track @ unit_norm(np.asarray(rows, np.float32)).T).max(axis=1).mean()) for id, rows in known.items()
    }


def match(
    vectors: Float32[np.ndarray, "n d"],
    known: Mapping[str, Float32[np.ndarray, "_ d"]],
    threshold: float,
    temperature: float = TEMPERATURE,
) -> Match:
    """Returns which entry the vectors of a track are of, judged over the whole track.

    The confidence is a softmax over the entries' similarities and over the threshold, which stands for nobody that is
    known.

    Args:
        vectors: of one track, of any length; without any, nobody is matched.
        known: vectors of entries by id, as of `Gallery.vectors`.
        threshold: the least similarity (cosine) of the same person or thing.
        temperature: of the softmax, above 0.
    """
    if not known or not len(vectors):
        return Match(None, 1.0, None)
    scores = similarities(vectors, known)
    ranked = sorted(scores, key=lambda id: (-scores[id], id))
    best, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    levels = np.asarray([threshold, *scores.values()], np.float64) / temperature
    weights = np.exp(levels - levels.max())
    chances = dict(zip([None, *scores], (weights / weights.sum()).tolist(), strict=True))
    if scores[best] < threshold:
        return Match(None, chances[None], best)
    return Match(best, chances[best], second)
