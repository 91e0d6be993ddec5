"""Nearest vectors by FAISS: exact while there are few, inverted lists of 8-bit vectors beyond.

Exact inner products over 200,000 vectors of 512 take some 20 ms on a core. Beyond that, vectors lie in inverted lists
(IVF) as 8-bit numbers (a quarter of the memory), the lists nearest to the query are searched, and the best of what is
found is ranked again by the exact vectors. `tools/bench_search.py` measures it at ten million.
"""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from storyjax.core.errors import StoryjaxError
from storyjax.search.store import Store

EXACT_UP_TO = 200_000
# Vectors read into memory at a time.
CHUNK = 20_000
# A coarse quantiser learned on this many times fewer (or more) vectors than there are is learned again.
_OUTGROWN = 3
# Points that each centre of the coarse quantiser is learned from: FAISS's own lower bound.
_POINTS_PER_LIST = 39
# The share of the lists that a query looks into: measured, see storyjax/search/README.md.
_PROBED = 1 / 128
_FEWEST_PROBED = 16
# How widely the graph of centres is searched when vectors are put into lists: at FAISS's 16, one query in two hundred
# and as many vectors get stuck in a far corner of it.
_WIDE = 64


def _faiss():
    try:
        import faiss
    except ImportError as error:
        raise StoryjaxError("searching needs FAISS: pip install 'storyjax[search]'") from error
    return faiss


def lists_for(count: int) -> int:
    """Inverted lists for `count` vectors: the power of two nearest to 2.6 √count.

    >>> lists_for(10_000_000)
    8192
    """
    return 2 ** round(np.log2(2.6 * np.sqrt(count)))


