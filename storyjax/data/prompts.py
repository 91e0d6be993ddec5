"""What is said to the language model, and what it may answer (thesis §3.3.2, Fig. 3.5)."""

from collections.abc import Sequence

LETTERS = "ABCDEFGH"


def question_prompt(question: str, options: Sequence[str]) -> str:
    """ "[question] [options] Considering information in frames, select the correct answer" (§3.3.2, after SeViLA)."""
    listed = " ".join(f"Option {letter}: {option}." for letter, option in zip(LETTERS, options, strict=False))
    return f"{question} {listed} Considering information in frames, select the correct answer."


def option_names(count: int) -> list[str]:
    """The closed answer vocabulary of multiple choice: "Option A", "Option B" ..."""
    return [f"Option {letter}" for letter in LETTERS[:count]]


def caption_prompt(start: float, end: float) -> str:
    """Asks for a caption of a segment; times in seconds, said as whole seconds (Fig. 3.5, task 1)."""
    return f"What happens from {round(start)} to {round(end)} second?"
