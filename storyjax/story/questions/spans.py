"""Times in films, and how they lie to each other."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from storyjax.story.rows import Appearance, Caption, Track, Utterance

Row = Appearance | Utterance | Caption | Track
# Two times are at once if they share so much of the shorter one.
AT_ONCE = 0.4
# Somebody is seen while a line is said if they are seen for so much of it, or for so many seconds: tracks have gaps.
SEEN_WHILE, LONG_S = 0.25, 1.0


@dataclass(frozen=True)
class Span:
    """A time in a film (seconds) and the rows that say so; `score` is how well a quotation matched."""

    film: int
    start: float
    end: float
    rows: tuple[Row, ...] = ()
    score: float = 1.0

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


def line(utterance: Utterance) -> Span:
    """Returns when a line is said."""
    return Span(utterance.film, utterance.start_s, utterance.end_s, (utterance,))


def overlap(one: Span, other: Span) -> float:
    """Returns the seconds that two times share."""
    if one.film != other.film:
        return 0.0
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))


def at_once(one: Span, other: Span) -> bool:
    """Returns whether two times are at once, for the greater part of the shorter one."""
    shared = overlap(one, other)
    return shared > 0 and shared >= AT_ONCE * min(one.length, other.length)


def seen_while(said: Span, seen: Span) -> bool:
    """Returns whether somebody is seen while a line is said."""
    return overlap(said, seen) >= min(SEEN_WHILE * said.length, LONG_S) > 0


def seconds_in(span: Span, rows: Iterable[Appearance]) -> float:
    """Returns for how many seconds of a time somebody is seen."""
    return sum(overlap(span, Span(row.film, row.start_s, row.end_s)) for row in rows)


class Timeline:
    """Some times, found by when they are: each look-up takes a few steps, however long a film is."""

    def __init__(self, spans: Iterable[Span]):
        self._films: dict[int, tuple[list[Span], list[float], list[float]]] = {}
        for span in sorted(spans, key=lambda s: (s.film, s.start)):
            there, starts, reach = self._films.setdefault(span.film, ([], [], []))
            there.append(span)
            starts.append(span.start)
            reach.append(max(span.end, reach[-1]) if reach else span.end)

    def overlapping(self, span: Span) -> list[Span]:
        """Returns the times that share some of another one, in time."""
        there, starts, reach = self._films.get(span.film, ([], [], []))
        near = there[bisect_right(reach, span.start) : bisect_left(starts, span.end)]
        return [other for other in near if overlap(span, other) > 0]

    def onwards(self, span: Span) -> Iterator[Span]:
        """Yields, in time, at least all times that end after another one begins."""
        there, _, reach = self._films.get(span.film, ([], [], []))
        yield from there[bisect_right(reach, span.start) :]

    def backwards(self, span: Span) -> Iterator[Span]:
        """Yields, the last one first, all times that begin before another one ends."""
        there, starts, _ = self._films.get(span.film, ([], [], []))
        yield from reversed(there[: bisect_left(starts, span.end)])


def intersections(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Returns the common times of two lists, in time, with the rows of both."""
    found, timeline = [], Timeline(others)
    for one in spans:
        for other in timeline.overlapping(one):
            rows = (*one.rows, *(row for row in other.rows if row not in one.rows))
            start, end = max(one.start, other.start), min(one.end, other.end)
            found.append(Span(one.film, start, end, rows, min(one.score, other.score)))
    return sorted(found, key=lambda s: (s.film, s.start))


def same_rows(one: Span, other: Span) -> bool:
    """Returns whether two times stand on the same rows."""
    return {(type(r), r.id) for r in one.rows} == {(type(r), r.id) for r in other.rows}


def first_of_each_film(spans: Iterable[Span]) -> list[Span]:
    """Returns the earliest time of each film."""
    found: dict[int, Span] = {}
    for span in spans:
        if span.film not in found or span.start < found[span.film].start:
            found[span.film] = span
    return list(found.values())


def later(spans: Iterable[Span], other: Span) -> list[Span]:
    """Returns what lies after a time; of what is seen, the part after it.

    A line that begins while the other one ends comes after it.
    """
    found = []
    for span in spans:
        if span.film != other.film or same_rows(span, other):
            continue
        if any(isinstance(row, Utterance) for row in span.rows):
            if span.start > other.start and (span.start + span.end) / 2 > other.end:
                found.append(span)
        elif span.end > other.end:
            found.append(replace(span, start=max(span.start, other.end)))
    return found


def earlier(spans: Iterable[Span], other: Span) -> list[Span]:
    """Returns what lies before a time; of what is seen, the part before it."""
    found = []
    for span in spans:
        if span.film != other.film or same_rows(span, other):
            continue
        if any(isinstance(row, Utterance) for row in span.rows):
            if span.start < other.start and (span.start + span.end) / 2 < other.start + 0.25:
                found.append(span)
        elif span.start < other.start:
            found.append(replace(span, end=min(span.end, other.start)))
    return found
