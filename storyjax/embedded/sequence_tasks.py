"""What stage (ii) and the tasks of Ego4D ask for (§3.2.2, §3.3.4), as exercises with a note that answers each.

Requests (requests.py) have moments told. Here a resampler and a reader of notes are taught the rest: to say *when*,
in whole seconds or in timestamps of a film, what comes next in a routine, and what a hole in a sentence hides. The
words to both are those of fine-tuning (data/prompts.py); the note, of eight words at most, is what the resampler is to
hand over and what the reader reads.
"""

from dataclasses import dataclass

import numpy as np

from storyjax.data.prompts import (
    action_pair,
    anticipation_prompt,
    grounding_prompt,
    grounding_target,
    mask,
    moments_prompt,
    spread,
    timestamps,
)
from storyjax.storyworld.story.language import NOTE_WORDS, note, sentence, verb_phrase
from storyjax.storyworld.story.routines import action
from storyjax.storyworld.story.story import Event, Performance, Story

KINDS = ("moments", "queries", "actions", "grounding", "filling")
UNORDERED = ("moments", "queries")  # whose answers are drawn from the note in no order
BINS = 50  # timestamps of a film
# Actions that anticipation is shown and asked for. A routine comes round after three to six: eight observed ones, as
# Ego4D has, would tell all that is to come, and there were nothing to look for in the film.
OBSERVED, FUTURE = 2, 20
TOLD = NOTE_WORDS // 2  # actions that a note has room for
LATEST = 8  # further actions so far, at most, when actions are asked for one by one


@dataclass(frozen=True)
class Practice:
    """One exercise.

    Attributes:
        kind: one of KINDS.
        task: the resampler's task token; `condition`: its prompt, words and times in seconds.
        prompt, target: of the language model; `note`: what answers it, in at most NOTE_WORDS words.
        spans: where in the film that is to be seen (seconds).
    """

    kind: str
    task: str
    condition: tuple[str | float, ...]
    note: str
    prompt: str
    target: str
    spans: tuple[tuple[float, float], ...]


def practise(
    story: Story, shares: dict[str, float], count: int, rng: np.random.Generator, shown: int | None = None
) -> list[Practice]:
    """`count` exercises about a story, their kinds drawn by `shares`; for actions the film may show the first `shown`
    events of the story alone (`break_off`)."""
    kinds = [kind for kind in KINDS if shares.get(kind, 0) > 0]
    if shown is not None and kinds != ["actions"]:
        raise ValueError(f"a film that breaks off is for actions alone, not {', '.join(kinds)}")
    share = np.array([shares[kind] for kind in kinds])
    drawn = rng.choice(len(kinds), size=count, p=share / share.sum())
    if shown is not None:
        return [_actions(story, rng, shown) for _ in drawn]
    return [_MAKE[kinds[i]](story, rng) for i in drawn]


def break_off(story: Story, rng: np.random.Generator) -> int:
    """How many of a routine's first events a film shows that breaks off: from `OBSERVED` to all but `FUTURE`."""
    return int(rng.integers(OBSERVED, len(story.events) - FUTURE + 1))


def by_kind(right: np.ndarray, asked: np.ndarray, name: str) -> dict[str, float]:
    """The share that is right of each kind that was asked at all, as {name + kind: share}."""
    return {f"{name}{kind}": float(right[i] / asked[i]) for i, kind in enumerate(KINDS) if asked[i]}


def _choose(story: Story, rng: np.random.Generator) -> tuple[Event, Performance]:
    """Somebody doing something that may be asked for; a journey has no name of its own."""
    every = [(e, p) for e in story.events if e.role != "travel" for p in e.performances]
    return every[int(rng.integers(len(every)))]


def _moments(story: Story, rng: np.random.Generator) -> Practice:
    """All times at which something is done, whoever does it."""
    _, wanted = _choose(story, rng)
    spans = [(e.start, e.end) for e in story.events if any(p.phrase == wanted.phrase for p in e.performances)]
    return _when("moments", verb_phrase(wanted, "gerund"), spans, story, rng)


