"""Examples of the tasks of stage (ii) and of Ego4D (§3.2.2, §3.3.4), each with a note that answers it.

The prompts of alignment_prompts.py ask what happens at a moment. These ask the rest: *when* something happens, in whole
seconds or in timestamps of a video, what comes next in a routine, and which words of a sentence are masked. Prompts are
those of fine-tuning (data/prompts.py); the note, of at most eight words, is what a resampler is trained to output and
what the language model is trained to read.
"""

import itertools
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
UNORDERED = ("moments", "queries")  # their answers list the words of the note in any order
BINS = 50  # timestamps of a video
# Actions that are observed and anticipated. A routine repeats after three to six: eight observed actions, as in Ego4D,
# would already contain all later ones, and the video would not be needed.
OBSERVED, FUTURE = 2, 20
NOTE_ACTIONS = NOTE_WORDS // 2  # actions that fit into a note
MAX_EXTRA = 8  # at most so many actions are given beyond the observed ones


@dataclass(frozen=True)
class SequenceExample:
    """One example.

    Attributes:
        kind: one of KINDS.
        task: the resampler's task token.
        condition: the resampler's prompt, words and times in seconds.
        note: what answers the prompt, in at most NOTE_WORDS words.
        prompt, target: of the language model.
        spans: starts and ends of the events in the video that show it, in seconds.
    """

    kind: str
    task: str
    condition: tuple[str | float, ...]
    note: str
    prompt: str
    target: str
    spans: tuple[tuple[float, float], ...]


def draw_examples(
    story: Story, mix: dict[str, float], count: int, rng: np.random.Generator, shown: int | None = None
) -> list[SequenceExample]:
    """Returns `count` examples about a story.

    Args:
        story: what they are about.
        mix: relative frequencies of their kinds.
        count: number of examples.
        rng: draws them.
        shown: number of the story's first events that the video shows (`draw_cut`), None for all; for actions alone.

    Raises:
        ValueError: `shown` is given and `mix` has other kinds than actions.
    """
    kinds = [kind for kind in KINDS if mix.get(kind, 0) > 0]
    if shown is not None and kinds != ["actions"]:
        raise ValueError(f"a video that breaks off is for actions alone, not {', '.join(kinds)}")
    weights = np.array([mix[kind] for kind in kinds])
    drawn = rng.choice(len(kinds), size=count, p=weights / weights.sum())
    if shown is not None:
        return [_actions(story, rng, shown) for _ in drawn]
    return [_MAKE[kinds[i]](story, rng) for i in drawn]


def draw_cut(story: Story, rng: np.random.Generator) -> int:
    """Returns how many of a routine's first events a cut video shows: from `OBSERVED` to all but `FUTURE`."""
    return int(rng.integers(OBSERVED, len(story.events) - FUTURE + 1))


def by_kind(right: np.ndarray, asked: np.ndarray, name: str) -> dict[str, float]:
    """Returns the accuracy of each kind that occurs, as {name + kind: accuracy}."""
    return {f"{name}{kind}": float(right[i] / asked[i]) for i, kind in enumerate(KINDS) if asked[i]}


def _choose(story: Story, rng: np.random.Generator) -> tuple[Event, Performance]:
    """An event and a performance in it that a prompt can name, which excludes journeys."""
    every = [(e, p) for e in story.events if e.role != "travel" for p in e.performances]
    return every[int(rng.integers(len(every)))]


def _moments(story: Story, rng: np.random.Generator) -> SequenceExample:
    """All times of an action, whoever performs it."""
    _, wanted = _choose(story, rng)
    spans = [(e.start, e.end) for e in story.events if any(p.phrase == wanted.phrase for p in e.performances)]
    return _when("moments", verb_phrase(wanted, "gerund"), spans, story, rng)


