"""Evaluation by retrieval (thesis §4.5).

An evaluation embeds every image or clip, and every query, once; rankings and accuracies are then computed from matrices
on the host. Queries are embedded by the trained text tower, and also by the one before training: zero-shot CLIP.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from storyjax.clip_pad.data import MARKER, FaceLoader, Query, Sizes, encode
from storyjax.clip_pad.model import ClipPad
from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer
from storyjax.metrics.retrieval import hit_at, mean_average_precision, ranks
from storyjax.train.experiment import Batch, Evaluator, Params

Matrix = Float[np.ndarray, "q n"]
ZERO_SHOT = "zero_shot"


class ChainedStreams:
    """Streams one after another, each opened when it is reached."""

    def __init__(self, streams: Sequence[Callable[[], Stream]]):
        self._streams = list(streams)
        self._open: list[Stream] = []

    def __iter__(self) -> Iterator[Batch]:
        for make in self._streams:
            self._open.append(make())
            yield from self._open[-1]

    def close(self) -> None:
        """Closes the streams that were opened."""
        for stream in self._open:
            stream.close()


@dataclass
class Embeddings:
    """The embeddings of an evaluation.

    Attributes:
        clips: (n, p) by position in the evaluator's records; zeros for broken records.
        queries, zero_shot: (q, p) by the trained text tower, and by the one before training.
        found: (n,) whether the record is there, not broken.
    """

    clips: np.ndarray
    queries: np.ndarray
    zero_shot: np.ndarray
    found: np.ndarray


def embed_batch(model: ClipPad, params: Params, batch: Batch) -> dict[str, jax.Array]:
    """Returns the embeddings of a batch of clips, or of a batch of queries, by the names of `Embeddings`."""
    if "frames" in batch:
        return {"clips": model.embed_clips(params, batch["frames"])}
    faces = model.mean_description(params, batch["faces"], batch["face_valid"])
    tokens = model.tokens(params, faces)
    return {
        "queries": model.embed_texts(params, batch["ids"], tokens, batch["slots"]),
        "zero_shot": model.embed_texts_zero_shot(params, batch["ids"]),
    }


class RetrievalEvaluator:
    """Embeds the images or clips of an evaluation and its queries, and computes metrics of both.

    Args:
        name: of the evaluator.
        model: CLIP-PAD.
        sizes: of the inputs.
        tokenizer: returns CLIP's tokenizer.
        records: record numbers of the clips, for `load`.
        load: record number -> frames (t, y, x, 3).
        queries: all queries.
        photos_of: a person's name -> photos (y, x, 3) to make a query of.
        compute: the embeddings -> metrics.
        groups: the queries with their answers, by kind, for those who look at single results.
    """

    def __init__(
        self,
        name: str,
        model: ClipPad,
        sizes: Sizes,
        tokenizer: Callable[[], Tokenizer],
        records: Sequence[int],
        load: Callable[[int], np.ndarray],
        queries: Sequence[Query],
        photos_of: Callable[[str], Sequence[np.ndarray]],
        compute: Callable[[Embeddings], dict[str, float]],
        groups: "Mapping[str, QueryGroup] | None" = None,
    ):
        self.name, self.model, self.sizes, self.records, self.load = name, model, sizes, list(records), load
        self.queries, self.photos_of, self.compute = list(queries), photos_of, compute
        self.tokenizer, self.faces, self.groups = tokenizer, FaceLoader(sizes), dict(groups or {})

    def evaluator(self) -> Evaluator:
        """Returns the evaluator that the training loop runs."""
        embed = functools.partial(embed_batch, self.model)
        return Evaluator(self.name, self._data, embed, self._accumulate, self.compute)

    def _data(self, spec: StreamSpec) -> Iterable[Batch]:
        tokenizer = self.tokenizer()

        def load_query(row: int, rng: np.random.Generator) -> Batch:
            query = self.queries[row]
            ids, slots = encode(tokenizer, query.prompt, self.sizes)
            faces = self.photos_of(query.person) if MARKER in query.prompt else ()
            return {"ids": ids, "slots": slots, **self.faces(list(faces))}

        return ChainedStreams(
            [
                lambda: eval_stream(self.records, lambda record, rng: {"frames": self.load(record)}, spec),
                lambda: eval_stream(range(len(self.queries)), load_query, spec),
            ]
        )

    def _accumulate(self, acc: Embeddings | None, embedded: Mapping[str, Any], batch: Batch) -> Embeddings:
        if acc is None:
            width = self.model.config.clip.projection_dim
            clips, queries = len(self.records), len(self.queries)
            acc = Embeddings(
                np.zeros((clips, width), np.float32),
                np.zeros((queries, width), np.float32),
                np.zeros((queries, width), np.float32),
                np.zeros(clips, bool),
            )
        valid = np.asarray(batch["record_valid"])
        rows = np.asarray(batch["index"])[valid]
        for name, values in embedded.items():
            getattr(acc, name)[rows] = np.asarray(values)[valid]
        if "clips" in embedded:
            acc.found[rows] = True
        return acc


@dataclass(frozen=True)
class QueryGroup:
    """Queries of one kind.

    Attributes:
        rows: for each mode, the queries' rows in the list of all queries.
        answers: (queries, clips), which clips match each.
    """

    rows: Mapping[str, Sequence[int]]
    answers: Bool[np.ndarray, "q n"]


@dataclass
class QueryList:
    """Distinct queries with their rows."""

    queries: list[Query] = field(default_factory=list)
    _row: dict[Query, int] = field(default_factory=dict)

    def row(self, query: Query) -> int:
        """Returns the row of a query, which is added if it is new."""
        if query not in self._row:
            self._row[query] = len(self.queries)
            self.queries.append(query)
        return self._row[query]


def scores(embeddings: Embeddings, group: QueryGroup, mode: str) -> Matrix:
    """Returns the cosine similarities of a group's queries with all clips; zero-shot CLIP gets queries by name."""
    queries = embeddings.zero_shot if mode == ZERO_SHOT else embeddings.queries
    return queries[np.asarray(group.rows["text" if mode == ZERO_SHOT else mode])] @ embeddings.clips.T