def _queries(story: Story, rng: np.random.Generator) -> Practice:
    """The first time that somebody does something."""
    _, wanted = _choose(story, rng)
    first = next(e for e in story.events if wanted in e.performances)
    text = f"when did {wanted.person} first {verb_phrase(wanted, 'base')} ?"
    return _when("queries", text, [(first.start, first.end)], story, rng)


def _when(kind: str, what: str, spans: list[tuple[float, float]], story: Story, rng: np.random.Generator) -> Practice:
    told = spread(timestamps(spans, story.duration, BINS), NOTE_WORDS)
    drawn = [told[i] for i in rng.permutation(len(told))]
    words, answer = " ".join(map(str, told)), " ".join(map(str, drawn))
    return Practice(kind, "TRG", (what,), words, moments_prompt(what, BINS), answer, tuple(spans))


def _actions(story: Story, rng: np.random.Generator, shown: int | None = None) -> Practice:
    """What comes next: the note tells four actions, which are all of a routine together with those observed.

    As often as not some of what was to be told is said already, as when actions are asked for one by one; the note
    stays that of the first time. Stories that are no routines have fewer actions to come. Of a film that breaks off, as
    often as not behind what is observed, the note tells what can be known: what is seen, or was seen before.
    """
    repeats = len(story.events) >= OBSERVED + FUTURE
    latest = len(story.events) - OBSERVED - (FUTURE if repeats else TOLD)
    latest = latest if shown is None else min(latest, shown - OBSERVED)
    first = latest if shown is not None and rng.random() < 0.5 else int(rng.integers(latest + 1))
    events = story.events[first : first + OBSERVED + FUTURE]
    said = [action_pair(*action(event.lead, event.place), brackets=False) for event in events]
    condition = tuple(part for i in range(OBSERVED) for part in (events[i].start, said[i]))
    found = [_seen(event, story.events[:shown]) for event in events[OBSERVED : OBSERVED + TOLD]]
    found = found[: found.index(None)] if None in found else found
    note = " ".join(said[OBSERVED : OBSERVED + len(found)])
    spans = tuple((event.start, event.end) for event in found)
    later = OBSERVED + (int(rng.integers(1, LATEST + 1)) if repeats and rng.random() < 0.5 else 0)
    prompt = anticipation_prompt(said[:later], OBSERVED + FUTURE)
    return Practice("actions", "LTA", condition, note, prompt, ", ".join(said[later:]), spans)


def _seen(wanted: Event, film: tuple[Event, ...]) -> Event | None:
    """The event itself where the film shows it, or the last one before that was alike."""
    alike = (e for e in reversed(film) if e.start <= wanted.start)
    return next((e for e in alike if (e.performances, e.place) == (wanted.performances, wanted.place)), None)


def _grounding(story: Story, rng: np.random.Generator) -> Practice:
    event = story.events[int(rng.integers(len(story.events)))]
    said = sentence(event)
    words = f"{round(event.start)} {round(event.end)}"
    target = grounding_target(event.start, event.end)
    return Practice("grounding", "TRG", (said,), words, grounding_prompt(said), target, ((event.start, event.end),))


def _filling(story: Story, rng: np.random.Generator) -> Practice:
    """The end of a sentence is hidden (Fig. 3.5, task 3 b)."""
    event = story.events[int(rng.integers(len(story.events)))]
    words = sentence(event).split()
    hole = max(1, round(0.4 * len(words)))
    prompt = f"{round(event.start)} {round(event.end)} {' '.join([*words[:-hole], mask(0)])}"
    target = f"{mask(0)} {' '.join(words[-hole:])}"
    span = (event.start, event.end)
    return Practice("filling", "CPN", span, note(event), prompt, target, (span,))


_MAKE = {
    "moments": _moments,
    "queries": _queries,
    "actions": _actions,
    "grounding": _grounding,
    "filling": _filling,
}
