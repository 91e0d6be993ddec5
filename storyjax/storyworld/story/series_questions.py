"""Questions about the episodes of a series, made of their truth, that no single system answers: what is said, who says
it, who and what is seen, and where.

    [{"kind": "next words", "question": "...", "answer": ["..."], "answerable": true, "needs": ["speech", "names"]}]

`answer` holds names, places, sentences, "yes" or "no", or a number; it is empty where there is none: a name that is
nobody's, a sentence that nobody says, nothing that comes after. `needs` says what has to be known: "speech" (what is
said), "names" (by whom), "sight" (who and what is seen) and "places". Questions are asked only where half a second more
or less makes no difference.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from storyjax.storyworld.story.series_wordings import NOBODY, UNSAID, WORDINGS

Truth = Mapping[str, Any]
MARGIN_S = 0.5
_LONG_S = 2.4 * MARGIN_S  # lines that are shorter are not asked about: half of them is within the margin
_SEEN, _UNSEEN = 0.8, 0.05  # fractions of a line
_NEEDS = {
    "said while seen": ("speech", "names", "sight"),
    "next words": ("speech", "names"),
    "words after another": ("speech", "names"),
    "who speaks next": ("speech", "names"),
    "together when said": ("speech", "sight"),
    "speaker seen": ("speech", "names", "sight"),
    "companion when said": ("speech", "names", "sight"),
    "speech while seen": ("names", "sight"),
    "place of a thing": ("speech", "sight", "places"),
    "who is with a thing": ("speech", "names", "sight"),
    "things when said": ("speech", "names", "sight"),
    "place of a line": ("speech", "names", "places"),
}


@dataclass(frozen=True)
class _Asked:
    """A question before it is put into words: values of N, M, T and X, and the answer (none: it has none)."""

    kind: str
    values: Mapping[str, str]
    answer: tuple[Any, ...]


def series_questions(truths: Mapping[str, Truth], each: int = 4, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Returns the questions about each episode.

    Args:
        truths: of each episode by name, as truth/EPISODE.json has it.
        each: questions of a kind about an episode, at most.
        seed: draws which are asked, and how.
    """
    found = {}
    for number, (name, truth) in enumerate(truths.items()):
        rng = np.random.default_rng([seed, number, 0xA5C])
        episode = _Episode(truth)
        asked: list[_Asked] = []
        for kind, make in _MAKERS.items():
            answerable, not_answerable = _shuffled([q for q in make(episode) if q.kind == kind], rng)
            asked += [*answerable[:each], *not_answerable[:1]]
        asked += _unanswerable(episode, rng)
        found[name] = [_put(question, rng) for question in asked]
    return found


def _shuffled(questions: Sequence[_Asked], rng: np.random.Generator) -> tuple[list[_Asked], list[_Asked]]:
    """Those with an answer, of which rare answers come first, and those without, in random order."""
    mixed = [questions[i] for i in rng.permutation(len(questions))]
    with_answer = [q for q in mixed if q.answer]
    turns: dict[tuple[Any, ...], int] = {}
    order = []
    for question in with_answer:
        turns[question.answer] = turns.get(question.answer, 0) + 1
        order.append(turns[question.answer])
    ranked = [with_answer[i] for i in np.argsort(np.array(order, int), kind="stable")]
    return ranked, [q for q in mixed if not q.answer]


def _put(asked: _Asked, rng: np.random.Generator) -> dict[str, Any]:
    wordings = WORDINGS[asked.kind]
    wording = wordings[int(rng.integers(len(wordings)))]
    values = dict(asked.values)
    if "X" in values:
        values["X"] = f'"{values["X"]}"'
    text = re.sub(r"\b([NMTX])\b", lambda match: values[match[1]], wording)
    return {
        "kind": asked.kind,
        "question": text,
        "answer": list(asked.answer),
        "answerable": bool(asked.answer),
        "needs": list(_NEEDS[asked.kind]),
    }


