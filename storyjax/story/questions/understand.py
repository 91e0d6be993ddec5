"""Understanding a question about a story: `understand` turns free English into a `meaning.Question`.

Quotations, times, and names of people, things, places and films are found first (tokens.py, times.py). What is left
is cut into a main clause, which says what is asked, and clauses that say when ("while Ben is seen", "right after Ana
says ..."), in any order. A question with a word that is left over is refused rather than half understood.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from storyjax.story.questions import words
from storyjax.story.questions.clauses import Clause, cut, events_of
from storyjax.story.questions.meaning import Event, Kind, Link, NotUnderstood, Question, Reference, Relation, Say, Seen
from storyjax.story.questions.times import take_windows
from storyjax.story.questions.tokens import Token, Vocabulary, plain, take_quotes, take_reported, tokens_of

_SAY = "(?:" + "|".join(sorted(words.SAY - {"open", "opens"}, key=len)[::-1]) + ")"
_REPLY = "(?:" + "|".join(sorted(words.REPLY, key=len)[::-1]) + ")"
_SPEECH = "(?:" + "|".join(sorted(words.SPEECH, key=len)[::-1]) + ")"
_ANYBODY = "(?:" + "|".join(sorted(words.ANYBODY, key=len)[::-1]) + ")"
_PLACE = "(?:" + "|".join(sorted(words.PLACE, key=len)[::-1]) + ")"
_FILM = "(?:" + "|".join(sorted(words.FILM, key=len)[::-1]) + ")"
_THING = "(?:" + "|".join(sorted(words.THING, key=len)[::-1]) + ")"
_WHICH = "(?:which|what)"
# Names are N, quotations Q, places P in these patterns. Of several that match, the one that begins first counts; of
# those that begin together, the first.
_KINDS: tuple[tuple[Kind, str], ...] = (
    (Kind.FILMS, rf"\b(?:{_WHICH} (?:of the )?{_FILM}|how many {_FILM})\b"),
    (Kind.COUNT, r"\b(?:how many (?:separate |different )?times|how often|how frequently)\b"),
    (Kind.COUNT, r"\b(?:what (?:is|was) )?(?:the )?number of times\b"),
    (
        Kind.COUNT,
        rf"\b(?:how many|what number of) (?:of )?(?:the |N )?(?:{_SPEECH}|appearances|occasions|scenes|shots)\b",
    ),
    (Kind.COUNT, r"^(?:count|(?:the )?number of)\b"),
    (Kind.COUNT, r"\b(?:on|in) how many occasions\b"),
    (Kind.DURATION, r"\b(?:how long|how much(?: screen| speaking| of the)? time|how many (?:seconds|minutes|hours))\b"),
    (Kind.DURATION, r"\b(?:what is )?the (?:total|whole|overall) (?:time|duration|length)\b"),
    (Kind.COUNT_PEOPLE, rf"\bhow many (?:different |distinct |other )?(?:{_ANYBODY}|are|is|can)\b"),
    (Kind.TOPIC, rf"\b{_WHICH} (?:topic|topics|subject|subjects)\b"),
    (
        Kind.WHERE,
        rf"(?:\b(?:where|whereabouts|{_WHICH} (?:(?:is|was) )?(?:the |N )?{_PLACE})|^(?:the )?{_PLACE} in which)\b",
    ),
    (
        Kind.WHEN,
        r"\b(?:when|(?:at )?(?:what|which) (?:exact )?(?:times?|moments?|points?|timestamps?|seconds?|minutes?))\b",
    ),
    (Kind.WHO, r"\bwhich of (?:the )?N\b"),
    (Kind.WHO, rf"\b(?:who|whom|whose|whoever|{_WHICH} (?:other |of the )?{_ANYBODY})\b"),
    (Kind.IDENTITY, r"^(?:what is (?:the )?N (?:called|named)|(?:what is )?the name of (?:the )?N)$"),
    (Kind.THINGS, rf"(?:\b{_WHICH} (?:(?:is|are|was) the |other |of the )?|^(?:all |the |every )*){_THING}\b"),
    (Kind.WORDS, rf"\b{_WHICH} (?:(?:is|was|are|were) )?(?:the |N )?(?:first |last |next |previous )?{_SPEECH}\b"),
    (Kind.HAPPENS, r"\bwhat(?: is| was| else)* (?:happen\w*|occur\w*|goes|going|went) ?(?:on)?\b"),
    (
        Kind.HAPPENS,
        r"\bwhat (?:is|are|was|were|does|do|did|has|have) (?:the )?(?:N|he|she|they)(?: and (?:the )?N)*"
        r" (?:do|doing|done|up to)\b",
    ),
    (Kind.TOPIC, rf"\bwhat [^Q]*\b{_SAY}[^Q]* about(?: each other| with (?:the )?N| together)*(?: ,)?$"),
    (Kind.TOPIC, r"\bwhat [^Q]*\bdiscuss(?:es|ed|ing)?(?: with N| together)?(?: ,)?$"),
    (Kind.TOPIC, r"\bwhat (?:is|was) (?:the |N )?(?:conversation|talk|dialogue|chat)[^Q]* about$"),
    (Kind.WORDS, rf"\b(?:what|how) [^Q]*\b(?:{_SAY}|{_REPLY})\b"),
    (Kind.WORDS, rf"\b{_WHICH} (?:is|was|are|were) (?:the )?N (?:[a-z]+ ){{0,2}}{_SPEECH}\b"),
    (Kind.WORDS, r"\bwhat (?:comes|came|follows|followed) next\b"),
    (Kind.WORDS, r"\bwhat (?:else )?(?:comes|came|follows|followed|precedes|preceded|is|was)\b(?=[^NPQ]*$)"),
    (Kind.THINGS, r"\bwhat (?:else )?(?:is|are|was|were|can|do|does)\b.*\b(?:see|seen|visible|shown|with)\b"),
    (Kind.YES_NO, r"^(?:and |so )?(?:if|whether|is|are|was|were|does|do|did|has|have|had|can|could|will)\b"),
)
# Of questions without any of these words: "everybody in the garden", "Ana and Ben together".
_BARE: tuple[tuple[Kind, str], ...] = (
    (Kind.WORDS, rf"^(?:the )?N (?:first |last |next |previous )?{_SPEECH}\b"),
    (Kind.WORDS, rf"^(?:everything|all|anything)(?: that| what)? N {_SAY}\b"),
    (Kind.WHEN, r"^(?:all |the |every |any )*(?:scenes?|moments?|times?|parts?|shots?|appearances?)\b"),
    (Kind.WHO, rf"^(?:all |the |every )*{_ANYBODY}\b"),
    (Kind.WHEN, r"^(?:all |the |a |every |any )*(?:scenes? |moments? |times? |parts? |shots? )?[^a-z]*[NQ]"),
)


def understand(text: str, vocabulary: Vocabulary) -> Question:
    """Returns what a question means.

    Args:
        text: in English, in free wording.
        vocabulary: the names that the story knows.

    Raises:
        NotUnderstood: it has no reading; the exception's text says what stands in the way.
    """
    tokens, windows, notes = _tokens(text, vocabulary)
    films = [token.text for token in tokens if token.kind == "film"]
    tokens = [token for token in tokens if token.kind != "film"]
    main, clauses = cut(tokens)
    if not main.telling() and clauses and clauses[0][1] == "when":
        main, clauses = Clause([Token("word", "when", "when"), *clauses[0][2].tokens]), clauses[1:]
    kind, trigger = _kind(main, bool(clauses))
    named = [*main.names(), *(name for *_, clause in clauses for name in clause.names())]
    subject = _subjects(main.names() or named)
    question = _main(kind, trigger, main, named)
    spoken = isinstance(question.event, Say)
    relations = [one for link, _, clause in clauses for one in _relations(link, clause, subject, spoken)]
    if isinstance(question.event, Say):
        answered = [r.event.speakers for r in relations if isinstance(r.event, Say) and r.link is not Link.WHILE]
        if question.event.to and question.event.to in answered:
            question = replace(question, event=replace(question.event, to=()))  # "tell Ana after Ana says ..."
    relations = _next_to(kind, question, main, relations)
    question = replace(
        question,
        relations=(*question.relations, *relations),
        windows=tuple(windows),
        film=films[0] if films else None,
        notes=tuple(notes),
    )
    return _checked(question, [main, *(clause for *_, clause in clauses)])


def _relations(link: str, clause: Clause, subject: Sequence[Reference], spoken: bool) -> list[Relation]:
    """What a clause says of the event that is asked about; `spoken`: which is that somebody says something."""
    events = events_of(clause, subject or _subjects(clause.names()))
    if link == "while" and clause.is_over():
        link = "right after"
    if spoken and link != "while" and clause.encoded() == "N":
        events = [Say(event.who) if isinstance(event, Seen) else event for event in events]  # "before Ben"
    return [Relation(Link(link), event, clause.place) for event in events]


def _next_to(kind: Kind, question: Question, main: Clause, relations: list[Relation]) -> list[Relation]:
    """The relations, where "when Ana has said ..., what does Ben say next?" asks for what comes right after."""
    beside = main.beside_in_time()
    spoken = isinstance(question.event, Say) and question.event.quote is None
    if beside is None or not (kind is Kind.HAPPENS or (kind in (Kind.WORDS, Kind.WHO, Kind.TOPIC) and spoken)):
        return relations
    sides = {"right after": (Link.WHILE, Link.AFTER), "right before": (Link.WHILE, Link.BEFORE)}[beside]
    return [replace(r, link=Link(beside)) if r.link in sides and isinstance(r.event, Say) else r for r in relations]


def _tokens(text: str, vocabulary: Vocabulary) -> tuple[list[Token], list, list[str]]:
    text = plain(text)
    for greeting in words.GREETING * 2:
        text = re.sub(greeting, "", text, flags=re.IGNORECASE)
    if not re.search(r"\w", text):
        raise NotUnderstood("the question is empty")
    names = {part for e in vocabulary.entities for part in re.findall(r"\w+", e.name.casefold())}
    names |= {part for place in vocabulary.places for part in re.findall(r"\w+", place.casefold())}
    text, quotes = take_quotes(text)
    if '"' in text:
        raise NotUnderstood("a quotation is empty, or its second quotation mark is missing")
    text = take_reported(
        text, quotes, vocabulary.heard, lambda word: word.lower() in words.EVERYTHING or word.casefold() in names
    )
    text, windows = take_windows(text)
    tokens, notes = tokens_of(text, quotes, vocabulary)
    return tokens, windows, notes


def _subjects(names: Sequence[Reference]) -> tuple[Reference, ...]:
    return tuple(dict.fromkeys(names))


def _kind(main: Clause, more: bool) -> tuple[Kind, str]:
    """What the main clause asks for, and the words that say so."""
    text = main.encoded()
    found = _matches(_KINDS, text) or _matches(_BARE, text)
    if re.search(r"\bwhy\b|\bhow come\b", text):
        raise NotUnderstood("why something happens is in no table")
    said = main.text_words()
    if "whose" in said and not said & (words.SPEECH | words.SAY | {"voice", "face"}):
        raise NotUnderstood("whose something is, is in no table")
    if re.search(r"\bhow many words\b", text):
        raise NotUnderstood("words are not counted: ask for lines")
    if said & {"once", "twice"}:
        raise NotUnderstood("ask how often, not for what is so once or twice")
    if not found:
        raise NotUnderstood(
            "it does not say what is asked for: who, when, where, with whom, how often, what is said ..."
        )
    _, _, kind, trigger = min(found)
    if kind is Kind.WHO and not more and re.fullmatch(r"who (?:is|was|are) (?:the )?N", text):
        kind = Kind.IDENTITY
    return kind, trigger


def _matches(kinds: Sequence[tuple[Kind, str]], text: str) -> list[tuple[int, int, Kind, str]]:
    """Where each kind is asked for, with its place in the list and the words."""
    found = [(re.search(pattern, text), index, kind) for index, (kind, pattern) in enumerate(kinds)]
    return [(match.start(), index, kind, match[0]) for match, index, kind in found if match]


def _main(kind: Kind, trigger: str, main: Clause, named: Sequence[Reference]) -> Question:
    """The question without the clauses that say when."""
    order, most = main.order(), main.most()
    rest = main.without_phrase(trigger) if kind in (Kind.WHEN, Kind.WHERE, Kind.FILMS) else main
    pronouns = _subjects(main.names() or named)
    if kind is Kind.TOPIC:
        speakers = tuple(main.names()) or pronouns
        return Question(kind, Say(speakers))
    if kind is Kind.WHO and len(main.names()) > 1 and ("or" in main.text_words() or "which of" in trigger):
        spoken = main.text_words() & words.SAY
        return Question(kind, Say() if spoken else Seen(), order=order, most=most, among=tuple(main.names()))
    if reply := _reply(kind, main, pronouns):
        return replace(reply, order=order)
    events = events_of(rest, pronouns)
    first: Event = events[0] if events else Seen()
    extra = tuple(Relation(Link.WHILE, event) for event in events[1:])
    without: tuple[Reference, ...] = tuple(main.excluded())
    if kind is Kind.WORDS and isinstance(first, Seen):
        first = Say(first.who)
    if kind is Kind.WHO and isinstance(first, Say) and first.speakers and first.quote is None:
        # "Who does Ana talk to?": who speaks next to her.
        first = Say(to=first.speakers) if not first.to else Say(to=(*first.speakers, *first.to))
    if kind is Kind.COUNT and re.search(_SPEECH, trigger) and isinstance(first, Seen):
        first = Say(first.who)
    if kind in (Kind.WHO, Kind.THINGS, Kind.COUNT_PEOPLE) and isinstance(first, Seen):
        without = (*without, *first.who)
    referred = bool(main.text_words() & {"then", "now", "here"})
    return Question(kind, first, extra, place=main.place, order=order, without=without, most=most, referred=referred)


def _reply(kind: Kind, main: Clause, pronouns: tuple[Reference, ...]) -> Question | None:
    """ "Who answers Ana?", "how does Ben reply to ...?": the line right after another one."""
    if kind not in (Kind.WHO, Kind.WORDS, Kind.WHEN) or not main.text_words() & words.REPLY:
        return None
    before, after = main.split_at(words.REPLY)
    if not after.names() and after.quote is None:
        return None
    answered = Say(tuple(after.names()), after.quote)
    speakers = tuple(before.names())
    without = tuple(after.names()) if kind is Kind.WHO else ()
    return Question(kind, Say(speakers), (Relation(Link.RIGHT_AFTER, answered),), without=without)


def _checked(question: Question, clauses: Sequence[Clause]) -> Question:
    """The question, if all its words were read and what it asks for can be."""
    for clause in clauses:
        if strange := clause.strange():
            raise NotUnderstood(f"'{strange}' is not among the words that questions about a story are made of")
        if clause.text_words() & words.NEGATION:
            raise NotUnderstood("what is not so is in no table: ask for what is")
    event = question.event
    if question.kind in (Kind.WHEN, Kind.COUNT, Kind.DURATION, Kind.WHERE, Kind.YES_NO, Kind.FILMS):
        nothing = isinstance(event, Seen) and not event.who and not question.place
        if nothing and not (question.kind is Kind.WHERE and (question.relations or question.windows)):
            raise NotUnderstood("it names nobody, nothing and no sentence")
    if question.kind is Kind.HAPPENS and not (question.relations or question.windows or question.references()):
        raise NotUnderstood("it does not say when: what happens is looked up in a part of a film")
    return question
