"""Searching an index: from the embedding of a query to ranked clips with their times and images."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from storyjax.search.indexing import CLIP_S, check_model
from storyjax.search.protocol import THING, ConceptEncoder
from storyjax.search.store import CLIP, DONE, FRAME, IMAGE, PARTIAL, Store
from storyjax.search.vectors import Vectors

# A clip has two frames at full seconds, and the better one is its score.
_FRAMES_PER_CLIP = 2


@dataclass(frozen=True)
class Hit:
    """A clip or an image of a search result.

    Attributes:
        rank: from 1.
        score: cosine similarity with the query.
        path: of the file, relative to the indexed folder; bytes that are no text are replaced.
        file: its absolute path.
        start_s, end_s: of the clip, in seconds; None for an image.
        still: JPEG bytes of the clip's centre frame, of the frame that matched, or of the image.
    """

    rank: int
    score: float
    path: str
    file: str
    start_s: float | None
    end_s: float | None
    still: bytes

    def times(self) -> str:
        """Returns the clip's times as text, "0:02–0:04", or "image"."""
        return "image" if self.start_s is None or self.end_s is None else f"{clock(self.start_s)}–{clock(self.end_s)}"

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the image."""
        return {
            "rank": self.rank,
            "score": round(self.score, 6),
            "file": self.file,
            "start_s": self.start_s,
            "end_s": self.end_s,
        }


@dataclass(frozen=True)
class SearchResult:
    """The result of a query.

    Attributes:
        hits: best first.
        images, clips: how many were searched.
        unfinished: videos that are indexed in part.
    """

    hits: list[Hit]
    images: int
    clips: int
    unfinished: int


def clock(seconds: float) -> str:
    """Returns seconds as 1:02:03, or 2:03.

    >>> clock(3723.5)
    '1:02:03.5'
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


class Searcher:
    """An index opened for searching.

    Raises:
        StoryjaxError: there is no index, it is damaged, or another image tower made it.
    """

    def __init__(self, folder: str | os.PathLike[str], encoder: ConceptEncoder):
        self.store = Store.open(folder)
        check_model(self.store, encoder.vision_fingerprint)
        # People are searched for in clips, doing something; things in frames: the best one is a clip's score.
        self.kinds = (IMAGE, FRAME) if encoder.kind == THING else (IMAGE, CLIP)
        self._vectors = {kind: Vectors.open(self.store, kind) for kind in self.kinds}
        meta = self.store.meta()
        self.root, self.every_s = Path(os.fsdecode(bytes.fromhex(meta["root"]))), float(meta["every_s"])

    def __enter__(self) -> "Searcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def search(self, query: Float32[np.ndarray, " d"], top: int) -> SearchResult:
        """Returns the `top` clips and images most similar to a query of unit length, best first."""
        candidates: list[tuple[float, int]] = []
        for kind, vectors in self._vectors.items():
            wanted = top * _FRAMES_PER_CLIP if kind == FRAME else top
            ids, scores = vectors.nearest(self.store, query, wanted)
            candidates += zip(scores.tolist(), ids.tolist(), strict=True)
        candidates.sort(key=lambda pair: (-pair[0], pair[1]))
        rows = self.store.describe([identity for _, identity in candidates])
        hits: list[Hit] = []
        seen: set[tuple[bytes, int]] = set()
        for score, identity in candidates:
            if len(hits) == top:
                break
            if identity not in rows:  # its file was removed during the search
                continue
            path, kind, clip, start, end, still = rows[identity]
            if (path, clip) in seen:
                continue
            seen.add((path, clip))
            if kind == FRAME:
                start, end = clip * self.every_s, clip * self.every_s + CLIP_S
            shown, file = path.decode(errors="replace"), str(self.root / os.fsdecode(path))
            hits.append(Hit(len(hits) + 1, score, shown, file, start, end, self.store.still(still)))
        files = self.store.files().values()
        return SearchResult(
            hits,
            images=sum(file.state == DONE and not file.clips for file in files),
            clips=sum(file.clips for file in files),
            unfinished=sum(file.state == PARTIAL for file in files),
        )