class _Episode:
    """What is true of an episode, asked for in the ways that questions need."""

    def __init__(self, truth: Truth):
        self.lines: list[Mapping[str, Any]] = list(truth["lines"])
        self.shots: list[Mapping[str, Any]] = list(truth["shots"])

    @cached_property
    def people(self) -> list[str]:
        """Everybody of the cast list who is seen or heard."""
        seen = {p["name"] for shot in self.shots for p in shot["people"] if p["listed"]}
        return sorted(seen | {line["speaker"] for line in self.lines if line["listed"]})

    @cached_property
    def things(self) -> dict[str, tuple[str, str]]:
        """Category and owner of each thing."""
        return {t["name"]: (t["category"], t["owner"]) for shot in self.shots for t in shot.get("things", ())}

    @cached_property
    def clear(self) -> list[Mapping[str, Any]]:
        """The lines that may be asked about: long, of a listed speaker, and said once."""
        texts = [line["text"] for line in self.lines]
        return [
            line
            for line in self.lines
            if line["listed"] and line["end"] - line["start"] >= _LONG_S and texts.count(line["text"]) == 1
        ]

    def called(self, thing: str) -> list[str]:
        """How a thing may be called."""
        category, owner = self.things[thing]
        names = [thing, f"{owner}'s {category} {thing}", f"the {category} {thing}"]
        alone = [name for name, (other, _) in self.things.items() if other == category] == [thing]
        return [*names, f"{owner}'s {category}", f"the {category}"] if alone else names

    def shared(self, line: Mapping[str, Any], shows: Callable[[Mapping[str, Any]], bool]) -> float:
        """The fraction of a line during which a shot shows something."""
        seconds = sum(
            max(0.0, min(shot["end"], line["end"]) - max(shot["start"], line["start"]))
            for shot in self.shots
            if shows(shot)
        )
        return seconds / (line["end"] - line["start"])

    def seen(self, line: Mapping[str, Any], name: str, among: str = "people") -> bool | None:
        """Whether somebody or something is seen while a line is said; None: for a part of it."""
        fraction = self.shared(line, lambda shot: any(one["name"] == name for one in shot.get(among, ())))
        return True if fraction >= _SEEN else False if fraction <= _UNSEEN else None

    def shown(self, line: Mapping[str, Any], among: str = "people") -> list[str] | None:
        """Who or what is seen while a line is said; None where that is not clear, or somebody is not of the cast."""
        names = {one["name"] for shot in self.shots for one in shot.get(among, ())}
        found = {name: self.seen(line, name, among) for name in names}
        strange = {p["name"] for shot in self.shots for p in shot["people"] if not p["listed"]}
        if None in found.values() or any(found.get(name) for name in strange):
            return None
        return sorted(name for name, seen in found.items() if seen)

    def place(self, line: Mapping[str, Any]) -> str | None:
        """The place that is shown while a line is said; None where it changes."""
        for place in {shot["place"] for shot in self.shots}:
            if self.shared(line, lambda shot, place=place: shot["place"] == place) >= _SEEN:  # type: ignore[misc]
                return place
        return None

    def following(self, line: Mapping[str, Any], speaker: str | None = None) -> Mapping[str, Any] | None:
        """The next line, of somebody; None at the end, or where lines overlap."""
        later = [one for one in self.lines if one["start"] > line["start"] and speaker in (None, one["speaker"])]
        if not later or later[0]["start"] < line["end"]:
            return None
        if len(later) > 1 and later[1]["start"] < later[0]["start"] + MARGIN_S:
            return None
        return later[0]


def _said_while_seen(episode: _Episode) -> Iterator[_Asked]:
    """A sentence that several say, told apart by who is seen; else one that is said once."""
    for line in episode.lines:
        same = [other for other in episode.lines if other["text"] == line["text"]]
        if not line["listed"] or line["end"] - line["start"] < _LONG_S:
            continue
        for name in episode.people:
            seen = [episode.seen(other, name) for other in same]
            if None not in seen and sum(map(bool, seen)) == 1 and episode.seen(line, name) and name != line["speaker"]:
                yield _Asked("said while seen", {"X": line["text"], "M": name}, (line["speaker"],))


