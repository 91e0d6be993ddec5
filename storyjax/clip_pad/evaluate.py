"""The measurements of thesis §4.5: what is embedded, and what is made of the embeddings.

An evaluation embeds every picture or clip, and every query, once; rankings and accuracies are then a matter of matrices
on the host. Queries are embedded by the trained text tower and, where they hold no face, also by the one that training
began with: zero-shot CLIP.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from storyjax.clip_pad.data import MARKER, Faces, Query, Sizes, encode
from storyjax.clip_pad.model import ClipPad
from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer
from storyjax.metrics.retrieval import hit_at, mean_average_precision, ranks
from storyjax.train.experiment import Batch, Evaluator, Params

Matrix = Float[np.ndarray, "q n"]
ZERO_SHOT = "zero_shot"


class Chain:
    """Streams one after another."""

    def __init__(self, streams: Sequence[Callable[[], Stream]]):
        self._streams = list(streams)
        self._open: list[Stream] = []

    def __iter__(self) -> Iterator[Batch]:
        for make in self._streams:
            self._open.append(make())
            yield from self._open[-1]

    def close(self) -> None:
        for stream in self._open:
            stream.close()


@dataclass
class Embedded:
    """What an evaluation has embedded: rows by record number; missing ones (broken records) are zeros."""

    clips: np.ndarray
    queries: np.ndarray
    zero_shot: np.ndarray
    found: np.ndarray


class Lookup:
    """Embeds the pictures or clips of an evaluation and its queries, and hands both to `finish`.

    Args:
        name: of the evaluator.
        model: whose functions embed.
        records: of the clips, for `load`.
        load: record number -> frames (t, y, x, 3).
        queries: all that will be asked.
        photo_of: a person's name -> photos to ask with (y, x, 3).
        finish: of what was embedded, the metrics.
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
        finish: Callable[[Embedded], dict[str, float]],
    ):
        self.name, self.model, self.sizes, self.records, self.load = name, model, sizes, list(records), load
        self.queries, self.photos_of, self.finish_with = list(queries), photos_of, finish
        self.tokenizer, self.faces = tokenizer, Faces(sizes)

    def evaluator(self) -> Evaluator:
        return Evaluator(self.name, self._data, self._measure, self._accumulate, self.finish_with)

    def _data(self, spec: StreamSpec) -> Iterable[Batch]:
        tokenizer = self.tokenizer()

        def load_query(row: int, rng: np.random.Generator) -> Batch:
            query = self.queries[row]
            ids, slots = encode(tokenizer, query.prompt, self.sizes)
            faces = self.photos_of(query.person) if MARKER in query.prompt else ()
            return {"ids": ids, "slots": slots, **self.faces(list(faces))}

        return Chain(
            [
                lambda: eval_stream(self.records, lambda record, rng: {"frames": self.load(record)}, spec),
                lambda: eval_stream(range(len(self.queries)), load_query, spec),
            ]
        )

    def _measure(self, params: Params, batch: Batch) -> dict[str, jax.Array]:
        if "frames" in batch:
            return {"clips": self.model.embed_clips(params, batch["frames"])}
        faces = self.model.mean_description(params, batch["faces"], batch["face_valid"])
        tokens = self.model.tokens(params, faces)
        return {
            "queries": self.model.embed_texts(params, batch["ids"], tokens, batch["slots"]),
            "zero_shot": self.model.embed_texts_zero_shot(params, batch["ids"]),
        }

    def _accumulate(self, acc: Embedded | None, measured: Mapping[str, Any], batch: Batch) -> Embedded:
        if acc is None:
            width = self.model.config.clip.projection_dim
            clips, queries = len(self.records), len(self.queries)
            acc = Embedded(
                np.zeros((clips, width), np.float32),
                np.zeros((queries, width), np.float32),
                np.zeros((queries, width), np.float32),
                np.zeros(clips, bool),
            )
        valid = np.asarray(batch["record_valid"])
        rows = np.asarray(batch["index"])[valid]
        for name, values in measured.items():
            getattr(acc, name)[rows] = np.asarray(values)[valid]
        if "clips" in measured:
            acc.found[rows] = True
        return acc


@dataclass(frozen=True)
class Asked:
    """Queries of one kind: their rows in the list of all queries for each mode, and which clips answer each.

    `answers` is (queries, clips).
    """

    rows: Mapping[str, Sequence[int]]
    answers: Bool[np.ndarray, "q n"]


@dataclass
class QueryList:
    """Collects queries, each once."""

    queries: list[Query] = field(default_factory=list)
    _row: dict[Query, int] = field(default_factory=dict)

    def row(self, query: Query) -> int:
        if query not in self._row:
            self._row[query] = len(self.queries)
            self.queries.append(query)
        return self._row[query]


def scores(embedded: Embedded, asked: Asked, mode: str) -> Matrix:
    """Cosine similarities of a kind of queries with all clips; zero-shot CLIP is asked by name."""
    side = embedded.zero_shot if mode == ZERO_SHOT else embedded.queries
    return side[np.asarray(asked.rows["text" if mode == ZERO_SHOT else mode])] @ embedded.clips.T


def two_stage(first: Matrix, second: Matrix) -> Matrix:
    """Scores of the walk down two ranked lists (§4.7.6, CLIP-PAD*): an item is met where both lists have shown it.

    The first k common elements of the lists' first n, with n growing until there are k, come first; of those that
    become common at the same n the one with the smaller sum of places.
    """
    nothing = np.zeros(first.shape, bool)
    places = np.stack([ranks(first, nothing), ranks(second, nothing)])
    deepest, both = places.max(axis=0), places.sum(axis=0)
    return -(deepest * 2.0 * (first.shape[1] + 1) + both).astype(np.float64)


def recalls(prefix: str, matrix: Matrix, answers: Bool[np.ndarray, "q n"]) -> dict[str, float]:
    return {f"{prefix}/r{k}": hit_at(matrix, answers, k) for k in (1, 5)}


def precision(prefix: str, matrix: Matrix, answers: Bool[np.ndarray, "q n"]) -> dict[str, float]:
    return {f"{prefix}/map": mean_average_precision(matrix, answers)}


def classified(matrix: Matrix, answers: Bool[np.ndarray, "q n"]) -> float:
    """The share of clips, of those that some class is right for, whose most similar class is right; NaN without any."""
    kept = answers.any(axis=0)
    if not kept.any():
        return math.nan
    best = matrix[:, kept].argmax(axis=0)
    return float(answers[:, kept][best, np.arange(kept.sum())].mean())
