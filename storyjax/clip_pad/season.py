"""The protocol of thesis §4.7.2 (Table 4.6): where in a season does somebody do something?

Clips of two seconds are cut at 2 or 4 fixed times of every minute; for an occurrence of the query between these times a
clip is added. A clip is relevant if at least half of it shows an occurrence. All clips are ranked; R@k is the fraction
of the relevant clips among the first k, and the last rank is that of the last relevant clip.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from storyjax.clip_pad.data import MODES, PhotoIndex, Query, Sizes, mention
from storyjax.clip_pad.evaluate import ZERO_SHOT, Embeddings, QueryGroup, QueryList, RetrievalEvaluator, scores
from storyjax.clip_pad.model import ClipPad
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.data.builders.media import MediaSource
from storyjax.data.text import Tokenizer
from storyjax.data.video import decode_frames, probe
from storyjax.metrics.retrieval import ranks

CLIP_SECONDS, FRAMES = 2.0, 16
_PROMPT = "an image of {who} {action}"
STAMPS = (2, 4)  # clips per minute


@dataclass(frozen=True)
class Window:
    """A clip: the episode's record number, its start (seconds), and which pools (of STAMPS) it belongs to."""

    episode: int
    start: float
    pools: tuple[bool, ...]


def cut_clips(
    duration: float, occurrences: Sequence[tuple[float, float]], minute: float
) -> list[tuple[float, tuple[bool, ...]]]:
    """Returns the starts of an episode's clips and the pools that each belongs to.

    Args:
        duration: of the episode, in seconds.
        occurrences: start and end of each occurrence of the query, in seconds.
        minute: seconds that count as a minute.
    """
    pools: dict[float, list[bool]] = {}
    for pool, count in enumerate(STAMPS):
        stamps = [float(s) for s in np.arange(0.0, max(duration - CLIP_SECONDS, 0.0) + 1e-6, minute / count)]
        for start, end in occurrences:
            if not any(_is_relevant(stamp, [(start, end)]) for stamp in stamps):
                middle = (start + end) / 2 - CLIP_SECONDS / 2
                stamps.append(float(np.clip(middle, 0.0, max(duration - CLIP_SECONDS, 0.0))))
        for stamp in stamps:
            pools.setdefault(round(stamp, 3), [False] * len(STAMPS))[pool] = True
    return [(start, tuple(pools[start])) for start in sorted(pools)]


def _is_relevant(start: float, occurrences: Sequence[tuple[float, float]]) -> bool:
    """Whether at least half of the clip at `start` shows one of the occurrences."""
    inside = (min(end, start + CLIP_SECONDS) - max(begin, start) for begin, end in occurrences)
    return max(inside, default=0.0) >= CLIP_SECONDS / 2 - 1e-6


def season_metrics(prefix: str, matrix: np.ndarray, relevant: Bool[np.ndarray, "1 n"]) -> dict[str, float]:
    """Returns R@25 and R@50 as fractions of the relevant clips, the rank of the last of them, and both counts."""
    positions = ranks(matrix, relevant)[relevant]
    return {
        **{f"{prefix}/r{k}": float((positions <= k).mean()) for k in (25, 50)},
        f"{prefix}/last_rank": float(positions.max()),
        f"{prefix}/right": float(len(positions)),
        f"{prefix}/clips": float(matrix.shape[1]),
    }


def _windows(source: MediaSource, person: str, action: str, minute: float) -> tuple[list[Window], list[bool]]:
    """The clips of all episodes, and which of them are relevant."""
    windows: list[Window] = []
    relevant: list[bool] = []
    for episode, labels in enumerate(source.labels):
        annotations = zip(labels["actors"], labels["actions"], labels["starts"], labels["ends"], strict=True)
        shown = [(float(s), float(e)) for a, what, s, e in annotations if (a.lower(), what) == (person, action)]
        item = source[episode]
        for start, pools in cut_clips(probe(item["media"], item["path"]).duration_s, shown, minute):
            windows.append(Window(episode, start, pools))
            relevant.append(_is_relevant(start, shown))
    return windows, relevant


def season_evaluator(
    model: ClipPad,
    source: MediaSource,
    photos: PhotoIndex,
    person: str,
    action: str,
    minute: float,
    sizes: Sizes,
    tokenizer: Callable[[], Tokenizer],
) -> RetrievalEvaluator:
    """Returns the evaluator of a season: "season/{2,4}_per_minute/MODE/{r25,r50,last_rank,right,clips}".

    Args:
        source: the episodes with their annotations.
        photos: of the cast.
        person, action: the query.
        minute: seconds that count as a minute.

    Raises:
        StoryjaxError: there are no photos of that person, or no annotation of that person and action.
    """
    person = person.lower()
    if person not in photos.photos:
        raise StoryjaxError(f"no photos of '{person}' to make a query of.{nearest(person, photos.photos)}")
    windows, relevant = _windows(source, person, action, minute)
    if not any(relevant):
        raise StoryjaxError(
            f"the season's annotations say nowhere that '{person}' is '{action}': choose what they have"
        )
    queries = QueryList()
    rows = {
        mode: [queries.row(Query(person, _PROMPT.format(who=mention(person, mode), action=action)))] for mode in MODES
    }
    group = QueryGroup(rows, np.array([relevant]))
    members = np.array([window.pools for window in windows]).T

    def load(index: int) -> np.ndarray:
        window = windows[index]
        item = source[window.episode]
        times = window.start + (np.arange(FRAMES) + 0.5) * CLIP_SECONDS / FRAMES
        return decode_frames(item["media"], times, sizes.clip, item["path"], keep_aspect=sizes.clip_aspect)[0]

    def photos_of(name: str) -> list[np.ndarray]:
        return [photos.read(r) for r in photos.photos_of(name, sizes.query_photos, None)]

    def compute(embeddings: Embeddings) -> dict[str, float]:
        results: dict[str, float] = {}
        for pool, count in enumerate(STAMPS):
            kept = members[pool] & embeddings.found
            for mode in (ZERO_SHOT, *MODES):
                matrix, answers = scores(embeddings, group, mode)[:, kept], group.answers[:, kept]
                results |= season_metrics(f"season/{count}_per_minute/{mode}", matrix, answers)
        return results

    return RetrievalEvaluator(
        "season",
        model,
        sizes,
        tokenizer,
        range(len(windows)),
        load,
        queries.queries,
        photos_of,
        compute,
        {"season": group},
    )
