"""Splitting recognised words into sentences (§6.1.2), in the language that they are spoken in.

NLTK's Punkt splits the languages that it has models for. Others are split at the full stops, question and exclamation
marks of all scripts (Unicode's Sentence_Terminal), less those of initials and of common abbreviations.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.subtitles.languages import CLOSERS, WIDE_STOPS, language_name, language_names, punkt_name
from storyjax.subtitles.timeline import Segment, Word

_PAUSE_S = 2.0  # a sentence does not go on after a pause longer than this
_MOST_S = 30.0  # nor does it last longer than this
_FOREIGN = "؟۔।॥։።፧။៕᙮꓿"
_END = re.compile(rf"[{WIDE_STOPS}]+{CLOSERS}|[{_FOREIGN}.!?…]+{CLOSERS}(?=\s|$)")
_WIDE_OR_FOREIGN = re.compile(rf"[{WIDE_STOPS}]+{CLOSERS}|[{_FOREIGN}]+{CLOSERS}(?=\s|$)")
_GREEK_END = re.compile(rf"[.!;;…]+{CLOSERS}(?=\s|$)")
_LAST_WORD = re.compile(r"([^\W\d_][^\s.]*)\.$")
# Before a full stop, where Punkt has no model; most are titles, which a name follows.
_ABBREVIATIONS = {
    "": "dr mr mrs ms prof st jr sr vs etc ing mag nr tel",
    "hungarian": "kb stb pl ill ún özv ifj id ld vö",
    "romanian": "dl dna dra str bd lt",
    "catalan": "sra srta av pàg núm",
    "croatian": "gosp gđa npr tj itd br god str",
    "bosnian": "gosp gđa npr tj itd br god str",
    "serbian": "gosp gđa npr tj itd br god др проф господ итд нпр",
    "slovak": "napr resp tzv atď ul č",
    "bulgarian": "г гр ул д-р проф инж др",
    "ukrainian": "ім вул обл проф акад див",
    "lithuanian": "pvz pan kt gyv",
    "latvian": "piem utt sk",
    "indonesian": "bpk sdr dll dsb jl",
    "malay": "en pn dll dsb jln",
    "vietnamese": "ts ths gs tp",
    "hindi": "डॉ प्रो श्री कु",
    "bengali": "ডা ড মো অধ্যাপক",
    "arabic": "د م أ ص",
}
_DANDA = ("hindi", "nepali", "sanskrit", "bengali", "assamese")  # a full stop is of an abbreviation there


def split_sentences(words: Sequence[Word], language: str = "english") -> list[Segment]:
    """Returns the sentences of the recognised words, as `sentence_words` finds them."""
    return [as_segment(sentence) for sentence in sentence_words(words, language)]


def sentence_words(words: Sequence[Word], language: str = "english") -> list[list[Word]]:
    """Returns the words of each sentence; a pause of more than two seconds ends one as well.

    Args:
        words: in the order of their times.
        language: of words that do not say theirs, by its English name or code.

    Raises:
        StoryjaxError: there is no such language, or Punkt is not installed.
    """
    sentences: list[list[Word]] = []
    for run in _runs(words):
        text, spans = "", []
        for word in run:
            text += " " if text and word.space else ""
            spans.append((len(text), len(text) + len(word.text)))
            text += word.text
        first = 0
        for stop in _ends(text, run[0].language or language):
            last = first
            while last < len(run) and spans[last][0] < stop:
                last += 1
            if last > first:
                sentences += _not_too_long(run[first:last])
            first = last
    return sentences


def _ends(text: str, language: str) -> Iterator[int]:
    """Where each sentence of a text ends; the last one where the text does."""
    name, known = language_name(language), language_names()
    if name not in known:
        raise StoryjaxError(f"no sentence model for '{language}'.{nearest(name, known)} Known: {', '.join(known)}")
    model = punkt_name(name)
    ends = (match.end() for match in _END.finditer(text)) if model is None else _model_ends(text, model)
    yield from (at for at in ends if at < len(text) and (name == "english" or not _goes_on(text, at, name)))
    yield len(text)


def _model_ends(text: str, model: str) -> Iterator[int]:
    """Where sentences end by Punkt, and by marks that its models do not know."""
    marks = _GREEK_END if model == "greek" else _WIDE_OR_FOREIGN
    for start, stop in _punkt(model).span_tokenize(text):
        yield from (at for match in marks.finditer(text[start:stop]) if (at := start + match.end()) < stop)
        yield stop


def _goes_on(text: str, at: int, name: str) -> bool:
    """Whether a sentence goes on after a mark that ends at `at`: "3. fejezet", "a ... b", "id. Szabó".

    English models know that of themselves; others, made of little text, miss much of it.
    """
    before = text[:at].rstrip("\"'”’»›)]}」』）】》〉")
    if not before.endswith((".", "…")):
        return False
    follows = text[at:].lstrip().lstrip("\"'“‘«‹([{¿¡—–- ")[:1]
    return follows.islower() or (not before.endswith("..") and _abbreviated(before, name))


def _abbreviated(text: str, name: str) -> bool:
    """Whether the full stop that a text ends with is an initial's or an abbreviation's."""
    if name in _DANDA:
        return True
    word = _LAST_WORD.search(text)
    if word is None:
        return False
    letters = word[1].casefold()
    return len(letters) == 1 or letters in _abbreviations(name)


@functools.cache
def _abbreviations(name: str) -> frozenset[str]:
    return frozenset([*_ABBREVIATIONS[""].split(), *_ABBREVIATIONS.get(name, "").split()])


@functools.lru_cache(maxsize=4)
def _punkt(language: str) -> Any:
    try:
        import punkt
    except ImportError as error:
        raise StoryjaxError("finding sentences needs NLTK's Punkt models: pip install 'storyjax[subtitles]'") from error
    return punkt.tokenizer_for(language)


def _runs(words: Sequence[Word]) -> list[list[Word]]:
    """The words between long pauses, and between one language and another."""
    runs: list[list[Word]] = []
    for word in words:
        last = runs[-1][-1] if runs else None
        if last is not None and word.start - last.end <= _PAUSE_S and word.language == last.language:
            runs[-1].append(word)
        else:
            runs.append([word])
    return runs


def _not_too_long(words: list[Word]) -> list[list[Word]]:
    """A sentence; one that is too long to be one (a recogniser that leaves out full stops) is cut at its pauses."""
    start, end = words[0].start, max(word.end for word in words)
    if end - start <= _MOST_S or len(words) < 2:
        return [words]
    gaps = [b.start - a.end for a, b in itertools.pairwise(words)]
    cut = 1 + max(range(len(gaps)), key=lambda i: (gaps[i], -abs(i - len(gaps) / 2)))
    return _not_too_long(words[:cut]) + _not_too_long(words[cut:])


def as_segment(words: Sequence[Word]) -> Segment:
    """Returns the segment of a sentence's words."""
    start, end = words[0].start, max(word.end for word in words)
    text = "".join(f" {word.text}" if word.space else word.text for word in words)
    return Segment(start, max(end, start + 0.02), text.strip())
