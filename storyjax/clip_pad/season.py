"""The protocol of thesis §4.7.2 (Table 4.6): where in a season does somebody do something?

Clips of two seconds are cut at fixed stamps of every minute (2 or 4 of them), and where what is asked for happens
between the stamps a clip is added there. A clip is right where at least half of it shows what is asked for. All clips
are ranked; R@k is the share of right clips among the first k, and the last rank that of the last right one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from storyjax.clip_pad.data import MODES, Albums, Query, Sizes, who
from storyjax.clip_pad.evaluate import ZERO_SHOT, Asked, Embedded, Lookup, QueryList, scores
from storyjax.clip_pad.model import ClipPad
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.data.builders.media import MediaSource
from storyjax.data.text import Tokenizer
from storyjax.data.video import decode_frames, probe
from storyjax.metrics.retrieval import ranks

CLIP_SECONDS, FRAMES = 2.0, 16
_PROMPT = "an image of {who} {action}"
STAMPS = (2, 4)  # clips a minute


@dataclass(frozen=True)
class Window:
    """A clip: the episode's record number, its start (seconds), and in which pools (of STAMPS) it is."""

    episode: int
    start: float
    pools: tuple[bool, ...]


def cut(
    duration: float, occurrences: Sequence[tuple[float, float]], minute: float
) -> list[tuple[float, tuple[bool, ...]]]:
    """Starts of an episode's clips (seconds) and the pools that each is in; `minute` is how long one lasts here."""
    pools: dict[float, list[bool]] = {}
    for pool, count in enumerate(STAMPS):
        stamps = [float(s) for s in np.arange(0.0, max(duration - CLIP_SECONDS, 0.0) + 1e-6, minute / count)]
        for start, end in occurrences:
            if not any(_shows(stamp, [(start, end)]) for stamp in stamps):
                middle = (start + end) / 2 - CLIP_SECONDS / 2
                stamps.append(float(np.clip(middle, 0.0, max(duration - CLIP_SECONDS, 0.0))))
        for stamp in stamps:
            pools.setdefault(round(stamp, 3), [False] * len(STAMPS))[pool] = True
    return [(start, tuple(pools[start])) for start in sorted(pools)]


def _shows(start: float, occurrences: Sequence[tuple[float, float]]) -> bool:
    """Whether at least half of the clip that starts there shows one of the occurrences."""
    inside = (min(end, start + CLIP_SECONDS) - max(begin, start) for begin, end in occurrences)
    return max(inside, default=0.0) >= CLIP_SECONDS / 2 - 1e-6


def season_metrics(prefix: str, matrix: np.ndarray, right: Bool[np.ndarray, "1 n"]) -> dict[str, float]:
    """R@25 and R@50 as shares of the right clips, and the rank of the last of them."""
    places = ranks(matrix, right)[right]
    return {
        **{f"{prefix}/r{k}": float((places <= k).mean()) for k in (25, 50)},
        f"{prefix}/last_rank": float(places.max()),
        f"{prefix}/right": float(len(places)),
        f"{prefix}/clips": float(matrix.shape[1]),
    }


def season_lookup(
    model: ClipPad,
    source: MediaSource,
    albums: Albums,
    person: str,
    action: str,
    minute: float,
    sizes: Sizes,
    tokenizer: Callable[[], Tokenizer],
) -> Lookup:
    """ "season/2_per_minute/text_face/r25" and so on.

    Raises:
        StoryjaxError: nobody of that name has photos to ask with, or nothing asked for is noted.
    """
    person = person.lower()
    if person not in albums.photos:
        raise StoryjaxError(f"no photos of '{person}' to ask with.{nearest(person, albums.photos)}")
    windows: list[Window] = []
    right: list[bool] = []
    for episode, labels in enumerate(source.labels):
        rows = zip(labels["actors"], labels["actions"], labels["starts"], labels["ends"], strict=True)
        there = [(float(s), float(e)) for a, what, s, e in rows if (a.lower(), what) == (person, action)]
        item = source[episode]
        for start, pools in cut(probe(item["media"], item["path"]).duration_s, there, minute):
            windows.append(Window(episode, start, pools))
            right.append(_shows(start, there))
    if not any(right):
        raise StoryjaxError(f"the season's notes say nowhere that '{person}' is '{action}': ask for what they have")
    queries = QueryList()
    rows = {mode: [queries.row(Query(person, _PROMPT.format(who=who(person, mode), action=action)))] for mode in MODES}
    asked = Asked(rows, np.array([right]))
    pools = np.array([window.pools for window in windows]).T

    def load(index: int) -> np.ndarray:
        window = windows[index]
        item = source[window.episode]
        times = window.start + (np.arange(FRAMES) + 0.5) * CLIP_SECONDS / FRAMES
        return decode_frames(item["media"], times, sizes.clip, item["path"])[0]

    def photos_of(name: str) -> list[np.ndarray]:
        return [albums.read(r) for r in albums.photos_of(name, sizes.query_photos, None)]

    def finish(embedded: Embedded) -> dict[str, float]:
        results: dict[str, float] = {}
        for pool, count in enumerate(STAMPS):
            kept = pools[pool] & embedded.found
            for mode in (ZERO_SHOT, *MODES):
                matrix, answers = scores(embedded, asked, mode)[:, kept], asked.answers[:, kept]
                results |= season_metrics(f"season/{count}_per_minute/{mode}", matrix, answers)
        return results

    return Lookup("season", model, sizes, tokenizer, range(len(windows)), load, queries.queries, photos_of, finish)
