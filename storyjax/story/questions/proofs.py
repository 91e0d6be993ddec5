"""What an answer stands on, and why there is none, in words."""

from collections.abc import Sequence

from storyjax.story.questions.answer import Proof, clock, listed
from storyjax.story.questions.evidence import Evidence, speaker_of
from storyjax.story.questions.meaning import Question, Say, Seen
from storyjax.story.questions.spans import Row, Span
from storyjax.story.rows import USER, Appearance, Caption, Track, Utterance


def nothing_so(evidence: Evidence, question: Question, verb: str = "") -> str:
    """Returns why there is no answer: what is not so, under which conditions."""
    told = f"nobody {verb}" if verb and isinstance(question.event, Say | Seen) and not _named(question) else ""
    told = told or f"it is not so that {evidence.told(question.event)}"
    told = told.replace("it is not so that somebody speaks", "nobody speaks")
    parts = [f"{relation.link} {evidence.told(relation.event)}" for relation in question.relations]
    parts += [f"in the {question.place}"] if question.place else []
    for window in question.windows:
        ends = {window.within(film.duration_s) for film in evidence.films.values()}
        parts += [f"from {clock(start)} to {clock(end)}" for start, end in sorted(ends)[:1]]
    return " ".join([told, *parts])


def _named(question: Question) -> bool:
    event = question.event
    return bool(event.speakers or event.quote or event.about) if isinstance(event, Say) else bool(event.who)


def proofs_of(evidence: Evidence, spans: Sequence[Span]) -> tuple[Proof, ...]:
    """Returns what some times stand on."""
    return tuple(proof_of(evidence, span, span.rows) for span in spans)


def proof_of(evidence: Evidence, span: Span, rows: Sequence[Row], shows: str | None = None) -> Proof:
    """Returns what a time stands on; `shows`: what the rows say, in words, where that is not clear."""
    tables: dict[str, list[int]] = {}
    names = {Appearance: "appearances", Utterance: "utterances", Caption: "captions", Track: "tracks"}
    for row in rows:
        tables.setdefault(names[type(row)], []).append(row.id)
    sure = [row.confidence for row in rows if row.confidence is not None]
    by_user = bool(rows) and any(getattr(row, "source", "") == USER for row in rows)
    return Proof(
        evidence.films[span.film].name,
        span.start,
        span.end,
        shows if shows is not None else _shows(evidence, rows),
        tables,
        tuple(dict.fromkeys(row.model for row in rows if row.model)),
        USER if by_user else "auto",
        min(sure) if sure else None,
    )


def _shows(evidence: Evidence, rows: Sequence[Row]) -> str:
    seen = list(dict.fromkeys(evidence.name(row.entity) for row in rows if isinstance(row, Appearance)))
    parts = [f"{listed(seen)} {'are' if len(seen) > 1 else 'is'} seen"] if seen else []
    parts += [f'{speaker_of(row, evidence)}: "{row.text}"' for row in rows if isinstance(row, Utterance)]
    parts += [f"in the {row.text}" for row in rows if isinstance(row, Caption)]
    return "; ".join(parts)