def _queries(story: Story, rng: np.random.Generator) -> SequenceExample:
    """The first time that a person performs an action."""
    _, wanted = _choose(story, rng)
    first = next(e for e in story.events if wanted in e.performances)
    text = f"when did {wanted.person} first {verb_phrase(wanted, 'base')} ?"
    return _when("queries", text, [(first.start, first.end)], story, rng)


def _when(
    kind: str, what: str, spans: list[tuple[float, float]], story: Story, rng: np.random.Generator
) -> SequenceExample:
    stamps = spread(timestamps(spans, story.duration, BINS), NOTE_WORDS)
    drawn = [stamps[i] for i in rng.permutation(len(stamps))]
    words, answer = " ".join(map(str, stamps)), " ".join(map(str, drawn))
    return SequenceExample(kind, "TRG", (what,), words, moments_prompt(what, BINS), answer, tuple(spans))


def _actions(story: Story, rng: np.random.Generator, shown: int | None = None) -> SequenceExample:
    """The next actions: the note lists four, which with the observed ones are all of a routine.

    In half of the examples some of the next actions are given already, as when actions are asked for one by one; the
    note stays the same. Stories that are no routines have fewer next actions. If the video is cut, in half of the
    examples right after what is observed, the note lists what can be known: actions that the video shows, or showed
    before.
    """
    repeats = len(story.events) >= OBSERVED + FUTURE
    latest = len(story.events) - OBSERVED - (FUTURE if repeats else NOTE_ACTIONS)
    latest = latest if shown is None else min(latest, shown - OBSERVED)
    first = latest if shown is not None and rng.random() < 0.5 else int(rng.integers(latest + 1))
    events = story.events[first : first + OBSERVED + FUTURE]
    said = [action_pair(*action(event.lead, event.place), brackets=False) for event in events]
    condition = tuple(part for i in range(OBSERVED) for part in (events[i].start, said[i]))
    found = [_last_shown(event, story.events[:shown]) for event in events[OBSERVED : OBSERVED + NOTE_ACTIONS]]
    known = list(itertools.takewhile(lambda event: event is not None, found))
    note = " ".join(said[OBSERVED : OBSERVED + len(known)])
    spans = tuple((event.start, event.end) for event in known if event is not None)
    later = OBSERVED + (int(rng.integers(1, MAX_EXTRA + 1)) if repeats and rng.random() < 0.5 else 0)
    prompt = anticipation_prompt(said[:later], OBSERVED + FUTURE)
    return SequenceExample("actions", "LTA", condition, note, prompt, ", ".join(said[later:]), spans)


def _last_shown(wanted: Event, shown: tuple[Event, ...]) -> Event | None:
    """The event itself where the video shows it, or the last one before it with the same performances and place."""
    earlier = (e for e in reversed(shown) if e.start <= wanted.start)
    return next((e for e in earlier if (e.performances, e.place) == (wanted.performances, wanted.place)), None)


def _grounding(story: Story, rng: np.random.Generator) -> SequenceExample:
    event = story.events[int(rng.integers(len(story.events)))]
    said = sentence(event)
    words = f"{round(event.start)} {round(event.end)}"
    target = grounding_target(event.start, event.end)
    span = (event.start, event.end)
    return SequenceExample("grounding", "TRG", (said,), words, grounding_prompt(said), target, (span,))


def _filling(story: Story, rng: np.random.Generator) -> SequenceExample:
    """The end of a sentence is masked (Fig. 3.5, task 3 b)."""
    event = story.events[int(rng.integers(len(story.events)))]
    words = sentence(event).split()
    hole = max(1, round(0.4 * len(words)))
    prompt = f"{round(event.start)} {round(event.end)} {' '.join([*words[:-hole], mask(0)])}"
    target = f"{mask(0)} {' '.join(words[-hole:])}"
    span = (event.start, event.end)
    return SequenceExample("filling", "CPN", span, note(event), prompt, target, (span,))


_MAKE = {
    "moments": _moments,
    "queries": _queries,
    "actions": _actions,
    "grounding": _grounding,
    "filling": _filling,
}
