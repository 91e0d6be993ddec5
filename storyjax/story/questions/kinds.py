"""The answers of each kind of question, made of the times that the tables give."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from storyjax.story.questions.answer import Proof, clock, listed
from storyjax.story.questions.evidence import Evidence, NotKnown, speaker_of
from storyjax.story.questions.meaning import LAST, Kind, Link, Question, Reference, Say, Seen
from storyjax.story.questions.proofs import nothing_so, proof_of, proofs_of
from storyjax.story.questions.quotes import FUNCTION, words_of
from storyjax.story.questions.spans import LONG_S, SEEN_WHILE, Span, overlap, seconds_in
from storyjax.story.rows import PERSON, THING, Track, Utterance

_SEEN_AT_LEAST_S = 0.3
_PAUSE_S = 0.3  # within a sentence
_LINES = 5  # lines of an answer that nothing restricts to one
_NEXT_TO = (Link.AFTER, Link.BEFORE, Link.RIGHT_AFTER, Link.RIGHT_BEFORE)


@dataclass(frozen=True)
class Found:
    """An answer: its text, the bare values, what it stands on, and how well a quotation matched (0 to 1)."""

    text: str
    values: tuple[Any, ...]
    proofs: tuple[Proof, ...]
    score: float = 1.0


def _who(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    if isinstance(question.event, Say):
        return _who_speaks(evidence, question, spans, notes)
    return _who_is_seen(evidence, question, spans, notes, PERSON)


def _things(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    return _who_is_seen(evidence, question, spans, notes, THING)


def _who_speaks(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    excluded, among = _ids(evidence, question.without, notes), _ids(evidence, question.among, notes)
    spans = [s for s in spans if not among or _first_line(s).speaker in among]
    spans = [s for s in _chosen(question, spans, 1) if _first_line(s).speaker not in excluded]
    if not spans:
        raise NotKnown(nothing_so(evidence, question, "speaks"))
    seconds: dict[str, float] = {}
    named: set[str] = set()
    for span in spans:
        line = _first_line(span)
        name = speaker_of(line, evidence)
        seconds[name] = seconds.get(name, 0.0) + span.length
        if line.speaker is not None:
            named.add(name)
    if not named:
        times = listed([clock(span.start) for span in spans[:3]])
        raise NotKnown(f"it is said at {times}, by somebody whose voice the story does not know")
    if len(named) < len(seconds):
        notes.append("and somebody whose voice the story does not know")
    names = [name for name in _ranked(seconds, question.most) if name in named]
    if question.order is None and not question.most and len(spans) > 1 and _is_open(question):
        parts = [f"{name} ({seconds[name]:.0f} s)" for name in names]
    else:
        parts = names
    spans = [s for s in spans if speaker_of(_first_line(s), evidence) in names]
    return Found(listed(parts), tuple(names), proofs_of(evidence, spans), min(s.score for s in spans))


def _who_is_seen(evidence: Evidence, question: Question, spans: list[Span], notes: list[str], kind: str) -> Found:
    who = question.event.who if isinstance(question.event, Seen) else ()
    if not spans:
        said = f"{evidence.told(question.event)} at no such time" if who else nothing_so(evidence, question, "is seen")
        raise NotKnown(said)
    excluded, among = _ids(evidence, (*question.without, *who), notes), _ids(evidence, question.among, notes)
    seconds: dict[int, float] = {}
    proofs: dict[int, list[Proof]] = {}
    for span in spans:
        for entity, rows in evidence.seen_during(span, kind).items():
            shared = seconds_in(span, rows)
            if entity in excluded or (among and entity not in among) or shared <= 0:
                continue
            if shared < min(SEEN_WHILE * span.length, _SEEN_AT_LEAST_S) and span.length > 0.1:
                continue
            seconds[entity] = seconds.get(entity, 0.0) + shared
            proofs.setdefault(entity, []).extend(proof_of(evidence, span, (row,)) for row in rows)
    seconds = _through_most(evidence, question, seconds, spans)
    _note_strangers(evidence, spans, kind, notes)
    if not seconds:
        if who:
            shown = [proof_of(evidence, span, span.rows) for span in spans]
            alone = f"nobody: {evidence.told(Seen(who))} without anybody else" if kind == PERSON else "nothing else"
            return Found(alone, ("nobody" if kind == PERSON else "nothing",), tuple(shown))
        raise NotKnown(f"{'nobody' if kind == PERSON else 'nothing'} that the story knows is seen then")
    ids = _in_order(question, seconds, proofs)
    names = [evidence.name(one) for one in ids]
    parts = [f"{evidence.name(i)} ({seconds[i]:.0f} s)" for i in ids] if _is_open(question) else names
    shown = sorted((p for one in ids for p in proofs[one]), key=lambda p: (p.film, p.start_s))
    return Found(listed(parts), tuple(names), tuple(shown))


def _through_most(
    evidence: Evidence, question: Question, seconds: dict[int, float], spans: Sequence[Span]
) -> dict[int, float]:
    """Of those seen while a line is said, who is seen for more than an edge of it, if anybody is."""
    lines = [r for r in question.relations if r.link is Link.WHILE and isinstance(r.event, Say)]
    if not lines or len(spans) > 3:
        return seconds
    whole = sum(span.length for span in spans)
    through = {entity: value for entity, value in seconds.items() if value >= min(SEEN_WHILE * whole, LONG_S)}
    return through or seconds


def _in_order(question: Question, seconds: dict[int, float], proofs: dict[int, list[Proof]]) -> list[int]:
    if question.order is not None:
        by_time = sorted(seconds, key=lambda i: (proofs[i][0].film, proofs[i][0].start_s))
        if question.order == LAST:
            by_time = sorted(seconds, key=lambda i: max(p.end_s for p in proofs[i]))
        place = question.order if question.order < 0 else question.order - 1
        return [by_time[place]] if -len(by_time) <= place < len(by_time) else by_time[-1:]
    ranked = sorted(seconds, key=lambda i: -seconds[i])
    return ranked[:1] if question.most > 0 else ranked[-1:] if question.most < 0 else ranked


def _note_strangers(evidence: Evidence, spans: Sequence[Span], kind: str, notes: list[str]) -> None:
    if kind != PERSON or "sight" in evidence.without or len(spans) > 3:
        return
    for span in spans:
        found = evidence.story.rows(
            Track,
            "WHERE film = ? AND kind = 'person' AND entity IS NULL AND start_s < ? AND end_s > ? LIMIT 1",
            [span.film, span.end, span.start],
        )
        if found and overlap(span, Span(span.film, found[0].start_s, found[0].end_s)) >= _SEEN_AT_LEAST_S:
            notes.append("and somebody whom the story does not know is seen then")
            return


def _when(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    spans = _chosen(question, spans, None)
    if not spans:
        raise NotKnown(nothing_so(evidence, question))
    text = listed(_times(evidence, spans))
    values = tuple((round(span.start, 2), round(span.end, 2)) for span in spans)
    return Found(text, values, proofs_of(evidence, spans), min(span.score for span in spans))


def _times(evidence: Evidence, spans: Sequence[Span], most: int = 12) -> list[str]:
    several = len({span.film for span in spans}) > 1
    shown = [
        f"{clock(s.start)}–{clock(s.end)}" + (f" in {evidence.films[s.film].name}" if several else "")
        for s in spans[:most]
    ]
    return shown + ([f"{len(spans) - most} more times"] if len(spans) > most else [])


def _where(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    spans = _chosen(question, spans, None) or _heard_instead(evidence, question, notes)
    if not spans:
        raise NotKnown(_not_seen_then(evidence, question))
    places = evidence.places_during(spans)
    if not places:
        raise NotKnown("the shots of that time have no places: 'storyjax story --places' gives them some")
    single = len(spans) == 1 or bool(question.relations)
    if single:
        # A cut may lie at the edge of a line: what is shown for most of it counts.
        most = max(seconds for seconds, _ in places.values())
        places = {place: found for place, found in places.items() if found[0] >= 0.5 * most}
    proofs = [
        proof_of(evidence, span, (caption,), f"in the {place}")
        for place, (_, rows) in places.items()
        for span, caption in rows
    ]
    parts = [
        f"in the {place}" if len(places) == 1 else f"in the {place} ({seconds:.0f} s)"
        for place, (seconds, _) in places.items()
    ]
    return Found(listed(parts), tuple(places), (*proofs_of(evidence, spans)[:20], *proofs))


def _heard_instead(evidence: Evidence, question: Question, notes: list[str]) -> list[Span]:
    """Where somebody who is not seen says something: the place of the shot."""
    if not isinstance(question.event, Seen):
        return []
    ids = _ids(evidence, question.event.who, notes)
    for relation in question.relations:
        if relation.link is Link.WHILE and isinstance(relation.event, Say):
            spans = evidence.true_when(relation.event, None, notes)
            spans = [s for s in spans if any(isinstance(row, Utterance) and row.speaker in ids for row in s.rows)]
            if spans:
                notes.append("heard, not seen: the place is that of the shot")
            return spans
    return []


def _not_seen_then(evidence: Evidence, question: Question) -> str:
    if isinstance(question.event, Seen) and question.event.who:
        return f"{evidence.told(question.event)} at no such time".replace(" is seen at no", " is not seen at any")
    return nothing_so(evidence, question)


def _count(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    number = len(spans)
    times = {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")
    return Found(times, (number,), proofs_of(evidence, spans), min((s.score for s in spans), default=1.0))


def _duration(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    spans = _chosen(question, spans, None)
    seconds = sum(span.length for span in _united(spans))
    text = f"{seconds:.1f} s" if seconds < 60 else f"{clock(seconds)} ({seconds:.0f} s)"
    return Found(text, (round(seconds, 2),), proofs_of(evidence, spans))


def _united(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.film, s.start)):
        if found and found[-1].film == span.film and span.start <= found[-1].end:
            last = found.pop()
            found.append(Span(last.film, last.start, max(last.end, span.end), (*last.rows, *span.rows)))
        else:
            found.append(span)
    return found


def _count_people(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    found = _who(evidence, question, spans, notes)
    names = tuple(name for name in found.values if name != "nobody")
    return Found(f"{len(names)}: {listed(names)}" if names else "0", (len(names),), found.proofs, found.score)


def _words(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    spans = [s for s in _chosen(question, spans, 1) if isinstance(s.rows[0], Utterance)]
    if not spans:
        raise NotKnown(nothing_so(evidence, question))
    spans = [_whole(evidence, span) for span in spans]
    if len(spans) > _LINES:
        notes.append(f"the first {_LINES} of {len(spans)} lines: the evidence has all")
    speakers = isinstance(question.event, Say) and len(question.event.speakers) == 1
    lines = [
        (f'"{_text(span)}"' if speakers else f'{speaker_of(_first_line(span), evidence)}: "{_text(span)}"')
        for span in spans[:_LINES]
    ]
    return Found(
        "; ".join(lines), tuple(_text(s) for s in spans), proofs_of(evidence, spans), min(s.score for s in spans)
    )


def _whole(evidence: Evidence, span: Span) -> Span:
    """A line with the rest of its sentence, if the speech recogniser cut it at a comma."""
    rows = [row for row in span.rows if isinstance(row, Utterance)]
    there = evidence.utterances(span.film)
    first = next(index for index, line in enumerate(there) if line.id == rows[0].id)
    last = next(index for index, line in enumerate(there) if line.id == rows[-1].id)
    while first > 0 and _goes_on(there[first - 1], there[first]):
        first -= 1
    while last + 1 < len(there) and _goes_on(there[last], there[last + 1]):
        last += 1
    rows = there[first : last + 1] if len(rows) <= last + 1 - first else rows
    return replace(span, start=rows[0].start_s, end=rows[-1].end_s, rows=tuple(rows))


def _goes_on(line: Utterance, follows: Utterance) -> bool:
    cut = line.text.rstrip().endswith((",", "-", "…", ";"))
    return cut and line.speaker == follows.speaker and follows.start_s - line.end_s < _PAUSE_S


def _topic(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    """What people talk about: of several, the lines next to those of another one of them."""
    ids = {row.speaker for span in spans for row in span.rows if isinstance(row, Utterance)}
    lines = [_first_line(span) for span in spans]
    if isinstance(question.event, Say) and len(question.event.speakers) > 1:
        lines = [u for u in lines if any(n.speaker in ids - {u.speaker} for n in evidence.neighbours(u))]
        if not lines:
            raise NotKnown(f"{listed([r.text for r in question.event.speakers])} do not talk with each other")
    if not lines:
        raise NotKnown(nothing_so(evidence, question))
    counts: dict[str, int] = {}
    for line in lines:
        for word in dict.fromkeys(words_of(line.text)):
            if word not in FUNCTION and len(word) > 2:
                counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: -counts[word])[:8]
    spans = [Span(u.film, u.start_s, u.end_s, (u,)) for u in lines]
    text = f"{', '.join(frequent)}: " if frequent else ""
    text += " ".join(f'{speaker_of(u, evidence)}: "{u.text}"' for u in lines[:_LINES])
    return Found(text, tuple(u.text for u in lines), proofs_of(evidence, spans))


def _films(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    if not spans:
        raise NotKnown(nothing_so(evidence, question))
    names = tuple(dict.fromkeys(evidence.films[span.film].name for span in spans))
    return Found(listed(names), names, proofs_of(evidence, spans), min(span.score for span in spans))


def _yes_no(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    if spans:
        return Found("yes", ("yes",), proofs_of(evidence, spans), max(span.score for span in spans))
    proofs: list[Proof] = []
    told = evidence.told(question.event)
    for relation in question.relations:
        if relation.link is not Link.WHILE:
            continue
        for other in evidence.true_when(relation.event, relation.place, notes)[:3]:
            seen = [evidence.name(i) for i in evidence.seen_during(other, PERSON)]
            proofs.append(proof_of(evidence, other, other.rows))
            told += f"; {listed(seen) or 'nobody'} {'are' if len(seen) > 1 else 'is'} seen then"
    return Found(f"no: not so that {told}", ("no",), tuple(proofs))


def _identity(evidence: Evidence, question: Question, spans: list[Span], notes: list[str]) -> Found:
    assert isinstance(question.event, Seen)
    (entity,) = (evidence.entities[i] for i in _ids(evidence, question.event.who[:1], notes)[:1])
    lines = [u for film in evidence.films for u in evidence.utterances(film) if u.speaker == entity.id]
    films = listed(list(dict.fromkeys(evidence.films[span.film].name for span in spans)))
    what = entity.category or ("a person" if entity.kind == PERSON else "a thing")
    known = (
        "whom the gallery knows" if entity.named and entity.kind == PERSON else "of the gallery" if entity.named else ""
    )
    known = known or "whom nobody has named yet"
    seconds = sum(span.length for span in spans)
    text = f"{entity.name}: {what} {known}, seen in {films} for {seconds:.0f} s, from {clock(spans[0].start)} on"
    text += f", and heard {len(lines)} times" if lines else ""
    return Found(text, (entity.name,), proofs_of(evidence, spans))


ANSWERS: dict[Kind, Callable[[Evidence, Question, list[Span], list[str]], Found]] = {
    Kind.WHO: _who,
    Kind.WHEN: _when,
    Kind.WHERE: _where,
    Kind.COUNT: _count,
    Kind.COUNT_PEOPLE: _count_people,
    Kind.DURATION: _duration,
    Kind.WORDS: _words,
    Kind.TOPIC: _topic,
    Kind.THINGS: _things,
    Kind.FILMS: _films,
    Kind.YES_NO: _yes_no,
    Kind.IDENTITY: _identity,
}


def _ids(evidence: Evidence, references: Sequence[Reference], notes: list[str]) -> list[int]:
    return [one for reference in references for one in evidence.resolve(reference, notes)]


def _first_line(span: Span) -> Utterance:
    return next(row for row in span.rows if isinstance(row, Utterance))


def _text(span: Span) -> str:
    return " ".join(row.text for row in span.rows if isinstance(row, Utterance))


def _ranked(seconds: dict[str, float], most: int) -> list[str]:
    ranked = sorted(seconds, key=lambda name: -seconds[name])
    return ranked[:1] if most > 0 else ranked[-1:] if most < 0 else ranked


def _is_open(question: Question) -> bool:
    """Whether nothing but films, windows and places restricts a question."""
    return not question.relations and not (isinstance(question.event, Say) and question.event.quote)


def _chosen(question: Question, spans: list[Span], next_to: int | None) -> list[Span]:
    """The first, second ... or last of the times; of what comes after or before something, `next_to` of them."""
    order = question.order
    beside = next((r for r in question.relations if r.link in _NEXT_TO), None)
    if order is None and beside is not None and next_to is not None and beside.link in (Link.AFTER, Link.BEFORE):
        order = 1 if beside.link is Link.AFTER else LAST
    if order is None or not spans:
        return spans
    if beside is not None and beside.link in (Link.RIGHT_AFTER, Link.RIGHT_BEFORE):
        return spans  # "the first thing that Ana says right after ...": it is chosen already
    place = order if order < 0 else order - 1
    return [spans[place]] if -len(spans) <= place < len(spans) else []
