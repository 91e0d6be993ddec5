"""What happens in a part of a film, which is in no table: a TCR looks at the windows that the tables name."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from storyjax.story.questions.answer import Proof, clock
from storyjax.story.questions.evidence import Evidence, NotKnown
from storyjax.story.questions.kinds import Found
from storyjax.story.questions.meaning import Link, Question, Say, Seen
from storyjax.story.questions.proofs import nothing_so
from storyjax.story.questions.spans import Span

MOST_WINDOWS = 3
_LONGEST_S = 30.0  # of a window that is looked at
_AFTERWARDS_S = 5.0


# Says what happens in a part of a film: of the film's file, the question and the part (begin and end in seconds) the
# answer, its probability and the name of the model.
Teller = Callable[[Path, str, tuple[float, float]], tuple[str, float, str]]


def told(
    evidence: Evidence,
    question: Question,
    spans: Sequence[Span],
    teller: Teller | None,
    progress: Callable[[str], None],
    notes: list[str],
) -> Found:
    """Returns what a model says of the windows.

    Raises:
        NotKnown: the tables name no window, or the film's file is not there.
    """
    windows = _windows(evidence, question, spans)
    if not windows:
        raise NotKnown(nothing_so(evidence, question))
    if len(windows) > MOST_WINDOWS:
        notes.append(f"the first {MOST_WINDOWS} of {len(windows)} windows: ask about a part of the film for others")
    text, values, proofs = [], [], []
    for window in windows[:MOST_WINDOWS]:
        film = evidence.films[window.film]
        place = evidence.story.media(film)
        if not place.is_file():
            raise NotKnown(f"what happens is seen in the film alone, and {place} is not there")
        progress(f"{film.name}: looking at {clock(window.start)}–{clock(window.end)}")
        if teller is None:
            teller = tcr_teller()
        asked = _asked(evidence, question)
        said, probability, model = teller(place, asked, (window.start, min(window.end, film.duration_s)))
        text.append(f"{clock(window.start)}–{clock(window.end)}: {said}" if len(windows) > 1 else said)
        values.append(said)
        proofs.append(
            Proof(film.name, window.start, window.end, f"{said} (a model's words)", {}, (model,), "auto", probability)
        )
    notes.append("a model that looked at this part of the film says so: no table does")
    return Found("; ".join(text), tuple(values), tuple(proofs))


def _windows(evidence: Evidence, question: Question, spans: Sequence[Span]) -> list[Span]:
    """The parts to look at, none longer than a model can see much of."""
    after = any(r.link in (Link.RIGHT_AFTER, Link.AFTER) for r in question.relations)
    found = []
    for span in spans:
        end = span.start + _AFTERWARDS_S if after else min(span.end, span.start + _LONGEST_S)
        if end - span.start >= 0.1:
            found.append(Span(span.film, span.start, max(end, span.start + 0.5), span.rows))
    return found


def _asked(evidence: Evidence, question: Question) -> str:
    event = question.event
    if isinstance(event, Seen) and event.who:
        return f"what did {' and '.join(r.text.lower() for r in event.who)} do ?"
    if isinstance(event, Say) and event.speakers:
        return f"what did {event.speakers[0].text.lower()} do ?"
    return "what happened ?"


def tcr_teller() -> Teller:
    """Returns what `storyjax ask` answers with: the models folder's BLIP-2 where there is one, else the TCR that
    ships. Loaded at once; raises StoryjaxError: it cannot be."""
    from storyjax.tcr.blip2 import is_blip2, load_blip2
    from storyjax.tcr.predict import Predictor
    from storyjax.weights.roles import model_for, tell_shipped

    choice = model_for("ask", None)
    place = choice.place if choice.origin in ("imported", "own") else None
    predictor: Predictor
    if place is not None and is_blip2(place):
        predictor = load_blip2(place)
    else:
        predictor = Predictor.from_pretrained(place)
        tell_shipped("ask", place)

    def tell(video: Path, question: str, segment: tuple[float, float]) -> tuple[str, float, str]:
        answer = predictor.ask_all(video, [question], segment=segment)[0]
        for warning in answer.warnings:
            print(f"storyjax: note: {warning}", file=sys.stderr)
        return answer.text, answer.probability, f"{predictor.method} ({predictor.source})"

    return tell