def two_stage(first: Matrix, second: Matrix) -> Matrix:
    """Returns scores that merge two ranked lists (§4.7.6, CLIP-PAD*).

    An item's rank is the depth at which both lists have shown it: the first k common elements of the lists' first n,
    with n growing until there are k, come first; of those that become common at the same n, the one with the smaller
    sum of ranks.
    """
    nothing = np.zeros(first.shape, bool)
    places = np.stack([ranks(first, nothing), ranks(second, nothing)])
    deepest, both = places.max(axis=0), places.sum(axis=0)
    return -(deepest * 2.0 * (first.shape[1] + 1) + both).astype(np.float64)


def recalls(prefix: str, matrix: Matrix, answers: Bool[np.ndarray, "q n"]) -> dict[str, float]:
    """Returns the fractions of queries with a matching clip among the first one and five."""
    return {f"{prefix}/r{k}": hit_at(matrix, answers, k) for k in (1, 5)}


def precision(prefix: str, matrix: Matrix, answers: Bool[np.ndarray, "q n"]) -> dict[str, float]:
    """Returns the mean average precision of the queries."""
    return {f"{prefix}/map": mean_average_precision(matrix, answers)}


def classification_accuracy(matrix: Matrix, answers: Bool[np.ndarray, "q n"]) -> float:
    """Returns the accuracy of the most similar class, over the clips that have a correct class; NaN without any."""
    kept = answers.any(axis=0)
    if not kept.any():
        return math.nan
    best = matrix[:, kept].argmax(axis=0)
    return float(answers[:, kept][best, np.arange(kept.sum())].mean())