def _next_words(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        follows = episode.following(line, line["speaker"])
        values = {"N": line["speaker"], "X": line["text"]}
        if follows is not None:
            yield _Asked("next words", values, (follows["text"],))
        elif not any(o["start"] > line["start"] and o["speaker"] == line["speaker"] for o in episode.lines):
            yield _Asked("next words", values, ())


def _words_after(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        for name in episode.people:
            follows = episode.following(line, name)
            values = {"N": name, "M": line["speaker"], "X": line["text"]}
            if name != line["speaker"] and follows is not None:
                yield _Asked("words after another", values, (follows["text"],))


def _speaks_next(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        follows = episode.following(line)
        if follows is not None and follows["listed"]:
            yield _Asked("who speaks next", {"X": line["text"]}, (follows["speaker"],))
        elif line is episode.lines[-1]:
            yield _Asked("who speaks next", {"X": line["text"]}, ())


def _together(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        for index, one in enumerate(episode.people):
            for other in episode.people[index + 1 :]:
                seen = (episode.seen(line, one), episode.seen(line, other))
                # "No" is asked of people of whom one is there.
                if None not in seen and any(seen):
                    answer = "yes" if all(seen) else "no"
                    yield _Asked("together when said", {"N": one, "M": other, "X": line["text"]}, (answer,))


def _speaker_seen(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        seen = episode.seen(line, line["speaker"])
        if seen is not None:
            values = {"N": line["speaker"], "X": line["text"]}
            yield _Asked("speaker seen", values, ("yes" if seen else "no",))


def _companion(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        shown = episode.shown(line)
        for name in episode.people if shown is not None else ():
            assert shown is not None
            others = tuple(other for other in shown if other != name)
            values = {"N": name, "M": line["speaker"], "X": line["text"]}
            if name == line["speaker"]:
                continue
            if name in shown and others:
                yield _Asked("companion when said", values, others)
            elif name not in shown:
                yield _Asked("companion when said", values, ())


def _speech_while_seen(episode: _Episode) -> Iterator[_Asked]:
    for name in episode.people:
        lines = [line for line in episode.lines if line["speaker"] == name]
        for other in episode.people:
            seen = [episode.seen(line, other) for line in lines]
            short = any(line["end"] - line["start"] < MARGIN_S for line in lines)
            if other != name and lines and None not in seen and any(seen) and not short:
                yield _Asked("speech while seen", {"N": name, "M": other}, (sum(map(bool, seen)),))


def _place_of_thing(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        place = episode.place(line)
        for thing in episode.things if place else ():
            assert place is not None
            seen = episode.seen(line, thing, "things")
            for called in episode.called(thing):
                if seen is not None:
                    answer = (place,) if seen else ()
                    yield _Asked("place of a thing", {"T": called, "X": line["text"]}, answer)


def _with_thing(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        shown = episode.shown(line)
        for thing in episode.things:
            if shown and episode.seen(line, thing, "things"):
                for called in episode.called(thing):
                    values = {"T": called, "N": line["speaker"], "X": line["text"]}
                    yield _Asked("who is with a thing", values, tuple(shown))


def _things_when_said(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        things = [thing for thing in episode.things if episode.seen(line, thing, "things")]
        clear = all(episode.seen(line, thing, "things") is not None for thing in episode.things)
        if clear and things:
            yield _Asked("things when said", {"N": line["speaker"], "X": line["text"]}, tuple(sorted(things)))


def _place_of_line(episode: _Episode) -> Iterator[_Asked]:
    for line in episode.clear:
        if place := episode.place(line):
            yield _Asked("place of a line", {"N": line["speaker"], "X": line["text"]}, (place,))


_MAKERS: dict[str, Callable[[_Episode], Iterator[_Asked]]] = {
    "said while seen": _said_while_seen,
    "next words": _next_words,
    "words after another": _words_after,
    "who speaks next": _speaks_next,
    "together when said": _together,
    "speaker seen": _speaker_seen,
    "companion when said": _companion,
    "speech while seen": _speech_while_seen,
    "place of a thing": _place_of_thing,
    "who is with a thing": _with_thing,
    "things when said": _things_when_said,
    "place of a line": _place_of_line,
}


def _unanswerable(episode: _Episode, rng: np.random.Generator) -> list[_Asked]:
    """For some kinds a question with a name that is nobody's, or with a sentence that nobody says."""
    found = []
    for number, kind in enumerate(_MAKERS):
        if not episode.clear or len(episode.people) < 2:
            break
        line = episode.clear[int(rng.integers(len(episode.clear)))]
        one, other = (episode.people[int(i)] for i in rng.permutation(len(episode.people))[:2])
        things = [name for thing in episode.things for name in episode.called(thing)]
        thing = things[int(rng.integers(len(things)))] if things else one
        values = {"N": one, "M": other, "T": thing, "X": line["text"]}
        wording = "".join(WORDINGS[kind])
        nobody, unsaid = NOBODY[int(rng.integers(len(NOBODY)))], UNSAID[int(rng.integers(len(UNSAID)))]
        if number % 2 == 0 and re.search(r"\bX\b", wording):
            found.append(_Asked(kind, {**values, "X": unsaid}, ()))
        elif re.search(r"\bM\b", wording):
            found.append(_Asked(kind, {**values, "M": nobody}, ()))
        elif re.search(r"\bN\b", wording):
            found.append(_Asked(kind, {**values, "N": nobody}, ()))
    return found
