"""What a show's annotations hold, and the exemplars character by character (thesis Tables 6.1 and 6.3)."""

import statistics
from collections import Counter
from collections.abc import Sequence

from storyjax.subtitles.annotations import AnnotatedEpisode
from storyjax.subtitles.evaluate import Judged

_RANKED = 4  # characters that Table 6.3 has by themselves


def show_statistics(episodes: Sequence[AnnotatedEpisode], durations: Sequence[float]) -> dict[str, float]:
    """Returns Table 6.1's line of a show.

    Args:
        episodes: all that are annotated; at least one.
        durations: of their videos, in seconds.

    Returns:
        "episodes" and "characters", numbers; "minutes", of all videos; "speech", the fraction of their time in which
        somebody speaks; "speakers_min", "speakers_mean" and "speakers_max", of an episode.
    """
    speakers = [{line.speaker for line in episode.lines} for episode in episodes]
    counts = [len(names) for names in speakers]
    return {
        "episodes": float(len(episodes)),
        "minutes": sum(durations) / 60,
        "characters": float(len(set().union(*speakers))),
        "speech": sum(map(_spoken_seconds, episodes)) / max(sum(durations), 1e-9),
        "speakers_min": float(min(counts)),
        "speakers_mean": statistics.fmean(counts),
        "speakers_max": float(max(counts)),
    }


def _spoken_seconds(episode: AnnotatedEpisode) -> float:
    """The time in which at least one line is spoken."""
    total, until = 0.0, 0.0
    for line in sorted(episode.lines, key=lambda line: line.start):
        total += max(0.0, line.end - max(line.start, until))
        until = max(until, line.end)
    return total


def exemplars_by_character(judged: Sequence[Judged]) -> dict[str, float]:
    """Returns "rank_1/count" and "rank_1/precision" of the character with most exemplars, and so on to the fourth.

    And "others/count" and "others/precision" of all further characters together. Characters are those that the
    exemplars are labelled with; there are no numbers of those who have none.
    """
    exemplars = [j for j in judged if j.step == "exemplar" and j.label is not None]
    order = [name for name, _ in sorted(Counter(j.label for j in exemplars).items(), key=lambda one: (-one[1], one[0]))]
    groups = {f"rank_{place}": {name} for place, name in enumerate(order[:_RANKED], 1)}
    if further := set(order[_RANKED:]):
        groups["others"] = further
    found: dict[str, float] = {}
    for key, names in groups.items():
        own = [j for j in exemplars if j.label in names]
        found[f"{key}/count"] = float(len(own))
        found[f"{key}/precision"] = sum(j.label == j.truth for j in own) / len(own)
    return found
