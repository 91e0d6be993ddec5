"""Asking a story: `ask(story, question)` understands a question and answers it from the tables, with the rows that the
answer stands on. What the tables do not hold is "not known", with the reason; nothing is guessed.

What happens in a time is in no table: a TCR looks at the windows that the tables name (happens.py).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from storyjax.story.questions import kinds
from storyjax.story.questions.answer import StoryAnswer, clock
from storyjax.story.questions.evidence import Evidence, NotKnown, SaidByOthers
from storyjax.story.questions.meaning import Kind, NotUnderstood, Question, Say, Window
from storyjax.story.questions.quotes import Sayings
from storyjax.story.questions.spans import Span
from storyjax.story.questions.tokens import Vocabulary
from storyjax.story.questions.understand import understand
from storyjax.story.questions.words import EXAMPLES
from storyjax.story.store import Story

if TYPE_CHECKING:
    from storyjax.story.questions.happens import Teller

# A name that was written in another way, by the factor of confidence.
_MISSPELT = 0.9


def ask(
    story: Story,
    question: str,
    film: str | None = None,
    at_s: float | None = None,
    *,
    teller: "Teller | None" = None,
    progress: Callable[[str], None] = lambda _: None,
    without: Collection[str] = (),
) -> StoryAnswer:
    """Returns the answer to a question about a story.

    Args:
        story: what is asked.
        question: in English, in free wording.
        film: the name of the film that is meant; None: the one that the question names, or all.
        at_s: the moment that "now", "then" or a question without any time means, in seconds.
        teller: what says what happens in a part of a film; None: a TCR, loaded when it is needed.
        progress: is told, in words, what takes long.
        without: parts that are taken away (evidence.PARTS), to measure what each is worth.

    Raises:
        StoryjaxError: the film is not there, or the story is damaged.
    """
    try:
        meant = understand(question, vocabulary_of(story, film))
    except NotUnderstood as error:
        return _not_understood(question, str(error))
    if meant.film is None or film is not None:
        meant = replace(meant, film=film)
    notes = list(meant.notes)
    meant = _placed_in_time(meant, at_s, notes)
    evidence = Evidence(story, story.film(meant.film) if meant.film else None, without)
    try:
        for reference in meant.references():
            evidence.resolve(reference, notes)
        if meant.kind is Kind.YES_NO and isinstance(meant.event, Say) and meant.event.quote is not None:
            _check_speaker(evidence, meant.event)
        if meant.kind is Kind.HAPPENS:
            from storyjax.story.questions.happens import told

            found = told(evidence, meant, _spans(evidence, meant, notes), teller, progress, notes)
        else:
            found = kinds.ANSWERS[meant.kind](evidence, meant, _spans(evidence, meant, notes), notes)
    except SaidByOthers as error:
        if meant.kind is Kind.YES_NO and isinstance(meant.event, Say) and meant.event.quote:
            return StoryAnswer(question, str(meant.kind), True, f"no: {error}", ("no",), notes=tuple(notes))
        return _not_known(question, meant.kind, str(error), notes)
    except NotKnown as error:
        return _not_known(question, meant.kind, str(error), notes)
    return _answer(question, meant.kind, found, notes)


def vocabulary_of(story: Story, film: str | None = None) -> Vocabulary:
    """Returns the names that a question may use: people, things, places and films of the story, and what is said."""
    with story.reading() as db:
        places = [row[0] for row in db.execute("SELECT DISTINCT text FROM captions WHERE kind = 'place' ORDER BY text")]
    films = story.films()
    sayings = Sayings(story, None if film is None else story.film(film).id)
    return Vocabulary(story.entities(), places, [one.name for one in films], sayings.score)


def _placed_in_time(question: Question, at_s: float | None, notes: list[str]) -> Question:
    """The question with the moment that was given along with it, if it has no time of its own."""
    if at_s is None or question.windows:
        return question
    if question.relations and not question.referred:
        return question
    if isinstance(question.event, Say) and question.event.quote is not None and not question.referred:
        return question
    notes.append(f"asked at {clock(at_s)}")
    return replace(question, windows=(Window(max(0.0, at_s - 0.5), at_s + 0.5),))


def _spans(evidence: Evidence, question: Question, notes: list[str]) -> list[Span]:
    """When what a question is about is true, restricted by all that it says."""
    spans = evidence.true_when(question.event, question.place, notes)
    spans = evidence.in_windows(spans, question.windows)
    for relation in question.relations:
        spans = evidence.related(spans, relation, notes)
    return sorted(spans, key=lambda span: (span.film, span.start))


def _check_speaker(evidence: Evidence, event: Say) -> None:
    """Where it is asked whether somebody says something, an unknown voice may not be taken as theirs."""
    notes: list[str] = []
    evidence.said(event, notes)
    if any("is not sure: taken as" in note for note in notes):
        raise NotKnown(f'somebody whom the story does not know says "{event.quote}"')


def _answer(question: str, kind: Kind, found: kinds.Found, notes: list[str]) -> StoryAnswer:
    """What was found, as sure as the rows are, less where a quotation or a name was not written as it is known."""
    confidences = [proof.confidence for proof in found.proofs if proof.confidence is not None]
    misspelt = any(note.startswith("'") and " is taken as '" in note for note in notes)
    confidence = None
    if confidences:
        confidence = sum(confidences) / len(confidences) * found.score * (_MISSPELT if misspelt else 1.0)
    shown = tuple(dict.fromkeys(notes))
    return StoryAnswer(question, str(kind), True, found.text, found.values, None, found.proofs, confidence, shown)


def _not_known(question: str, kind: Kind, reason: str, notes: Sequence[str]) -> StoryAnswer:
    return StoryAnswer(
        question, str(kind), False, f"not known: {reason}", (), reason, (), None, tuple(dict.fromkeys(notes))
    )


def _not_understood(question: str, why: str) -> StoryAnswer:
    reason = f"the question is not understood: {why}"
    examples = "; ".join(EXAMPLES)
    return StoryAnswer(
        question, None, False, f"not known: {reason}", (), reason, (), None, (f"ask for instance: {examples}",)
    )