def inverted_lists(dim: int, count: int, sample: Float32[np.ndarray, "n d"]):
    """An empty, trained FAISS index of inner products for about `count` vectors, of which `sample` are some."""
    faiss = _faiss()
    lists = min(lists_for(count), max(1, len(sample) // _POINTS_PER_LIST))
    # The lists' centres are found through a graph (HNSW), for comparing with all of them would take most of the time.
    index = faiss.index_factory(dim, f"IVF{lists}_HNSW32,SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    return ready(index)


def ready(index):
    """Sets how an inverted file is searched and added to: these settings are not kept in its file."""
    index.nprobe = max(_FEWEST_PROBED, round(index.nlist * _PROBED))
    index.parallel_mode = 1  # one query at a time, its lists shared among the cores
    _faiss().downcast_index(index.quantizer).hnsw.efSearch = _WIDE
    return index


def look_into(index, query: Float32[np.ndarray, " d"], count: int) -> Int64[np.ndarray, " n"]:
    """The ids of about `count` vectors in the lists nearest to a query.

    The lists are found by comparing with all centres, a millisecond for 8192 of them: the graph is for the millions of
    vectors that come in, and a query that gets stuck in it would find nothing at all.
    """
    centres = _faiss().downcast_index(index.quantizer).storage
    scores, lists = centres.search(query[None], index.nprobe)
    _, found = index.search_preassigned(query[None], count, lists, scores)
    return found[0]


def sample_size(count: int) -> int:
    """How many of `count` vectors the inverted lists are learned from."""
    return min(count, lists_for(count) * _POINTS_PER_LIST)


class Vectors:
    """The vectors of one kind in an index, kept in step with its rows."""

    def __init__(self, index, trained_on: int | None):
        self._index, self._trained_on = index, trained_on

    @classmethod
    def open(cls, store: Store, kind: str, progress: Callable[[int, int], None] | None = None) -> "Vectors":
        """All vectors of `kind` in `store`: from its FAISS file as far as that is right, the rest from the rows.

        A file that is missing, old or damaged costs time, never an answer. `progress(done, of)` counts vectors.
        """
        count, dim, generation = store.count(kind), int(store.meta()["dim"]), store.generation()
        vectors, made_at = cls._read(store, kind, dim, count)
        if made_at == generation and len(vectors) == count:  # comparing ten million ids takes seconds
            return vectors
        ids = store.ids(kind)
        vectors = vectors or cls._empty(store, ids, dim)
        there = vectors.ids()
        gone = np.setdiff1d(there, ids, assume_unique=True)
        if len(gone):
            vectors._index.remove_ids(gone)
        missing = np.setdiff1d(ids, there, assume_unique=True)
        for start in range(0, len(missing), CHUNK):
            found, rows = store.vectors(missing[start : start + CHUNK])
            if len(found):
                vectors._index.add_with_ids(rows, found)
            if progress:
                progress(min(start + CHUNK, len(missing)), len(missing))
        return vectors

    @classmethod
    def _read(cls, store: Store, kind: str, dim: int, count: int) -> "tuple[Vectors | None, int | None]":
        """What the FAISS file holds, and the store's generation that it was made at.

        None where it is missing, damaged, or no longer of a shape right for `count`.
        """
        faiss = _faiss()
        for path in sorted(store.folder.glob(f"{kind}.*.faiss")):
            named = re.fullmatch(rf"{kind}\.(\d+)\.(\d+)\.faiss", path.name)
            if not named:
                continue
            trained, generation = int(named[1]) or None, int(named[2])
            exact = count <= EXACT_UP_TO
            if exact is not (trained is None) or (trained and not 1 / _OUTGROWN < count / trained < _OUTGROWN):
                continue
            try:
                index = faiss.read_index(str(path))
            except (RuntimeError, MemoryError):
                continue
            if index.d == dim:
                return cls(index if exact else ready(index), trained), generation
        return None, None

    @classmethod
    def _empty(cls, store: Store, ids: Int64[np.ndarray, " n"], dim: int) -> "Vectors":
        faiss = _faiss()
        if len(ids) <= EXACT_UP_TO:
            return cls(faiss.IndexIDMap(faiss.IndexFlatIP(dim)), None)
        chosen = np.random.default_rng(0).choice(ids, sample_size(len(ids)), replace=False)
        _, sample = store.vectors(np.sort(chosen))
        return cls(inverted_lists(dim, len(ids), sample), len(ids))

    def ids(self) -> Int64[np.ndarray, " n"]:
        """The ids of all vectors, ascending."""
        faiss = _faiss()
        if self._trained_on is None:
            found = faiss.vector_to_array(self._index.id_map)
        else:
            lists = self._index.invlists
            sizes = [lists.list_size(i) for i in range(self._index.nlist)]
            parts = [faiss.rev_swig_ptr(lists.get_ids(i), n).copy() for i, n in enumerate(sizes) if n]
            found = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return np.sort(found)

    def __len__(self) -> int:
        return self._index.ntotal

    def save(self, store: Store, kind: str) -> None:
        """Writes the FAISS file, replacing what was there as a whole. Raises StoryjaxError where it cannot.

        Its name tells how many vectors its lists were learned from (0: it is exact) and the store's generation.
        """
        path = store.folder / f"{kind}.{self._trained_on or 0}.{store.generation()}.faiss"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            _faiss().write_index(self._index, str(temporary))
            os.replace(temporary, path)
            for other in store.folder.glob(f"{kind}.*.faiss"):
                if other != path:
                    other.unlink()
        except (RuntimeError, OSError) as error:
            raise StoryjaxError(f"cannot write {path}: check space and permissions there") from error
        finally:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()

    def nearest(
        self, store: Store, query: Float32[np.ndarray, " d"], count: int
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
        """The ids of up to `count` vectors with the largest inner products with `query`, best first, and these."""
        count = min(count, len(self))
        if not count:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        # Of 8-bit vectors twice as many are taken, for exact ranking moves some in from beyond the last place.
        if self._trained_on is None:
            found = self._index.search(query[None], count)[1][0]
        else:
            found = look_into(self._index, query, min(len(self), 2 * count + 50))
        ids, rows = store.vectors(found[found >= 0])
        scores = rows @ query
        order = np.lexsort((ids, -scores))[:count]
        return ids[order], scores[order]
