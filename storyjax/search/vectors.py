"""Nearest vectors by FAISS: exact for few vectors, inverted lists of 8-bit vectors for many.

Exact inner products over 200,000 vectors of 512 take some 20 ms on a core. Beyond that, vectors lie in inverted lists
(IVF) as 8-bit numbers (a quarter of the memory), the lists nearest to the query are searched, and the best of what is
found is ranked again by the exact vectors. `tools/bench_search.py` measures it at ten million.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.search.store import Store

EXACT_UP_TO = 200_000
# Vectors read into memory at a time.
CHUNK = 20_000
# A coarse quantiser trained on this many times fewer (or more) vectors than there are is trained again.
_OUTGROWN = 3
# Training points per centre of the coarse quantiser: FAISS's own lower bound.
_POINTS_PER_LIST = 39
# The fraction of the lists that a query searches: measured, see storyjax/search/README.md.
_PROBED = 1 / 128
_MIN_PROBED = 16
# The search width in the graph of centres when vectors are assigned to lists: at FAISS's 16, one query in two hundred
# and as many vectors end in a distant list.
_SEARCH_WIDTH = 64


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise StoryjaxError("searching needs FAISS: pip install 'storyjax[search]'") from error
    return faiss


def lists_for(count: int) -> int:
    """Returns the number of inverted lists for `count` vectors: the power of two nearest to 2.6 √count.

    >>> lists_for(10_000_000)
    8192
    """
    return 2 ** round(np.log2(2.6 * np.sqrt(count)))


def inverted_lists(dim: int, count: int, sample: Float32[np.ndarray, "n d"]) -> Any:
    """Returns an empty, trained FAISS index of inner products for about `count` vectors, of which `sample` are some."""
    faiss = _faiss()
    lists = min(lists_for(count), max(1, len(sample) // _POINTS_PER_LIST))
    # The lists' centres are found through a graph (HNSW): comparing with all of them would take most of the time.
    index = faiss.index_factory(dim, f"IVF{lists}_HNSW32,SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    return configure(index)


def configure(index: Any) -> Any:
    """Returns the index with its settings for searching and adding, which its file does not store."""
    index.nprobe = max(_MIN_PROBED, round(index.nlist * _PROBED))
    index.parallel_mode = 1  # one query at a time, its lists divided among the cores
    _faiss().downcast_index(index.quantizer).hnsw.efSearch = _SEARCH_WIDTH
    return index


def search_lists(index: Any, query: Float32[np.ndarray, " d"], count: int) -> Int64[np.ndarray, " n"]:
    """Returns the ids of about `count` vectors in the lists nearest to a query.

    The lists are found by comparing with all centres, a millisecond for 8192 of them: the graph is for adding millions
    of vectors, and a query that ends in a distant list would find nothing.
    """
    centres = _faiss().downcast_index(index.quantizer).storage
    scores, lists = centres.search(query[None], index.nprobe)
    _, found = index.search_preassigned(query[None], count, lists, scores)
    return found[0]


def sample_size(count: int) -> int:
    """Returns how many of `count` vectors the inverted lists are trained on."""
    return min(count, lists_for(count) * _POINTS_PER_LIST)


class Vectors:
    """The vectors of one kind in an index, synchronised with its rows."""

    def __init__(self, index: Any, trained_on: int | None):
        self._index, self._trained_on = index, trained_on

    @classmethod
    def open(cls, store: Store, kind: str, progress: Callable[[int, int], None] | None = None) -> "Vectors":
        """Returns all vectors of `kind` in `store`: those of its FAISS file, and the rest from the rows.

        A file that is missing, old or damaged costs time and nothing else.

        Args:
            progress: called with (vectors done, of how many).

        Raises:
            StoryjaxError: FAISS is not installed, or the index is damaged.
        """
        count, dim, generation = store.count(kind), store.dim(kind), store.generation()
        vectors, made_at = cls._read(store, kind, dim, count)
        if (
            vectors is not None and made_at == generation and len(vectors) == count
        ):  # comparing ten million ids takes seconds
            return vectors
        ids = store.ids(kind)
        if not vectors:
            vectors = cls._empty(store, ids, dim)
        present = vectors.ids()
        removed = np.setdiff1d(present, ids, assume_unique=True)
        if len(removed):
            vectors._index.remove_ids(removed)
        missing = np.setdiff1d(ids, present, assume_unique=True)
        for start in range(0, len(missing), CHUNK):
            found, rows = store.vectors(missing[start : start + CHUNK])
            if len(found):
                vectors._index.add_with_ids(rows, found)
            if progress:
                progress(min(start + CHUNK, len(missing)), len(missing))
        return vectors

    @classmethod
    def _read(cls, store: Store, kind: str, dim: int, count: int) -> "tuple[Vectors | None, int | None]":
        """The vectors of the FAISS file, and the store's generation that it was made at.

        None if it is missing, damaged, or its lists do not suit `count` vectors.
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
                return cls(index if exact else configure(index), trained), generation
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
        """Returns the ids of all vectors, ascending."""
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
        """Writes the FAISS file, as a whole or not at all, and removes older ones.

        Its name has the number of vectors that its lists were trained on (0: it is exact) and the store's generation.

        Raises:
            StoryjaxError: it cannot be written.
        """
        path = store.folder / f"{kind}.{self._trained_on or 0}.{store.generation()}.faiss"
        try:
            write_atomically(path, lambda unfinished: _faiss().write_index(self._index, str(unfinished)))
            for other in store.folder.glob(f"{kind}.*.faiss"):
                if other != path:
                    other.unlink()
        except (RuntimeError, OSError) as error:
            raise StoryjaxError(f"cannot write {path}: check space and permissions there") from error

    def nearest(
        self, store: Store, query: Float32[np.ndarray, " d"], count: int
    ) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
        """Returns ids and inner products of the `count` vectors with the largest ones with `query`, best first."""
        count = min(count, len(self))
        if not count:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        # Twice as many 8-bit vectors, because exact ranking moves some up into the first `count`.
        if self._trained_on is None:
            found = self._index.search(query[None], count)[1][0]
        else:
            found = search_lists(self._index, query, min(len(self), 2 * count + 50))
        ids, rows = store.vectors(found[found >= 0])
        if not len(ids):  # their files were removed during the search
            return ids, np.zeros(0, np.float32)
        scores = rows @ query
        order = np.lexsort((ids, -scores))[:count]
        return ids[order], scores[order]
