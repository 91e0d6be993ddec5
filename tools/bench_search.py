"""Speed, recall and memory of the search over many vectors: `python tools/bench_search.py --count 1000000`.

Makes an index of clustered synthetic vectors in chunks (never all in memory), as `storyjax find index` does, and
searches it as `storyjax find` does. Prints, for several fractions of the lists searched, the recall of the ten best
against exact search and the milliseconds per query, and the memory and minutes of the whole. The full size, --count
10000000, needs 35 GB of disk under --workdir and about 10 GB of memory.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
from tqdm import tqdm

from storyjax.search import vectors
from storyjax.search.store import CLIP, Row, Store
from storyjax.search.vectors import Vectors

CHUNK = 20_000
TOP = 10
# Vectors lie around centres, and these around parents; how close they are differs from vector to vector.
PARENTS, PER_CENTRE = 1000, 200


def unit(x: np.ndarray) -> np.ndarray:
    """Returns rows of unit length."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def around(centres: np.ndarray, closeness: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Returns a vector for each centre, whose cosine with it is drawn uniformly from `closeness`."""
    cosine = rng.uniform(*closeness, (len(centres), 1)).astype(np.float32)
    noise = unit(rng.standard_normal(centres.shape, np.float32))
    return unit(cosine * centres + np.sqrt(1 - cosine**2) * noise)


class Synthetic:
    """Clustered vectors of unit length, the same for the same seed, chunk by chunk."""

    def __init__(self, count: int, dim: int, seed: int):
        self.count, self.dim, self.seed = count, dim, seed
        rng = np.random.default_rng([seed, 0])
        parents = unit(rng.standard_normal((PARENTS, dim), np.float32))
        self.centres = around(parents[rng.integers(PARENTS, size=max(1, count // PER_CENTRE))], (0.4, 0.7), rng)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields all vectors, CHUNK at a time."""
        for number, start in enumerate(range(0, self.count, CHUNK)):
            rng = np.random.default_rng([self.seed, 1, number])
            size = min(CHUNK, self.count - start)
            yield around(self.centres[rng.integers(len(self.centres), size=size)], (0.5, 0.9), rng)

    def queries(self, count: int) -> np.ndarray:
        """Returns queries near the centres."""
        rng = np.random.default_rng([self.seed, 2])
        return around(self.centres[rng.integers(len(self.centres), size=count)], (0.5, 0.8), rng)


def fill(store: Store, data: Synthetic, queries: np.ndarray) -> np.ndarray:
    """Stores all vectors and returns the ids of each query's ten nearest ones, by exact search."""
    ids = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    first = 1  # ids follow each other from 1 in a new store
    file = store.begin_file(b"synthetic", 0, 0)
    for chunk in tqdm(data.chunks(), desc="storing", total=-(-data.count // CHUNK), unit="chunk", mininterval=10):
        store.add(file, [Row(CLIP, first + i, 0.0, 2.0, row, b"") for i, row in enumerate(chunk)], len(chunk), False)
        scores = np.concatenate([scores, queries @ chunk.T], 1)
        ids = np.concatenate([ids, np.broadcast_to(first + np.arange(len(chunk)), (len(queries), len(chunk)))], 1)
        best = np.argpartition(-scores, min(TOP, scores.shape[1]) - 1, 1)[:, :TOP]
        scores, ids = np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
        first += len(chunk)
    return ids


def measure(store: Store, index: Vectors, queries: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Returns recall@10, and milliseconds per query, one after another, including ranking by exact vectors."""
    hits, times = 0, []
    for query, truth in zip(queries, exact, strict=True):
        start = time.perf_counter()
        found, _ = index.nearest(store, query, TOP)
        times.append(time.perf_counter() - start)
        hits += len(np.intersect1d(found, truth))
    return {
        "recall@10": round(hits / exact.size, 4),
        "ms_median": round(1000 * float(np.median(times)), 2),
        "ms_p95": round(1000 * float(np.percentile(times, 95)), 2),
    }


def gigabytes() -> float:
    """Returns the peak memory of this process."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workdir", default=tempfile.gettempdir(), help="on a disk with room")
    given = parser.parse_args()
    faiss.omp_set_num_threads(given.threads)
    folder = Path(tempfile.mkdtemp(prefix="bench_search_", dir=given.workdir))
    try:
        data = Synthetic(given.count, given.dim, given.seed)
        queries = data.queries(given.queries)
        store = Store.create(folder / "index", {"dim": str(given.dim)})
        start = time.perf_counter()
        exact = fill(store, data, queries)
        stored = time.perf_counter()
        with tqdm(desc="vectors", unit="vector", mininterval=10) as bar:

            def report(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            Vectors.open(store, CLIP, report).save(store, CLIP)
        built = time.perf_counter()
        building = gigabytes()
        index = Vectors.open(store, CLIP)  # as it comes from the disk
        opened = time.perf_counter()
        size = sum(path.stat().st_size for path in (folder / "index").glob("*.faiss"))
        print(
            json.dumps(
                {
                    "vectors": given.count,
                    "dim": given.dim,
                    "threads": given.threads,
                    "load": os.getloadavg()[0],
                    "storing_s": round(stored - start),
                    "building_s": round(built - stored),
                    "opening_s": round(opened - built, 1),
                    "faiss_gb": round(size / 1e9, 2),
                    "peak_memory_gb_building": building,
                }
            ),
            flush=True,
        )
        index.nearest(store, queries[0], TOP)
        standard = getattr(index._index, "nprobe", None)
        for fraction in (1 / 512, 1 / 256, 1 / 128, 1 / 64, 1 / 32) if standard else (None,):
            if fraction:
                index._index.nprobe = max(1, round(index._index.nlist * fraction))
            setting = {"probed": index._index.nprobe, "of": index._index.nlist} if fraction else {"exact": True}
            default = {"default": True} if fraction and index._index.nprobe == standard else {}
            print(json.dumps(setting | measure(store, index, queries, exact) | default), flush=True)
        print(json.dumps({"peak_memory_gb": gigabytes(), "exact_up_to": vectors.EXACT_UP_TO}), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
