"""Merging ranked lists by walking down all of them until enough elements are common (§4.7.6, "CLIP-PAD*")."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def walk(ranked: Callable[[int], Sequence[tuple[Sequence[Key], bool]]], count: int) -> list[Key]:
    """Returns the first `count` elements that all lists have in common, or as many as there are.

    An element's place is the depth at which every list has shown it; of those with the same depth, the one with the
    smaller sum of ranks comes first. That is the order of `storyjax/clip_pad/evaluate.py`'s `two_stage`.

    Args:
        ranked: of a number n: the beginning of each list, best first and each element once, and whether that is the
            whole list; made of the n best of what the list ranks, so that it grows with n.
        count: at least 1.
    """
    depth = 4 * count
    while True:
        lists = ranked(depth)
        places = [{key: rank for rank, key in enumerate(keys)} for keys, _ in lists]
        common = set(places[0]).intersection(*places[1:])
        order = {key: (max(p[key] for p in places), sum(p[key] for p in places)) for key in common}
        # Deeper than the shortest unfinished list reaches, other elements may come first.
        reach = min((len(keys) for keys, whole in lists if not whole), default=None)
        certain = [key for key in common if reach is None or order[key][0] < reach]
        if len(certain) >= count or reach is None:
            return sorted(certain, key=order.__getitem__)[:count]
        depth *= 4
