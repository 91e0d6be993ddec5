"""Names that are made of several words of a question: "Ana's dog", "the dog Chia", "the person who says ..."."""

import re
from collections.abc import Sequence
from dataclasses import replace

from storyjax.story.questions import words
from storyjax.story.questions.meaning import Reference
from storyjax.story.questions.tokens import Token

_CODES = {"name": "N", "quote": "Q", "place": "P", "comma": ",", "stop": "."}
_DETERMINERS = frozenset(("the", "a", "an", "his", "her", "their", "this", "that"))


def encoded(tokens: Sequence[Token]) -> str:
    """Returns the words in lower case, with N for a name, Q for a quotation and P for a place."""
    return " ".join(_CODES.get(token.kind, token.word) for token in tokens)


def described(tokens: Sequence[Token]) -> list[Token]:
    """Returns the tokens with "the person who says ..." as one name."""
    found: list[Token] = []
    for token in tokens:
        found.append(token)
        if token.kind != "quote":
            continue
        text = encoded(found)
        verbs = "(?:says|said|say|is saying|was saying|utters|uttered|shouts|shouted|exclaims|exclaimed)"
        people = "(?:person|one|man|woman|character|speaker|somebody|someone|people)"
        pattern = (
            rf"(?:\bthe |^|\b)(?:{people} (?:who|that) {verbs}|whoever {verbs}|speaker of|{people} saying)(?: the)?"
        )
        pattern += r"(?: words| line| sentence)? Q$"
        match = re.search(pattern, text)
        if match and (match.start() > 0 or "whoever" in match[0]):
            length = len(match[0].split())
            said = Reference(f'whoever says "{token.text}"', said=token.text)
            found = [*found[:-length], Token("name", said.text, reference=said)]
    return found


def owned(tokens: Sequence[Token]) -> list[Token]:
    """Returns the tokens with "Ana's dog", "the dog of Ana" and "her dog" as one name, and "Ana's" before a verb as
    "Ana is"."""
    found: list[Token] = []
    last: Reference | None = None
    index = 0
    while index < len(tokens):
        token = tokens[index]
        follows = tokens[index + 1] if index + 1 < len(tokens) else None
        thing = follows.reference if follows is not None else None
        pronoun = token.word in words.POSSESSIVE and last is not None
        owner = token.reference if token.owner else last if pronoun else None
        if owner is not None and follows is not None and thing is not None and follows.kind == "name":
            named = tokens[index + 2] if index + 2 < len(tokens) else None
            index += 2
            if thing.category and named is not None and named.kind == "name" and named.reference is not None:
                found.append(named)  # "Ana's dog Chia"
                index += 1
            elif thing.category:
                found.append(
                    replace(follows, reference=replace(thing, text=f"{owner.text}'s {thing.text}", owner=owner))
                )
            else:
                found.append(follows)
        elif owner is not None and token.owner and _unknown_noun(follows):
            assert follows is not None
            text = f"{owner.text}'s {follows.text}"
            found.append(Token("name", text, reference=Reference(text)))
            index += 2
        else:
            found.append(token)
            index += 1
            if token.owner and token.kind == "name" and follows is not None and not _belongs(follows):
                found.append(Token("word", "is", "is"))
        if token.reference is not None:
            last = token.reference
    return _genitives(_unknown_things(found))


def _belongs(token: Token) -> bool:
    nouns = words.SPEECH | words.PLACE | {"voice", "presence", "company", "side", "companion", "companions", "face"}
    nouns |= words.NEXT | words.PREVIOUS | words.ORDER.keys() | {"own", "very"}
    return token.kind == "quote" or token.word in nouns


def _unknown_noun(token: Token | None) -> bool:
    return token is not None and token.kind == "word" and token.word not in words.EVERYTHING and token.word.isalpha()


def _unknown_things(tokens: Sequence[Token]) -> list[Token]:
    """Returns the tokens with nouns that nothing is called by ("the cat", "in the attic") as unknown names, places."""
    found: list[Token] = []
    topic = False
    for token in tokens:
        topic = topic or token.word == "about"
        called = found[-1].reference if found else None
        if called is not None and called.category and token.reference is not None and token.reference.entities:
            found[-1] = token  # "the dog Chia"
            continue
        if not topic and found and found[-1].word in _DETERMINERS and _unknown_noun(token):
            before = found[-2].word if len(found) > 1 else ""
            if before in ("in", "at", "inside", "on", "into"):
                found.append(Token("place", token.text))
            else:
                found.append(Token("name", token.text, reference=Reference(f"{found[-1].text} {token.text}")))
        else:
            found.append(token)
    return found


def _genitives(tokens: list[Token]) -> list[Token]:
    """Returns the tokens with "the dog of Ana" and "the dog that belongs to Ana" as one name."""
    found: list[Token] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        found.append(token)
        index += 1
        thing = token.reference
        if thing is None or thing.category is None or thing.owner is not None:
            continue
        rest = encoded(tokens[index : index + 5])
        match = re.match(
            r"(?:of|(?:that |which )?(?:is )?(?:belongs|belonging) to|(?:that |which is )?owned by) N", rest
        )
        if match:
            owner = tokens[index + len(match[0].split()) - 1].reference
            assert owner is not None
            found[-1] = replace(token, reference=replace(thing, text=f"{owner.text}'s {thing.text}", owner=owner))
            index += len(match[0].split())
    return found


def joined(tokens: Sequence[Token]) -> list[Token]:
    """Returns the tokens without the commas of a list of names."""
    found: list[Token] = []
    for index, token in enumerate(tokens):
        if token.kind == "comma" and found and found[-1].kind == "name":
            rest = [t for t in tokens[index + 1 : index + 3] if t.word not in ("and", "the")]
            listed = bool(rest) and rest[0].kind == "name"
            more = index + 1 < len(tokens) and any(t.word == "and" for t in tokens[index + 1 : index + 4])
            if listed and more:
                continue
        found.append(token)
    return found
