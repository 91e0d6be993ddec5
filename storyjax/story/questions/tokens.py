"""The words of a question: quotations, names of people, things, places and films are single tokens."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from storyjax.core.errors import nearest
from storyjax.story.questions import words
from storyjax.story.questions.meaning import Reference
from storyjax.story.questions.quotes import ENOUGH, within_one_edit, words_of
from storyjax.story.rows import THING, Entity

_MARKS = {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‟": '"', "＂": '"', "’": "'", "‘": "'", "‛": "'", "`": "'"}
_FIRST_MARK = 0xE000  # private characters stand for quotations while times are looked for
_PREPOSITIONS = ("at", "in", "on", "from", "between", "by", "to", "about", "with", "of", "during", "for")
_CONTRACTIONS = {"who's": "who is", "what's": "what is", "where's": "where is", "when's": "when is", "how's": "how is"}
_CONTRACTIONS |= {"that's": "that is", "there's": "there is", "he's": "he is", "she's": "she is", "it's": "it is"}
_CONTRACTIONS |= {"they're": "they are", "who're": "who are", "what're": "what are", "who'd": "who did"}
_CONTRACTIONS |= {"can't": "can not", "cannot": "can not", "won't": "will not", "what'd": "what did"}


@dataclass(frozen=True)
class Token:
    """A part of a question; `word` is in lower case, `text` as written.

    `kind`: "word", "comma", "stop" (the end of a sentence), "quote", "name", "place" or "film".
    `owner`: a word or name with 's. `reference` is of names.
    """

    kind: str
    text: str
    word: str = ""
    reference: Reference | None = None
    owner: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """What a story knows that questions may name.

    Attributes:
        entities: people and things.
        places: words that shots' places are called by.
        films: names of films.
        heard: how well a sentence matches what is said (0 to 1).
    """

    entities: Sequence[Entity]
    places: Sequence[str] = ()
    films: Sequence[str] = ()
    heard: Callable[[str], float] = lambda _: 0.0
    categories: Iterable[str] = field(default=())

    def things(self) -> dict[str, str]:
        """Returns the categories of things by the words for them, singular and plural."""
        known = {e.category for e in self.entities if e.kind == THING and e.category} | set(self.categories)
        return {
            form: one for one in known for form in (one.casefold(), f"{one.casefold()}s", f"{one.casefold()}es") if one
        }


def plain(text: str) -> str:
    """Returns a question with plain quotation marks and without contractions."""
    text = re.sub(r"\s+", " ", "".join(_MARKS.get(c, c) for c in text)).strip()
    return text


def take_quotes(text: str) -> tuple[str, list[str]]:
    """Returns a question with a private character for every quotation in quotation marks, and the quotations."""
    quotes: list[str] = []

    def take(match: re.Match[str]) -> str:
        quotes.append(match[1].strip(" ,"))
        return f" {chr(_FIRST_MARK + len(quotes) - 1)} "

    text = re.sub(r'"([^"]*\w[^"]*)"', take, text)
    text = re.sub(r"(?<!\w)'(\S(?:[^']|(?<=\w)'(?=\w))*?)'(?!\w)", take, text)
    return text, quotes


def take_reported(text: str, quotes: list[str], heard: Callable[[str], float], known: Callable[[str], bool]) -> str:
    """Returns a question with a private character for every sentence that is reported without quotation marks:
    "says (that) the plane leaves tonight". `known`: whether a word is one of questions or a name."""
    verbs = "|".join(sorted(words.QUOTING, key=len)[::-1])
    for match in reversed(list(re.finditer(rf"\b({verbs})\b(?:\s*[:,]?\s*(that)\b|\s*:)?\s+", text, re.IGNORECASE))):
        rest = text[match.end() :]
        links = "|".join(re.escape(link) for link, _ in words.LINKS)
        if chr(_FIRST_MARK) <= rest[:1] <= chr(_FIRST_MARK + 99) or re.match(rf"(?:{links})\b", rest, re.IGNORECASE):
            continue
        certain = match[2] is not None
        chosen = _reported(rest, certain, heard, known)
        if chosen:
            quotes.append(chosen.strip(" ,?.!"))
            mark = chr(_FIRST_MARK + len(quotes) - 1)
            text = f"{text[: match.start()]}{match[1]} {mark} {rest[len(chosen) :]}"
    return text


def _reported(rest: str, certain: bool, heard: Callable[[str], float], known: Callable[[str], bool]) -> str:
    """The beginning of the rest of a question that is a sentence which somebody says; "" if there is none."""
    links = "|".join(re.escape(link) for link, _ in words.LINKS)
    rest = re.split(r"[\ue000-\uf8ff]|[.;:?!]\s", rest)[0]
    cuts = [m.start() for m in re.finditer(rf"[,?]|\s(?:{links}|in|at|between|from|by|and)\b", rest, re.IGNORECASE)]
    ends = sorted({*cuts, len(rest)})
    first, *more = words_of(rest) or [""]
    alone = bool(first) and not more and not known(first)  # "who says hello?"
    options = [rest[:end] for end in ends if len(words_of(rest[:end])) >= 2 or alone]
    scores = [heard(option) for option in options]
    if scores and max(scores) >= ENOUGH:
        best = max(scores)
        return max((o for o, s in zip(options, scores, strict=True) if s >= best - 0.05), key=len)
    strange = sum(not known(word) for word in re.findall(r"[\w']+", rest))
    begins_otherwise = first in _PREPOSITIONS
    if not options or begins_otherwise or not (certain or strange >= 2 or alone):
        return ""
    breaks = [m.start() for m in re.finditer(rf"[?]|,|\s(?:{links})\b", rest, re.IGNORECASE) if m.start() > 8]
    return rest[: min([*breaks, len(rest)])]


def tokens_of(text: str, quotes: Sequence[str], vocabulary: Vocabulary) -> tuple[list[Token], list[str]]:
    """Returns the tokens of a question whose quotations are private characters, and notes on how names were read."""
    found = []
    for part in re.findall(
        r"[\ue000-\uf8ff]|[,;:—–]|(?<!\b\w)(?<!\b\w\w)[.?!]+(?=\s)|[^\W_]+(?:[-_'][^\W_]+)*'?s?", text
    ):
        if chr(_FIRST_MARK) <= part <= "\uf8ff":
            found.append(Token("quote", quotes[ord(part) - _FIRST_MARK]))
        elif part == ",":
            found.append(Token("comma", part, ","))
        elif part[0] in ";:.?!—–":
            found.append(Token("stop", part, "."))
        else:
            found += _word_tokens(part)
    found, notes = _with_names(found, vocabulary)
    return _with_unknown_names(found, vocabulary), notes


def _word_tokens(part: str) -> list[Token]:
    lower = part.lower()
    if lower in _CONTRACTIONS:
        return [Token("word", word, word) for word in _CONTRACTIONS[lower].split()]
    if lower.endswith("n't"):
        return [Token("word", part[:-3], lower[:-3]), Token("word", "not", "not")]
    if lower.endswith(("'s", "s'")):
        bare = part[:-2] if lower.endswith("'s") else part[:-1]
        return [Token("word", bare, bare.lower(), owner=True)]
    return [Token("word", part, lower)]


def _with_names(tokens: list[Token], vocabulary: Vocabulary) -> tuple[list[Token], list[str]]:
    """The tokens, with one for each name of somebody, something, a place or a film that the story knows."""
    names: dict[tuple[str, ...], Token] = {}
    for place in vocabulary.places:
        names[tuple(words_of(place))] = Token("place", place)
    for form, category in vocabulary.things().items():
        names[tuple(words_of(form))] = Token("name", form, reference=Reference(form, category=category))
    for entity in vocabulary.entities:
        names[tuple(words_of(entity.name))] = Token("name", entity.name, reference=Reference(entity.name, (entity.id,)))
    names.pop((), None)
    films = {tuple(words_of(film)): Token("film", film) for film in vocabulary.films}
    films.pop((), None)
    partial = _parts(names)
    longest = max((len(name) for name in [*names, *films]), default=0)
    found: list[Token] = []
    notes: list[str] = []
    index = 0
    while index < len(tokens):
        for length in range(min(longest, len(tokens) - index), 0, -1):
            run = tokens[index : index + length]
            if any(token.kind != "word" for token in run):
                continue
            key = tuple(word for token in run for word in words_of(token.text))
            name = _film(films.get(key), key in names, found) or names.get(key)
            name = name or partial.get(key)
            if name is not None and _may_be_name(run, name, first=index == 0):
                found.append(replace(name, owner=run[-1].owner))
                index += length
                break
        else:
            found.append(_with_typo(tokens[index], names, notes))
            index += 1
    return found, notes


def _film(film: Token | None, other: bool, before: Sequence[Token]) -> Token | None:
    """The film of that name, where a film is meant: "in the film garden", or "in garden" if no place is called so."""
    if film is None or not before:
        return None
    last = before[-1].word
    return film if last in words.FILM or (not other and last in ("in", "of", "from", "during", "within")) else None


def _parts(names: dict[tuple[str, ...], Token]) -> dict[tuple[str, ...], Token]:
    """Parts of one name alone: "Chia" of "Ana's dog Chia", "Jean-Luc" of "Jean-Luc Dupont"."""
    holding: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for key, token in names.items():
        if token.reference and token.reference.entities:
            for first in range(len(key)):
                for end in range(first + 1, len(key) + 1):
                    holding.setdefault(key[first:end], set()).add(key)
    return {
        part: names[next(iter(keys))]
        for part, keys in holding.items()
        if len(keys) == 1 and part not in names and not (set(part) <= words.EVERYTHING or part[-1].isdigit())
        if len("".join(part)) > 1
    }


def _may_be_name(run: Sequence[Token], name: Token, first: bool) -> bool:
    """A name that is a word of questions too ("Will", "May") counts where it is written as a name."""
    if len(run) > 1 or run[0].word not in words.EVERYTHING:
        return True
    return name.kind == "film" or (name.kind == "name" and run[0].text[:1].isupper() and not first)


def _with_typo(token: Token, names: dict[tuple[str, ...], Token], notes: list[str]) -> Token:
    """The token, or the name of which it is a misspelling: one letter of a long name, a doubled one of a short name."""
    if token.kind != "word" or token.word in words.EVERYTHING or len(token.word) < 3:
        return token
    near = {key[0]: name for key, name in names.items() if len(key) == 1 and _misspelt(token.word, key[0])}
    if len(near) != 1:
        return token
    (name,) = near.values()
    notes.append(f"'{token.text}' is taken as '{name.text}'")
    return replace(name, owner=token.owner)


def _misspelt(word: str, name: str) -> bool:
    word = "".join(words_of(word))
    if not within_one_edit(word, name):
        return False
    if min(len(word), len(name)) >= 5:
        return True
    squeezed = re.sub(r"(.)\1", r"\1", word) == re.sub(r"(.)\1", r"\1", name)
    return squeezed or (len(name) > 2 and sorted(word) == sorted(name))


def _with_unknown_names(tokens: list[Token], vocabulary: Vocabulary) -> list[Token]:
    """The tokens, with those that must be names which nobody has as names that are unknown."""
    known = [entity.name for entity in vocabulary.entities]
    found = list(tokens)
    for index, token in enumerate(tokens):
        if token.kind == "word" and _is_strange_name(tokens, index):
            hint = nearest(token.text, known)
            found[index] = Token("name", token.text, reference=Reference(token.text, hint=hint), owner=token.owner)
    return found


def _is_strange_name(tokens: Sequence[Token], index: int) -> bool:
    """Whether a word that is none of questions stands where a name would: in capitals, or as the subject."""
    token = tokens[index]
    if token.word in words.EVERYTHING or token.word.isdigit() or token.word in words.PRONOUN:
        return False
    if token.text[:1].isupper() and index > 0:
        return True
    before = tokens[index - 1].word if index else ""
    after = tokens[index + 1].word if index + 1 < len(tokens) else ""
    verbs = words.SAY | words.SEE | words.AUXILIARY | words.REPLY | words.TOGETHER
    subject = before in ("does", "do", "did", "is", "are", "was", "were", "has", "have", "with", "when", "while", "by")
    return (
        token.owner
        or (subject and (after in verbs or after in ("and", "", "during")))
        or (before == "with" and after not in ("of",))
    )
