"""The clauses of a question: which events they tell, of whom, in which place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from storyjax.story.questions import words
from storyjax.story.questions.meaning import Event, NotUnderstood, Reference, Say, Seen
from storyjax.story.questions.names import described, encoded, joined, owned
from storyjax.story.questions.tokens import Token

_TELL = frozenset(("tell", "tells", "told", "ask", "asks", "asked"))
_WITH = frozenset(("with", "beside", "besides", "near", "alongside", "accompanying"))
_APART = (
    ("apart", "from"),
    ("other", "than"),
    ("except",),
    ("except", "for"),
    ("aside", "from"),
    ("besides",),
    ("but",),
)
_VERBS = (words.SAY | words.SEE | words.REPLY | words.TOGETHER) - {"with", "by", "near"}


@dataclass
class Clause:
    """Some tokens of a question; commas are gone."""

    tokens: list[Token]

    def encoded(self) -> str:
        """Returns the words in lower case, with N for a name, Q for a quotation and P for a place."""
        return encoded(self.tokens)

    def text_words(self) -> set[str]:
        """Returns the words, without names and quotations."""
        return {token.word for token in self._read() if token.kind == "word"}

    def telling(self) -> bool:
        """Returns whether there is more than filling words."""
        return any(token.kind != "word" or token.word not in words.EMPTY for token in self.tokens)

    def names(self) -> list[Reference]:
        """Returns who and what is named, each once."""
        return list(dict.fromkeys(t.reference for t in self._read() if t.reference is not None))

    @property
    def quote(self) -> str | None:
        """The quotation, None without one."""
        return next((token.text for token in self.tokens if token.kind == "quote"), None)

    @property
    def place(self) -> str | None:
        """The place, None without one."""
        return next((token.text for token in self._read() if token.kind == "place"), None)

    @property
    def about(self) -> str | None:
        """The words that somebody speaks about, None without any."""
        cut = self._about_from()
        told = [token for token in self.tokens[cut:] if token.kind != "comma"] if cut is not None else []
        return " ".join(token.text for token in told) or None

    def _about_from(self) -> int | None:
        """Where the topic begins."""
        for index, token in enumerate(self.tokens[:-1]):
            spoken = token.word == "about" or (token.word in words.ABOUT and token.word not in ("about",))
            if token.kind == "word" and spoken and self.quote is None:
                return index + 1
        return None

    def _read(self) -> list[Token]:
        """The tokens before a topic, which is free text."""
        return self.tokens[: self._about_from()]

    def order(self) -> int | None:
        """Returns which of the events is meant: 1 for the first, -1 for the last, None for any."""
        found = [words.ORDER[t.word] for t in self._read() if t.kind == "word" and t.word in words.ORDER]
        return found[0] if found else None

    def beside_in_time(self) -> str | None:
        """Returns "right after" for what comes next, "right before" for what comes before, None for neither."""
        text = re.sub(r"\bnext to\b", "", self.encoded())
        said = set(text.split())
        return "right after" if said & (words.NEXT | words.REPLY) else "right before" if said & words.PREVIOUS else None

    def is_over(self) -> bool:
        """Returns whether somebody has finished saying something."""
        return self.quote is not None and bool(self.text_words() & words.OVER)

    def most(self) -> int:
        """Returns 1 if the one with the most is asked for, -1 for the least, else 0."""
        said = self.text_words()
        return (
            1
            if said & {"most", "more", "longest", "longer", "oftener"}
            else -1
            if said & {"least", "less", "shortest", "shorter"}
            else 0
        )

    def excluded(self) -> list[Reference]:
        """Returns who is not meant: "besides Ana"."""
        found = []
        for index, token in enumerate(self.tokens):
            before = tuple(t.word for t in self.tokens[max(0, index - 2) : index])
            if token.reference is not None and (before in _APART or before[-1:] in _APART):
                found.append(token.reference)
        return found

    def without_phrase(self, phrase: str) -> "Clause":
        """Returns the clause without the words that say what is asked for, where they stand in it."""
        length = len(phrase.split())
        for index in range(len(self.tokens) - length + 1):
            if Clause(self.tokens[index : index + length]).encoded() == phrase and not re.search("[NQP]", phrase):
                return Clause([*self.tokens[:index], *self.tokens[index + length :]])
        return self

    def split_at(self, verbs: frozenset[str]) -> "tuple[Clause, Clause]":
        """Returns what stands before and behind the first of some verbs."""
        index = next(i for i, token in enumerate(self.tokens) if token.word in verbs)
        return Clause(self.tokens[:index]), Clause(self.tokens[index + 1 :])

    def strange(self) -> str | None:
        """Returns the first word that is none of questions, None if all are."""
        for token in self._read():
            if token.kind == "word" and token.word not in words.EVERYTHING and not token.word.isdigit():
                return token.text
        return None


def cut(tokens: Sequence[Token]) -> tuple[Clause, list[tuple[str, str, Clause]]]:
    """Returns the main clause, and of each other one how it lies to the main one, the words that say so, and itself."""
    told, tokens = _statement(joined(owned(described(tokens))))
    main: list[Token] = []
    clauses: list[tuple[str, str, list[Token]]] = []
    if told:
        first, more = cut(told)
        clauses = [("while", "", first.tokens), *((link, phrase, clause.tokens) for link, phrase, clause in more)]
    here = main
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.kind == "comma":
            here = main
            index += 1
            continue
        if found := _link(tokens, index, main):
            link, phrase, index = found
            here = []
            clauses.append((link, phrase, here))
            continue
        if here is not main and _main_begins(tokens, index, here, main):
            here = main
        here.append(token)
        index += 1
    if told and clauses:
        # "after that" is after what was told.
        for link, phrase, inside in clauses[1:]:
            if phrase and not _says_more(inside):
                clauses[0] = (f"right {link.removeprefix('right ')}" if link != "while" else link, "", clauses[0][2])
    return Clause(main), [(link, phrase, Clause(inside)) for link, phrase, inside in clauses if _says_more(inside)]


def _says_more(inside: Sequence[Token]) -> bool:
    """Whether a clause is more than "that" in "after that"."""
    return bool(inside) and not all(t.word in ("that", "this", "it", "which", "is", "was", "said") for t in inside)


def _statement(tokens: Sequence[Token]) -> tuple[list[Token], list[Token]]:
    """What is told before the question, as in "Ana says ... . Who is seen then?", and the question."""
    stops = [index for index, token in enumerate(tokens) if token.kind == "stop"]
    tokens = list(tokens)
    if not stops:
        return [], tokens
    told, asked = tokens[: stops[-1]], tokens[stops[-1] + 1 :]
    told, asked = ([token for token in part if token.kind != "stop"] for part in (told, asked))
    if not told or not asked:
        return [], told or asked
    first = Clause(told).encoded()
    if re.match(r"(?:who|whom|whose|what|where|when|which|how|is|are|was|were|does|do|did|can|count)\b", first):
        return [], [*told, *asked]  # a question comes first
    question = Clause(asked)
    later = question.text_words() & (words.NEXT | words.PREVIOUS | {"after", "before"})
    if re.fullmatch(r"(?:who|where|when|what) (?:is|was|does|did)(?: (?:it|that|this|so|happen))*", question.encoded()):
        return [], [*asked, *told]
    speaks = question.text_words() & words.SAY and not later
    if speaks and question.encoded().startswith("who ") and not re.search("[NQP]", question.encoded()) and "Q" in first:
        return [], [asked[0], *told]  # "Who is speaking?"
    pronouns = [index for index, token in enumerate(asked) if token.word in words.PRONOUN - {"it", "its"}]
    if re.fullmatch(r"(?:the )?N(?: (?:and )?(?:the )?N)*", first) and pronouns:
        return [], [*asked[: pronouns[0]], *told, *asked[pronouns[0] + 1 :]]  # "Ana and Ben: are they together?"
    if first == "Q" and question.text_words() & words.SAY and question.quote is None and not later:
        place = max(index for index, token in enumerate(asked) if token.word in words.SAY) + 1
        skip = 1 if asked[place : place + 1] and asked[place].word in ("that", "this", "it") else 0
        return [], [*asked[:place], told[0], *asked[place + skip :]]
    return told, asked


def _link(tokens: Sequence[Token], index: int, main: Sequence[Token]) -> tuple[str, str, int] | None:
    """The link that begins at a token: how, its words, and where its clause begins."""
    for phrase, link in words.LINKS:
        parts = phrase.split()
        end = index + len(parts)
        if [t.word for t in tokens[index:end]] != parts or not tokens[end:]:
            continue
        follows = tokens[end]
        asks = not main or all(t.word in words.EMPTY for t in main)
        if phrase == "when" and asks and follows.word in words.AUXILIARY:
            return None
        begins_clause = follows.kind in ("name", "quote") or follows.word in words.PRONOUN | words.ANYBODY | {
            "the",
            "we",
        }
        if phrase == "as" and not begins_clause:
            return None
        begins = words.PRONOUN | {"that", "when", "the", "in", "saying", "somebody", "someone"}
        bare = phrase in ("the moment", "the instant", "once", "since") and follows.kind == "word"
        if bare and follows.word not in begins:
            return None
        if phrase in ("following",) and follows.kind == "comma":
            return None
        while end < len(tokens) - 1 and tokens[end].word in ("that", "when", "where", "which", "in", "the", "during"):
            if tokens[end].word == "the" and tokens[end - 1].word != "during":
                break
            end += 1
        return link, phrase, end
    return None


def _main_begins(tokens: Sequence[Token], index: int, here: Sequence[Token], main: Sequence[Token]) -> bool:
    """Whether the main clause begins, without a comma, behind a clause that stands first."""
    if any(t.word not in words.EMPTY or t.kind != "word" for t in main) or not here:
        return False
    token = tokens[index]
    done = any(t.kind == "quote" or t.word in _VERBS for t in here)
    if token.word in ("who", "what", "where", "which", "how", "whom", "whose") and done:
        return True
    follows = tokens[index + 1] if index + 1 < len(tokens) else None
    return done and token.word in words.AUXILIARY and follows is not None and follows.kind == "name"


def events_of(clause: Clause, subject: Sequence[Reference]) -> list[Event]:
    """Returns the events that a clause tells; none for one that tells nothing but a place.

    Args:
        clause: "Ana says ... and Ben is seen".
        subject: whom pronouns and verbs without a subject mean.

    Raises:
        NotUnderstood: a pronoun means nobody.
    """
    tokens = clause.tokens
    for index, token in enumerate(tokens):
        left, right = Clause(tokens[:index]), Clause(tokens[index + 1 :])
        if token.word == "and" and _tells(left) and _tells(right) and clause._about_from() is None:
            first = events_of(left, subject)
            return [*first, *events_of(right, left.names() or subject)]
    return _event(clause, subject)


def _tells(clause: Clause) -> bool:
    verb = bool(clause.text_words() & (_VERBS - {"look", "there", "around", "same"}))
    return (verb or clause.quote is not None) and clause.telling()


def _event(clause: Clause, subject: Sequence[Reference]) -> list[Event]:
    said = clause.text_words()
    subjects, beside, to = _roles(clause)
    pronouns = [t.word for t in clause._read() if t.word in words.PRONOUN - {"it", "its"}]
    if pronouns:
        if not subject:
            raise NotUnderstood(f"it does not say whom '{pronouns[0]}' means")
        meant = list(subject) if pronouns[0] in ("they", "them", "their", "theirs") else [subject[0]]
        if _pronoun_is_beside(clause, pronouns[0]):
            beside += [one for one in meant if one not in subjects]
        else:
            subjects += [one for one in meant if one not in subjects]
    noun = said & words.SPEECH and (clause.quote or subjects or "whose" in said)
    speech = said & (words.SAY | words.REPLY) or noun or (said & {"speaker", "speakers"} and not subjects)
    if clause.quote is not None or clause.about is not None or speech:
        elided = not subjects and not pronouns and said & {"saying", "speaking", "talking", "telling", "uttering"}
        if elided and not said & {"is", "are", "was", "were", "who", "somebody", "someone", "anybody"}:
            subjects = list(subject[:1])
        event: Event = Say(tuple(subjects), clause.quote, clause.about, tuple(to))
        if subjects and "saying" in said and said & {"shown", "seen", "see", "visible", "saw"}:
            return [Seen(tuple(subjects)), event]
        return [event, *([Seen(tuple(beside))] if beside else [])]
    everybody = [*subjects, *beside, *to]
    return [Seen(tuple(everybody))] if everybody or not clause.place else [Seen()]


def _pronoun_is_beside(clause: Clause, pronoun: str) -> bool:
    before = ""
    for token in clause.tokens:
        if token.word == pronoun:
            return before in _WITH
        before = token.word
    return False


def _roles(clause: Clause) -> tuple[list[Reference], list[Reference], list[Reference]]:
    """Who does it, who is beside, and to whom it is said."""
    subjects: list[Reference] = []
    beside: list[Reference] = []
    to: list[Reference] = []
    role = subjects
    excluded = clause.excluded()
    tokens = clause._read()
    for index, token in enumerate(tokens):
        if token.kind == "name" and token.reference is not None:
            near = token.owner and tokens[index + 1 : index + 2] and tokens[index + 1].word in ("presence", "company")
            chosen = beside if near else role
            if token.reference not in excluded and token.reference not in chosen:
                chosen.append(token.reference)
        elif token.word in _WITH:
            role = beside
        elif (token.word == "to" and clause.text_words() & words.SAY) or (token.word in _TELL and subjects):
            role = to
        elif token.word not in ("and", "the", "a", "an", "or", ""):
            role = subjects
    return subjects, beside, to
