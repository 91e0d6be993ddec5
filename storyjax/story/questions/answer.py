"""What `storyjax story ask` answers, and what the answer stands on: for people and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = 8  # lines of evidence that a terminal gets


def clock(seconds: float) -> str:
    """Returns a time as m:ss, or h:mm:ss behind the first hour.

    >>> clock(65.2), clock(3725)
    ('1:05', '1:02:05')
    """
    minutes, second = divmod(int(seconds + 0.5), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


@dataclass(frozen=True)
class Proof:
    """A time in a film that an answer stands on.

    Attributes:
        film: name of the film.
        start_s, end_s: seconds from its beginning.
        shows: what the rows say, in words.
        rows: of which table ("utterances", "appearances", "captions", "tracks"), with the ids.
        models: what made the rows; source: "user" if a person said it, else "auto".
        confidence: of the rows, from 0 to 1; None where they have none.
    """

    film: str
    start_s: float
    end_s: float
    shows: str
    rows: dict[str, list[int]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    source: str = "auto"
    confidence: float | None = None

    def in_words(self) -> str:
        """Returns the line for a terminal."""
        standing = [*self.models, *(["said by you"] if self.source == "user" else [])]
        standing += [] if self.confidence is None else [f"{self.confidence:.2f}"]
        of = f"  ({', '.join(standing)})" if standing else ""
        return f"{self.film} {clock(self.start_s)}–{clock(self.end_s)}  {self.shows}{of}"


@dataclass(frozen=True)
class StoryAnswer:
    """The answer to a question about a story.

    Attributes:
        question, kind: what was asked; of a question that was not understood the kind is None.
        known: whether the tables answer it.
        text: the answer in words; "not known: ..." with the reason where they do not.
        values: the bare answer: names, places, films, sentences, "yes" or "no", a number, or times in seconds.
        reason: why it is not known.
        proofs: the times that it stands on, in order.
        confidence: from 0 to 1, of the rows and of how the question was read; None where no row has one.
        notes: how names were read, and what else a reader of the answer should know.
    """

    question: str
    kind: str | None
    known: bool
    text: str
    values: tuple[Any, ...] = ()
    reason: str | None = None
    proofs: tuple[Proof, ...] = ()
    confidence: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the answer as JSON has it; proofs are called evidence."""
        return {
            "question": self.question,
            "kind": self.kind,
            "known": self.known,
            "answer": self.text,
            "values": list(self.values),
            "reason": self.reason,
            "confidence": None if self.confidence is None else round(self.confidence, 3),
            "evidence": [_proof_json(proof) for proof in self.proofs],
            "notes": list(self.notes),
        }

    def in_words(self) -> str:
        """Returns the text for a terminal: the answer, then the times that it stands on."""
        lines = [self.text, *(f"  {proof.in_words()}" for proof in self.proofs[:SHOWN])]
        if len(self.proofs) > SHOWN:
            lines.append(f"  ... and {len(self.proofs) - SHOWN} more: --json has all")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _proof_json(proof: Proof) -> dict[str, Any]:
    return {
        "film": proof.film,
        "start_s": round(proof.start_s, 3),
        "end_s": round(proof.end_s, 3),
        "shows": proof.shows,
        "rows": proof.rows,
        "models": list(proof.models),
        "source": proof.source,
        "confidence": None if proof.confidence is None else round(proof.confidence, 3),
    }


def listed(parts: Sequence[str]) -> str:
    """Returns words as a list: "Ana, Ben and Mia"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
