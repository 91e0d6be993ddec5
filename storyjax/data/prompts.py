"""What is said to the language model, and what it may answer (thesis §3.3.2, Fig. 3.5)."""

from collections.abc import Sequence

LETTERS = "ABCDEFGH"


def question_prompt(question: str, options: Sequence[str]) -> str:
    """Returns a multiple-choice question as the language model is asked it (§3.3.2, after SeViLA)."""
    listed = " ".join(f"Option {letter}: {option}." for letter, option in zip(LETTERS, options, strict=False))
    return f"{question} {listed} Considering information in frames, select the correct answer."


def option_names(count: int) -> list[str]:
    """Returns the closed answer vocabulary of multiple choice: "Option A", "Option B" ..."""
    return [f"Option {letter}" for letter in LETTERS[:count]]


def caption_prompt(start: float, end: float) -> str:
    """Asks for a caption of a segment; times in seconds, said as whole seconds (Fig. 3.5, task 1)."""
    return f"What happens from {round(start)} to {round(end)} second?"


def mask(index: int) -> str:
    """T5's sentinels stand for [MASK] of Fig. 3.5."""
    return f"<extra_id_{index}>"


def grounding_prompt(sentence: str) -> str:
    """Asks when a sentence was said (Fig. 3.5, task 2): its two times are masked."""
    return f"Reconstruct the following sentence: {mask(0)} {mask(1)} {sentence}"


def grounding_target(start: float, end: float) -> str:
    """Returns what stands for the two masks, in whole seconds, as T5 was trained to fill them."""
    return f"{mask(0)} {round(start)} {mask(1)} {round(end)}"


def moments_prompt(what: str, bins: int) -> str:
    """Moment and language queries (§3.3.4)."""
    return f"Return a sequence of frame timestamps where {what} is happening. The timestamps range from 1 to {bins}."


def time_bin(second: float, duration: float, bins: int) -> int:
    """Returns a time of a video of `duration` seconds as a timestamp, 1 to `bins` (§3.3.4)."""
    return min(bins, 1 + int(bins * second / duration))


def timestamps(spans: Sequence[tuple[float, float]], duration: float, bins: int) -> list[int]:
    """Returns all timestamps inside the spans (seconds), in order; a span has at least one."""
    return sorted(
        {
            stamp
            for start, end in spans
            for stamp in range(
                time_bin(start, duration, bins),
                max(time_bin(start, duration, bins), time_bin(max(end - 1e-6, start), duration, bins)) + 1,
            )
        }
    )


def spread(stamps: Sequence[int], most: int) -> list[int]:
    """Returns at most `most` of them, evenly taken."""
    count = min(most, len(stamps))
    return [stamps[round(i * (len(stamps) - 1) / max(count - 1, 1))] for i in range(count)]


def action_pair(verb: str, noun: str, brackets: bool = True) -> str:
    """Returns an action as anticipation says it; without brackets for word lists that have none."""
    return f"({verb}, {noun})" if brackets else f"{verb} {noun}"


def anticipation_prompt(seen: Sequence[str], total: int) -> str:
    """Long-term anticipation (§3.3.4); `seen` are the actions so far, of `total` with those to come."""
    return (
        "Complete an action sequence, an action is one (verb, noun) pair."
        f" A complete sequence consists of {total} actions. Actions: {', '.join(seen)},"
    )


def narration_prompt(start: float, end: float, summary: bool, who: str = "templ") -> str:
    """Returns what EgoSchema's models are fine-tuned with (§3.6.2); times in seconds, said as whole seconds.

    The thesis prints "What does the templ do from start to end?"; `templ` stands for the narrated person.
    """
    asked, *rest = narration_question(round(start), round(end), summary, who)
    return f"{asked} {' '.join(map(str, rest[:-1]))}{rest[-1]}"


def narration_question(start: float, end: float, summary: bool, who: str = "templ") -> tuple[str | float, ...]:
    """Returns the same question in parts, with its times (seconds) apart, as a resampler is prompted with it."""
    return ("What happens from" if summary else f"What does the {who} do from", start, "to", end, "?")
