"""The tables of a story as a question needs them: when an event is true, and on which rows that stands."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import islice

from storyjax.core.errors import StoryjaxError
from storyjax.story.questions.meaning import Event, Link, Reference, Relation, Say, Seen, Window
from storyjax.story.questions.quotes import ENOUGH, Sayings
from storyjax.story.questions.spans import (
    Span,
    Timeline,
    at_once,
    earlier,
    first_of_each_film,
    intersections,
    later,
    line,
    overlap,
    same_rows,
    seconds_in,
    seen_while,
)
from storyjax.story.rows import Appearance, Caption, Entity, Film, Shot, Utterance
from storyjax.story.store import Story

_JOIN_S = 0.5  # appearances nearer than this are one: a cut lies between them
_NEXT_TO_S = 5.0  # who speaks so soon after somebody speaks to them
_SOON_S = 3.0  # what is seen "right after" something
PARTS = ("names", "speech", "sight", "places")


class NotKnown(Exception):
    """The tables do not answer; the text says why."""


class SaidByOthers(NotKnown):
    """The sentence is said, by somebody else."""


class Evidence:
    """Reads a story, or one film of it; each table of a film is read once.

    Attributes:
        films: the films that are asked about, in order.
        without: PARTS that are taken away, to measure what each is worth: who speaks, what is said, who and what is
            seen, places.
    """

    def __init__(self, story: Story, film: Film | None = None, without: Collection[str] = ()):
        if unknown := set(without) - set(PARTS):
            raise StoryjaxError(
                f"no part of a story is called {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}"
            )
        self.story, self.without = story, frozenset(without)
        self.films = {one.id: one for one in ([film] if film else story.films())}
        self.entities: dict[int, Entity] = {entity.id: entity for entity in story.entities()}
        self.sayings = Sayings(story, film.id if film else None)
        self._appearances: dict[int, list[Appearance]] = {}
        self._timelines: dict[int, Timeline] = {}
        self._lines: dict[int, tuple[list[Utterance], dict[int, int]]] = {}
        self._shots: dict[int, list[Shot]] = {}
        self._places: dict[int, dict[int, Caption]] = {}

    # Tables

    def utterances(self, film: int) -> list[Utterance]:
        """Returns what is said in a film, in time."""
        return [] if "speech" in self.without else [self._bare(u) for u in self.sayings.in_film(film)]

    def _bare(self, utterance: Utterance) -> Utterance:
        return replace(utterance, speaker=None, label="Unknown") if "names" in self.without else utterance

    def appearances(self, film: int) -> list[Appearance]:
        """Returns who and what is seen in a film, in time."""
        if "sight" in self.without:
            return []
        if film not in self._appearances:
            self._appearances[film] = self.story.appearances(film)
        return self._appearances[film]

    def shots(self, film: int) -> list[Shot]:
        """Returns the shots of a film."""
        if film not in self._shots:
            self._shots[film] = self.story.shots(film)
        return self._shots[film]

    def places(self, film: int) -> dict[int, Caption]:
        """Returns the surest place of each shot that has one, by the shot's id."""
        if film not in self._places:
            found: dict[int, Caption] = {}
            for caption in [] if "places" in self.without else self.story.captions(film):
                best = found.get(caption.shot)
                if caption.kind == "place" and (best is None or (caption.confidence or 0) > (best.confidence or 0)):
                    found[caption.shot] = caption
            self._places[film] = found
        return self._places[film]

    def name(self, entity: int) -> str:
        """Returns what somebody or something is called."""
        return self.entities[entity].name

    # References

    def resolve(self, reference: Reference, notes: list[str]) -> tuple[int, ...]:
        """Returns the ids of whom or what a reference means: any of them. Raises NotKnown: the story has none."""
        if reference.entities:
            return reference.entities
        if reference.said is not None:
            spans = self.said(Say(quote=reference.said), notes)
            found = {
                u.speaker for span in spans for u in span.rows if isinstance(u, Utterance) and u.speaker is not None
            }
            if not found:
                raise NotKnown(f'who says "{reference.said}" is not known')
            return tuple(sorted(found))
        if reference.category is None:
            raise NotKnown(f"nobody and nothing in the story is called '{reference.text}'.{reference.hint}".rstrip("."))
        every = [e for e in self.entities.values() if (e.category or "").casefold() == reference.category.casefold()]
        seen = {a.entity for film in self.films for a in self.appearances(film)}
        there = [entity for entity in every if entity.id in seen] or every
        if reference.owner is not None:
            return self._owned(reference, reference.owner, there, notes)
        if len(there) > 1:
            notes.append(f"'{reference.text}' may be any of {', '.join(e.name for e in there)}")
        return tuple(e.id for e in there)

    def _owned(self, reference: Reference, owner: Reference, there: list[Entity], notes: list[str]) -> tuple[int, ...]:
        owners = self.resolve(owner, notes)
        names = [self.name(one).casefold() for one in owners]
        by_name = [e for e in there if any(f"{name}'s" in e.name.casefold().replace("’", "'") for name in names)]
        # A thing that is called somebody else's is not meant.
        people = [e.name.casefold() for e in self.entities.values() if e.kind == "person" and e.id not in owners]
        free = [e for e in there if not any(f"{p}'s" in e.name.casefold().replace("’", "'") for p in people)]
        if by_name or len(free) <= 1:
            found = by_name or free
            if not found:
                raise NotKnown(f"the story has no {reference.category} of {owner.text}")
            if not by_name:
                notes.append(f"'{reference.text}' is taken as {found[0].name}, the only {reference.category} there")
            return tuple(e.id for e in found)
        shared = {e: self._seconds_together(e.id, owners) for e in free}
        first, second = sorted(shared, key=lambda e: -shared[e])[:2]
        if shared[first] <= 0 or shared[first] < 1.5 * shared[second]:
            named = " or ".join(e.name for e in free)
            raise NotKnown(f"the tables do not say which {reference.category} is {owner.text}'s: ask for {named}")
        notes.append(
            f"'{reference.text}' is taken as {first.name}, which is seen with {owner.text} for {shared[first]:.0f} s"
            f" ({second.name}: {shared[second]:.0f} s)"
        )
        return (first.id,)

    def _seconds_together(self, thing: int, owners: Collection[int]) -> float:
        things = [s for film in self.films for s in self._seen_of(film, (thing,))]
        people = [s for film in self.films for s in self._seen_of(film, owners)]
        return sum(span.length for span in intersections(things, people))

    # Events

    def true_when(self, event: Event, place: str | None, notes: list[str]) -> list[Span]:
        """Returns when an event is true, in time; an event without anybody is true all the time.

        Raises:
            NotKnown: nobody has a name that it names, or nobody says what it quotes.
        """
        spans = self.said(event, notes) if isinstance(event, Say) else self.seen(event, notes)
        return spans if place is None else self._in_place(spans, place)

    def seen(self, event: Seen, notes: list[str]) -> list[Span]:
        """Returns when everybody of an event is seen at once."""
        spans = [Span(film.id, 0.0, film.duration_s) for film in self.films.values()]
        for index, reference in enumerate(event.who):
            ids = self.resolve(reference, notes)
            found = [span for film in self.films for span in self._seen_of(film, ids)]
            if not found:
                raise NotKnown(f"{self._called(reference, ids)} is not seen{self._where()}")
            spans = found if index == 0 else intersections(spans, found)
        return spans

    def _called(self, reference: Reference, ids: Sequence[int]) -> str:
        return self.name(ids[0]) if len(ids) == 1 else reference.text

    def _where(self) -> str:
        return f" in {next(iter(self.films.values())).name}" if len(self.films) == 1 else ""

    def _seen_of(self, film: int, ids: Collection[int]) -> list[Span]:
        """When one of them is seen, without the cuts between."""
        found: list[Span] = []
        for row in self.appearances(film):
            if row.entity not in ids:
                continue
            if found and row.start_s - found[-1].end <= _JOIN_S:
                last = found.pop()
                found.append(Span(film, last.start, max(last.end, row.end_s), (*last.rows, row)))
            else:
                found.append(Span(film, row.start_s, row.end_s, (row,)))
        return found

    def said(self, event: Say, notes: list[str]) -> list[Span]:
        """Returns the lines of an event, in time."""
        ids = {one for reference in event.speakers for one in self.resolve(reference, notes)}
        if event.quote is not None or event.about is not None:
            spans = self._matching(event, notes)
        else:
            spans = [line(u) for film in self.films for u in self.utterances(film)]
            if not spans:
                raise NotKnown(f"nothing is said{self._where()}")
        if event.speakers:
            others = spans
            spans = [s for s in spans if any(isinstance(u, Utterance) and u.speaker in ids for u in s.rows)]
            if not spans and event.quote is not None:
                spans = self._said_by_nobody_known(event, others, notes)
            if not spans:
                raise SaidByOthers(self._said_by_others(event, others))
        return self._addressed(spans, event.to, notes) if event.to else spans

    def _matching(self, event: Say, notes: list[str]) -> list[Span]:
        if "speech" in self.without:
            raise NotKnown("what is said is not known")
        assert event.quote is not None or event.about is not None
        matches = self.sayings.quoted(event.quote) if event.quote is not None else self.sayings.about(event.about or "")
        if not matches:
            what = f'says "{event.quote}"' if event.quote is not None else f"speaks about '{event.about}'"
            raise NotKnown(f"nobody {what}{self._where()}")
        found = []
        for match in matches:
            rows = tuple(self._bare(u) for u in match.utterances)
            found.append(Span(rows[0].film, rows[0].start_s, rows[-1].end_s, rows, match.score))
        if event.quote is not None and matches[0].score < ENOUGH:
            heard = " ".join(row.text for row in matches[0].utterances)
            notes.append(f'"{event.quote}" is taken as "{heard}", the nearest that is said')
        return found

    def _said_by_nobody_known(self, event: Say, others: Sequence[Span], notes: list[str]) -> list[Span]:
        """The lines with a quotation of a voice that nobody has named, if nobody else says it: taken as the one who is
        named, for the sentence alone says which line is meant."""
        lines = [row for span in others for row in span.rows if isinstance(row, Utterance)]
        if any(row.speaker is not None and self.entities[row.speaker].named for row in lines):
            return []
        notes.append(f'who says "{event.quote}" is not sure: taken as {event.speakers[0].text}, as the question says')
        return list(others)

    def _said_by_others(self, event: Say, others: Sequence[Span]) -> str:
        who = " or ".join(reference.text for reference in event.speakers)
        if event.quote is None and event.about is None:
            return f"{who} is not heard{self._where()}"
        what = f'say "{event.quote}"' if event.quote is not None else f"speak about '{event.about}'"
        by = sorted({speaker_of(row, self) for span in others for row in span.rows if isinstance(row, Utterance)})
        return f"{who} does not {what}: {' and '.join(by)} does"

    def _addressed(self, spans: list[Span], to: Sequence[Reference], notes: list[str]) -> list[Span]:
        """The lines that may be said to somebody: who speaks just before or after them."""
        ids = {one for reference in to for one in self.resolve(reference, notes)}
        notes.append("to whom a line is said is in no table: taken as who speaks just before or after")
        found = []
        for span in spans:
            (line,) = span.rows[:1]
            assert isinstance(line, Utterance)
            near = self.neighbours(line)
            if line.speaker not in ids and any(other.speaker in ids for other in near):
                found.append(span)
        return found

    def neighbours(self, line: Utterance) -> list[Utterance]:
        """Returns the lines just before and after one."""
        if line.film not in self._lines:
            lines = self.utterances(line.film)
            self._lines[line.film] = (lines, {one.id: place for place, one in enumerate(lines)})
        there, places = self._lines[line.film]
        place = places[line.id]
        near = there[max(0, place - 1) : place] + there[place + 1 : place + 2]
        return [u for u in near if u.start_s - line.end_s <= _NEXT_TO_S and line.start_s - u.end_s <= _NEXT_TO_S]

    # Relations

    def related(self, spans: list[Span], relation: Relation, notes: list[str]) -> list[Span]:
        """Returns the spans that lie to another event as a relation says. Raises NotKnown: that event never happens."""
        others = self.true_when(relation.event, relation.place, notes)
        if not others:
            raise NotKnown(f"{self.told(relation.event)} at no time{self._where()}")
        if relation.link is Link.WHILE:
            return self._meanwhile(spans, others)
        if relation.link in (Link.RIGHT_AFTER, Link.RIGHT_BEFORE):
            return _beside(spans, others, relation.link)
        # What is so several times is meant as it is so first; nothing may lie before that.
        return _beside(spans, first_of_each_film(others), relation.link) or _beside(spans, others, relation.link)

    def _meanwhile(self, spans: list[Span], others: list[Span]) -> list[Span]:
        """The lines that are said meanwhile; of what is seen, the common time."""
        there = Timeline(others)
        if _are_lines(spans) and _are_lines(others):
            return [s for s in spans if any(at_once(s, o) and not same_rows(s, o) for o in there.overlapping(s))]
        if _are_lines(spans):
            return [s for s in spans if any(seen_while(s, o) for o in there.overlapping(s))]
        if _are_lines(others):
            shared = intersections(spans, others)
            return [s for s in shared if any(seen_while(o, s) for o in there.overlapping(s))]
        return intersections(spans, others)

    def in_windows(self, spans: list[Span], windows: Sequence[Window]) -> list[Span]:
        """Returns the lines that are said, and of what is seen the part that lies, in all of some windows."""
        for window in windows:
            inside = []
            for film in self.films.values():
                start, end = window.within(film.duration_s)
                inside.append(Span(film.id, start, end))
            if _are_lines(spans):
                spans = [s for s in spans if any(at_once(s, w) for w in inside)]
            else:
                spans = intersections(spans, inside)
        return spans

    def _in_place(self, spans: list[Span], place: str) -> list[Span]:
        there = [
            Span(film, s.start_s, s.end_s, (c,))
            for film in self.films
            for s in self.shots(film)
            if (c := self.places(film).get(s.id)) is not None and c.text.casefold() == place.casefold()
        ]
        if not there:
            known = sorted({c.text for film in self.films for c in self.places(film).values()})
            names = f": its places are {', '.join(known)}" if known else ", whose shots have no places"
            raise NotKnown(f"no shot shows '{place}' in the story{names}")
        if _are_lines(spans):
            return [s for s in spans if any(at_once(s, o) for o in there)]
        return intersections(spans, there)

    # What else is there

    def seen_during(self, span: Span, kind: str) -> dict[int, list[Appearance]]:
        """Returns who (or what things) is seen in a time, with the rows, the longest first."""
        if span.film not in self._timelines:
            rows = self.appearances(span.film)
            self._timelines[span.film] = Timeline(Span(row.film, row.start_s, row.end_s, (row,)) for row in rows)
        found: dict[int, list[Appearance]] = {}
        for other in self._timelines[span.film].overlapping(span):
            (row,) = other.rows
            if isinstance(row, Appearance) and self.entities[row.entity].kind == kind:
                found.setdefault(row.entity, []).append(row)
        return dict(sorted(found.items(), key=lambda item: -seconds_in(span, item[1])))

    def places_during(self, spans: Iterable[Span]) -> dict[str, tuple[float, list[tuple[Span, Caption]]]]:
        """Returns the places of the shots in some times: seconds, and the rows; the longest first."""
        found: dict[str, tuple[float, list[tuple[Span, Caption]]]] = {}
        for span in spans:
            places = self.places(span.film)
            shots = self.shots(span.film)
            first = bisect_right(shots, span.start, key=lambda one: one.end_s)
            for shot in shots[first : bisect_left(shots, span.end, key=lambda one: one.start_s)]:
                shared = overlap(span, Span(shot.film, shot.start_s, shot.end_s))
                if shared > 0 and shot.id in places:
                    caption = places[shot.id]
                    seconds, rows = found.get(caption.text, (0.0, []))
                    part = Span(span.film, max(span.start, shot.start_s), min(span.end, shot.end_s))
                    found[caption.text] = (seconds + shared, [*rows, (part, caption)])
        return dict(sorted(found.items(), key=lambda item: -item[1][0]))

    def told(self, event: Event) -> str:
        """Returns an event in words."""
        if isinstance(event, Say):
            who = " or ".join(r.text for r in event.speakers) or "somebody"
            what = (
                f'says "{event.quote}"' if event.quote else f"speaks about {event.about}" if event.about else "speaks"
            )
            return f"{who} {what}"
        names = [r.text for r in event.who]
        return f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} seen" + (" together" * (len(names) > 1))


