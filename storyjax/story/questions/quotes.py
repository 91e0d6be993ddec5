"""Finding what is said: a sentence that a question quotes, whole or in part, as the story has heard it.

The full-text index gives candidates; words are then aligned in their order. Words count by what they carry (function
words little), and a word may differ by its ending or, if it is long, by a letter, for speech recognisers err so.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from storyjax.story.rows import Utterance
from storyjax.story.store import Story

# Of a quotation's words, by weight: so much must be heard.
ENOUGH = 0.75
# If nothing is heard so well: so much, of a longer sentence, if nothing else is nearly as near.
_NEAREST, _LONG_ENOUGH, _AHEAD = 0.55, 3.0, 0.2
# Words of a topic ("about the piano"), by weight; in any order.
ENOUGH_OF_TOPIC = 0.6
_CANDIDATES, _NEIGHBOURS, _PAUSE = 200, 2, 2.0
_LIGHT = 0.25
# Words that carry little.
FUNCTION = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but if of to in on at by for with from as that this these those it its is are was"
        " were be been am do does did has have had i you he she we they me him her us them my your his our"
        " their so not no will would can could shall should may might must there here what who when where"
        " which how just very too also im ive id ill youre hes shes theyre dont doesnt didnt isnt",
    )
)


@dataclass(frozen=True)
class Match:
    """Utterances in a row that hold a quotation; `score` from 0 to 1, `share` how much of them the quotation is."""

    utterances: tuple[Utterance, ...]
    score: float
    share: float


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case, without accents, apostrophes and signs.

    >>> words_of("I can't, José!")
    ['i', 'cant', 'jose']
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return re.findall(r"\w+", re.sub(r"['’]", "", plain))


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Returns a word without its English ending: "tickets" and "ticket" are one, "opened" and "opens" too."""
    for ending in ("ies", "ied", "ing", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def within_one_edit(one: str, other: str) -> bool:
    """Returns whether two words differ by one letter at most: one more, less or other, or two exchanged."""
    if one == other:
        return True
    if abs(len(one) - len(other)) > 1:
        return False
    short, long = sorted((one, other), key=len)
    first = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[first:] == long[first + 1 :]
    rest_one, rest_other = short[first:], long[first:]
    swapped = rest_one[:2] == rest_other[:2][::-1] and rest_one[2:] == rest_other[2:]
    return rest_one[1:] == rest_other[1:] or swapped


def _same(one: str, other: str) -> bool:
    return one == other or stem(one) == stem(other) or (min(len(one), len(other)) >= 5 and within_one_edit(one, other))


def _weight(words: Sequence[str]) -> float:
    return sum(_LIGHT if word in FUNCTION else 1.0 for word in words)


def aligned(quoted: Sequence[str], heard: Sequence[str]) -> float:
    """Returns the weight of the quoted words that are heard in the same order."""
    best = [0.0] * (len(heard) + 1)
    for word in quoted:
        weight, above = (_LIGHT if word in FUNCTION else 1.0), 0.0
        for index, other in enumerate(heard, 1):
            above, here = best[index], above
            best[index] = max(best[index], best[index - 1], here + weight if _same(word, other) else 0.0)
    return best[-1]


class Sayings:
    """What is said in the films of a story, or in one of them."""

    def __init__(self, story: Story, film: int | None = None):
        self._story, self._film = story, film
        self._utterances: dict[int, list[Utterance]] = {}

    def quoted(self, quote: str) -> list[Match]:
        """Returns where a sentence is said, in time: the best matches, and all that are as good."""
        wanted = words_of(quote)
        if not wanted:
            return []
        found: dict[tuple[int, ...], Match] = {}
        for candidate in self._candidates(wanted):
            match = self._best_run(candidate, wanted)
            found[tuple(u.id for u in match.utterances)] = match
        good = {ids: match for ids, match in found.items() if match.score >= ENOUGH}
        found = good or _nearest(found, wanted)
        if not found:
            return []
        # Whoever quotes a whole sentence does not mean a longer one that holds it; nor a worse match than the best.
        best = max(match.score + 0.1 * match.share for match in found.values())
        chosen = [
            match
            for ids, match in found.items()
            if match.score + 0.1 * match.share >= best - 0.06
            and not any(set(less) < set(ids) and other.score >= match.score - 0.05 for less, other in found.items())
        ]
        return sorted(chosen, key=lambda m: (m.utterances[0].film, m.utterances[0].start_s))

    def about(self, words: str) -> list[Match]:
        """Returns where somebody speaks about some words, in time: the words may be anywhere in a sentence."""
        wanted = [word for word in words_of(words) if word not in FUNCTION] or words_of(words)
        found = []
        for candidate in self._candidates(wanted):
            heard = words_of(candidate.text)
            held = [word for word in wanted if any(_same(word, other) for other in heard)]
            score = _weight(held) / _weight(wanted)
            if score >= ENOUGH_OF_TOPIC:
                found.append(Match((candidate,), score, score))
        best = max((match.score for match in found), default=0.0)
        return [match for match in sorted(found, key=lambda m: m.utterances[0].start_s) if match.score >= best - 0.01]

    def score(self, quote: str) -> float:
        """Returns how well the best match of a quotation matches, 0 if there is none."""
        return max((match.score for match in self.quoted(quote)), default=0.0)

    def _best_run(self, candidate: Utterance, wanted: list[str]) -> Match:
        """The utterance, or it and those that follow at once, if the quotation was cut by the speech recogniser."""
        run, total = [candidate], _weight(wanted)
        best = self._match(run, wanted, total)
        if best.score > 0.95:
            return best
        for follows in self._after(candidate):
            run = [*run, follows]
            longer = self._match(run, wanted, total)
            if longer.score > best.score + 0.15:
                best = longer
        return best

    @staticmethod
    def _match(run: Sequence[Utterance], wanted: list[str], total: float) -> Match:
        heard = [word for utterance in run for word in words_of(utterance.text)]
        weight = aligned(wanted, heard)
        return Match(tuple(run), weight / total, min(1.0, weight / max(_weight(heard), 1e-6)))

    def _after(self, utterance: Utterance) -> list[Utterance]:
        """The next utterances, as long as nobody pauses."""
        there = self.in_film(utterance.film)
        place, found, end = there.index(utterance), [], utterance.end_s
        for follows in there[place + 1 : place + 1 + _NEIGHBOURS]:
            if follows.start_s - end > _PAUSE:
                break
            found.append(follows)
            end = follows.end_s
        return found

    def in_film(self, film: int) -> list[Utterance]:
        """Returns the utterances of a film in time."""
        if film not in self._utterances:
            self._utterances[film] = self._story.utterances(film)
        return self._utterances[film]

    def _candidates(self, wanted: Sequence[str]) -> list[Utterance]:
        """Utterances with one of the words, or one that begins as it does; those with rare words first."""
        telling = [word for word in wanted if word not in FUNCTION] or list(wanted)
        roots = {stem(word)[: max(3, len(stem(word)) - 1)] if len(word) >= 5 else word for word in telling}
        terms = " OR ".join(f'"{root}" *' if len(root) >= 3 else f'"{root}"' for root in sorted(roots))
        where = "" if self._film is None else "AND u.film = ?"
        with self._story.reading() as db:
            ids = [
                row[0]
                for row in db.execute(
                    "SELECT u.id FROM utterances_text t JOIN utterances u ON u.id = t.rowid"
                    f" WHERE utterances_text MATCH ? {where} ORDER BY t.rank LIMIT ?",
                    [terms, *([] if self._film is None else [self._film]), _CANDIDATES],
                )
            ]
        marks = ", ".join("?" * len(ids))
        return self._story.rows(Utterance, f"WHERE id IN ({marks}) ORDER BY film, start_s, id", ids) if ids else []


def _nearest(found: dict[tuple[int, ...], Match], wanted: Sequence[str]) -> dict[tuple[int, ...], Match]:
    """The match of a sentence that was badly heard, if no other line is nearly as near."""
    ranked = sorted(found.items(), key=lambda item: -item[1].score)
    if not ranked or ranked[0][1].score < _NEAREST or _weight(wanted) < _LONG_ENOUGH:
        return {}
    ids, best = ranked[0]
    others = [match.score for other, match in ranked[1:] if not set(other) & set(ids)]
    return {ids: best} if max(others, default=0.0) <= best.score - _AHEAD else {}
