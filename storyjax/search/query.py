"""Searching an index: from the embedding of a query to ranked clips with their times and images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from storyjax.search.clips import CLIP_S
from storyjax.search.indexing import check_model
from storyjax.search.protocol import THING, ConceptEncoder, faces_of
from storyjax.search.store import CLIP, DONE, FACE, FRAME, IMAGE, PARTIAL, Store
from storyjax.search.vectors import Vectors
from storyjax.search.walk import walk

# A clip has two frames at full seconds, and the better one is its score.
_FRAMES_PER_CLIP = 2


@dataclass(frozen=True)
class Hit:
    """A clip or an image of a search result.

    Attributes:
        rank: from 1.
        score: cosine similarity with the query; in two stages, with the sentence.
        path: of the file, relative to the indexed folder; bytes that are no text are replaced.
        file: its absolute path.
        start_s, end_s: of the clip, in seconds; None for an image.
        still: JPEG bytes of the clip's centre frame, of the frame that matched, or of the image.
        face: in two stages, the cosine similarity of the person with the most similar face, of several people the
            least; else None.
    """

    rank: int
    score: float
    path: str
    file: str
    start_s: float | None
    end_s: float | None
    still: bytes
    face: float | None = None

    def times(self) -> str:
        """Returns the clip's times as text, "0:02–0:04", or "image"."""
        return "image" if self.start_s is None or self.end_s is None else f"{clock(self.start_s)}–{clock(self.end_s)}"

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the image."""
        return {
            "rank": self.rank,
            "score": round(self.score, 6),
            **({} if self.face is None else {"face": round(self.face, 6)}),
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


# A clip or an image: the file's path, and the clip's number.
_Key = tuple[bytes, int]


@dataclass(frozen=True)
class _Candidate:
    """A clip or an image by the best of its vectors; fields as of `Store.describe`."""

    score: float
    path: bytes
    kind: str
    clip: int
    start_s: float | None
    end_s: float | None
    still: int


class Searcher:
    """An index opened for searching.

    Raises:
        StoryjaxError: there is no index, it is damaged, or another image tower made it.
    """

    def __init__(self, folder: str | os.PathLike[str], encoder: ConceptEncoder):
        self.store = Store.open(folder)
        self._faces = faces_of(encoder)
        check_model(self.store, encoder.vision_fingerprint, self._faces)
        # People are searched for in clips, doing something; things in frames: the best one is a clip's score.
        self.kinds = (IMAGE, FRAME) if encoder.kind == THING else (IMAGE, CLIP)
        kinds = (*self.kinds, *([FACE] if self._faces else []))
        self._vectors = {kind: Vectors.open(self.store, kind) for kind in kinds}
        meta = self.store.meta()
        self.root, self.every_s = Path(os.fsdecode(bytes.fromhex(meta["root"]))), float(meta["every_s"])

    def __enter__(self) -> "Searcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def search(self, query: Float32[np.ndarray, " d"], top: int) -> SearchResult:
        """Returns the `top` clips and images most similar to a query of unit length, best first."""
        ranked, _ = self._ranked(self.kinds, query, top)
        return self._result([(each, None) for each in list(ranked.values())[:top]])

    def search_two_stage(
        self, query: Float32[np.ndarray, " d"], people: Sequence[Float32[np.ndarray, " e"]], top: int
    ) -> SearchResult:
        """Returns the `top` clips and images that show all of some people and are similar to a query (§4.7.6).

        The clips are ranked by the query and, for each of the people, by the most similar face in them; these lists are
        walked down together (`walk.py`).

        Args:
            query: of unit length, of the sentence.
            people: the descriptions of their faces, of unit length.
            top: how many.
        """
        shown: list[dict[_Key, _Candidate]] = []

        def ranked(count: int) -> list[tuple[list[_Key], bool]]:
            found = [self._ranked(self.kinds, query, count), *(self._ranked((FACE,), face, count) for face in people)]
            shown[:] = [candidates for candidates, _ in found]
            # Beyond `count` a list of several kinds may lack some of them; one of faces is of one kind.
            (sentence, complete), *faces = found
            first = (list(sentence) if complete else list(sentence)[:count], complete)
            return [first, *((list(candidates), whole) for candidates, whole in faces)]

        keys = walk(ranked, top)
        return self._result([(shown[0][key], min(by_face[key].score for by_face in shown[1:])) for key in keys])

    def _ranked(
        self, kinds: Sequence[str], query: Float32[np.ndarray, " d"], count: int
    ) -> tuple[dict["_Key", "_Candidate"], bool]:
        """Clips and images by the best vectors of each of some kinds, best first, and whether those are all; at least
        `count` of a kind with at most `_FRAMES_PER_CLIP` vectors of a clip."""
        found: list[tuple[float, int]] = []
        whole = True
        for kind in kinds:
            vectors = self._vectors[kind]
            wanted = count if kind in (IMAGE, CLIP) else count * _FRAMES_PER_CLIP
            ids, scores = vectors.nearest(self.store, query, wanted)
            whole &= wanted >= len(vectors)
            found += zip(scores.tolist(), ids.tolist(), strict=True)
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        rows = self.store.describe([identity for _, identity in found])
        best: dict[_Key, _Candidate] = {}
        for score, identity in found:
            if identity in rows:  # else its file was removed during the search
                path, kind, clip, start, end, still = rows[identity]
                best.setdefault((path, clip), _Candidate(score, path, kind, clip, start, end, still))
        return best, whole

    def _result(self, chosen: Sequence[tuple["_Candidate", float | None]]) -> SearchResult:
        """The result of candidates with the similarities of their faces, best first."""
        hits: list[Hit] = []
        for each, face in chosen:
            start, end = each.start_s, each.end_s
            if each.kind == FRAME:
                start, end = each.clip * self.every_s, each.clip * self.every_s + CLIP_S
            shown, file = each.path.decode(errors="replace"), str(self.root / os.fsdecode(each.path))
            still = self.store.still(each.still)
            hits.append(Hit(len(hits) + 1, each.score, shown, file, start, end, still, face))
        files = self.store.files().values()
        return SearchResult(
            hits,
            images=sum(file.state == DONE and not file.clips for file in files),
            clips=sum(file.clips for file in files),
            unfinished=sum(file.state == PARTIAL for file in files),
        )