def speaker_of(line: Utterance, evidence: Evidence) -> str:
    """Returns the name of who says a line, or the label of somebody whom the story does not know."""
    return evidence.name(line.speaker) if line.speaker is not None else line.label


def _are_lines(spans: Sequence[Span]) -> bool:
    """Whether times are those of lines that are said, which are whole, unlike times in which somebody is seen."""
    return bool(spans and spans[0].rows) and all(isinstance(row, Utterance) for span in spans for row in span.rows)


def _beside(spans: list[Span], others: Sequence[Span], link: Link) -> list[Span]:
    """What lies after or before one of some times; right after or before it, the nearest alone."""
    found: dict[tuple[int, float, float], Span] = {}
    timeline = Timeline(spans)
    for other in others:
        if link in (Link.AFTER, Link.RIGHT_AFTER):
            there = (span for one in timeline.onwards(other) for span in later([one], other))
        else:
            there = (span for one in timeline.backwards(other) for span in earlier([one], other))
        if link is Link.RIGHT_AFTER:
            nearest = [s if s.rows else replace(s, end=min(s.end, s.start + _SOON_S)) for s in islice(there, 1)]
        elif link is Link.RIGHT_BEFORE:
            nearest = [s if s.rows else replace(s, start=max(s.start, s.end - _SOON_S)) for s in islice(there, 1)]
        else:
            nearest = list(there)
        found |= {(s.film, s.start, s.end): s for s in nearest}
    return sorted(found.values(), key=lambda s: (s.film, s.start))
