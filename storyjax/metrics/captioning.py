"""CIDEr-D (Vedantam et al. 2015, "CIDEr: Consensus-based image description evaluation"), the form that COCO reports.

Captions become vectors of n-gram counts weighted by how rare an n-gram is among the references of all examples
(TF-IDF); the score is their cosine for n = 1 to 4, with counts clipped to the reference's and a Gaussian penalty on the
difference of lengths (σ = 6), averaged over references and n, times 10. Words are those of COCO's own tokenizer
(penn_treebank.py).
"""

import math
from collections import Counter
from collections.abc import Sequence

from storyjax.metrics.penn_treebank import words

LONGEST = 4
SIGMA = 6.0

Grams = Counter[tuple[str, ...]]


def _grams(caption: str) -> list[Grams]:
    """Counts of its n-grams, for n = 1 to 4."""
    said = words(caption)
    return [Counter(tuple(said[i : i + n]) for i in range(len(said) - n + 1)) for n in range(1, LONGEST + 1)]


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Returns the mean CIDEr-D over examples, and each example's; 10 is the same words in the same order (with rare
    n-grams).

    Raises ValueError where there is nothing to compare, or a caption has no reference.
    """
    if len(captions) != len(references) or not captions or not all(references):
        raise ValueError("every caption needs at least one reference, and there must be at least one caption")
    truth = [[_grams(reference) for reference in each] for each in references]
    documents: Counter[tuple[str, ...]] = Counter()
    for each in truth:
        documents.update({gram for reference in each for counts in reference for gram in counts})
    scale = math.log(len(captions))

    def vector(counts: list[Grams]) -> tuple[list[dict[tuple[str, ...], float]], list[float]]:
        weighted = [
            {gram: count * (scale - math.log(max(1.0, documents[gram]))) for gram, count in row.items()}
            for row in counts
        ]
        return weighted, [math.sqrt(sum(value**2 for value in row.values())) for row in weighted]

    scores = []
    for caption, each in zip(captions, truth, strict=True):
        counts = _grams(caption)
        mine, norms = vector(counts)
        total = 0.0
        for reference in each:
            theirs, their_norms = vector(reference)
            # COCO measures lengths in bigrams, which differ from words by one on both sides.
            apart = sum(counts[1].values()) - sum(reference[1].values())
            penalty = math.exp(-(apart**2) / (2 * SIGMA**2))
            for n in range(LONGEST):
                shared = sum(
                    min(value, theirs[n].get(gram, 0.0)) * theirs[n].get(gram, 0.0) for gram, value in mine[n].items()
                )
                if norms[n] and their_norms[n]:
                    total += penalty * shared / (norms[n] * their_norms[n])
        scores.append(10.0 * total / (LONGEST * len(each)))
    return sum(scores) / len(scores), scores
